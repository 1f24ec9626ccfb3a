//! Runs a plan: the same layers from both sides.

use crate::audit::Audit;
use crate::clock::Stopwatch;
use crate::config::Operator;
use crate::cost::Exactness;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::plan::{Plan, PlannedLayer};
use crate::share::Share;
use crate::strategy::Prepared;
use channels::Traffic;
use meter::{Primitive, Spent};
use models::Op;
use models::manifest::Model;
use ndarray::{Array3, Array4};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys and base OTs.
    Setup,
    /// What does not depend on the scan.
    Offline,
    /// The rest.
    Online,
}

/// What a phase or a layer cost one party.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// CPU seconds of the process.
    pub cpu_seconds: f64,
    /// The same by primitive, as far as it belongs to one.
    pub spent: Spent,
    /// Traffic as this party saw it.
    pub traffic: Traffic,
}

/// What a run cost one party.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// Keys and base OTs.
    pub setup: Measure,
    /// What does not depend on the scan.
    pub offline: Measure,
    /// The rest.
    pub online: Measure,
    /// Per layer of the plan, offline and online together.
    pub layers: Vec<Measure>,
}

/// Hears how a run goes, for progress bars and logs. Nothing it is told depends on the scan or the weights.
pub trait Observer {
    /// A phase begins.
    fn phase(&mut self, _phase: Phase) {}

    /// A layer begins.
    fn layer(&mut self, _index: usize, _layer: &PlannedLayer) {}

    /// A layer is done.
    fn done(&mut self, _index: usize, _measure: &Measure) {}
}

/// An observer that does not listen.
pub struct Silent;

impl Observer for Silent {}

/// Runs Alice's side on an input of integers `[channel, depth, height, width]`; yields the labels.
pub fn run_alice(
    plan: &Plan,
    alice: &mut Alice,
    input: &Array4<i64>,
    observer: &mut dyn Observer,
) -> Result<(Array3<u8>, Measurements), ProtocolError> {
    let node = plan.manifest().graph.node(0);
    let shape = node.shape;
    let [d, h, w] = shape.dims;
    if input.dim() != (shape.channels, d, h, w) {
        let message = format!("the input is {:?}, the network takes {:?}", input.dim(), shape);
        return Err(ProtocolError::Disagreement(message));
    }
    let modulus = plan.input_modulus();
    // Alice knows the whole input, so Bob's share of it is zero.
    let values = input.iter().map(|&x| modulus.reduce(x)).collect();
    let input = Share::new(modulus, shape, values);
    let (result, measurements) = run(plan, alice, input, observer)?;
    let labels = result.values.iter().map(|&label| label as u8).collect();
    let [d, h, w] = plan.manifest().graph.node(plan.manifest().graph.output()).shape.dims;
    let labels = Array3::from_shape_vec((d, h, w), labels);
    let labels =
        labels.map_err(|_| ProtocolError::Disagreement("the result is no label per voxel".into()))?;
    Ok((labels, measurements))
}

/// Runs Bob's side with the network's weights.
pub fn run_bob(
    plan: &Plan,
    bob: &mut Bob,
    model: &Model,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    let input = Share::zero(plan.input_modulus(), plan.manifest().graph.node(0).shape);
    let mut with_weights = BobWithModel { bob, model };
    Ok(run(plan, &mut with_weights, input, observer)?.1)
}

/// One party's half of a step; the walk over the graph is the same for both.
trait Half {
    fn traffic(&self) -> Traffic;
    fn flush(&mut self) -> Result<(), ProtocolError>;
    fn setup(&mut self, plan: &Plan) -> Result<(), ProtocolError>;
    fn prepare(&mut self, layer: &PlannedLayer) -> Result<Prepared, ProtocolError>;
    fn run(
        &mut self,
        layer: &PlannedLayer,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError>;
    fn audit(&mut self) -> Option<&mut dyn Audit>;
}

impl Half for &mut Alice {
    fn traffic(&self) -> Traffic {
        self.channel.traffic()
    }

    fn flush(&mut self) -> Result<(), ProtocolError> {
        Ok(self.channel.flush()?)
    }

    fn setup(&mut self, plan: &Plan) -> Result<(), ProtocolError> {
        crate::session::setup_alice(plan, self)
    }

    fn prepare(&mut self, layer: &PlannedLayer) -> Result<Prepared, ProtocolError> {
        let _metered = meter::scope(own_work(layer));
        self.reserve(&layer.step.ots())?;
        layer.step.prepare_alice(self)
    }

    fn run(
        &mut self,
        layer: &PlannedLayer,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let _metered = meter::scope(own_work(layer));
        layer.step.alice(self, prepared, inputs)
    }

    fn audit(&mut self) -> Option<&mut dyn Audit> {
        self.audit.as_deref_mut().map(|audit| audit as &mut dyn Audit)
    }
}

struct BobWithModel<'a> {
    bob: &'a mut Bob,
    model: &'a Model,
}

impl Half for &mut BobWithModel<'_> {
    fn traffic(&self) -> Traffic {
        self.bob.channel.traffic()
    }

    fn flush(&mut self) -> Result<(), ProtocolError> {
        Ok(self.bob.channel.flush()?)
    }

    fn setup(&mut self, plan: &Plan) -> Result<(), ProtocolError> {
        crate::session::setup_bob(plan, self.bob)
    }

    fn prepare(&mut self, layer: &PlannedLayer) -> Result<Prepared, ProtocolError> {
        let _metered = meter::scope(own_work(layer));
        self.bob.reserve(&layer.step.ots())?;
        layer.step.prepare_bob(self.bob)
    }

    fn run(
        &mut self,
        layer: &PlannedLayer,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let _metered = meter::scope(own_work(layer));
        layer.step.bob(self.bob, prepared, self.model.weights.get(&layer.id), inputs)
    }

    fn audit(&mut self) -> Option<&mut dyn Audit> {
        self.bob.audit.as_deref_mut().map(|audit| audit as &mut dyn Audit)
    }
}

/// What a layer's work is charged to where no primitive inside it claims it.
fn own_work(layer: &PlannedLayer) -> Primitive {
    match layer.operator {
        Operator::Relu | Operator::MaxPool | Operator::Readout => Primitive::Compare,
        Operator::Truncation => Primitive::Truncate,
        Operator::Square | Operator::Product | Operator::Quadratic => Primitive::Pairs,
        Operator::Convolution | Operator::TransposedConvolution | Operator::AveragePool | Operator::Local => {
            Primitive::Local
        }
    }
}

/// Set-up, offline and online phases; shares are dropped after their last reader.
fn run(
    plan: &Plan,
    mut party: impl Half,
    input: Share,
    observer: &mut dyn Observer,
) -> Result<(Share, Measurements), ProtocolError> {
    let graph = &plan.manifest().graph;
    let mut measurements =
        Measurements { layers: vec![Measure::default(); plan.layers().len()], ..Default::default() };

    observer.phase(Phase::Setup);
    measurements.setup = measured(&mut party, |party| party.setup(plan))?.1;

    observer.phase(Phase::Offline);
    let mut prepared = Vec::with_capacity(plan.layers().len());
    for (index, layer) in plan.layers().iter().enumerate() {
        let prepare = measured(&mut party, |party| party.prepare(layer));
        let (material, measure) = prepare.map_err(|error| error.in_layer(&graph.node(layer.id).name))?;
        measurements.layers[index] = measure;
        measurements.offline += measure;
        prepared.push(material);
    }

    observer.phase(Phase::Online);
    let mut readers: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    let mut shares: Vec<Option<Share>> = Vec::new();
    shares.push(Some(input));
    shares.resize_with(graph.nodes().len(), || None);
    for (index, (layer, material)) in plan.layers().iter().zip(prepared).enumerate() {
        observer.layer(index, layer);
        let node = graph.node(layer.id);
        if let Some(input) = shares[node.inputs[0]].as_ref() {
            record(party.audit(), layer, input).map_err(|error| error.in_layer(&node.name))?;
        }
        let run = measured(&mut party, |party| {
            let inputs: Vec<&Share> = node.inputs.iter().filter_map(|&id| shares[id].as_ref()).collect();
            party.run(layer, material, &inputs)
        });
        let (values, measure) = run.map_err(|error| error.in_layer(&node.name))?;
        measurements.online += measure;
        measurements.layers[index] += measure;
        observer.done(index, &measurements.layers[index]);
        shares[layer.id] = Some(Share::new(layer.modulus, node.shape, values));
        for &id in &node.inputs {
            readers[id] -= 1;
            if readers[id] == 0 {
                shares[id] = None;
            }
        }
    }
    let result = shares.pop().flatten();
    result
        .map(|result| (result, measurements))
        .ok_or_else(|| ProtocolError::Disagreement("the network has no layers".into()))
}

/// Hands a layer's input to the audit, if there is one that wants it. No part of the run, and not measured.
fn record(audit: Option<&mut dyn Audit>, layer: &PlannedLayer, input: &Share) -> Result<(), ProtocolError> {
    let wants = |audit: &&mut dyn Audit| layer.step.exactness() == Exactness::Carry || audit.wants(layer.id);
    Ok(audit.filter(wants).map_or(Ok(()), |audit| audit.record(layer.id, input))?)
}

/// Runs `body` and says what it cost; what it queued is handed to the transport.
fn measured<P: Half, T>(
    party: &mut P,
    body: impl FnOnce(&mut P) -> Result<T, ProtocolError>,
) -> Result<(T, Measure), ProtocolError> {
    let (watch, spent, traffic) = (Stopwatch::start(), meter::read(), party.traffic());
    let value = body(party)?;
    party.flush()?;
    let (seconds, cpu_seconds) = watch.read();
    let (spent, traffic) = (meter::read() - spent, party.traffic() - traffic);
    Ok((value, Measure { seconds, cpu_seconds, spent, traffic }))
}

impl std::ops::AddAssign for Measure {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.cpu_seconds += other.cpu_seconds;
        self.spent += other.spent;
        self.traffic += other.traffic;
    }
}

/// Whether a node is only a rearrangement or local sum, for reports that leave such rows out.
pub fn is_local(op: &Op) -> bool {
    matches!(op, Op::Input | Op::Concat | Op::Add | Op::Raise { .. } | Op::Scale { .. })
}

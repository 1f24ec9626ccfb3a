//! Runs a plan: the same layers from both sides.

use crate::audit::Audit;
use crate::clock::Stopwatch;
use crate::config::Operator;
use crate::cost::Exactness;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob, DataHolder, Party, Provider, Role};
use crate::plan::{Plan, PlannedLayer};
use crate::session;
use crate::share::Share;
use crate::store::{self, Item};
use crate::strategy::Prepared;
use channels::Traffic;
use meter::{Primitive, Spent};
use models::manifest::Model;
use models::{Op, reference};
use ndarray::{Array3, Array4};
use std::io::{self, Write};

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys and base OTs.
    Setup,
    /// In place of set-up and offline: an item of a pool is taken up, and what cannot be kept is set up.
    Resume,
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

/// What a run cost one party, or several runs of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// How many runs.
    pub runs: u64,
    /// How many of them took an item of a pool.
    pub from_pool: u64,
    /// How many items were made for a pool; that is in set-up and offline, and no run.
    pub made: u64,
    /// What making those items cost, beforehand: it is in no phase.
    pub prepared: Measure,
    /// Keys and base OTs.
    pub setup: Measure,
    /// What does not depend on the scan.
    pub offline: Measure,
    /// The rest.
    pub online: Measure,
    /// Per layer of the plan.
    pub layers: Vec<LayerMeasure>,
}

/// What a layer cost one party.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerMeasure {
    /// What does not depend on the scan.
    pub offline: Measure,
    /// The rest.
    pub online: Measure,
}

impl LayerMeasure {
    /// Both phases together.
    pub fn total(&self) -> Measure {
        let mut total = self.offline;
        total += self.online;
        total
    }
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
) -> Result<(Array3<u16>, Measurements), ProtocolError> {
    run_alice_with(plan, alice, None, input, observer)
}

/// Runs Alice's side from an item of a pool; without one everything is made now.
pub fn run_alice_with(
    plan: &Plan,
    alice: &mut Alice,
    item: Option<Item<DataHolder>>,
    input: &Array4<i64>,
    observer: &mut dyn Observer,
) -> Result<(Array3<u16>, Measurements), ProtocolError> {
    let (result, measurements) = run_alice_to_end(plan, alice, item, input, observer)?;
    let labels = match signed(plan, &result) {
        Some(scores) => read_out(plan, &scores)?,
        None => result.values.iter().map(|&label| label as u16).collect(),
    };
    let [d, h, w] = plan.manifest().graph.node(plan.manifest().graph.output()).shape.dims;
    let labels = Array3::from_shape_vec((d, h, w), labels);
    let labels =
        labels.map_err(|_| ProtocolError::Disagreement("the result is no label per voxel".into()))?;
    Ok((labels, measurements))
}

/// The same where the plan opens the scores: yields these, `[channel, depth, height, width]` in units of the last layer's
/// input edge.
pub fn run_alice_to_scores(
    plan: &Plan,
    alice: &mut Alice,
    item: Option<Item<DataHolder>>,
    input: &Array4<i64>,
    observer: &mut dyn Observer,
) -> Result<(Array4<i64>, Measurements), ProtocolError> {
    let (result, measurements) = run_alice_to_end(plan, alice, item, input, observer)?;
    match signed(plan, &result) {
        Some(scores) => Ok((scores, measurements)),
        None => Err(ProtocolError::Disagreement("the plan opens labels, not scores".into())),
    }
}

/// The scores that a plan opened; `None` where it opens labels.
fn signed(plan: &Plan, result: &Share) -> Option<Array4<i64>> {
    let scores = result.values.iter().map(|&score| result.modulus.lift(score)).collect();
    plan.opens_scores().then(|| Array4::from_shape_vec(result.shape.to_array(), scores).ok())?
}

/// The labels that the network's own readout makes of its scores.
fn read_out(plan: &Plan, scores: &Array4<i64>) -> Result<Vec<u16>, ProtocolError> {
    let graph = &plan.manifest().graph;
    let labels = reference::eval_node(&graph.node(graph.output()).op, &[scores], None);
    let labels = labels.map_err(|error| ProtocolError::Disagreement(error.to_string()))?;
    Ok(labels.into_iter().map(|label| label as u16).collect())
}

/// Alice's side up to what the last layer yields.
fn run_alice_to_end(
    plan: &Plan,
    alice: &mut Alice,
    item: Option<Item<DataHolder>>,
    input: &Array4<i64>,
    observer: &mut dyn Observer,
) -> Result<(Share, Measurements), ProtocolError> {
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
    run(plan, alice, item, input, observer, |alice, layer, prepared, inputs| {
        layer.step.alice(alice, prepared, inputs)
    })
}

/// Runs Bob's side with the network's weights.
pub fn run_bob(
    plan: &Plan,
    bob: &mut Bob,
    model: &Model,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    run_bob_with(plan, bob, None, model, observer)
}

/// Runs Bob's side from an item of a pool; without one everything is made now.
pub fn run_bob_with(
    plan: &Plan,
    bob: &mut Bob,
    item: Option<Item<Provider>>,
    model: &Model,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    let input = Share::zero(plan.input_modulus(), plan.manifest().graph.node(0).shape);
    let done = run(plan, bob, item, input, observer, |bob, layer, prepared, inputs| {
        layer.step.bob(bob, prepared, model.weights.get(&layer.id), inputs)
    });
    Ok(done?.1)
}

/// Set-up, offline and online phases.
fn run<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    item: Option<Item<R>>,
    input: Share,
    observer: &mut dyn Observer,
    step: impl Fn(&mut Party<R>, &PlannedLayer, Prepared, &[&Share]) -> Result<Vec<u64>, ProtocolError>,
) -> Result<(Share, Measurements), ProtocolError> {
    let mut measurements = Measurements { runs: 1, ..Measurements::new(plan) };
    let prepared = match item {
        Some(item) => {
            observer.phase(Phase::Resume);
            (measurements.from_pool, measurements.prepared) = (1, item.made);
            (measurements.setup.seconds, measurements.setup.cpu_seconds) = item.taken;
            let (prepared, resumed) = measured(party, |party| session::resume(plan, party, item))?;
            measurements.setup += resumed;
            prepared
        }
        None => {
            observer.phase(Phase::Setup);
            measurements.setup = measured(party, |party| session::set_up(plan, party))?.1;
            let mut prepared = Vec::with_capacity(plan.layers().len());
            offline(plan, party, observer, &mut measurements, |material| {
                prepared.push(material);
                Ok(())
            })?;
            prepared
        }
    };
    let result = online(plan, party, prepared, input, observer, &mut measurements, step)?;
    Ok((result, measurements))
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

/// Makes an item of a pool: what does not depend on the scan goes to `out`, layer by layer.
pub(crate) fn prepare<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    out: &mut dyn Write,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    let mut measurements = Measurements { made: 1, ..Measurements::new(plan) };
    observer.phase(Phase::Setup);
    measurements.setup = measured(party, |party| session::set_up(plan, party))?.1;
    let save = |prepared| store::save_prepared(&prepared, out);
    offline(plan, party, observer, &mut measurements, save)?;
    let mut made = measurements.setup;
    made += measurements.offline;
    store::save_rest(plan, party, &made, out)?;
    Ok(measurements)
}

/// What every layer prepares, in order.
fn offline<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    observer: &mut dyn Observer,
    measurements: &mut Measurements,
    mut keep: impl FnMut(Prepared) -> io::Result<()>,
) -> Result<(), ProtocolError> {
    observer.phase(Phase::Offline);
    for (index, layer) in plan.layers().iter().enumerate() {
        let prepare = measured(party, |party| {
            let _metered = meter::scope(own_work(layer));
            party.reserve(&layer.step.ots())?;
            Ok(keep(R::prepare(party, layer)?)?)
        });
        let name = &plan.manifest().graph.node(layer.id).name;
        let measure = prepare.map_err(|error| error.in_layer(name))?.1;
        measurements.layers[index].offline = measure;
        measurements.offline += measure;
    }
    Ok(())
}

/// The walk over the graph; shares are dropped after their last reader.
fn online<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    prepared: Vec<Prepared>,
    input: Share,
    observer: &mut dyn Observer,
    measurements: &mut Measurements,
    step: impl Fn(&mut Party<R>, &PlannedLayer, Prepared, &[&Share]) -> Result<Vec<u64>, ProtocolError>,
) -> Result<Share, ProtocolError> {
    observer.phase(Phase::Online);
    let graph = &plan.manifest().graph;
    let mut readers: Vec<usize> = graph.consumers().iter().map(Vec::len).collect();
    let mut shares: Vec<Option<Share>> = Vec::new();
    shares.push(Some(input));
    shares.resize_with(graph.nodes().len(), || None);
    for (index, (layer, material)) in plan.layers().iter().zip(prepared).enumerate() {
        observer.layer(index, layer);
        let node = graph.node(layer.id);
        if let Some(input) = shares[node.inputs[0]].as_ref() {
            record(party.audit.as_deref_mut(), layer, input).map_err(|error| error.in_layer(&node.name))?;
        }
        let run = measured(party, |party| {
            let inputs: Vec<&Share> = node.inputs.iter().filter_map(|&id| shares[id].as_ref()).collect();
            let _metered = meter::scope(own_work(layer));
            step(party, layer, material, &inputs)
        });
        let (values, measure) = run.map_err(|error| error.in_layer(&node.name))?;
        measurements.online += measure;
        measurements.layers[index].online = measure;
        observer.done(index, &measurements.layers[index].total());
        let shape = if layer.step.opens() { graph.node(node.inputs[0]).shape } else { node.shape };
        shares[layer.id] = Some(Share::new(layer.modulus, shape, values));
        for &id in &node.inputs {
            readers[id] -= 1;
            if readers[id] == 0 {
                shares[id] = None;
            }
        }
    }
    shares.pop().flatten().ok_or_else(|| ProtocolError::Disagreement("the network has no layers".into()))
}

/// Hands a layer's input to the audit, if there is one that wants it. No part of the run, and not measured.
fn record(
    audit: Option<&mut (dyn Audit + 'static)>,
    layer: &PlannedLayer,
    input: &Share,
) -> Result<(), ProtocolError> {
    let wants = layer.step.exactness() == Exactness::Carry;
    match audit.filter(|audit| wants || audit.wants(layer.id)) {
        Some(audit) => Ok(audit.record(layer.id, input)?),
        None => Ok(()),
    }
}

/// Runs `body` and says what it cost; what it queued is handed to the transport.
fn measured<R: Role, T>(
    party: &mut Party<R>,
    body: impl FnOnce(&mut Party<R>) -> Result<T, ProtocolError>,
) -> Result<(T, Measure), ProtocolError> {
    let (watch, spent, traffic) = (Stopwatch::start(), meter::read(), party.channel.traffic());
    let value = body(party)?;
    party.channel.flush()?;
    let (seconds, cpu_seconds) = watch.read();
    let (spent, traffic) = (meter::read() - spent, party.channel.traffic() - traffic);
    Ok((value, Measure { seconds, cpu_seconds, spent, traffic }))
}

impl Measurements {
    fn new(plan: &Plan) -> Self {
        Self { layers: vec![LayerMeasure::default(); plan.layers().len()], ..Self::default() }
    }
}

impl std::ops::AddAssign<&Measurements> for Measurements {
    fn add_assign(&mut self, other: &Measurements) {
        self.runs += other.runs;
        self.from_pool += other.from_pool;
        self.made += other.made;
        self.setup += other.setup;
        self.offline += other.offline;
        self.online += other.online;
        self.prepared += other.prepared;
        self.layers.resize(self.layers.len().max(other.layers.len()), LayerMeasure::default());
        for (sum, layer) in self.layers.iter_mut().zip(&other.layers) {
            sum.offline += layer.offline;
            sum.online += layer.online;
        }
    }
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
    matches!(op, Op::Input | Op::Concat | Op::Add | Op::Raise { .. } | Op::Scale { .. } | Op::Resample(_))
}

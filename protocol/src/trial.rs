//! One layer by itself, both parties in one process, against the clear-text integer reference: for the common suite, and
//! for comparing strategies on the same values.

use crate::clock::Stopwatch;
use crate::cost::Cost;
use crate::engine::Measure;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::ots::{Directions, Ledger, Source};
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Site, Step, Strategy};
use channels::{Channel, Traffic};
use models::manifest::{Edge, Layer as Public, LayerWeights};
use models::reference::{self, ReferenceError};
use models::{Graph, GraphError, Op, Shape, Window};
use ndarray::Array4;
use ntt::Modulus;
use prg::Prg;

/// One layer with its inputs.
pub struct Layer {
    /// What it computes.
    pub op: Op,
    /// Shape and values of every input.
    pub inputs: Vec<(Shape, Vec<i64>)>,
    /// Weights of magnitudes below 2^7, if it has any.
    pub weights: Option<LayerWeights>,
    /// Modulus of the inputs' shares.
    pub from: Modulus,
    /// Modulus of the value's shares.
    pub to: Modulus,
    /// For linear layers, the strategy that evaluates stencils.
    pub engine: &'static str,
}

/// What came out.
pub struct Outcome {
    /// The value that the two shares hold, or Alice's labels or scores.
    pub values: Vec<i64>,
    /// The integer reference's value.
    pub reference: Vec<i64>,
    /// What must come out: the reference, or what the shares imply.
    pub expected: Vec<i64>,
    /// Exact bytes and rounds as the step declares them, OTs included.
    pub declared: Cost,
    /// What the phases took, by party: setup, offline and online. CPU time is the process's, of both parties together.
    pub phases: [[Measure; 3]; 2],
}

impl Outcome {
    /// The largest distance from the reference.
    pub fn error(&self) -> u64 {
        let pairs = self.values.iter().zip(&self.reference);
        pairs.map(|(value, reference)| value.abs_diff(*reference)).max().unwrap_or(0)
    }
}

/// A layer that was not run.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The strategy does not fit the layer, for this reason.
    #[error("{0}")]
    Refused(String),
    /// The parties failed.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The inputs do not fit the operator.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The integer reference cannot evaluate the layer.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// Runs a strategy on a layer with fresh random shares over a pair of ends, Alice's first.
pub fn run(
    source: Source,
    strategy: &dyn Strategy,
    layer: &Layer,
    (to_bob, to_alice): (Channel, Channel),
    prg: &mut Prg,
) -> Result<Outcome, TrialError> {
    let step = &*plan(strategy, layer)?;
    let (shares_a, shares_b): (Vec<_>, Vec<_>) = layer
        .inputs
        .iter()
        .map(|(shape, values)| {
            let (a, b) = split(layer.from, values, prg);
            (Share::new(layer.from, *shape, a), Share::new(layer.from, *shape, b))
        })
        .unzip();
    let mut alice = Alice::new(to_bob, Prg::new(&prg.seed()));
    let mut bob = Bob::new(to_alice, Prg::new(&prg.seed()));
    let (a, b) = std::thread::scope(|scope| {
        let alice = scope.spawn(|| run_alice(&mut alice, step, source, &shares_a));
        let b = run_bob(&mut bob, step, source, layer, &shares_b);
        match alice.join() {
            Ok(a) => (a, b),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let ((a, phases_a), (b, phases_b)) = (a?, b?);
    let values: Vec<i64> = if step.opens() {
        a.iter().map(|&score| layer.from.lift(score)).collect()
    } else if layer.op.is_readout() {
        a.iter().map(|&label| label as i64).collect()
    } else {
        a.iter().zip(&b).map(|(&a, &b)| layer.to.lift(layer.to.add(a, b))).collect()
    };
    let reference = if step.opens() { layer.inputs[0].1.clone() } else { evaluate(layer)? };
    let expected = match step.carries() {
        Some(carries) => {
            let pairs = shares_a[0].values.iter().zip(&shares_b[0].values);
            pairs.map(|(&a, &b)| carries.value(a, b)).collect()
        }
        None => reference.clone(),
    };
    let declared = step.cost() + Ledger::new(source).charge(&step.ots());
    Ok(Outcome { values, reference, expected, declared, phases: [phases_a, phases_b] })
}

/// The step, as both parties derive it.
fn plan(strategy: &dyn Strategy, layer: &Layer) -> Result<Box<dyn Step>, TrialError> {
    let input = layer.inputs[0].0;
    let rank = (0..3).find(|&axis| input.dims[axis] > 1).map_or(1, |axis| 3 - axis);
    let mut graph = Graph::new(rank, input)?;
    let mut ids = vec![0];
    for (serial, (shape, _)) in layer.inputs.iter().enumerate().skip(1) {
        // A further input of any width: it enters by a layer that is never run.
        let op = Op::Conv { window: Window::dense([1; 3], [0; 3]), channels: shape.channels };
        ids.push(graph.push(format!("input {serial}"), op, vec![0])?);
    }
    let id = graph.push("layer", layer.op.clone(), ids)?;
    let values = layer.inputs.iter().flat_map(|input| &input.1);
    let bound = values.map(|x| x.unsigned_abs()).max().unwrap_or(0);
    let edge = Edge { frac: 0, divisor: 1, bound };
    let site = Site {
        id,
        node: graph.node(id),
        inputs: layer.inputs.iter().map(|input| input.0).collect(),
        input_edges: vec![edge; layer.inputs.len()],
        edge,
        layer: layer.weights.as_ref().map(|_| Public { weight_frac: 0, weight_bits: 7 }),
        from: layer.from,
        to: layer.to,
        engine: layer.engine,
        run_coefficients: 1 << 24,
    };
    let plan = || strategy.plan(&site).map_err(|refusal| TrialError::Refused(refusal.0));
    let (step, again) = (plan()?, plan()?);
    assert_eq!(step.describe(), again.describe(), "both parties derive the same step");
    Ok(step)
}

fn split(modulus: Modulus, values: &[i64], prg: &mut Prg) -> (Vec<u64>, Vec<u64>) {
    let mut bob = vec![0; values.len()];
    modulus.sample(prg, &mut bob);
    let alice = values.iter().zip(&bob).map(|(&x, &b)| modulus.sub(modulus.reduce(x), b)).collect();
    (alice, bob)
}

fn evaluate(layer: &Layer) -> Result<Vec<i64>, ReferenceError> {
    let tensor = |(shape, values): &(Shape, Vec<i64>)| {
        Array4::from_shape_vec(shape.to_array(), values.clone()).expect("as many values as its shape")
    };
    let tensors: Vec<_> = layer.inputs.iter().map(tensor).collect();
    let inputs: Vec<_> = tensors.iter().collect();
    Ok(reference::eval_node(&layer.op, &inputs, layer.weights.as_ref())?.into_iter().collect())
}

/// A party's share and what its phases took.
type Half = Result<(Vec<u64>, [Measure; 3]), ProtocolError>;

/// Traffic and time since the last call.
struct Laps {
    watch: Stopwatch,
    traffic: Traffic,
}

impl Laps {
    fn start(channel: &Channel) -> Self {
        Self { watch: Stopwatch::start(), traffic: channel.traffic() }
    }

    fn lap(&mut self, channel: &mut Channel) -> Result<Measure, ProtocolError> {
        channel.flush()?;
        let (seconds, cpu_seconds) = self.watch.read();
        let traffic = channel.traffic() - self.traffic;
        *self = Self::start(channel);
        Ok(Measure { seconds, cpu_seconds, traffic, ..Measure::default() })
    }
}

fn run_alice(alice: &mut Alice, step: &dyn Step, source: Source, inputs: &[Share]) -> Half {
    let mut laps = Laps::start(&alice.channel);
    KeySpec::union(step.keys().into_iter()).iter().try_for_each(|spec| alice.exchange_keys(spec))?;
    alice.set_up_ot(source, Directions::of(&step.ots()))?;
    let setup = laps.lap(&mut alice.channel)?;
    alice.reserve(&step.ots())?;
    let prepared = step.prepare_alice(alice)?;
    let offline = laps.lap(&mut alice.channel)?;
    let share = step.alice(alice, prepared, &inputs.iter().collect::<Vec<_>>())?;
    Ok((share, [setup, offline, laps.lap(&mut alice.channel)?]))
}

fn run_bob(bob: &mut Bob, step: &dyn Step, source: Source, layer: &Layer, inputs: &[Share]) -> Half {
    let mut laps = Laps::start(&bob.channel);
    KeySpec::union(step.keys().into_iter()).iter().try_for_each(|spec| bob.exchange_keys(spec))?;
    bob.set_up_ot(source, Directions::of(&step.ots()))?;
    let setup = laps.lap(&mut bob.channel)?;
    bob.reserve(&step.ots())?;
    let prepared = step.prepare_bob(bob)?;
    let offline = laps.lap(&mut bob.channel)?;
    let share = step.bob(bob, prepared, layer.weights.as_ref(), &inputs.iter().collect::<Vec<_>>())?;
    Ok((share, [setup, offline, laps.lap(&mut bob.channel)?]))
}

//! Both parties of one layer in one process, against the clear-text integer reference.

use crate::cost::Cost;
use crate::keys::KeySpec;
use crate::linear::stencil::tests as layers;
use crate::ots::{Directions, Ledger, Source};
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Site, Strategy};
use channels::{Traffic, memory};
use models::manifest::{Edge, Layer as Public, LayerWeights};
use models::{Graph, Op, Shape, reference};
use ndarray::Array4;
use ntt::Modulus;
use prg::Prg;

/// Moduli of both kinds and several widths.
pub(crate) fn moduli() -> [Modulus; 4] {
    let prime = |p| Modulus::prime(p).unwrap();
    let pow2 = |bits| Modulus::pow2(bits).unwrap();
    [pow2(16), pow2(24), prime(40_961), prime(737_281)]
}

/// Values up to the limit in magnitude, both ends among them.
pub(crate) fn values_below(limit: i64, len: usize, prg: &mut Prg) -> Vec<i64> {
    let ends = [0, limit, -limit, 1, -1];
    let mut random = || (prg.next_u64() % (2 * limit as u64 + 1)) as i64 - limit;
    (0..len).map(|i| ends.get(i).copied().unwrap_or_else(&mut random)).collect()
}

/// One layer with its input.
pub(crate) struct Layer {
    op: Op,
    input: Shape,
    values: Vec<i64>,
    from: Modulus,
    to: Modulus,
    weights: Option<LayerWeights>,
    engine: &'static str,
    other: Option<(Shape, Vec<i64>)>,
}

impl Layer {
    /// An elementwise layer on a line of values.
    pub(crate) fn new(op: Op, values: &[i64], from: Modulus, to: Modulus) -> Self {
        Self::shaped(op, Shape { channels: 1, dims: [1, 1, values.len()] }, values, from, to)
    }

    /// A layer on a tensor.
    pub(crate) fn shaped(op: Op, input: Shape, values: &[i64], from: Modulus, to: Modulus) -> Self {
        let values = values.to_vec();
        Self { op, input, values, from, to, weights: None, engine: "", other: None }
    }

    /// A layer with random weights, its input small enough for the modulus.
    pub(crate) fn linear(
        op: Op,
        input: Shape,
        modulus: Modulus,
        engine: &'static str,
        prg: &mut Prg,
    ) -> Self {
        let output = layers::output(&op, input);
        let weights = layers::random_layer(&op, input, output, prg);
        let taps = weights.weights.len() / output.channels.min(input.channels);
        let limit = (modulus.value() as i64 / 2 - 1000) / (127 * taps as i64);
        let limit = if op == Op::Quadratic { limit.isqrt() } else { limit };
        let values = values_below(limit.max(1), input.len(), prg);
        Self { weights: Some(weights), engine, ..Self::shaped(op, input, &values, modulus, modulus) }
    }

    /// A second input.
    pub(crate) fn with(mut self, shape: Shape, values: &[i64]) -> Self {
        self.other = Some((shape, values.to_vec()));
        self
    }
}

/// What came out.
pub(crate) struct LayerRun {
    /// The value that the two shares hold, or Alice's labels.
    pub(crate) values: Vec<i64>,
    /// The integer reference's value.
    pub(crate) reference: Vec<i64>,
    /// What must come out: the reference, or what the shares imply.
    expected: Vec<i64>,
    /// Measured traffic is held to this.
    pub(crate) declared: Cost,
    prepared: [Traffic; 2],
    run: [Traffic; 2],
}

impl LayerRun {
    /// Equal to the reference bit for bit or, where the step says so, to what the shares imply; at the declared cost.
    pub(crate) fn assert_exact(&self) {
        assert_eq!(self.values, self.expected);
        self.assert_declared_cost();
    }

    /// The largest distance from the reference.
    pub(crate) fn error(&self) -> u64 {
        let pairs = self.values.iter().zip(&self.reference);
        pairs.map(|(value, reference)| value.abs_diff(*reference)).max().unwrap_or(0)
    }

    /// Measured bytes in both directions and rounds are the declared ones.
    pub(crate) fn assert_declared_cost(&self) {
        let flow = |traffic: &Traffic| (traffic.sent, traffic.received, traffic.rounds);
        for (phase, declared, [alice, bob]) in
            [("offline", self.declared.offline, &self.prepared), ("online", self.declared.online, &self.run)]
        {
            let expected = (declared.alice_to_bob, declared.bob_to_alice, declared.rounds);
            assert_eq!(flow(alice), expected, "{phase}: bytes up, bytes down, rounds");
            assert_eq!((bob.received, bob.sent), (alice.sent, alice.received), "{phase}: both ends agree");
        }
    }
}

fn split(modulus: Modulus, values: &[i64], prg: &mut Prg) -> (Vec<u64>, Vec<u64>) {
    let mut bob = vec![0; values.len()];
    modulus.sample(prg, &mut bob);
    let alice = values.iter().zip(&bob).map(|(&x, &b)| modulus.sub(modulus.reduce(x), b)).collect();
    (alice, bob)
}

/// Runs a strategy on a layer with fresh random shares.
pub(crate) fn run_layer(strategy: &dyn Strategy, layer: Layer, prg: &mut Prg) -> LayerRun {
    run_layer_over(Source::Iknp, strategy, layer, prg)
}

/// Runs a strategy on a layer with fresh random shares, OTs from this source.
pub(crate) fn run_layer_over(
    source: Source,
    strategy: &dyn Strategy,
    layer: Layer,
    prg: &mut Prg,
) -> LayerRun {
    try_run_layer(source, strategy, layer, prg).unwrap()
}

/// Runs a strategy on a layer, or says why the strategy refuses it.
pub(crate) fn try_run_layer(
    source: Source,
    strategy: &dyn Strategy,
    layer: Layer,
    prg: &mut Prg,
) -> Result<LayerRun, String> {
    let rank = (0..3).find(|&axis| layer.input.dims[axis] > 1).map_or(1, |axis| 3 - axis);
    let mut graph = Graph::new(rank, layer.input).unwrap();
    let (mut ids, mut inputs) = (vec![0], vec![(layer.input, layer.values.clone())]);
    if let Some((shape, values)) = &layer.other {
        // A second input of any width: it enters by a layer that is never run.
        let op = Op::Conv { window: models::Window::dense([1; 3], [0; 3]), channels: shape.channels };
        ids.push(graph.push("other", op, vec![0]).unwrap());
        inputs.push((*shape, values.clone()));
    }
    let id = graph.push("layer", layer.op.clone(), ids).unwrap();
    let node = graph.node(id);
    let bound = inputs.iter().flat_map(|input| &input.1).map(|x| x.unsigned_abs()).max().unwrap_or(0);
    let edge = Edge { frac: 0, divisor: 1, bound };
    let site = Site {
        id,
        node,
        inputs: inputs.iter().map(|input| input.0).collect(),
        input_edges: vec![edge; inputs.len()],
        edge,
        layer: layer.weights.as_ref().map(|_| Public { weight_frac: 0, weight_bits: 7 }),
        from: layer.from,
        to: layer.to,
        engine: layer.engine,
        run_coefficients: 1 << 24,
    };
    let step = strategy.plan(&site).map_err(|refusal| refusal.0)?;
    let again = strategy.plan(&site).map_err(|refusal| refusal.0)?;
    assert_eq!(step.describe(), again.describe(), "both parties derive the same step");

    let (shares_a, shares_b): (Vec<_>, Vec<_>) = inputs
        .iter()
        .map(|(shape, values)| {
            let (a, b) = split(layer.from, values, prg);
            (Share::new(layer.from, *shape, a), Share::new(layer.from, *shape, b))
        })
        .unzip();
    let (to_bob, to_alice) = memory::pair();
    let mut alice = Alice::new(to_bob, Prg::new(&prg.seed()));
    let mut bob = Bob::new(to_alice, Prg::new(&prg.seed()));
    let keys = KeySpec::union(step.keys().into_iter());
    let step = &*step;
    let needs = Directions::of(&step.ots());
    let ((a, traffic_a), (b, traffic_b)) = std::thread::scope(|scope| {
        let alice = scope.spawn(|| {
            keys.iter().for_each(|spec| alice.exchange_keys(spec).unwrap());
            alice.set_up_ot(source, needs).unwrap();
            alice.channel.flush().unwrap();
            let start = alice.channel.traffic();
            alice.reserve(&step.ots()).unwrap();
            let prepared = step.prepare_alice(&mut alice).unwrap();
            let middle = alice.channel.traffic();
            let inputs: Vec<_> = shares_a.iter().collect();
            let share = step.alice(&mut alice, prepared, &inputs).unwrap();
            alice.channel.flush().unwrap();
            (share, [middle - start, alice.channel.traffic() - middle])
        });
        keys.iter().for_each(|spec| bob.exchange_keys(spec).unwrap());
        bob.set_up_ot(source, needs).unwrap();
        bob.channel.flush().unwrap();
        let start = bob.channel.traffic();
        bob.reserve(&step.ots()).unwrap();
        let prepared = step.prepare_bob(&mut bob).unwrap();
        let middle = bob.channel.traffic();
        let inputs: Vec<_> = shares_b.iter().collect();
        let share = step.bob(&mut bob, prepared, layer.weights.as_ref(), &inputs).unwrap();
        bob.channel.flush().unwrap();
        let traffic = [middle - start, bob.channel.traffic() - middle];
        (alice.join().unwrap(), (share, traffic))
    });
    let values: Vec<i64> = if node.op.is_readout() {
        a.iter().map(|&label| label as i64).collect()
    } else {
        a.iter().zip(&b).map(|(&a, &b)| layer.to.lift(layer.to.add(a, b))).collect()
    };
    let arrays: Vec<Array4<i64>> = inputs
        .iter()
        .map(|(shape, values)| {
            let [d, h, w] = shape.dims;
            Array4::from_shape_vec((shape.channels, d, h, w), values.clone()).unwrap()
        })
        .collect();
    let arrays: Vec<_> = arrays.iter().collect();
    let reference = reference::eval_node(&node.op, &arrays, layer.weights.as_ref()).unwrap();
    let reference: Vec<i64> = reference.into_iter().collect();
    let expected = match step.carries() {
        Some(carries) => {
            let pairs = shares_a[0].values.iter().zip(&shares_b[0].values);
            pairs.map(|(&a, &b)| carries.value(a, b)).collect()
        }
        None => reference.clone(),
    };
    Ok(LayerRun {
        values,
        reference,
        expected,
        declared: step.cost() + Ledger::new(source).charge(&step.ots()),
        prepared: [traffic_a[0], traffic_b[0]],
        run: [traffic_a[1], traffic_b[1]],
    })
}

//! What tests of layers share: moduli, values, layers with random weights, and how an outcome is judged.

use crate::linear::stencil::tests as layers;
use crate::ots::Source;
use crate::strategy::Strategy;
use crate::trial::{self, TrialError};
use channels::{Traffic, memory};
use models::{Op, Shape};
use ntt::Modulus;
use prg::Prg;

pub(crate) use crate::trial::{Layer, Outcome};

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

impl Layer {
    /// An elementwise layer on a line of values.
    pub(crate) fn new(op: Op, values: &[i64], from: Modulus, to: Modulus) -> Self {
        Self::shaped(op, Shape { channels: 1, dims: [1, 1, values.len()] }, values, from, to)
    }

    /// A layer on a tensor.
    pub(crate) fn shaped(op: Op, input: Shape, values: &[i64], from: Modulus, to: Modulus) -> Self {
        Self { op, inputs: vec![(input, values.to_vec())], from, to, weights: None, engine: "" }
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
        self.inputs.push((shape, values.to_vec()));
        self
    }
}

impl Outcome {
    /// Equal to the reference bit for bit or, where the step says so, to what the shares imply; at the declared cost.
    pub(crate) fn assert_exact(&self) {
        assert_eq!(self.values, self.expected);
        self.assert_declared_cost();
    }

    /// Measured bytes in both directions and rounds are the declared ones.
    pub(crate) fn assert_declared_cost(&self) {
        let flow = |traffic: &Traffic| (traffic.sent, traffic.received, traffic.rounds);
        for (phase, declared) in [(1, self.declared.offline), (2, self.declared.online)] {
            let [alice, bob] = self.phases.each_ref().map(|phases| &phases[phase].traffic);
            let expected = (declared.alice_to_bob, declared.bob_to_alice, declared.rounds);
            assert_eq!(flow(alice), expected, "phase {phase}: bytes up, bytes down, rounds");
            assert_eq!(
                (bob.received, bob.sent),
                (alice.sent, alice.received),
                "phase {phase}: both ends agree"
            );
        }
    }
}

/// Runs a strategy on a layer with fresh random shares.
pub(crate) fn run_layer(strategy: &dyn Strategy, layer: Layer, prg: &mut Prg) -> Outcome {
    run_layer_over(Source::Iknp, strategy, layer, prg)
}

/// Runs a strategy on a layer with fresh random shares, OTs from this source.
pub(crate) fn run_layer_over(
    source: Source,
    strategy: &dyn Strategy,
    layer: Layer,
    prg: &mut Prg,
) -> Outcome {
    try_run_layer(source, strategy, layer, prg).unwrap()
}

/// Runs a strategy on a layer, or says why the strategy refuses it.
pub(crate) fn try_run_layer(
    source: Source,
    strategy: &dyn Strategy,
    layer: Layer,
    prg: &mut Prg,
) -> Result<Outcome, String> {
    match trial::run(source, strategy, &layer, memory::pair(), prg) {
        Ok(outcome) => Ok(outcome),
        Err(TrialError::Refused(reason)) => Err(reason),
        Err(error) => panic!("{error}"),
    }
}

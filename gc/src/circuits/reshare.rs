//! Circuits that end in fresh shares: truncation, ReLU, max pooling.
//!
//! Functionality: see each circuit; garbler a and mask r, evaluator b; the evaluator gets y − r modulo `m_out`, the
//! garbler nothing, r being its share of y.

use super::reconstruct::{Reconstruct, weighted};
use super::tournament;
use crate::circuit::{Circuit, Output, OutputKind, Shape, Sum, Term};
use crate::gates::{Gates, Word};
use crate::word;
use ntt::Modulus;

/// y = floor((x + 2^(s−1)) / 2^s).
#[derive(Clone, Copy, Debug)]
pub struct Truncate {
    /// Modulus of the shares of x.
    pub m_in: Modulus,
    /// Modulus of the shares of y.
    pub m_out: Modulus,
    /// s.
    pub shift: u32,
}

/// y = max(0, floor((x + 2^(s−1)) / 2^s)).
#[derive(Clone, Copy, Debug)]
pub struct Relu {
    /// Modulus of the shares of x.
    pub m_in: Modulus,
    /// Modulus of the shares of y.
    pub m_out: Modulus,
    /// s.
    pub shift: u32,
}

/// The largest of a window of numbers, then [`Relu`] or [`Truncate`].
#[derive(Clone, Copy, Debug)]
pub struct MaxPool {
    /// Modulus of the shares of x.
    pub m_in: Modulus,
    /// Modulus of the shares of y.
    pub m_out: Modulus,
    /// Numbers per window.
    pub window: usize,
    /// Whether negative results become 0.
    pub relu: bool,
    /// s.
    pub shift: u32,
}

impl Circuit for Truncate {
    fn shape(&self) -> Shape {
        shape(self.m_in, self.m_out, 1)
    }

    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        wires[0] = Reconstruct::new(self.m_in, self.shift).garbler_word(inputs[0]);
    }

    fn run<G: Gates>(&self, g: &mut G, garbler: &[Word<G>], evaluator: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let reconstruct = Reconstruct::new(self.m_in, self.shift);
        let opened = reconstruct.open(g, &garbler[0], &evaluator[0]);
        vec![Output::Share(opened.sum(g, reconstruct.bias(), self.m_out))]
    }
}

impl Circuit for Relu {
    fn shape(&self) -> Shape {
        shape(self.m_in, self.m_out, 1)
    }

    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        wires[0] = Reconstruct::new(self.m_in, self.shift).garbler_word(inputs[0]);
    }

    fn run<G: Gates>(&self, g: &mut G, garbler: &[Word<G>], evaluator: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let reconstruct = Reconstruct::new(self.m_in, self.shift);
        let high = reconstruct.open(g, &garbler[0], &evaluator[0]).bits(g);
        vec![Output::Share(positive(g, &high, reconstruct.bias(), self.m_out))]
    }
}

impl Circuit for MaxPool {
    fn shape(&self) -> Shape {
        shape(self.m_in, self.m_out, self.window)
    }

    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        let reconstruct = Reconstruct::new(self.m_in, self.shift);
        wires.iter_mut().zip(inputs).for_each(|(wire, &share)| *wire = reconstruct.garbler_word(share));
    }

    /// Rounding and cutting low bits keep the order, so they come before the comparisons.
    fn run<G: Gates>(&self, g: &mut G, garbler: &[Word<G>], evaluator: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let reconstruct = Reconstruct::new(self.m_in, self.shift);
        let make = |g: &mut G, i: usize| reconstruct.open(g, &garbler[i], &evaluator[i]).bits(g);
        let play = |g: &mut G, a: Word<G>, b: Word<G>| word::max(g, &a, &b);
        let (high, bias) = (tournament(g, 0..self.window, &make, &play), reconstruct.bias());
        vec![Output::Share(if self.relu {
            positive(g, &high, bias, self.m_out)
        } else {
            Sum { terms: weighted(&high, self.m_out, None), constant: self.m_out.reduce(-(bias as i64)) }
        })]
    }
}

fn shape(m_in: Modulus, m_out: Modulus, count: usize) -> Shape {
    assert!(count > 0, "a window holds at least one number");
    Shape {
        garbler_inputs: count,
        garbler: vec![m_in.bits(); count],
        evaluator: vec![m_in.bits(); count],
        outputs: vec![OutputKind::Share(m_out)],
    }
}

/// max(0, high − bias).
fn positive<G: Gates>(g: &mut G, high: &[G::Wire], bias: u64, m: Modulus) -> Sum<G::Wire> {
    let sign = word::at_least_constant(g, high, bias);
    // If the bias is the top bit, taking it off leaves the bits below.
    let top = high.len() - 1;
    let is_top_bit = bias == 1 << top;
    let low = if is_top_bit { &high[..top] } else { high };
    let mut terms = weighted(low, m, Some(sign));
    if !is_top_bit {
        terms.push(Term { weight: m.reduce(-(bias as i64)), wire: sign, gate: None });
    }
    Sum { terms, constant: 0 }
}

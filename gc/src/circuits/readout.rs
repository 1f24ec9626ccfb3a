//! Circuits whose result one party learns: argmax over classes, threshold of one score. No score is revealed.

use super::reconstruct::Reconstruct;
use super::tournament;
use crate::circuit::{Circuit, Output, OutputKind, Shape};
use crate::gates::{Gates, Word};
use crate::word;
use ntt::Modulus;

/// The index of the largest of several numbers, the lowest index on a tie.
#[derive(Clone, Copy, Debug)]
pub struct ArgMax {
    /// Modulus of the shares.
    pub m_in: Modulus,
    /// How many numbers, 2 to 65,536.
    pub classes: usize,
}

/// Whether x > at.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// Modulus of the shares.
    pub m_in: Modulus,
    /// The public bound.
    pub at: i64,
}

impl ArgMax {
    /// Bits of the result.
    pub fn bits(&self) -> u32 {
        (self.classes - 1).ilog2() + 1
    }
}

impl Circuit for ArgMax {
    fn shape(&self) -> Shape {
        assert!((2..=1 << 16).contains(&self.classes), "argmax takes 2 to 65,536 classes");
        Shape {
            garbler_inputs: self.classes,
            garbler: vec![self.m_in.bits(); self.classes],
            evaluator: vec![self.m_in.bits(); self.classes],
            outputs: vec![OutputKind::Bits(self.bits())],
        }
    }

    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        let reconstruct = Reconstruct::new(self.m_in, 0);
        wires.iter_mut().zip(inputs).for_each(|(wire, &share)| *wire = reconstruct.garbler_word(share));
    }

    fn run<G: Gates>(&self, g: &mut G, garbler: &[Word<G>], evaluator: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let reconstruct = Reconstruct::new(self.m_in, 0);
        let bits = self.bits() as usize;
        let make = |g: &mut G, class: usize| {
            let number = reconstruct.open(g, &garbler[class], &evaluator[class]).bits(g);
            (number, word::constant(g, class as u64, bits))
        };
        let play = |g: &mut G, (a, i): (Word<G>, Word<G>), (b, j): (Word<G>, Word<G>)| {
            let keep = word::at_least(g, &a, &b);
            (word::mux(g, keep, &a, &b), word::mux(g, keep, &i, &j))
        };
        vec![Output::Bits(tournament(g, 0..self.classes, &make, &play).1)]
    }
}

impl Circuit for Threshold {
    fn shape(&self) -> Shape {
        Shape {
            garbler_inputs: 1,
            garbler: vec![self.m_in.bits()],
            evaluator: vec![self.m_in.bits()],
            outputs: vec![OutputKind::Bits(1)],
        }
    }

    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        wires[0] = Reconstruct::new(self.m_in, 0).garbler_word(inputs[0]);
    }

    fn run<G: Gates>(&self, g: &mut G, garbler: &[Word<G>], evaluator: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let reconstruct = Reconstruct::new(self.m_in, 0);
        let number = reconstruct.open(g, &garbler[0], &evaluator[0]).bits(g);
        let bound = self.at.saturating_add(1).saturating_add(reconstruct.offset() as i64);
        vec![Output::Bits(vec![word::at_least_constant(g, &number, bound.max(0) as u64)])]
    }
}

//! What garbling costs, exactly.

use crate::batch::Reveal;
use crate::circuit::Circuit;
use crate::layout::Layout;
use crate::program::Program;
use std::ops::Add;

/// Bytes each way and rounds, as the channel counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes from the garbler to the evaluator.
    pub garbler_to_evaluator: u64,
    /// Bytes from the evaluator to the garbler.
    pub evaluator_to_garbler: u64,
    /// Rounds.
    pub rounds: u64,
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            garbler_to_evaluator: self.garbler_to_evaluator + other.garbler_to_evaluator,
            evaluator_to_garbler: self.evaluator_to_garbler + other.evaluator_to_garbler,
            rounds: self.rounds + other.rounds,
        }
    }
}

/// The cost of one batch: 32 bytes per AND; per term of a shared output one row, three with an AND inside, of the bytes
/// of a residue; one residue per shared output; one bit per revealed bit. The oblivious transfers for the evaluator's
/// bits come on top, at their source's price: [`crate::transfers`] lists them.
pub fn cost<C: Circuit>(circuit: &C, n: usize, reveal: Reveal) -> Cost {
    let program = Program::new(circuit);
    let layout = Layout::new(&program, n, reveal);
    let mut cost = Cost { rounds: u64::from(n > 0), ..Cost::default() };
    for chunk in layout.chunks() {
        cost.garbler_to_evaluator += layout.chunk_bytes(&chunk) as u64;
        if reveal == Reveal::ToGarbler {
            cost.evaluator_to_garbler += layout.revealed_bytes(&chunk) as u64;
        }
    }
    cost
}

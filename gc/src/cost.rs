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

/// The cost of one batch with labels by IKNP: 32 bytes per AND; per term of a shared output one row, three with an AND
/// inside, of the bytes of a residue; one residue per shared output; one bit per revealed bit; 16 bytes per
/// evaluator's input bit (in steps of 128 bits per chunk).
pub fn cost<C: Circuit>(circuit: &C, n: usize, reveal: Reveal) -> Cost {
    cost_with(circuit, n, reveal, ot::iknp::extend_bytes)
}

/// The cost of one batch with labels by silent OT: as [`cost`], but one bit per evaluator's input bit (in steps of bytes
/// per chunk). The reservation of [`crate::transfers`] many comes before, at the source's own price.
pub fn cost_silent<C: Circuit>(circuit: &C, n: usize, reveal: Reveal) -> Cost {
    cost_with(circuit, n, reveal, ot::silent::correction_bytes)
}

/// `transfer_bytes` goes from evaluator to garbler for so many transfers in one call.
fn cost_with<C: Circuit>(
    circuit: &C,
    n: usize,
    reveal: Reveal,
    transfer_bytes: impl Fn(usize) -> usize,
) -> Cost {
    let program = Program::new(circuit);
    let layout = Layout::new(&program, n, reveal);
    let mut cost = Cost { rounds: u64::from(n > 0), ..Cost::default() };
    for chunk in layout.chunks() {
        cost.garbler_to_evaluator += layout.chunk_bytes(&chunk) as u64;
        cost.evaluator_to_garbler += transfer_bytes(layout.transfers(&chunk)) as u64;
        if reveal == Reveal::ToGarbler {
            cost.evaluator_to_garbler += layout.revealed_bytes(&chunk) as u64;
        }
    }
    cost
}

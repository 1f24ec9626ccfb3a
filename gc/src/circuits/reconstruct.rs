//! From two shares to the bits of the number.
//!
//! The wires carry v = x + offset, which is not negative, with offset = M·2^s + 2^(s−1): the high part v >> s is the
//! rounded quotient plus M, and comparing numbers means comparing such v as unsigned words. The garbler adds the
//! offset to its share locally. M·2^s is next to m/2; for p ≡ 1 modulo 2^(s+1) it is (p − 1)/2, and M then has few
//! significant bits, which makes the comparison with it cheap.
//!
//! Modulo 2^k: k − 1 ANDs. Modulo a prime p of k bits: a' + b and a' + b − p side by side (the garbler feeds both a'
//! and a' − p; its inputs are free), the sign of the second chooses: (k − 1) + k + (k − s) ANDs.

use crate::gates::{Gates, Word};
use crate::word;
use ntt::Modulus;
use std::ops::Range;

/// The integers on which circuits with this modulus and shift are exact: a rounding that would pass the upper end of
/// the signed range wraps.
///
/// # Panics
/// If the shift leaves less than two bits.
pub fn range(modulus: Modulus, shift: u32) -> Range<i64> {
    let offset = Reconstruct::new(modulus, shift).offset() as i64;
    let lowest = match modulus {
        Modulus::Pow2 { bits } => -(1 << (bits - 1)),
        Modulus::Prime { p } => -((p / 2) as i64),
    };
    lowest.max(-offset)..(modulus.value() as i64 - offset).min(-lowest + (modulus.value() % 2) as i64)
}

/// How a share is opened into wires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reconstruct {
    modulus: Modulus,
    shift: u32,
}

impl Reconstruct {
    pub(crate) fn new(modulus: Modulus, shift: u32) -> Self {
        assert!(shift + 2 <= modulus.bits(), "a shift by {shift} leaves nothing of {modulus}");
        Self { modulus, shift }
    }

    /// What added 2^s-fold makes every number non-negative.
    pub(crate) fn bias(self) -> u64 {
        match self.modulus {
            Modulus::Pow2 { bits } => 1 << (bits - 1 - self.shift),
            Modulus::Prime { p } => (p / 2 + self.half()) >> self.shift,
        }
    }

    fn half(self) -> u64 {
        (1 << self.shift) >> 1
    }

    pub(crate) fn offset(self) -> u64 {
        (self.bias() << self.shift) + self.half()
    }

    /// Widths of the words that the garbler feeds for one share.
    pub(crate) fn garbler_widths(self) -> Vec<u32> {
        match self.modulus {
            Modulus::Pow2 { bits } => vec![bits],
            Modulus::Prime { .. } => vec![self.modulus.bits(), self.modulus.bits() + 1],
        }
    }

    /// Those words.
    pub(crate) fn garbler_words(self, share: u64, words: &mut [u64]) {
        let share = self.modulus.add(share, self.offset());
        words[0] = share;
        if let Modulus::Prime { p } = self.modulus {
            words[1] = share.wrapping_sub(p) & ((2 << self.modulus.bits()) - 1);
        }
    }

    /// The bits of v >> s, lowest first.
    pub(crate) fn high<G: Gates>(self, g: &mut G, garbler: &[Word<G>], evaluator: &Word<G>) -> Word<G> {
        let sum = match self.modulus {
            Modulus::Pow2 { .. } => word::add(g, &garbler[0], evaluator),
            Modulus::Prime { .. } => {
                let sum = word::add(g, &garbler[0], evaluator);
                let mut wide = evaluator.clone();
                wide.push(g.constant(false));
                let mut less = word::add(g, &garbler[1], &wide);
                let negative = less.pop().unwrap_or(wide[sum.len()]);
                word::mux(g, negative, &sum, &less)
            }
        };
        sum[self.shift as usize..].to_vec()
    }
}

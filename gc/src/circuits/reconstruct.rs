//! From two shares to the bits of the number.
//!
//! The wires carry v = x + offset, which is not negative, with offset = M·2^s + 2^(s−1): the high part v >> s is the
//! rounded quotient plus M, and comparing numbers means comparing such v as unsigned words. The garbler adds the
//! offset to its share locally. M·2^s is next to m/2; for p ≡ 1 modulo 2^(s+1) it is (p − 1)/2, and M then has few
//! significant bits, which makes the comparison with it cheap.
//!
//! Modulo 2^k: k − 1 ANDs.
//!
//! Modulo a prime p of k bits: u = a' + b is v or v + p, which w = [u ≥ T] tells: T is a number next to p with many
//! trailing zeros, as no number of the range is so near to the wrap that it mattered. Then with p = p₁·2^s + p₀
//! v >> s = (u >> s) − w·p₁ − w·[u mod 2^s < p₀]. Where the result is a sum of weighted bits these three are summands
//! of it: k + (s − 1) ANDs and the comparison with T, for p ≡ 1 modulo 2^13 at most k − 13. Where bits are needed,
//! the subtraction takes k − s further ones.

use crate::circuit::{Sum, Term};
use crate::gates::{Gates, Word};
use crate::word;
use ntt::Modulus;
use std::ops::Range;

/// The integers on which circuits with this modulus and shift are exact: all of the signed range but those at its
/// upper end, no more than 2^s + 1, that would be rounded over it.
///
/// # Panics
/// If the shift leaves less than two bits.
pub fn range(modulus: Modulus, shift: u32) -> Range<i64> {
    let reconstruct = Reconstruct::new(modulus, shift);
    let offset = reconstruct.offset() as i64;
    let (lowest, end) = match modulus {
        Modulus::Pow2 { bits } => (-(1 << (bits - 1)), 1 << (bits - 1)),
        Modulus::Prime { p } => (-((p / 2) as i64), (p / 2) as i64 + 1),
    };
    lowest.max(-offset)..(reconstruct.threshold().min(modulus.value()) as i64 - offset).min(end)
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

    /// T: between the largest v and the smallest v + p, or m if nothing is compared. A v of T and more is out of range.
    fn threshold(self) -> u64 {
        let Modulus::Prime { p } = self.modulus else { return self.modulus.value() };
        let smallest = p + (self.offset() - p / 2);
        let cut = |zeros: u32| smallest >> zeros << zeros;
        let best = (0..self.modulus.bits()).rev().map(cut).find(|&cut| cut + 1 >= p);
        best.unwrap_or(p)
    }

    /// What the garbler feeds for its share.
    pub(crate) fn garbler_word(self, share: u64) -> u64 {
        self.modulus.add(share, self.offset())
    }

    /// The sum of the shares, cut.
    pub(crate) fn open<G: Gates>(self, g: &mut G, garbler: &Word<G>, evaluator: &Word<G>) -> Opened<G::Wire> {
        let zero = g.constant(false);
        let (mut sum, carry) = word::add_with_carry(g, garbler, evaluator, zero);
        let shift = self.shift as usize;
        let Modulus::Prime { p } = self.modulus else {
            return Opened { high: sum[shift..].to_vec(), wrap: None };
        };
        sum.push(carry);
        let wraps = word::at_least_constant(g, &sum, self.threshold());
        let no_borrow = word::at_least_constant(g, &sum[..shift], p & ((1 << shift) - 1));
        Opened { high: sum[shift..].to_vec(), wrap: Some(Wrap { p: p >> shift, wraps, no_borrow }) }
    }
}

/// A sum of shares without its low bits, before reduction.
pub(crate) struct Opened<W> {
    high: Vec<W>,
    wrap: Option<Wrap<W>>,
}

/// What is to be subtracted: `p` if `wraps`, and 1 more unless `no_borrow`.
struct Wrap<W> {
    p: u64,
    wraps: W,
    no_borrow: W,
}

impl<W: Copy> Opened<W> {
    /// The bits of v >> s, lowest first.
    pub(crate) fn bits<G: Gates<Wire = W>>(mut self, g: &mut G) -> Word<G> {
        let Some(Wrap { p, wraps, no_borrow }) = self.wrap else { return self.high };
        self.high.pop();
        let stays = g.not(wraps);
        let one = g.constant(true);
        let minus_p: Vec<_> =
            (0..self.high.len()).map(|i| if p >> i & 1 == 1 { stays } else { one }).collect();
        let carry = word::or(g, stays, no_borrow);
        word::add_with_carry(g, &self.high, &minus_p, carry).0
    }

    /// v >> s − bias modulo `m` as weighted bits.
    pub(crate) fn sum<G: Gates<Wire = W>>(self, g: &mut G, bias: u64, m: Modulus) -> Sum<W> {
        let mut terms = weighted(&self.high, m, None);
        if let Some(Wrap { p, wraps, no_borrow }) = self.wrap {
            let borrow = g.not(no_borrow);
            terms.push(Term { weight: m.reduce(-(p as i64)), wire: wraps, gate: None });
            terms.push(Term { weight: m.reduce(-1), wire: wraps, gate: Some(borrow) });
        }
        Sum { terms, constant: m.reduce(-(bias as i64)) }
    }
}

/// The number of these bits, each multiplied with `gate`, modulo `m`.
pub(crate) fn weighted<W: Copy>(bits: &[W], m: Modulus, gate: Option<W>) -> Vec<Term<W>> {
    let term = |(i, &wire): (usize, &W)| Term { weight: (1 << i) % m.value(), wire, gate };
    bits.iter().enumerate().map(term).collect()
}

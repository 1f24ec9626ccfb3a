//! Squares over 2^k by correlated OTs, for values that are narrow as squares' arguments are.
//!
//! Functionality: from shares of x mod 2^k, |x| < 2^(v−2), to shares of x² mod 2^k. Gilboa's product (CRYPTO 1999) of
//! the two shares, made narrow first. With x' = x + 2^(v−2) in [0, 2^(v−1)) and a, b the shares of x' mod 2^v, the
//! shares wrap unless both are below 2^(v−1) (n_A and n_B say so, n = n_A·n_B), so with α = a − 2^v
//!
//! ```text
//!   x'  = α + b + 2^v·n
//!   x'² = α² + b² + 2αb + 2^(v+1)·n·(α + b + 2^(v−1))
//!   x²  = x'² − 2^(v−1)·x − 2^(2v−4)
//! ```
//!
//! ```text
//!   Alice (a, n_A)                                     Bob (b, n_B)
//!   a·b mod 2^(k−1): see super::product    <-OTs->
//!                 --OT, choice n_A; Bob sends-->       n_B·b mod 2^h,  h = k − v − 1
//!   n_A·(α + 2^(v−1)) mod 2^h   --Alice sends; OT, choice n_B-->
//! ```
//!
//! Deviation from Beaver's pairs: multiplying the shares at once costs an opening less, at the price of doing
//! the work online. The width comes from the layer's public range. A range that is not narrow has no square mod 2^k.
//! Security: semi-honest, that of the OTs. Exact mod 2^k; the planner proves x² < 2^(k−1). Constant time.
//! Cost: v + 1 OTs from Bob, one from Alice; Σ_{j<v} (k − 1 − j) + h bits from Bob and h from Alice per value; three rounds.
//! At k = 24 and |x| < 2^11 that is 32 bytes, where full-width shares would take 38 and half as many OTs again.

use super::product::Cross;
use super::rectify::low;
use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use ot::{Ring, arithmetic, bits};
use zeroize::Zeroizing;

/// Squares by oblivious transfer.
pub struct OtSquare;

impl Strategy for OtSquare {
    fn name(&self) -> &'static str {
        "beaver-ot"
    }

    fn operator(&self) -> Operator {
        Operator::Square
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Square {
            return Err(Refusal("is no square".into()));
        }
        let Modulus::Pow2 { bits } = site.from else {
            return Err(Refusal("multiplies modulo powers of two, not modulo primes; take `beaver`".into()));
        };
        let bound = site.input_edges[0].bound;
        let width = u64::BITS - bound.leading_zeros() + 2;
        if width + 2 > bits {
            return Err(Refusal(format!("the square of {bound} does not fit {bits} bits; truncate before")));
        }
        Ok(Box::new(Squares { bits, width, n: site.node.shape.len() }))
    }
}

struct Squares {
    /// Bits k of the shares.
    bits: u32,
    /// Bits v of the narrow shares.
    width: u32,
    n: usize,
}

impl Squares {
    fn cross(&self) -> Cross {
        Cross { bits: self.bits - 1, choices: self.width, n: self.n }
    }

    /// The ring of what the wrap adds, in units of 2^(v+1).
    fn ring(&self) -> Ring {
        Ring::pow2(self.bits - self.width - 1)
    }

    fn narrow(&self, shares: &[u64], offset: u64) -> Zeroizing<Vec<u64>> {
        Zeroizing::new(shares.iter().map(|x| low(self.width, x.wrapping_add(offset))).collect())
    }

    /// Packed [share < 2^(v−1)].
    fn small(&self, narrow: &[u64]) -> Zeroizing<Vec<u64>> {
        let mut small = Zeroizing::new(vec![0; bits::words(self.n)]);
        for (i, x) in narrow.iter().enumerate() {
            small[i / 64] |= (x >> (self.width - 1) ^ 1) << (i % 64);
        }
        small
    }

    /// n·y mod the ring where the own half of n is 1, else 0.
    fn correlations(&self, small: &[u64], y: impl Iterator<Item = u64>) -> Zeroizing<Vec<u64>> {
        let keep = |i| u64::from(bits::get(small, i)).wrapping_neg();
        Zeroizing::new(y.enumerate().map(|(i, y)| low(self.ring().bits(), y) & keep(i)).collect())
    }

    /// Own share: own square and twice the own part of the product; with what the wrap adds, own mask taken off.
    fn sum(&self, own: u64, cross: u64, wrap: u64, mask: u64, x: u64) -> u64 {
        let square = own.wrapping_mul(own).wrapping_add(cross << 1);
        let wrapped = wrap.wrapping_sub(mask) << (self.width + 1);
        square.wrapping_add(wrapped).wrapping_sub(x << (self.width - 1))
    }
}

impl Step for Squares {
    fn describe(&self) -> String {
        format!("ot squares mod 2^{} of {} bits, {}", self.bits, self.width, self.n)
    }

    fn cost(&self) -> Cost {
        let wraps = arithmetic::reply_bytes(self.n, self.ring()) as u64;
        let wraps = Flow { alice_to_bob: wraps, bob_to_alice: wraps, rounds: 2 };
        self.cross().cost() + Cost { offline: Flow::default(), online: wraps }
    }

    fn ots(&self) -> Vec<Take> {
        let mut takes = self.cross().takes();
        takes.extend([Take::from_bob(self.n), Take::from_alice(self.n)]);
        takes
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let shares = &inputs[0].values;
        let a = self.narrow(shares, 0);
        let small = self.small(&a);
        let cross = Zeroizing::new(self.cross().alice(alice, &a)?);
        let (mut wraps, mut masks) = (Zeroizing::new(vec![0; self.n]), Zeroizing::new(vec![0; self.n]));
        let (ots, channel) = alice.ot()?;
        arithmetic::receive(ots, channel, self.ring(), &small, &mut wraps)?;
        // α + 2^(v−1), where α = a − 2^v
        let shifted = a.iter().map(|a| a.wrapping_sub(1 << (self.width - 1)));
        let correlations = self.correlations(&small, shifted);
        let (ots, channel) = alice.reverse_ot()?;
        arithmetic::send(ots, channel, self.ring(), &correlations, &mut masks)?;
        let share = |i: usize| {
            let own = a[i].wrapping_sub(1 << self.width);
            let sum = self.sum(own, cross[i], wraps[i], masks[i], shares[i]);
            low(self.bits, sum.wrapping_sub(1 << (2 * self.width - 4)))
        };
        Ok((0..self.n).map(share).collect())
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let shares = &inputs[0].values;
        let b = self.narrow(shares, 1 << (self.width - 2));
        let small = self.small(&b);
        let cross = Zeroizing::new(self.cross().bob(bob, &b)?);
        let (mut wraps, mut masks) = (Zeroizing::new(vec![0; self.n]), Zeroizing::new(vec![0; self.n]));
        let correlations = self.correlations(&small, b.iter().copied());
        let (ots, channel) = bob.ot()?;
        arithmetic::send(ots, channel, self.ring(), &correlations, &mut masks)?;
        let (ots, channel) = bob.reverse_ot()?;
        arithmetic::receive(ots, channel, self.ring(), &small, &mut wraps)?;
        let share = |i: usize| {
            let sum = self.sum(b[i], cross[i], wraps[i], masks[i], shares[i]);
            // of 2αb, what a·b leaves out
            low(self.bits, sum.wrapping_sub(b[i] << (self.width + 1)))
        };
        Ok((0..self.n).map(share).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, run_layer};
    use prg::{Prg, Seed};

    #[test]
    fn every_value_of_a_range_squares() {
        let mut prg = Prg::new(&Seed::from_bytes([72; 16]));
        for (bits, bound) in [(16, 1i64), (16, 181), (17, 255), (24, 2047), (40, 300)] {
            let modulus = Modulus::pow2(bits).unwrap();
            let values: Vec<i64> = (-bound..=bound).collect();
            run_layer(&OtSquare, Layer::new(Op::Square, &values, modulus, modulus), &mut prg).assert_exact();
        }
    }
}

//! Truncation by correlated OT: cheap, and off by the carries of the shares.
//!
//! Functionality: from shares of x mod m, |x| < m/4, to shares of y ≈ x / 2^s mod m', for any pair of moduli. Paper:
//! Cheetah (ePrint 2022/207, section 5.1) after CrypTFlow2 (2020/1002) and SIRNN (2021/459); here for primes too.
//!
//! With C ≈ m/4 a multiple of 2^s, x + C lies in [0, m/2), so the shares a, b of x + C + 2^s − 1 wrap around m exactly when
//! one of them is above m/2, w = u ∨ v of the two parties' indicators, and
//!
//! ```text
//!   y = ⌊a/2^s⌋ + ⌊b/2^s⌋ − w·⌊m/2^s⌋ − C/2^s
//! ```
//!
//! ```text
//!   Alice (a)                                  Bob (b)
//!   u = [a > m/2]                              b += C + 2^s − 1,  v = [b > m/2]
//!               --correlated OT, choice u-->   d = (1 − v)·⌊m/2^s⌋
//!   t = r + u·d                       r        w·⌊m/2^s⌋ = v·⌊m/2^s⌋ + (t − r)
//!   ⌊a/2^s⌋ − t                                ⌊b/2^s⌋ − v·⌊m/2^s⌋ + r − C/2^s
//! ```
//!
//! Error: adding 2^s − 1 makes the result ⌈x/2^s⌉ minus the carry of the low parts. Over 2^k the result is within one
//! of half-up rounding and unbiased, and 0 stays 0; over a prime the low part of p adds a further +1, rarely. The error
//! is a function of the shares, which [`with_carry`] computes.
//! Security: semi-honest; Bob learns nothing (his view is the OT's), Alice sees a uniform t.
//! Cost: one OT per value, and ⌈log2 m'⌉ bits per value from Bob, only s bits (plus the widening)
//! where both moduli are powers of two; one round. Constant time.

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Carries, Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use ot::{Ring, arithmetic};
use rayon::prelude::*;
use zeroize::Zeroizing;

/// Values that a thread works on at a time.
const PIECE: usize = 1 << 13;

/// Truncation by OT.
pub struct OtTruncation;

impl Strategy for OtTruncation {
    fn name(&self) -> &'static str {
        "ot"
    }

    fn operator(&self) -> Operator {
        Operator::Truncation
    }

    fn converts(&self) -> bool {
        true
    }

    fn demand(&self, op: &Op, bound: u64) -> u64 {
        match *op {
            Op::Truncate { shift } => 4 * (bound + (1 << shift) + 2),
            _ => crate::plan::plain_demand(op, bound),
        }
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::Truncate { shift } = site.node.op else { return Err(Refusal("is no truncation".into())) };
        if shift + 2 > site.from.bits() {
            return Err(Refusal(format!("a shift by {shift} leaves nothing of {}", site.from)));
        }
        Ok(Box::new(Truncation { from: site.from, to: site.to, shift, len: site.node.shape.len() }))
    }
}

struct Truncation {
    from: Modulus,
    to: Modulus,
    shift: u32,
    len: usize,
}

/// C: the multiple of 2^shift next below m/4.
fn offset(from: Modulus, shift: u32) -> u64 {
    from.value() >> 2 >> shift << shift
}

/// What Bob adds to his share first.
fn lift(from: Modulus, shift: u32) -> u64 {
    (offset(from, shift) + (1 << shift) - 1) % from.value()
}

/// [share > m/2], for 2^k [share ≥ m/2]: the top bit.
fn upper(from: Modulus, share: u64) -> bool {
    match from {
        Modulus::Pow2 { bits } => share >> (bits - 1) == 1,
        Modulus::Prime { p } => share > p / 2,
    }
}

/// The result that Alice's share `a` and Bob's share `b` imply, as a signed integer.
fn with_carry(from: Modulus, shift: u32, a: u64, b: u64) -> i64 {
    let b = from.add(b, lift(from, shift));
    let wraps = i64::from(upper(from, a) || upper(from, b));
    let floors = (a >> shift) as i64 + (b >> shift) as i64;
    floors - wraps * (from.value() >> shift) as i64 - (offset(from, shift) >> shift) as i64
}

impl Truncation {
    /// The ring of the OT and the factor its results are scaled by: over powers of two, the wrap has weight
    /// 2^(k−s), so that only the bits above it travel. `None` where the weight vanishes mod m'.
    fn ring(&self) -> Option<(Ring, u64)> {
        match (self.from, self.to) {
            (Modulus::Pow2 { bits: from }, Modulus::Pow2 { bits: to }) => {
                let weight = from - self.shift;
                (to > weight).then(|| (Ring::pow2(to - weight), 1 << weight))
            }
            _ => Some((self.to.into(), 1)),
        }
    }

    /// ⌊m/2^s⌋ in units of the ring's factor.
    fn correlation(&self, factor: u64) -> u64 {
        (self.from.value() >> self.shift) / factor % self.to.value()
    }

    /// ⌊share/2^s⌋ mod m', for a reduced share.
    fn floor(&self, share: u64) -> u64 {
        let floor = share >> self.shift;
        match self.to {
            Modulus::Pow2 { bits } => floor & ((1 << bits) - 1),
            Modulus::Prime { p } if (self.from.value() - 1) >> self.shift < p => floor,
            Modulus::Prime { p } => floor % p,
        }
    }
}

impl Carries for Truncation {
    fn value(&self, alice: u64, bob: u64) -> i64 {
        with_carry(self.from, self.shift, alice, bob)
    }
}

impl Step for Truncation {
    fn describe(&self) -> String {
        format!("ot truncation {} to {} by {} of {}", self.from, self.to, self.shift, self.len)
    }

    fn cost(&self) -> Cost {
        self.ring().map_or(Cost::default(), |(ring, _)| {
            Cost::online(0, arithmetic::reply_bytes(self.len, ring) as u64, 1)
        })
    }

    fn carries(&self) -> Option<&dyn Carries> {
        Some(self)
    }

    fn ots(&self) -> Vec<Take> {
        self.ring().map(|_| Take::from_bob(self.len)).into_iter().collect()
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let shares = &inputs[0].values;
        let mut t = Zeroizing::new(vec![0; self.len]);
        let factor = match self.ring() {
            None => 0,
            Some((ring, factor)) => {
                let mut choices = Zeroizing::new(vec![0u64; ot::bits::words(self.len)]);
                choices.par_iter_mut().zip(shares.par_chunks(64)).for_each(|(word, shares)| {
                    let bits = shares.iter().rev().map(|&a| u64::from(upper(self.from, a)));
                    *word = bits.fold(0, |word, bit| word << 1 | bit);
                });
                let ots = alice.ot()?;
                arithmetic::receive(ots.0, ots.1, ring, &choices, &mut t)?;
                factor
            }
        };
        let pieces = t.par_chunks_mut(PIECE).zip(shares.par_chunks(PIECE));
        pieces.for_each(|(t, shares)| {
            t.iter_mut().zip(shares).for_each(|(t, &a)| *t = self.to.sub(self.floor(a), *t * factor));
        });
        Ok(std::mem::take(&mut t))
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let (shares, lift) = (&inputs[0].values, lift(self.from, self.shift));
        let mut r = Zeroizing::new(vec![0; self.len]);
        let (factor, weight) = match self.ring() {
            None => (0, 0),
            Some((ring, factor)) => {
                let weight = self.correlation(factor);
                let mut correlations = Zeroizing::new(vec![0; self.len]);
                let pieces = correlations.par_chunks_mut(PIECE).zip(shares.par_chunks(PIECE));
                pieces.for_each(|(d, shares)| {
                    let correlation = |b: u64| weight * u64::from(!upper(self.from, self.from.add(b, lift)));
                    d.iter_mut().zip(shares).for_each(|(d, &b)| *d = correlation(b));
                });
                let ots = bob.ot()?;
                arithmetic::send(ots.0, ots.1, ring, &correlations, &mut r)?;
                (factor, weight * factor % self.to.value())
            }
        };
        let offset = (offset(self.from, self.shift) >> self.shift) % self.to.value();
        let pieces = r.par_chunks_mut(PIECE).zip(shares.par_chunks(PIECE));
        pieces.for_each(|(r, shares)| {
            for (r, &b) in r.iter_mut().zip(shares) {
                let b = self.from.add(b, lift);
                let wrapped = weight & u64::from(upper(self.from, b)).wrapping_neg();
                let own = self.to.sub(self.to.sub(self.floor(b), offset), wrapped);
                *r = self.to.add(own, *r * factor);
            }
        });
        Ok(std::mem::take(&mut r))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};

    fn moduli() -> [Modulus; 5] {
        let prime = |p| Modulus::prime(p).unwrap();
        let pow2 = |bits| Modulus::pow2(bits).unwrap();
        [pow2(16), pow2(20), pow2(32), prime(40_961), prime(737_281)]
    }

    #[test]
    fn the_carry_is_within_one_of_the_rounded_value() {
        let mut prg = Prg::new(&Seed::from_bytes([8; 16]));
        for from in moduli() {
            for shift in [1, 3, 8] {
                let limit = (from.value() / 4 - (3 << shift)) as i64;
                let (mut sum, mut count, mut worst) = (0i64, 0, 0);
                for i in 0..20_000 {
                    let x = match i {
                        0 => 0,
                        1 => limit,
                        2 => -limit,
                        _ => (prg.next_u64() % (2 * limit as u64)) as i64 - limit,
                    };
                    let mut b = [0];
                    from.sample(&mut prg, &mut b);
                    let y = with_carry(from, shift, from.sub(from.reduce(x), b[0]), b[0]);
                    let half_up = (x + (1 << (shift - 1))) >> shift;
                    let error = y - half_up;
                    worst = worst.max(error.abs());
                    let prime = matches!(from, Modulus::Prime { .. });
                    assert!(error.abs() <= 1 + i64::from(prime), "{x} >> {shift} mod {from} gives {y}");
                    assert!(prime || x != 0 || y == 0, "zero stays zero");
                    (sum, count) = (sum + (y << shift) - x, count + 1);
                }
                let bias = sum as f64 / f64::from(count) / f64::from(1 << shift);
                assert!(bias.abs() < 0.6, "{from} {shift}: bias {bias}");
            }
        }
    }
}

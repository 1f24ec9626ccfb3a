//! The modulus of additive shares: 2^k or a prime.

use serde::{Deserialize, Serialize};

/// The modulus m of additive shares, 8 to 40 bits: a power of two (cheapest comparison and truncation) or a prime
/// p ≡ 1 mod 2n (slots, rotation, triples in slots). It belongs to an edge of the graph, not to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawModulus", into = "RawModulus")]
pub enum Modulus {
    /// 2^bits.
    Pow2 {
        /// The number of bits, 8 to 40.
        bits: u32,
    },
    /// A prime.
    Prime {
        /// The prime, of 8 to 40 bits.
        p: u64,
    },
}

#[derive(Serialize, Deserialize)]
enum RawModulus {
    Pow2(u32),
    Prime(u64),
}

/// A modulus that the project does not work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModulusError {
    /// Too small or too large.
    #[error("a share modulus has 8 to 40 bits, this one has {0}")]
    Bits(u32),
    /// Composite.
    #[error("{0} is not prime")]
    Composite(u64),
}

const BITS: std::ops::RangeInclusive<u32> = 8..=40;

impl TryFrom<RawModulus> for Modulus {
    type Error = ModulusError;
    fn try_from(raw: RawModulus) -> Result<Self, ModulusError> {
        match raw {
            RawModulus::Pow2(bits) => Self::pow2(bits),
            RawModulus::Prime(p) => Self::prime(p),
        }
    }
}

impl From<Modulus> for RawModulus {
    fn from(modulus: Modulus) -> Self {
        match modulus {
            Modulus::Pow2 { bits } => Self::Pow2(bits),
            Modulus::Prime { p } => Self::Prime(p),
        }
    }
}

impl std::fmt::Display for Modulus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pow2 { bits } => write!(f, "2^{bits}"),
            Self::Prime { p } => write!(f, "prime {p}"),
        }
    }
}

impl Modulus {
    /// 2^bits.
    pub fn pow2(bits: u32) -> Result<Self, ModulusError> {
        if BITS.contains(&bits) { Ok(Self::Pow2 { bits }) } else { Err(ModulusError::Bits(bits)) }
    }

    /// The prime `p`.
    pub fn prime(p: u64) -> Result<Self, ModulusError> {
        let bits = 64 - p.leading_zeros();
        if !BITS.contains(&bits) {
            return Err(ModulusError::Bits(bits));
        }
        if is_prime(p) { Ok(Self::Prime { p }) } else { Err(ModulusError::Composite(p)) }
    }

    /// The number m itself.
    pub fn value(self) -> u64 {
        match self {
            Self::Pow2 { bits } => 1 << bits,
            Self::Prime { p } => p,
        }
    }

    /// Bits that a share needs on the wire: ⌈log2 m⌉.
    pub fn bits(self) -> u32 {
        match self {
            Self::Pow2 { bits } => bits,
            Self::Prime { p } => 64 - p.leading_zeros(),
        }
    }

    /// a + b mod m, for reduced a and b.
    #[inline]
    pub fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Pow2 { bits } => (a + b) & ((1 << bits) - 1),
            Self::Prime { p } => {
                let sum = a + b;
                sum.min(sum.wrapping_sub(p))
            }
        }
    }

    /// a − b mod m, for reduced a and b.
    #[inline]
    pub fn sub(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Pow2 { bits } => a.wrapping_sub(b) & ((1 << bits) - 1),
            Self::Prime { p } => {
                let difference = a.wrapping_sub(b);
                difference.min(difference.wrapping_add(p))
            }
        }
    }

    /// −a mod m, for a reduced a.
    #[inline]
    pub fn neg(self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// a · b mod m, for reduced a and b.
    #[inline]
    pub fn mul(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Pow2 { bits } => a.wrapping_mul(b) & ((1 << bits) - 1),
            Self::Prime { p } => (u128::from(a) * u128::from(b) % u128::from(p)) as u64,
        }
    }

    /// The residue of a signed integer.
    #[inline]
    pub fn reduce(self, x: i64) -> u64 {
        match self {
            Self::Pow2 { bits } => (x as u64) & ((1 << bits) - 1),
            Self::Prime { p } => x.rem_euclid(p as i64) as u64,
        }
    }

    /// The signed integer in (−m/2, m/2] that a reduced residue stands for (for 2^k: [−m/2, m/2)).
    #[inline]
    pub fn lift(self, a: u64) -> i64 {
        match self {
            Self::Pow2 { bits } => ((a << (64 - bits)) as i64) >> (64 - bits),
            Self::Prime { p } => a as i64 - if a > p / 2 { p as i64 } else { 0 },
        }
    }
}

/// Whether `n` is prime: Miller–Rabin with the first twelve primes as bases, deterministic below 2^64
/// (Sorenson and Webster, Math. Comp. 86, 2017).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(base) = BASES.iter().find(|&&base| n.is_multiple_of(base)) {
        return n == *base;
    }
    let twos = (n - 1).trailing_zeros();
    BASES.iter().all(|&base| {
        let mut x = pow_mod(base, (n - 1) >> twos, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = (u128::from(x) * u128::from(x) % u128::from(n)) as u64;
            x == n - 1
        })
    })
}

/// base^exponent mod n.
pub(crate) fn pow_mod(base: u64, mut exponent: u64, n: u64) -> u64 {
    let n = u128::from(n);
    let (mut base, mut power) = (u128::from(base) % n, 1 % n);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * base % n;
        }
        base = base * base % n;
        exponent >>= 1;
    }
    power as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};
    use proptest::prelude::*;

    fn moduli() -> Vec<Modulus> {
        let primes = [251, 40_961, 737_281, 1_073_479_681, 1_099_510_054_913];
        let primes = primes.into_iter().filter(|&p| is_prime(p)).map(|p| Modulus::prime(p).unwrap());
        [8, 16, 20, 32, 40].map(|bits| Modulus::pow2(bits).unwrap()).into_iter().chain(primes).collect()
    }

    #[test]
    fn small_numbers_are_sieved_right() {
        let slow = |n: u64| n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        assert!((0..5000).all(|n| is_prime(n) == slow(n)));
        assert!(!is_prime(3_215_031_751)); // a strong pseudoprime to the bases 2, 3, 5 and 7
        assert!(is_prime(18_446_744_073_709_551_557));
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(Modulus::pow2(7).is_err() && Modulus::pow2(41).is_err());
        assert_eq!(Modulus::prime(40_963), Err(ModulusError::Composite(40_963)));
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_the_integers(a: u64, b: u64) {
            for m in moduli() {
                let (v, wide) = (u128::from(m.value()), u128::from);
                let (a, b) = (a % m.value(), b % m.value());
                prop_assert_eq!(wide(m.add(a, b)), (wide(a) + wide(b)) % v);
                prop_assert_eq!(wide(m.sub(a, b)), (wide(a) + v - wide(b)) % v);
                prop_assert_eq!(wide(m.mul(a, b)), wide(a) * wide(b) % v);
                prop_assert_eq!(m.add(a, m.neg(a)), 0);
                prop_assert_eq!(m.reduce(m.lift(a)), a);
                prop_assert!(m.lift(a).unsigned_abs() <= m.value() / 2);
            }
        }
    }

    #[test]
    fn samples_stay_in_range_and_reach_both_halves() {
        for m in moduli() {
            let mut values = [0; 256];
            m.sample(&mut Prg::new(&Seed::from_bytes([1; 16])), &mut values);
            assert!(values.iter().all(|&v| v < m.value()));
            assert!(values.iter().any(|&v| v > m.value() / 2) && values.iter().any(|&v| v < m.value() / 2));
        }
    }
}

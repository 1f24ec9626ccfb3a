//! The rings that arithmetic OTs work over.

use crate::{Block, OtError, packing};
use ntt::Modulus;

/// Integers modulo 2^bits, for any number of bits, or modulo a prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Modulo 2^bits, with 1 to 64 bits.
    Pow2 {
        /// The number of bits.
        bits: u32,
    },
    /// Modulo a prime of at most 40 bits.
    Prime {
        /// The prime.
        p: u64,
    },
}

impl From<Modulus> for Ring {
    fn from(modulus: Modulus) -> Self {
        match modulus {
            Modulus::Pow2 { bits } => Self::Pow2 { bits },
            Modulus::Prime { p } => Self::Prime { p },
        }
    }
}

impl Ring {
    /// Integers modulo 2^bits.
    ///
    /// # Panics
    /// Unless there are 1 to 64 bits.
    pub fn pow2(bits: u32) -> Self {
        assert!((1..=64).contains(&bits), "a ring element has 1 to 64 bits");
        Self::Pow2 { bits }
    }

    /// Bits of an element on the wire.
    pub fn bits(self) -> u32 {
        match self {
            Self::Pow2 { bits } => bits,
            Self::Prime { p } => 64 - p.leading_zeros(),
        }
    }

    /// a + b, for reduced a and b.
    #[inline]
    pub fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Pow2 { bits } => a.wrapping_add(b) & mask(bits),
            Self::Prime { p } => (a + b).min((a + b).wrapping_sub(p)),
        }
    }

    /// a − b, for reduced a and b.
    #[inline]
    pub fn sub(self, a: u64, b: u64) -> u64 {
        match self {
            Self::Pow2 { bits } => a.wrapping_sub(b) & mask(bits),
            Self::Prime { p } => {
                let difference = a.wrapping_sub(b);
                difference.min(difference.wrapping_add(p))
            }
        }
    }

    /// An element from 128 uniform bits: exactly uniform modulo 2^bits; modulo p, ⌊p·block/2^128⌋ is within
    /// statistical distance p/2^128 ≤ 2^-88 of uniform, so that 2^48 of them in a run stay within 2^-40.
    #[inline]
    pub(crate) fn reduce_uniform(self, block: Block) -> u64 {
        match self {
            Self::Pow2 { bits } => block as u64 & mask(bits),
            Self::Prime { p } => {
                let low = (block as u64 as Block * Block::from(p)) >> 64;
                ((((block >> 64) * Block::from(p)) + low) >> 64) as u64
            }
        }
    }

    /// Unpacks a peer's elements, and checks that they are reduced.
    pub(crate) fn unpack(self, bytes: &[u8], out: &mut [u64]) -> Result<(), OtError> {
        packing::unpack_into(bytes, self.bits(), out);
        match self {
            Self::Pow2 { .. } => Ok(()),
            Self::Prime { p } => packing::check_below(out, p),
        }
    }
}

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIMES: [u64; 3] = [40_961, 737_281, 1_099_510_054_913];

    #[test]
    fn the_primes_are_prime() {
        assert!(PRIMES.iter().all(|&p| ntt::is_prime(p)));
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_the_integers(a: u64, b: u64, bits in 1u32..=64) {
            let wide = |x: u64| x as u128;
            for (ring, m) in PRIMES.map(|p| (Ring::Prime { p }, wide(p))).into_iter().chain([(Ring::pow2(bits), 1 << bits)]) {
                let (a, b) = ((wide(a) % m) as u64, (wide(b) % m) as u64);
                prop_assert_eq!(wide(ring.add(a, b)), (wide(a) + wide(b)) % m);
                prop_assert_eq!(wide(ring.sub(a, b)), (wide(a) + m - wide(b)) % m);
                prop_assert!(m <= 1 << ring.bits());
            }
        }

        #[test]
        fn reduction_scales_the_fraction(high: u64, low: u64) {
            let block = u128::from(high) << 64 | u128::from(low);
            for p in PRIMES {
                // 128-bit fraction times p, in two halves of 64 bits with the carry between them
                let (top, bottom) = (u128::from(high) * u128::from(p), u128::from(low) * u128::from(p));
                let expected = (top + (bottom >> 64)) >> 64;
                prop_assert_eq!(u128::from(Ring::Prime { p }.reduce_uniform(block)), expected);
                prop_assert!(expected < u128::from(p));
            }
        }
    }

    #[test]
    fn the_ends_of_the_fraction_reach_the_ends_of_the_ring() {
        for p in PRIMES {
            assert_eq!(Ring::Prime { p }.reduce_uniform(0), 0);
            assert_eq!(Ring::Prime { p }.reduce_uniform(Block::MAX), p - 1);
            assert_eq!(Ring::Prime { p }.reduce_uniform(Block::MAX / u128::from(p) * 7 + 7), 7);
        }
    }
}

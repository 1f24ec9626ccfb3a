//! The rings of the arithmetic shares: integers modulo 2^32 and 2^64, in two's complement.

use std::fmt::Debug;

/// Integers modulo 2^[`Ring::BITS`]. All arithmetic wraps. Implemented by `u32` and `u64` and sealed.
pub trait Ring: sealed::Element + bytemuck::Pod + Debug + PartialEq + Send + Sync {
    /// Bits of an element.
    const BITS: u32;
    /// Sum.
    fn add(self, other: Self) -> Self;
    /// Difference.
    fn sub(self, other: Self) -> Self;
    /// Product.
    fn mul(self, other: Self) -> Self;
    /// Product with 2^`shift`, `shift` < [`Ring::BITS`].
    fn shl(self, shift: u32) -> Self;
    /// ⌊x / 2^`shift`⌋ of x in 0..2^BITS, `shift` < [`Ring::BITS`].
    fn shr(self, shift: u32) -> Self;
    /// The element congruent to an unsigned integer.
    fn from_u64(value: u64) -> Self;
    /// The element in 0..2^BITS.
    fn to_u64(self) -> u64;
    /// The element congruent to a signed integer.
    fn from_i64(value: i64) -> Self {
        Self::from_u64(value as u64)
    }
    /// The representative in −2^(BITS−1)..2^(BITS−1).
    fn to_i64(self) -> i64 {
        let unused = 64 - Self::BITS;
        ((self.to_u64() << unused) as i64) >> unused
    }
    /// The negative.
    fn neg(self) -> Self {
        Self::default().sub(self)
    }
}

pub(crate) mod sealed {
    use crate::kernels::Tile;

    /// What matrix products work on. Only this crate's number types are elements.
    pub trait Element: Copy + Default {
        /// Sum.
        fn plus(self, other: Self) -> Self;
        /// acc += a·b for one packed micro-tile, see `kernels`.
        fn tile(a: &[Self], b: &[Self], acc: &mut Tile<Self>);
    }
}

macro_rules! ring {
    ($word:ty, $tile:path) => {
        impl Ring for $word {
            const BITS: u32 = <$word>::BITS;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn shl(self, shift: u32) -> Self {
                self << shift
            }
            #[inline(always)]
            fn shr(self, shift: u32) -> Self {
                self >> shift
            }
            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $word
            }
            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }
        }

        impl sealed::Element for $word {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn tile(a: &[Self], b: &[Self], acc: &mut crate::kernels::Tile<Self>) {
                $tile(a, b, acc);
            }
        }
    };
}
ring!(u32, crate::kernels::tile_u32);
ring!(u64, crate::kernels::tile_u64);

/// For the float twin of training.
impl sealed::Element for f32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    fn tile(a: &[Self], b: &[Self], acc: &mut crate::kernels::Tile<Self>) {
        crate::kernels::tile_f32(a, b, acc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_representatives_survive() {
        for value in [0, 1, -1, i32::MAX as i64, i32::MIN as i64] {
            assert_eq!(<u32 as Ring>::from_i64(value).to_i64(), value);
            assert_eq!(<u64 as Ring>::from_i64(value).to_i64(), value);
        }
        assert_eq!(<u64 as Ring>::from_i64(i64::MIN).to_i64(), i64::MIN);
    }
}

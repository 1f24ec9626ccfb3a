//! The lanes in one AVX-512 register.
//!
//! The type is private to [`super`], which hands it only to [`run`], and `run` requires the extensions. That is the
//! safety argument of every block below.

use super::{Group, Kernel, LANES, Lanes, MASK52};
use core::arch::x86_64::*;

/// Whether the machine has the extensions that [`run`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

/// Runs `kernel` in a function compiled for the extensions.
///
/// # Safety
/// [`available`] must have returned true.
#[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vpopcntdq")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

/// Eight words in a register.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512i);

/// Wraps a register-to-register instruction.
macro_rules! instruction {
    ($instruction:ident($($argument:expr),*)) => {
        // SAFETY: only reached from `run`, hence with the extensions (see the module header).
        Self(unsafe { $instruction($($argument),*) })
    };
}

impl Lanes for Avx512 {
    /// The low and high 52-bit halves of the products, summed apart: 4096 low halves fill 64 bits, then
    /// [`Lanes::carry`] moves their overflow to the high sum, which has room for 2^16 high halves of 48 bits.
    type Sum = (Self, Self);

    #[inline(always)]
    fn splat(x: u64) -> Self {
        instruction!(_mm512_set1_epi64(x as i64))
    }
    #[inline(always)]
    fn load(from: &[u64; LANES]) -> Self {
        // SAFETY: as above, and the reference covers the 64 bytes read; no alignment is required.
        Self(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, to: &mut [u64; LANES]) {
        // SAFETY: as above, and the reference covers the 64 bytes written; no alignment is required.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        instruction!(_mm512_add_epi64(self.0, other.0))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        instruction!(_mm512_sub_epi64(self.0, other.0))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        instruction!(_mm512_min_epu64(self.0, other.0))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        instruction!(_mm512_and_si512(self.0, other.0))
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        instruction!(_mm512_sllv_epi64(self.0, Self::splat(u64::from(bits)).0))
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        instruction!(_mm512_srlv_epi64(self.0, Self::splat(u64::from(bits)).0))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        instruction!(_mm512_mullo_epi64(self.0, other.0))
    }
    #[inline(always)]
    fn popcount(self) -> Self {
        instruction!(_mm512_popcnt_epi64(self.0))
    }
    #[inline(always)]
    fn madd52_low(self, a: Self, b: Self) -> Self {
        instruction!(_mm512_madd52lo_epu64(self.0, a.0, b.0))
    }
    #[inline(always)]
    fn madd52_high(self, a: Self, b: Self) -> Self {
        instruction!(_mm512_madd52hi_epu64(self.0, a.0, b.0))
    }
    #[inline(always)]
    fn sum() -> Self::Sum {
        (Self::splat(0), Self::splat(0))
    }
    #[inline(always)]
    fn accumulate((low, high): Self::Sum, a: Self, b: Self) -> Self::Sum {
        (low.madd52_low(a, b), high.madd52_high(a, b))
    }
    #[inline(always)]
    fn carry((low, high): Self::Sum) -> Self::Sum {
        (low.and(Self::splat(MASK52)), high.add(low.shr(52)))
    }
    /// To the second-level cache: the first is full of what is read now.
    #[inline(always)]
    fn ask_for(group: &Group) {
        // SAFETY: as above; a hint, which touches nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>((&raw const *group).cast()) }
    }
    #[inline(always)]
    fn split(sum: Self::Sum) -> (Self, Self) {
        sum
    }
}

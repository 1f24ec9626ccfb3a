//! The lanes in one AVX-512 register.
//!
//! The type is private to [`super`], which hands it only to [`run`], and `run` requires the extensions. That is the
//! safety argument of every block below.

use super::portable::{pack, place};
use super::{Group, Kernel, LANES, Lanes, MASK52, WINDOW};
use core::arch::x86_64::*;

/// Whether the machine has the extensions that [`run`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512ifma")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

/// Runs `kernel` in a function compiled for the extensions.
///
/// # Safety
/// [`available`] must have returned true.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512ifma,avx512vbmi,avx512vpopcntdq")]
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

/// Narrowest values of which a byte meets two at most, one with an even and one with an odd number.
const PACKED: u32 = 8;

/// How eight values become packed bytes: shifted by so much, then byte i of the bytes `even`\[i\] and `odd`\[i\] of
/// all values together, where there are such.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    width: u32,
    shifts: __m512i,
    even: (u64, __m512i),
    odd: (u64, __m512i),
}

/// How packed bytes become eight values: lane by lane the bytes from its first one on, shifted and masked.
#[derive(Clone, Copy)]
pub(super) struct Unpacking {
    bytes: __m512i,
    shifts: __m512i,
    mask: __m512i,
}

/// Bits of eight packed values before the byte where each of them begins.
#[inline(always)]
fn shifts(width: u32) -> __m512i {
    let mut shifts = [0; LANES];
    for (k, shift) in shifts.iter_mut().enumerate() {
        *shift = u64::from(place(k, width).1);
    }
    Avx512::load(&shifts).0
}

/// A register of bytes.
#[inline(always)]
fn load_bytes(from: &[u8; WINDOW]) -> __m512i {
    // SAFETY: as above, and the reference covers the 64 bytes read.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

impl Lanes for Avx512 {
    type Packing = Packing;
    type Unpacking = Unpacking;

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
    #[inline(always)]
    fn packing(width: u32) -> Packing {
        let (mut masks, mut bytes) = ([0_u64; 2], [[0; WINDOW]; 2]);
        for k in 0..LANES {
            let (at, shift) = place(k, width);
            for i in 0..(shift + width).div_ceil(8) as usize {
                masks[k % 2] |= 1 << (at + i);
                bytes[k % 2][at + i] = (8 * k + i) as u8;
            }
        }
        let [even, odd] = [0, 1].map(|k| (masks[k], bytes[k]));
        let (even, odd) = ((even.0, load_bytes(&even.1)), (odd.0, load_bytes(&odd.1)));
        Packing { width, shifts: shifts(width), even, odd }
    }
    #[inline(always)]
    fn pack(self, packing: Packing, to: &mut [u8; WINDOW]) {
        let Packing { width, shifts, even, odd } = packing;
        if width < PACKED {
            let mut values = [0; LANES];
            self.store(&mut values);
            return pack(&values, width, to);
        }
        // SAFETY: as above, and the reference covers the 64 bytes written.
        unsafe {
            let values = _mm512_sllv_epi64(self.0, shifts);
            let even = _mm512_maskz_permutexvar_epi8(even.0, even.1, values);
            let odd = _mm512_maskz_permutexvar_epi8(odd.0, odd.1, values);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_or_si512(even, odd));
        }
    }
    #[inline(always)]
    fn unpacking(width: u32) -> Unpacking {
        let mut bytes = [0; WINDOW];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (place(i / 8, width).0 + i % 8) as u8;
        }
        Unpacking { bytes: load_bytes(&bytes), shifts: shifts(width), mask: Self::splat((1 << width) - 1).0 }
    }
    #[inline(always)]
    fn unpack(Unpacking { bytes, shifts, mask }: Unpacking, from: &[u8; WINDOW]) -> Self {
        let words = load_bytes(from);
        instruction!(_mm512_and_si512(_mm512_srlv_epi64(_mm512_permutexvar_epi8(bytes, words), shifts), mask))
    }
}

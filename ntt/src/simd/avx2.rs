//! The lanes in two AVX2 registers.
//!
//! There is no 52-bit multiply-add: products are put together from four of 32 bits, the operands cut at bit 26.
//! The type is private to [`super`], which hands it only to [`run`], and `run` requires the extension. That is the
//! safety argument of every block below.

use super::portable::{pack, place, word};
use super::{CARRY_EVERY, Group, Kernel, LANES, Lanes, MASK52, WINDOW, Weight};
use core::arch::x86_64::*;

/// Where operands of products are cut.
const CUT: i32 = 26;

/// Whether the machine has the extension that [`run`] needs.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

/// Runs `kernel` in a function compiled for the extension.
///
/// # Safety
/// [`available`] must have returned true.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// Eight words, four in each register.
#[derive(Clone, Copy)]
pub(super) struct Avx2([__m256i; 2]);

/// Four sums of products of operands below 2^50 = (24 bits, 26 bits), by the weight of the parts: 1, 2^26, 2^52.
///
/// 4096 products of two low parts fill 64 bits, then [`Sums::carry`] moves their overflow up; 32768 products of two
/// high parts fill 63.
#[derive(Clone, Copy)]
pub(super) struct Sums([__m256i; 3]);

/// Wraps register-to-register instructions. Closures would not be inlined, and then every instruction would be a call.
macro_rules! instruction {
    ($body:expr) => {
        // SAFETY: only reached from `run`, hence with the extension (see the module header).
        unsafe { $body }
    };
}

/// The same instructions on both registers of one or two operands.
macro_rules! both {
    ($x:expr, $y:expr, $a:ident, $b:ident => $body:expr) => {{
        let (x, y) = ($x.0, $y.0);
        let ($a, $b) = (x[0], y[0]);
        let first = instruction!($body);
        let ($a, $b) = (x[1], y[1]);
        Avx2([first, instruction!($body)])
    }};
    ($x:expr, $a:ident => $body:expr) => {{
        let x = $x.0;
        let $a = x[0];
        let first = instruction!($body);
        let $a = x[1];
        Avx2([first, instruction!($body)])
    }};
}

#[inline(always)]
fn splat4(x: u64) -> __m256i {
    instruction!(_mm256_set1_epi64x(x as i64))
}

/// The parts of four operands: low 26 bits, and what is above them.
#[inline(always)]
fn cut(x: __m256i) -> [__m256i; 2] {
    let mask = splat4((1 << CUT) - 1);
    instruction!([_mm256_and_si256(x, mask), _mm256_srli_epi64::<CUT>(x)])
}

impl Sums {
    #[inline(always)]
    fn zero() -> Self {
        Self([splat4(0); 3])
    }

    /// Adds the product of operands that were cut.
    #[inline(always)]
    fn accumulate(self, [a0, a1]: [__m256i; 2], [b0, b1]: [__m256i; 2]) -> Self {
        let [low, middle, high] = self.0;
        instruction!(Self([
            _mm256_add_epi64(low, _mm256_mul_epu32(a0, b0)),
            _mm256_add_epi64(_mm256_add_epi64(middle, _mm256_mul_epu32(a0, b1)), _mm256_mul_epu32(a1, b0)),
            _mm256_add_epi64(high, _mm256_mul_epu32(a1, b1)),
        ]))
    }

    #[inline(always)]
    fn carry(self) -> Self {
        let [low, middle, high] = self.0;
        let [low, over] = cut(low);
        let [middle, over] = cut(instruction!(_mm256_add_epi64(middle, over)));
        instruction!(Self([low, middle, _mm256_add_epi64(high, over)]))
    }

    /// (low, high) with value low + 2^52·high.
    #[inline(always)]
    fn split(self) -> (__m256i, __m256i) {
        let [low, middle, high] = self.carry().0;
        instruction!((_mm256_add_epi64(low, _mm256_slli_epi64::<CUT>(middle)), high))
    }
}

/// The product of the low 52 bits of four operands, in halves of 52 bits.
#[inline(always)]
fn product52(a: __m256i, b: __m256i) -> (__m256i, __m256i) {
    let mask = splat4(MASK52);
    let (a, b) = instruction!((_mm256_and_si256(a, mask), _mm256_and_si256(b, mask)));
    Sums::zero().accumulate(cut(a), cut(b)).split()
}

/// Four words of a group.
#[inline(always)]
fn load4(from: &[u64; LANES], half: usize) -> __m256i {
    // SAFETY: as in `instruction`; `half` is 0 or 1, so that 32 bytes of the reference are read.
    unsafe { _mm256_loadu_si256(from.as_ptr().add(4 * (half & 1)).cast()) }
}

/// Shifts of eight packed values in the words they are read with, and their mask.
#[derive(Clone, Copy)]
pub(super) struct Unpacking {
    width: u32,
    shifts: [__m256i; 2],
    mask: __m256i,
}

impl Lanes for Avx2 {
    type Sum = [Sums; 2];
    /// Bytes are written one value after the other.
    type Packing = u32;
    type Unpacking = Unpacking;

    #[inline(always)]
    fn splat(x: u64) -> Self {
        Self([splat4(x); 2])
    }
    #[inline(always)]
    fn load(from: &[u64; LANES]) -> Self {
        Self([load4(from, 0), load4(from, 1)])
    }
    #[inline(always)]
    fn store(self, to: &mut [u64; LANES]) {
        // SAFETY: as in `instruction`, and the reference covers the 64 bytes written.
        unsafe {
            let to = to.as_mut_ptr();
            _mm256_storeu_si256(to.cast(), self.0[0]);
            _mm256_storeu_si256(to.add(4).cast(), self.0[1]);
        }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        both!(self, other, a, b => _mm256_add_epi64(a, b))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        both!(self, other, a, b => _mm256_sub_epi64(a, b))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // There is only a signed comparison.
        let sign = splat4(1 << 63);
        both!(self, other, a, b => {
            let greater = _mm256_cmpgt_epi64(_mm256_xor_si256(a, sign), _mm256_xor_si256(b, sign));
            _mm256_blendv_epi8(a, b, greater)
        })
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        both!(self, other, a, b => _mm256_and_si256(a, b))
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        both!(self, a => _mm256_sll_epi64(a, _mm_cvtsi32_si128(bits as i32)))
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        both!(self, a => _mm256_srl_epi64(a, _mm_cvtsi32_si128(bits as i32)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        both!(self, other, a, b => {
            let (a1, b1) = (_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
            let cross = _mm256_add_epi64(_mm256_mul_epu32(a1, b), _mm256_mul_epu32(a, b1));
            _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64::<32>(cross))
        })
    }
    #[inline(always)]
    fn popcount(self) -> Self {
        both!(self, a => {
            // Counts of nibbles, looked up.
            let counts = _mm_set_epi64x(0x0403_0302_0302_0201, 0x0302_0201_0201_0100);
            let (counts, nibble) = (_mm256_broadcastsi128_si256(counts), _mm256_set1_epi8(15));
            let low = _mm256_shuffle_epi8(counts, _mm256_and_si256(a, nibble));
            let high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi64::<4>(a), nibble));
            _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256())
        })
    }
    #[inline(always)]
    fn madd52_low(self, a: Self, b: Self) -> Self {
        self.add(Self([product52(a.0[0], b.0[0]).0, product52(a.0[1], b.0[1]).0]))
    }
    #[inline(always)]
    fn madd52_high(self, a: Self, b: Self) -> Self {
        self.add(Self([product52(a.0[0], b.0[0]).1, product52(a.0[1], b.0[1]).1]))
    }
    #[inline(always)]
    fn sum() -> Self::Sum {
        [Sums::zero(); 2]
    }
    #[inline(always)]
    fn accumulate(sum: Self::Sum, a: Self, b: Self) -> Self::Sum {
        [sum[0].accumulate(cut(a.0[0]), cut(b.0[0])), sum[1].accumulate(cut(a.0[1]), cut(b.0[1]))]
    }
    #[inline(always)]
    fn carry(sum: Self::Sum) -> Self::Sum {
        [sum[0].carry(), sum[1].carry()]
    }
    #[inline(always)]
    fn split(sum: Self::Sum) -> (Self, Self) {
        let ((l0, h0), (l1, h1)) = (sum[0].split(), sum[1].split());
        (Self([l0, l1]), Self([h0, h1]))
    }
    #[inline(always)]
    fn packing(width: u32) -> u32 {
        width
    }
    #[inline(always)]
    fn pack(self, width: u32, to: &mut [u8; WINDOW]) {
        let mut values = [0; LANES];
        self.store(&mut values);
        pack(&values, width, to);
    }
    #[inline(always)]
    fn unpacking(width: u32) -> Unpacking {
        let mut shifts = [0; LANES];
        for (k, shift) in shifts.iter_mut().enumerate() {
            *shift = u64::from(place(k, width).1);
        }
        Unpacking { width, shifts: Self::load(&shifts).0, mask: splat4((1 << width) - 1) }
    }
    #[inline(always)]
    fn unpack(Unpacking { width, shifts, mask }: Unpacking, from: &[u8; WINDOW]) -> Self {
        let mut halves = [mask; 2];
        for (half, shifts) in shifts.into_iter().enumerate() {
            let mut words = [0; 4];
            for (k, read) in words.iter_mut().enumerate() {
                *read = word(from, place(4 * half + k, width).0) as i64;
            }
            let [a, b, c, d] = words;
            halves[half] = instruction!(_mm256_and_si256(
                _mm256_srlv_epi64(_mm256_set_epi64x(d, c, b, a), shifts),
                mask
            ));
        }
        Self(halves)
    }

    /// Half a group and two polynomials at a time: six sums, which is what sixteen registers hold.
    #[inline(always)]
    fn sum_products<W: Weight, const P: usize, const O: usize>(
        x: &[[Group; P]],
        w: &[[W; O]],
        _ahead: [&[Group]; 2],
    ) -> [[Self::Sum; P]; O] {
        let mut sums = [[Self::sum(); P]; O];
        for o in 0..O {
            for k in (0..P).step_by(2) {
                for half in [0, 1] {
                    let (mut even, mut odd) = (Sums::zero(), Sums::zero());
                    for (x, w) in x.chunks(CARRY_EVERY).zip(w.chunks(CARRY_EVERY)) {
                        for (x, w) in x.iter().zip(w) {
                            let w = cut(load4(&w[o].group().0, half));
                            even = even.accumulate(cut(load4(&x[k].0, half)), w);
                            odd = odd.accumulate(cut(load4(&x[k + 1].0, half)), w);
                        }
                        (even, odd) = (even.carry(), odd.carry());
                    }
                    (sums[o][k][half], sums[o][k + 1][half]) = (even, odd);
                }
            }
        }
        sums
    }
}

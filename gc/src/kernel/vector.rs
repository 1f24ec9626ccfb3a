//! Blocks of 128 bits side by side in one register: one with AES-NI, four with VAES.
#![allow(unsafe_code, reason = "vector intrinsics")]

use core::arch::x86_64::*;

/// Blocks side by side in one register.
///
/// # Safety
/// All methods need a processor with the instructions of [`Vector::detect`]; pointers need room for the vector.
pub(super) trait Vector: Copy + Send + Sync {
    const BLOCKS: usize;
    type Mask: Copy;
    fn detect() -> bool;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn splat(block: u128) -> Self;
    unsafe fn splat_words(word: i32) -> Self;
    unsafe fn xor(self, other: Self) -> Self;
    /// (hi, lo) ↦ (hi ⊕ lo, hi).
    unsafe fn sigma(self) -> Self;
    /// Blocks whose lowest bit, the permute bit of a label, is set.
    unsafe fn permute(self) -> Self::Mask;
    /// self ⊕ other in the blocks of `mask`.
    unsafe fn xor_where(self, mask: Self::Mask, other: Self) -> Self;
    /// The lower halves of all blocks to `low`, the upper ones to `high`.
    unsafe fn store_halves(self, low: *mut u64, high: *mut u64);
    /// Blocks whose bit is set; the others become zero.
    unsafe fn select(self, bits: u32) -> Self;
    unsafe fn round(self, key: Self) -> Self;
    unsafe fn last_round(self, key: Self) -> Self;
    /// RotWord of the last word of the key, in all words.
    unsafe fn rotated_last_word(self) -> Self;
    /// w ⊕ w << 32 ⊕ w << 64 ⊕ w << 96.
    unsafe fn running_xor(self) -> Self;
}

/// Indices of RotWord's bytes.
const ROTATE: u128 = 0x0c0f_0e0d_0c0f_0e0d_0c0f_0e0d_0c0f_0e0d;

// SAFETY of both implementations: callers hold a `Simd` token, hence the instructions are there.
impl Vector for __m128i {
    const BLOCKS: usize = 1;
    type Mask = Self;
    fn detect() -> bool {
        is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx2")
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_loadu_si128(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe { _mm_storeu_si128(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn splat(block: u128) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_set_epi64x((block >> 64) as i64, block as i64) }
    }
    #[inline(always)]
    unsafe fn splat_words(word: i32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_set1_epi32(word) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_xor_si128(self, other) }
    }
    #[inline(always)]
    unsafe fn sigma(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_xor_si128(_mm_shuffle_epi32::<0x4e>(self), _mm_and_si128(self, _mm_set_epi64x(-1, 0))) }
    }
    #[inline(always)]
    unsafe fn permute(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_srai_epi32::<31>(_mm_slli_epi32::<31>(_mm_shuffle_epi32::<0>(self))) }
    }
    #[inline(always)]
    unsafe fn xor_where(self, mask: Self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_xor_si128(self, _mm_and_si128(mask, other)) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, low: *mut u64, high: *mut u64) {
        // SAFETY: the trait's contract.
        unsafe {
            _mm_storel_epi64(low.cast(), self);
            _mm_storel_epi64(high.cast(), _mm_unpackhi_epi64(self, self));
        }
    }
    #[inline(always)]
    unsafe fn select(self, bits: u32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_and_si128(self, _mm_set1_epi32(-((bits & 1) as i32))) }
    }
    #[inline(always)]
    unsafe fn round(self, key: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_aesenc_si128(self, key) }
    }
    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_aesenclast_si128(self, key) }
    }
    #[inline(always)]
    unsafe fn rotated_last_word(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm_shuffle_epi8(self, Self::splat(ROTATE)) }
    }
    #[inline(always)]
    unsafe fn running_xor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let two = _mm_xor_si128(self, _mm_slli_si128::<4>(self));
            _mm_xor_si128(two, _mm_slli_si128::<8>(two))
        }
    }
}

impl Vector for __m512i {
    const BLOCKS: usize = 4;
    type Mask = __mmask16;
    fn detect() -> bool {
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let bmi = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
        avx512 && bmi && is_x86_feature_detected!("vaes") && <__m128i as Vector>::detect()
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_si512(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn splat(block: u128) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_broadcast_i32x4(<__m128i as Vector>::splat(block)) }
    }
    #[inline(always)]
    unsafe fn splat_words(word: i32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi32(word) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_xor_si512(self, other) }
    }
    #[inline(always)]
    unsafe fn sigma(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let upper = _mm512_set_epi64(-1, 0, -1, 0, -1, 0, -1, 0);
            // a ⊕ b ∧ c
            _mm512_ternarylogic_epi64::<0x78>(_mm512_shuffle_epi32::<0x4e>(self), self, upper)
        }
    }
    #[inline(always)]
    unsafe fn permute(self) -> __mmask16 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_test_epi32_mask(_mm512_shuffle_epi32::<0>(self), _mm512_set1_epi32(1)) }
    }
    #[inline(always)]
    unsafe fn xor_where(self, mask: __mmask16, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mask_xor_epi32(self, mask, self, other) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, low: *mut u64, high: *mut u64) {
        // SAFETY: the trait's contract.
        unsafe {
            let sorted = _mm512_permutexvar_epi64(_mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0), self);
            _mm256_storeu_si256(low.cast(), _mm512_castsi512_si256(sorted));
            _mm256_storeu_si256(high.cast(), _mm512_extracti64x4_epi64::<1>(sorted));
        }
    }
    #[inline(always)]
    unsafe fn select(self, bits: u32) -> Self {
        let spread = bits & 1 | (bits & 2) << 1 | (bits & 4) << 2 | (bits & 8) << 3;
        // SAFETY: the trait's contract.
        unsafe { _mm512_maskz_mov_epi64((spread | spread << 1) as __mmask8, self) }
    }
    #[inline(always)]
    unsafe fn round(self, key: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_aesenc_epi128(self, key) }
    }
    #[inline(always)]
    unsafe fn last_round(self, key: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_aesenclast_epi128(self, key) }
    }
    #[inline(always)]
    unsafe fn rotated_last_word(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_shuffle_epi8(self, Self::splat(ROTATE)) }
    }
    #[inline(always)]
    unsafe fn running_xor(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let two = _mm512_xor_si512(self, _mm512_bslli_epi128::<4>(self));
            _mm512_xor_si512(two, _mm512_bslli_epi128::<8>(two))
        }
    }
}

//! The inner loops with AVX-512 and vector AES: four blocks to a register, eight registers in flight.

#![expect(
    unsafe_code,
    reason = "vector loads and stores, and calls into code for a detected instruction set"
)]

use super::{Code, EPOCH, QUAD, ROWS};
use crate::Block;
use crate::silent::params::{SETUP_WEIGHT, WEIGHT};
use std::arch::x86_64::*;

/// Registers in flight: enough to hide the latency of a round.
const FLIGHT: usize = 8;

/// Blocks in flight.
const BLOCKS: usize = 4 * FLIGHT;

/// Whether this machine can run the functions below.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("bmi2")
}

pub(super) fn expand(key: Block, left: &mut [Block], right: &mut [Block]) -> Block {
    // SAFETY: `Kernel::best` hands this kernel out only where `available` holds.
    unsafe { expand_vector(key, left, right) }
}

pub(super) fn encode(code: &Code, first: u64, table: &[Block], leaves: &mut [Block]) {
    assert!(table.len() < 1 << 28, "byte offsets into the table have 32 bits");
    // SAFETY: as above.
    unsafe {
        match (code.weight, code.lanes) {
            (WEIGHT, QUAD) => encode_vector::<WEIGHT, QUAD>(code, first, table, leaves),
            (SETUP_WEIGHT, 1) => encode_vector::<SETUP_WEIGHT, 1>(code, first, table, leaves),
            _ => super::portable::encode(code, first, table, leaves),
        }
    }
}

pub(super) fn hash(key: Block, first: u64, shift: Block, blocks: &mut [Block]) {
    // SAFETY: as above.
    unsafe { hash_vector(key, first, shift, blocks) }
}

pub(super) fn hash_bits(key: Block, first: u64, shift: Block, blocks: &[Block; EPOCH]) -> [u64; EPOCH / 64] {
    // SAFETY: as above.
    unsafe { hash_bits_vector(key, first, shift, blocks) }
}

/// AES-128 round keys, each in all four lanes.
type Schedule = [__m512i; 11];

/// Registers in flight.
type Flight = [__m512i; FLIGHT];

#[inline]
#[target_feature(enable = "avx512f")]
fn load(blocks: &[Block; 4]) -> __m512i {
    // SAFETY: 64 readable bytes, no alignment asked for.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(blocks: &mut [Block; 4], value: __m512i) {
    // SAFETY: 64 writable bytes, no alignment asked for.
    unsafe { _mm512_storeu_si512(blocks.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_flight(blocks: &[Block; BLOCKS]) -> Flight {
    let mut flight = [_mm512_setzero_si512(); FLIGHT];
    for (value, blocks) in flight.iter_mut().zip(blocks.as_chunks::<4>().0) {
        *value = load(blocks);
    }
    flight
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_flight(blocks: &mut [Block; BLOCKS], flight: &Flight) {
    for (blocks, value) in blocks.as_chunks_mut::<4>().0.iter_mut().zip(flight) {
        store(blocks, *value);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(block: Block) -> __m512i {
    load(&[block; 4])
}

/// The XOR of a register's four blocks.
#[inline]
#[target_feature(enable = "avx512f")]
fn fold(value: __m512i) -> Block {
    let mut blocks = [0; 4];
    store(&mut blocks, value);
    blocks[0] ^ blocks[1] ^ blocks[2] ^ blocks[3]
}

/// FIPS 197, section 5.2.
#[inline]
#[target_feature(enable = "avx512f,aes")]
fn schedule(key: Block) -> Schedule {
    #[inline]
    #[target_feature(enable = "aes")]
    fn next<const ROUND_CONSTANT: i32>(key: __m128i) -> __m128i {
        let word = _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<ROUND_CONSTANT>(key));
        let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
        let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
        _mm_xor_si128(key, word)
    }
    let k0 = _mm512_castsi512_si128(broadcast(key));
    let k1 = next::<0x01>(k0);
    let k2 = next::<0x02>(k1);
    let k3 = next::<0x04>(k2);
    let k4 = next::<0x08>(k3);
    let k5 = next::<0x10>(k4);
    let k6 = next::<0x20>(k5);
    let k7 = next::<0x40>(k6);
    let k8 = next::<0x80>(k7);
    let k9 = next::<0x1b>(k8);
    let k10 = next::<0x36>(k9);
    let mut keys = [_mm512_setzero_si512(); 11];
    for (wide, key) in keys.iter_mut().zip([k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10]) {
        *wide = _mm512_broadcast_i32x4(key);
    }
    keys
}

/// AES of every block in flight, XORed with the input: a one-way function of it.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt_and_add(keys: &Schedule, input: Flight) -> Flight {
    let mut state = encrypt_rounds(keys, input);
    for (value, input) in state.iter_mut().zip(input) {
        *value = _mm512_aesenclast_epi128(*value, _mm512_xor_si512(keys[10], input));
    }
    state
}

/// All rounds but the last.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn encrypt_rounds(keys: &Schedule, mut state: Flight) -> Flight {
    for value in &mut state {
        *value = _mm512_xor_si512(*value, keys[0]);
    }
    for key in &keys[1..10] {
        for value in &mut state {
            *value = _mm512_aesenc_epi128(*value, *key);
        }
    }
    state
}

/// σ of each block: the halves (low, high) become (high, low ^ high).
#[inline]
#[target_feature(enable = "avx512f")]
fn sigma(x: __m512i) -> __m512i {
    _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(x), _mm512_maskz_mov_epi64(0xaa, x))
}

#[target_feature(enable = "avx512f,vaes,aes")]
fn expand_vector(key: Block, left: &mut [Block], right: &mut [Block]) -> Block {
    let keys = schedule(key);
    let mut sum = _mm512_setzero_si512();
    let (lefts, left) = left.as_chunks_mut::<BLOCKS>();
    let (rights, right) = right.as_chunks_mut::<BLOCKS>();
    for (left, right) in lefts.iter_mut().zip(rights) {
        sum = _mm512_xor_si512(sum, expand_flight(&keys, left, right));
    }
    let mut parents = [0; BLOCKS];
    parents[..left.len()].copy_from_slice(left);
    let mut others = [0; BLOCKS];
    expand_flight(&keys, &mut parents, &mut others);
    left.copy_from_slice(&parents[..left.len()]);
    right.copy_from_slice(&others[..right.len()]);
    left.iter().fold(fold(sum), |sum, child| sum ^ child)
}

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn expand_flight(keys: &Schedule, left: &mut [Block; BLOCKS], right: &mut [Block; BLOCKS]) -> __m512i {
    let parents = load_flight(left);
    let mut inputs = parents;
    for value in &mut inputs {
        *value = sigma(*value);
    }
    let children = encrypt_and_add(keys, inputs);
    store_flight(left, &children);
    let (mut others, mut sum) = (children, _mm512_setzero_si512());
    for ((other, parent), child) in others.iter_mut().zip(parents).zip(children) {
        *other = _mm512_xor_si512(*other, parent);
        sum = _mm512_xor_si512(sum, child);
    }
    store_flight(right, &others);
    sum
}

/// Byte offsets into the table for [`ROWS`] rows or quads.
type Offsets<const WEIGHT: usize> = [[u32; WEIGHT]; ROWS];

/// Rows, or quads of rows, by which the table's entries are asked for ahead. They come from beyond the second-level
/// cache; asked for early, twice as many are on their way at a time as the loads themselves would keep.
const AHEAD: usize = ROWS / 2;

#[target_feature(enable = "avx512f,vaes,aes")]
fn encode_vector<const WEIGHT: usize, const LANES: usize>(
    code: &Code,
    first: u64,
    table: &[Block],
    leaves: &mut [Block],
) {
    const { assert!(LANES == 1 || LANES == QUAD, "rows or quads") };
    let keys = schedule(code.key);
    let (mut current, mut next) = ([[0; WEIGHT]; ROWS], [[0; WEIGHT]; ROWS]);
    let mut counter = first / LANES as u64 * WEIGHT as u64 / 4;
    let mut groups = leaves.chunks_exact_mut(ROWS * LANES).peekable();
    draw_offsets::<WEIGHT, LANES>(&keys, code.instance, counter, table.len(), &mut current);
    while let Some(leaves) = groups.next() {
        if groups.peek().is_some() {
            counter += (ROWS * WEIGHT / 4) as u64;
            draw_offsets::<WEIGHT, LANES>(&keys, code.instance, counter, table.len(), &mut next);
        }
        let ahead = current[AHEAD..].iter().chain(&next[..AHEAD]);
        for ((leaves, offsets), ahead) in leaves.chunks_exact_mut(LANES).zip(&current).zip(ahead) {
            ask_for(table, ahead);
            match <&mut [Block; QUAD]>::try_from(&mut *leaves) {
                Ok(quad) => store(quad, _mm512_xor_si512(load(quad), quad_sum(table, offsets))),
                Err(_) => leaves[0] ^= row_sum(table, offsets),
            }
        }
        std::mem::swap(&mut current, &mut next);
    }
}

/// Brings the table's lines at these byte offsets to the second-level cache.
#[inline]
#[target_feature(enable = "avx512f")]
fn ask_for<const WEIGHT: usize>(table: &[Block], offsets: &[u32; WEIGHT]) {
    for offset in offsets {
        // SAFETY: a hint, which touches nothing; `draw_offsets` keeps the address within the table besides.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(table.as_ptr().cast::<i8>().add(*offset as usize)) };
    }
}

/// The sum of the table's quads at these byte offsets, block m of the result taking block m ^ (j mod 4) of
/// entry j.
#[inline]
#[target_feature(enable = "avx512f")]
fn quad_sum<const WEIGHT: usize>(table: &[Block], offsets: &[u32; WEIGHT]) -> __m512i {
    let mut sums = [_mm512_setzero_si512(); QUAD];
    for (j, offset) in offsets.iter().enumerate() {
        // SAFETY: `draw_offsets` gives 64·⌊r·q/2^32⌋ < 64·q for a table of q quads.
        let entry = unsafe { _mm512_loadu_si512(table.as_ptr().cast::<u8>().add(*offset as usize).cast()) };
        sums[j % QUAD] = _mm512_xor_si512(sums[j % QUAD], entry);
    }
    // Lane m of the result is lane m ^ 1, m ^ 2, m ^ 3 of the operand.
    let one = _mm512_shuffle_i64x2::<0b10_11_00_01>(sums[1], sums[1]);
    let two = _mm512_shuffle_i64x2::<0b01_00_11_10>(sums[2], sums[2]);
    let three = _mm512_shuffle_i64x2::<0b00_01_10_11>(sums[3], sums[3]);
    _mm512_xor_si512(_mm512_xor_si512(sums[0], one), _mm512_xor_si512(two, three))
}

/// The sum of the table's blocks at these byte offsets.
#[inline]
#[target_feature(enable = "avx512f")]
fn row_sum<const WEIGHT: usize>(table: &[Block], offsets: &[u32; WEIGHT]) -> Block {
    let mut sums = [_mm_setzero_si128(); 2];
    for pair in offsets.as_chunks::<2>().0 {
        for (sum, offset) in sums.iter_mut().zip(pair) {
            // SAFETY: `draw_offsets` gives 16·⌊r·k/2^32⌋ < 16·k for a table of k blocks.
            let entry = unsafe { _mm_loadu_si128(table.as_ptr().cast::<u8>().add(*offset as usize).cast()) };
            *sum = _mm_xor_si128(*sum, entry);
        }
    }
    let mut sum = 0;
    // SAFETY: 16 writable bytes, no alignment asked for.
    unsafe { _mm_storeu_si128((&raw mut sum).cast(), _mm_xor_si128(sums[0], sums[1])) };
    sum
}

#[inline]
#[target_feature(enable = "avx512f,vaes")]
fn draw_offsets<const WEIGHT: usize, const LANES: usize>(
    keys: &Schedule,
    instance: u64,
    counter: u64,
    k: usize,
    offsets: &mut Offsets<WEIGHT>,
) {
    const { assert!((ROWS * WEIGHT).is_multiple_of(16 * FLIGHT), "whole flights") };
    let (k, high) = (_mm512_set1_epi64((k / LANES) as i64), _mm512_set1_epi64(-1 << 32));
    let mut blocks = _mm512_mask_set1_epi64(_mm512_set1_epi64(instance as i64), 0x55, counter as i64);
    blocks = _mm512_add_epi64(blocks, _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0));
    let four = _mm512_maskz_set1_epi64(0x55, 4);
    let scale = _mm_cvtsi32_si128((LANES * size_of::<Block>()).ilog2() as i32);
    for words in offsets.as_flattened_mut().as_chunks_mut::<{ 16 * FLIGHT }>().0 {
        let mut inputs = [blocks; FLIGHT];
        for input in &mut inputs {
            *input = blocks;
            blocks = _mm512_add_epi64(blocks, four);
        }
        let state = encrypt_rounds(keys, inputs);
        for (words, value) in words.as_chunks_mut::<16>().0.iter_mut().zip(state) {
            let random = _mm512_aesenclast_epi128(value, keys[10]);
            let even = _mm512_srli_epi64::<32>(_mm512_mul_epu32(random, k));
            let odd = _mm512_and_si512(_mm512_mul_epu32(_mm512_srli_epi64::<32>(random), k), high);
            let scaled = _mm512_sll_epi32(_mm512_or_si512(even, odd), scale);
            // SAFETY: 64 writable bytes, no alignment asked for.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), scaled) };
        }
    }
}

/// What a hash needs besides the blocks: round keys, the shift and the position of the next blocks.
struct Hashing {
    keys: Schedule,
    shift: __m512i,
    tweak: __m512i,
}

impl Hashing {
    #[inline]
    #[target_feature(enable = "avx512f,aes")]
    fn new(key: Block, first: u64, shift: Block) -> Self {
        let base = _mm512_maskz_set1_epi64(0x55, first as i64);
        let tweak = _mm512_add_epi64(base, _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0));
        Self { keys: schedule(key), shift: broadcast(shift), tweak }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vaes")]
    fn next(&mut self, blocks: &[Block; BLOCKS]) -> Flight {
        let four = _mm512_maskz_set1_epi64(0x55, 4);
        let mut inputs = load_flight(blocks);
        for input in &mut inputs {
            *input = _mm512_xor_si512(sigma(_mm512_xor_si512(*input, self.shift)), self.tweak);
            self.tweak = _mm512_add_epi64(self.tweak, four);
        }
        encrypt_and_add(&self.keys, inputs)
    }
}

#[target_feature(enable = "avx512f,vaes,aes")]
fn hash_vector(key: Block, first: u64, shift: Block, blocks: &mut [Block]) {
    let mut hashing = Hashing::new(key, first, shift);
    let (whole, rest) = blocks.as_chunks_mut::<BLOCKS>();
    for blocks in whole {
        let hashes = hashing.next(blocks);
        store_flight(blocks, &hashes);
    }
    if !rest.is_empty() {
        let mut padded = [0; BLOCKS];
        padded[..rest.len()].copy_from_slice(rest);
        let hashes = hashing.next(&padded);
        store_flight(&mut padded, &hashes);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

#[target_feature(enable = "avx512f,vaes,aes,bmi2")]
fn hash_bits_vector(key: Block, first: u64, shift: Block, blocks: &[Block; EPOCH]) -> [u64; EPOCH / 64] {
    let mut hashing = Hashing::new(key, first, shift);
    let one = _mm512_set1_epi64(1);
    let mut words = [0; EPOCH / 64];
    for (i, blocks) in blocks.as_chunks::<BLOCKS>().0.iter().enumerate() {
        let hashes = hashing.next(blocks);
        // two bits per block, of which the lower one is wanted
        let bits = hashes
            .iter()
            .rev()
            .fold(0, |bits, hash| bits << 8 | u64::from(_mm512_test_epi64_mask(*hash, one)));
        words[i / 2] |= _pext_u64(bits, 0x5555_5555_5555_5555) << (BLOCKS * (i % 2));
    }
    words
}

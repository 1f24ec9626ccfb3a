//! The kernels for x86-64: AES-NI on one block, VAES on four blocks at a time.
//!
//! One generic text for both widths, made fast by inlining into a function that has the instructions
//! ([`super::Isa`] enters it). A gate takes its lanes in slices of a few vectors, so that all blocks of a slice go
//! through AES together and hide its latency, and are never stored in between.
//!
//! Departures for speed: the tweak is added to the first round key, as it is not in the feed-forward; garbling needs
//! H(x) and H(x) ⊕ H(x ⊕ Δ), and the feed-forward of the latter is σ(Δ).
#![allow(unsafe_code, reason = "vector intrinsics")]

use super::vector::Vector;
use super::{AND_BYTES, Kernel, LANES, Lanes, Row, TermHashes};
use crate::group::{self, EvaluatorGroup, GarblerGroup, Job, LaneBits};
use crate::program::And;
use core::arch::x86_64::{__m128i, __m512i};
use core::marker::PhantomData;

/// Proof that this machine has the instructions for vectors `V`.
#[derive(Clone, Copy)]
pub(crate) struct Simd<V>(PhantomData<V>);

/// AES-NI.
pub(crate) type Aes = Simd<__m128i>;
/// VAES on 512-bit registers.
pub(crate) type Vaes = Simd<__m512i>;

impl<V: Vector> Simd<V> {
    pub(crate) fn detect() -> Option<Self> {
        V::detect().then_some(Self(PhantomData))
    }
}

/// The round keys of AES-128.
pub(crate) struct RoundKeys([u128; 11]);

const ROUND_CONSTANTS: [i32; 10] = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36];

/// The lane part of the tweak.
static LANE_TWEAKS: Row = {
    let mut row = Row::ZERO;
    let mut lane = 0;
    while lane < LANES {
        row.0[lane] = super::tweak(lane, 0);
        lane += 1;
    }
    row
};

/// Where the blocks of slice position `i` of a row begin.
#[inline(always)]
fn at<V: Vector>(row: &Row, i: usize) -> *const u8 {
    assert!((i + 1) * V::BLOCKS <= LANES, "a vector within the row");
    row.0[i * V::BLOCKS..].as_ptr().cast()
}

#[inline(always)]
fn at_mut<V: Vector>(row: &mut Row, i: usize) -> *mut u8 {
    assert!((i + 1) * V::BLOCKS <= LANES, "a vector within the row");
    row.0[i * V::BLOCKS..].as_mut_ptr().cast()
}

/// The rounds of AES on `N` vectors to which the first round key was added.
#[inline(always)]
unsafe fn rounds<V: Vector, const N: usize>(mut states: [V; N], key: &RoundKeys) -> [V; N] {
    // SAFETY: the caller has the instructions.
    unsafe {
        for key in &key.0[1..10] {
            let key = V::splat(*key);
            for state in &mut states {
                *state = state.round(key);
            }
        }
        let last = V::splat(key.0[10]);
        for state in &mut states {
            *state = state.last_round(last);
        }
        states
    }
}

/// The exclusive or of two registers, negated or not, at vector `i`.
#[inline(always)]
unsafe fn operand<V: Vector>(rows: &[Row], pair: [u32; 2], flip: V, i: usize) -> V {
    // SAFETY: the caller has the instructions; `at` checks the bounds.
    unsafe {
        let (x, y) =
            (V::load(at::<V>(&rows[pair[0] as usize], i)), V::load(at::<V>(&rows[pair[1] as usize], i)));
        x.xor(y).xor(flip)
    }
}

/// The lanes' part of the tweaks of vector `i`.
#[inline(always)]
unsafe fn lanes<V: Vector>(i: usize) -> V {
    // SAFETY: the caller has the instructions; `at` checks the bounds.
    unsafe { V::load(at::<V>(&LANE_TWEAKS, i)) }
}

/// The first round key with the tweak of `step`, but for the lanes' part.
#[inline(always)]
unsafe fn first_key<V: Vector>(key: &RoundKeys, step: u64) -> V {
    // SAFETY: the caller has the instructions.
    unsafe { V::splat(key.0[0] ^ u128::from(step)) }
}

/// Garbles `G` vectors of lanes from vector `start` on; `N` = 4·G.
#[inline(always)]
unsafe fn garble_slice<V: Vector, const G: usize, const N: usize>(
    key: &RoundKeys,
    step: u64,
    delta: V,
    rows: &mut [Row],
    and: &And,
    table: &mut [u8; AND_BYTES],
    start: usize,
) {
    // SAFETY: the caller has the instructions; `at` checks rows, slices check the table.
    unsafe {
        let zero = delta.xor(delta);
        // Without branches: they follow the circuit and would be mispredicted.
        let flip = |negated: bool| u32::from(negated).wrapping_neg();
        let flips = [delta.select(flip(and.negated[0])), delta.select(flip(and.negated[1]))];
        let sigma_delta = delta.sigma();
        let keys = [first_key::<V>(key, step), first_key::<V>(key, step + 1)];
        let (mut a, mut b) = ([zero; G], [zero; G]);
        let (mut sa, mut sb, mut states) = ([zero; G], [zero; G], [zero; N]);
        for g in 0..G {
            let i = start + g;
            a[g] = operand(rows, and.left, flips[0], i);
            b[g] = operand(rows, and.right, flips[1], i);
            (sa[g], sb[g]) = (a[g].sigma(), b[g].sigma());
            states[4 * g] = sa[g].xor(lanes(i)).xor(keys[0]);
            states[4 * g + 1] = states[4 * g].xor(sigma_delta);
            states[4 * g + 2] = sb[g].xor(lanes(i)).xor(keys[1]);
            states[4 * g + 3] = states[4 * g + 2].xor(sigma_delta);
        }
        let h = rounds::<V, N>(states, key);
        for g in 0..G {
            let i = start + g;
            let (pa, pb) = (a[g].permute(), b[g].permute());
            let tg = h[4 * g].xor(h[4 * g + 1]).xor(sigma_delta).xor_where(pb, delta);
            let te_a = h[4 * g + 2].xor(h[4 * g + 3]).xor(sigma_delta);
            let plus = V::load(at::<V>(&rows[and.plus as usize], i));
            let sum = h[4 * g].xor(sa[g]).xor(plus).xor(h[4 * g + 2].xor(sb[g]));
            sum.xor_where(pa, tg).xor_where(pb, te_a).store(at_mut::<V>(&mut rows[and.to as usize], i));
            let offset = 16 * V::BLOCKS * i;
            tg.store(table[offset..][..16 * V::BLOCKS].as_mut_ptr());
            te_a.xor(a[g]).store(table[AND_BYTES / 2 + offset..][..16 * V::BLOCKS].as_mut_ptr());
        }
    }
}

/// Evaluates `G` vectors of lanes from vector `start` on; `N` = 2·G.
#[inline(always)]
unsafe fn evaluate_slice<V: Vector, const G: usize, const N: usize>(
    key: &RoundKeys,
    step: u64,
    rows: &mut [Row],
    and: &And,
    table: &[u8; AND_BYTES],
    start: usize,
) {
    // SAFETY: as for garbling.
    unsafe {
        let zero = V::splat(0);
        let keys = [first_key::<V>(key, step), first_key::<V>(key, step + 1)];
        let (mut a, mut b) = ([zero; G], [zero; G]);
        let (mut sa, mut sb, mut states) = ([zero; G], [zero; G], [zero; N]);
        for g in 0..G {
            let i = start + g;
            a[g] = operand(rows, and.left, zero, i);
            b[g] = operand(rows, and.right, zero, i);
            (sa[g], sb[g]) = (a[g].sigma(), b[g].sigma());
            states[2 * g] = sa[g].xor(lanes(i)).xor(keys[0]);
            states[2 * g + 1] = sb[g].xor(lanes(i)).xor(keys[1]);
        }
        let h = rounds::<V, N>(states, key);
        for g in 0..G {
            let i = start + g;
            let offset = 16 * V::BLOCKS * i;
            let tg = V::load(table[offset..][..16 * V::BLOCKS].as_ptr());
            let te = V::load(table[AND_BYTES / 2 + offset..][..16 * V::BLOCKS].as_ptr());
            let plus = V::load(at::<V>(&rows[and.plus as usize], i));
            let sum = h[2 * g].xor(sa[g]).xor(plus).xor(h[2 * g + 1].xor(sb[g]));
            let sum = sum.xor_where(a[g].permute(), tg).xor_where(b[g].permute(), te.xor(a[g]));
            sum.store(at_mut::<V>(&mut rows[and.to as usize], i));
        }
    }
}

/// The labels with permute bit 0 at vector `i`, and all lower halves of the labels to `low`.
#[inline(always)]
unsafe fn zero_permute<V: Vector>(row: &Row, delta: V, i: usize, low: &mut Lanes) -> V {
    // SAFETY: the caller has the instructions; `at` and slices check the bounds.
    unsafe {
        let label = V::load(at::<V>(row, i));
        let mut high = [0; LANES];
        label.store_halves(low[i * V::BLOCKS..][..V::BLOCKS].as_mut_ptr(), high.as_mut_ptr());
        label.xor_where(label.permute(), delta)
    }
}

impl<V: Vector> Kernel for Simd<V> {
    type Key = RoundKeys;

    #[inline(always)]
    fn expand(self, keys: &[u128], out: &mut Vec<RoundKeys>) {
        out.clear();
        for keys in keys.chunks(V::BLOCKS) {
            let mut blocks = [0u128; LANES];
            blocks[..keys.len()].copy_from_slice(keys);
            let first = out.len();
            out.extend(keys.iter().map(|_| RoundKeys([0; 11])));
            // SAFETY: the token proves the instructions; `blocks` holds the largest vector.
            unsafe {
                let mut key = V::load(blocks.as_ptr().cast());
                for round in 0..11 {
                    if round > 0 {
                        // The last round of AES with equal columns is SubBytes and the key.
                        let constant = V::splat_words(ROUND_CONSTANTS[round - 1]);
                        key = key.running_xor().xor(key.rotated_last_word().last_round(constant));
                    }
                    key.store(blocks.as_mut_ptr().cast());
                    out[first..].iter_mut().zip(&blocks).for_each(|(keys, block)| keys.0[round] = *block);
                }
            }
        }
    }

    #[inline(always)]
    fn xor(self, rows: &mut [Row], to: u32, from: &[u32; 4]) {
        for i in 0..LANES / V::BLOCKS {
            // SAFETY: the token proves the instructions; `at` checks the bounds.
            unsafe {
                let mut sum = V::load(at::<V>(&rows[from[0] as usize], i));
                for register in &from[1..] {
                    sum = sum.xor(V::load(at::<V>(&rows[*register as usize], i)));
                }
                sum.store(at_mut::<V>(&mut rows[to as usize], i));
            }
        }
    }

    #[inline(always)]
    fn garble(
        self,
        key: &RoundKeys,
        step: u64,
        delta: u128,
        rows: &mut [Row],
        and: &And,
        table: &mut [u8; AND_BYTES],
    ) {
        // SAFETY: the token proves the instructions.
        unsafe {
            let delta = V::splat(delta);
            if V::BLOCKS == 1 {
                // There are 16 registers: 8 blocks in flight.
                for start in (0..LANES).step_by(2) {
                    garble_slice::<V, 2, 8>(key, step, delta, rows, and, table, start);
                }
            } else {
                garble_slice::<V, { LANES / 4 }, LANES>(key, step, delta, rows, and, table, 0);
            }
        }
    }

    #[inline(always)]
    fn evaluate(self, key: &RoundKeys, step: u64, rows: &mut [Row], and: &And, table: &[u8; AND_BYTES]) {
        for start in (0..LANES / V::BLOCKS).step_by(4) {
            // SAFETY: the token proves the instructions.
            unsafe { evaluate_slice::<V, 4, 8>(key, step, rows, and, table, start) }
        }
    }

    #[inline(always)]
    fn input(self, key: &RoundKeys, index: u64, bits: LaneBits, delta: u128, row: &mut Row) {
        const SLICE: usize = 4;
        for start in (0..LANES / V::BLOCKS).step_by(SLICE) {
            // SAFETY: the token proves the instructions; `at` checks the bounds.
            unsafe {
                let delta = V::splat(delta);
                let mut states = [first_key::<V>(key, index); SLICE];
                for (i, state) in states.iter_mut().enumerate() {
                    *state = state.xor(lanes(start + i));
                }
                let labels = rounds::<V, SLICE>(states, key);
                for (i, label) in labels.iter().enumerate() {
                    let bits = u32::from(bits) >> ((start + i) * V::BLOCKS);
                    label.xor(delta.select(bits)).store(at_mut::<V>(row, start + i));
                }
            }
        }
    }

    #[inline(always)]
    fn garble_term(
        self,
        key: &RoundKeys,
        step: u64,
        delta: u128,
        a: &Row,
        b: Option<&Row>,
        out: &mut TermHashes,
    ) {
        for i in 0..LANES / V::BLOCKS {
            // SAFETY: the token proves the instructions; `at` and slices check the bounds.
            unsafe {
                let delta = V::splat(delta);
                let sigma_delta = delta.sigma();
                let whiten = lanes::<V>(i).xor(first_key(key, step));
                let y = zero_permute(a, delta, i, &mut out.a).sigma();
                match b {
                    None => {
                        let y = [y, y.xor(sigma_delta)];
                        let h = rounds::<V, 2>([y[0].xor(whiten), y[1].xor(whiten)], key);
                        for row in 0..2 {
                            store_hash(h[row].xor(y[row]), i, &mut out.low[row], &mut out.high[row]);
                        }
                    }
                    Some(b) => {
                        let y = y.xor(zero_permute(b, delta, i, &mut out.b));
                        let y = [y, y.xor(delta), y.xor(sigma_delta), y.xor(sigma_delta).xor(delta)];
                        let mut states = y;
                        for state in &mut states {
                            *state = state.xor(whiten);
                        }
                        let h = rounds::<V, 4>(states, key);
                        for row in 0..4 {
                            store_hash(h[row].xor(y[row]), i, &mut out.low[row], &mut out.high[row]);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn evaluate_term(self, key: &RoundKeys, step: u64, a: &Row, b: Option<&Row>, out: &mut TermHashes) {
        const SLICE: usize = 4;
        for start in (0..LANES / V::BLOCKS).step_by(SLICE) {
            // SAFETY: the token proves the instructions; `at` and slices check the bounds.
            unsafe {
                let zero = V::splat(0);
                let (mut y, mut states) = ([zero; SLICE], [zero; SLICE]);
                for i in 0..SLICE {
                    y[i] = zero_permute(a, zero, start + i, &mut out.a).sigma();
                    if let Some(b) = b {
                        y[i] = y[i].xor(zero_permute(b, zero, start + i, &mut out.b));
                    }
                    states[i] = y[i].xor(lanes(start + i)).xor(first_key(key, step));
                }
                let h = rounds::<V, SLICE>(states, key);
                for i in 0..SLICE {
                    store_hash(h[i].xor(y[i]), start + i, &mut out.low[0], &mut out.high[0]);
                }
            }
        }
    }
}

/// The halves of the hashes at vector `i`.
#[inline(always)]
unsafe fn store_hash<V: Vector>(hash: V, i: usize, low: &mut Lanes, high: &mut Lanes) {
    let range = i * V::BLOCKS..(i + 1) * V::BLOCKS;
    // SAFETY: the caller has the instructions; slices check the bounds.
    unsafe { hash.store_halves(low[range.clone()].as_mut_ptr(), high[range].as_mut_ptr()) }
}

/// Entry points: the whole walk through a program, compiled with the instructions.
macro_rules! entries {
    ($vector:ty, $features:literal, $garble:ident, $evaluate:ident) => {
        #[target_feature(enable = $features)]
        fn $garble(kernel: Simd<$vector>, job: &Job<'_>, delta: u128, io: GarblerGroup<'_>) {
            group::garble(kernel, job, delta, io);
        }
        #[target_feature(enable = $features)]
        fn $evaluate(kernel: Simd<$vector>, job: &Job<'_>, io: EvaluatorGroup<'_>) -> bool {
            group::evaluate(kernel, job, io)
        }
        impl Simd<$vector> {
            pub(crate) fn garble_group(self, job: &Job<'_>, delta: u128, io: GarblerGroup<'_>) {
                // SAFETY: the token proves the instructions.
                unsafe { $garble(self, job, delta, io) }
            }
            pub(crate) fn evaluate_group(self, job: &Job<'_>, io: EvaluatorGroup<'_>) -> bool {
                // SAFETY: the token proves the instructions.
                unsafe { $evaluate(self, job, io) }
            }
        }
    };
}

entries!(__m128i, "aes,avx2", garble_aes, evaluate_aes);
entries!(__m512i, "aes,vaes,avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2", garble_vaes, evaluate_vaes);

#[cfg(test)]
mod tests {
    use super::*;

    fn last_round_key<V: Vector>(name: &str) {
        let Some(kernel) = Simd::<V>::detect() else {
            println!("skipped: this machine has no {name}");
            return;
        };
        // FIPS 197, appendix A.1, and other keys around it.
        let key = u128::from_be_bytes(0x2b7e1516_28aed2a6_abf71588_09cf4f3c_u128.to_le_bytes());
        let mut out = Vec::new();
        kernel.expand(&[!key, key, 0, 1, key], &mut out);
        let expected = 0xd014f9a8_c9ee2589_e13f0cc8_b6630ca6_u128.swap_bytes();
        assert!(out.len() == 5 && out[1].0[10] == expected && out[4].0[10] == expected, "{name}");
    }

    #[test]
    fn keys_expand_as_the_standard_says() {
        last_round_key::<__m128i>("AES-NI");
        last_round_key::<__m512i>("VAES");
    }
}

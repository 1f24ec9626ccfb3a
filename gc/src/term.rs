//! Garbled summands: a wire, or the AND of two, times a public weight, as additive shares.
//!
//! Functionality: garbler μ, evaluator weight·(a ∧ b) + μ modulo m, with μ pseudo-random.
//!
//! A projection gate (Ball, Malkin, Rosulek, CCS 2016, section 3, ePrint 2016/969) whose output is not a label but a
//! residue: row (i, j) of the table belongs to the labels of `a` and `b` with permute bits i and j and hides
//! weight·(a ∧ b) + μ under their hash. Row (0, 0) is not sent; μ is chosen so that it is zero (Naor, Pinkas, Sumner,
//! EC 1999). Compared with boolean gates that subtract a mask bit by bit, and an AND before, a row costs ⌈log2 m⌉ bits
//! instead of a label.
//!
//! Hash: π(y) ⊕ y with y = σ(a) ⊕ b ⊕ tweak (σ(a) ⊕ tweak for one wire). Rows differ by σ(Δ), Δ and σ(Δ) ⊕ Δ, all
//! unknown to the evaluator and non-zero since σ is an orthomorphism. 128 hash bits are scaled to a residue of at
//! most 40 bits: distance from uniform below 2^-88.
//!
//! Constant time.

use crate::kernel::{Kernel, LANES, Row, sigma, tweak};
use crate::program::{Ring, TermOp};

/// One number per lane.
pub(crate) type Lanes = [u64; LANES];

/// Where in the sequence of hashes an operation stands.
pub(crate) struct Step<'a, K: Kernel> {
    pub(crate) kernel: K,
    pub(crate) key: &'a K::Key,
    /// The first of the operation's two tweaks.
    pub(crate) step: u64,
}

/// Garbles one term: adds μ to `sum` and fills `table`.
#[inline(always)]
pub(crate) fn garble<K: Kernel>(
    at: Step<'_, K>,
    delta: u128,
    rows: &[Row],
    term: &TermOp,
    sum: &mut Lanes,
    table: &mut [u8],
) {
    let a = &rows[term.wire as usize].0;
    let b = term.gate.map(|gate| &rows[gate as usize].0);
    let mut h = [Row::ZERO; 4];
    for lane in 0..LANES {
        let zero = |label: u128| label ^ (label & 1).wrapping_neg() & delta; // the label with permute bit 0
        let y = sigma(zero(a[lane])) ^ b.map_or(0, |b| zero(b[lane])) ^ tweak(lane, at.step);
        h[0].0[lane] = y;
        h[1].0[lane] = y ^ if b.is_some() { delta } else { sigma(delta) };
        h[2].0[lane] = y ^ sigma(delta);
        h[3].0[lane] = y ^ sigma(delta) ^ delta;
    }
    let (ring, weight) = (term.ring, term.weight);
    let negated = term.negated.map(u64::from);
    // The bit that a permute bit stands for.
    let bit_a = |lane: usize, permute: u64| permute ^ (a[lane] as u64 & 1) ^ negated[0];
    let mut value = [[0; LANES]; 4];
    match b {
        Some(b) => {
            at.kernel.hash(at.key, &mut h);
            let bit_b = |lane: usize, permute: u64| permute ^ (b[lane] as u64 & 1) ^ negated[1];
            for (row, value) in value.iter_mut().enumerate() {
                let (i, j) = (row as u64 >> 1, row as u64 & 1);
                *value =
                    core::array::from_fn(|lane| (bit_a(lane, i) & bit_b(lane, j)).wrapping_neg() & weight);
            }
        }
        None => {
            let mut pair = [h[0], h[1]];
            at.kernel.hash(at.key, &mut pair);
            [h[0], h[1]] = pair;
            for (row, value) in value.iter_mut().enumerate().take(2) {
                *value = core::array::from_fn(|lane| bit_a(lane, row as u64).wrapping_neg() & weight);
            }
        }
    }
    let mut mu = [0; LANES];
    for lane in 0..LANES {
        mu[lane] = ring.sub(ring.scale(h[0].0[lane]), value[0][lane]);
        sum[lane] = ring.add_shifted(sum[lane], mu[lane]);
    }
    for (row, bytes) in table.chunks_exact_mut(LANES * ring.bytes).enumerate().take(term.rows()) {
        let hidden = |lane: usize| {
            let plain = ring.add(value[row + 1][lane], mu[lane]);
            ring.sub(plain, ring.scale(h[row + 1].0[lane]))
        };
        put(&core::array::from_fn(hidden), ring.bytes, bytes);
    }
}

/// Evaluates one term: adds the evaluator's share to `sum`. False if a row of the peer's is not reduced.
#[inline(always)]
pub(crate) fn evaluate<K: Kernel>(
    at: Step<'_, K>,
    rows: &[Row],
    term: &TermOp,
    sum: &mut Lanes,
    table: &[u8],
) -> bool {
    let a = &rows[term.wire as usize].0;
    let b = term.gate.map(|gate| &rows[gate as usize].0);
    let y = |lane| sigma(a[lane]) ^ b.map_or(0, |b| b[lane]) ^ tweak(lane, at.step);
    let mut h = [Row(core::array::from_fn(y))];
    at.kernel.hash(at.key, &mut h);
    let ring = term.ring;
    let mut hidden = [[0; LANES]; 3];
    let mut reduced = true;
    for (row, bytes) in table.chunks_exact(LANES * ring.bytes).enumerate().take(term.rows()) {
        hidden[row] = get(ring.bytes, bytes);
        reduced &= hidden[row].iter().all(|&value| value < ring.modulus);
    }
    for lane in 0..LANES {
        let row = match b {
            Some(b) => (a[lane] & 1) << 1 | b[lane] & 1,
            None => a[lane] & 1,
        };
        let pick = |r: u128| (u64::from(row == r)).wrapping_neg() & hidden[r as usize - 1][lane];
        let share = ring.add(pick(1) | pick(2) | pick(3), ring.scale(h[0].0[lane]));
        sum[lane] = ring.add_shifted(sum[lane], share);
    }
    reduced
}

impl Ring {
    /// The hash as a residue.
    #[inline(always)]
    fn scale(self, hash: u128) -> u64 {
        if self.modulus.is_power_of_two() {
            return hash as u64 & (self.modulus - 1);
        }
        let m = u128::from(self.modulus);
        (((hash >> 64) * m + ((u128::from(hash as u64) * m) >> 64)) >> 64) as u64
    }

    #[inline(always)]
    pub(crate) fn add(self, a: u64, b: u64) -> u64 {
        let sum = a + b;
        sum.min(sum.wrapping_sub(self.modulus))
    }

    #[inline(always)]
    pub(crate) fn sub(self, a: u64, b: u64) -> u64 {
        let difference = a.wrapping_sub(b);
        difference.min(difference.wrapping_add(self.modulus))
    }

    /// sum + value·2^shift modulo the modulus of the whole output.
    #[inline(always)]
    fn add_shifted(self, sum: u64, value: u64) -> u64 {
        let total = sum + (value << self.shift);
        total.min(total.wrapping_sub(self.modulus << self.shift))
    }
}

/// Writes the low `bytes` bytes of every lane.
#[inline(always)]
pub(crate) fn put(values: &Lanes, bytes: usize, out: &mut [u8]) {
    match bytes {
        1 => put_exact::<1>(values, out),
        2 => put_exact::<2>(values, out),
        3 => put_exact::<3>(values, out),
        4 => put_exact::<4>(values, out),
        _ => put_exact::<5>(values, out),
    }
}

#[inline(always)]
fn put_exact<const BYTES: usize>(values: &Lanes, out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        out.copy_from_slice(&value.to_le_bytes()[..BYTES]);
    }
}

/// Reads what [`put`] wrote.
#[inline(always)]
pub(crate) fn get(bytes: usize, from: &[u8]) -> Lanes {
    match bytes {
        1 => get_exact::<1>(from),
        2 => get_exact::<2>(from),
        3 => get_exact::<3>(from),
        4 => get_exact::<4>(from),
        _ => get_exact::<5>(from),
    }
}

#[inline(always)]
fn get_exact<const BYTES: usize>(from: &[u8]) -> Lanes {
    let from = &from.as_chunks::<BYTES>().0[..LANES];
    core::array::from_fn(|lane| {
        let mut value = [0; 8];
        value[..BYTES].copy_from_slice(&from[lane]);
        u64::from_le_bytes(value)
    })
}

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
//! Hash: π(y ⊕ tweak) ⊕ y with y = σ(a) ⊕ b, or σ(a) for one wire. Rows differ by σ(Δ), Δ and σ(Δ) ⊕ Δ, all
//! unknown to the evaluator and non-zero since σ is an orthomorphism. 128 hash bits are scaled to a residue of at
//! most 40 bits: distance from uniform below 2^-88.
//!
//! Constant time.

use crate::kernel::{Kernel, LANES, Lanes, Row, TermHashes};
use crate::program::{Ring, TermOp};

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
    h: &mut TermHashes,
    sum: &mut Lanes,
    table: &mut [u8],
) {
    let (a, b) = (&rows[term.wire as usize], term.gate.map(|gate| &rows[gate as usize]));
    at.kernel.garble_term(at.key, at.step, delta, a, b, h);
    let ring = term.ring;
    let (hash, value) = (ring.scale(h, 0), plaintext(term, h, 0));
    let mut mu = [0; LANES];
    for lane in 0..LANES {
        mu[lane] = ring.sub(hash[lane], value[lane]);
        sum[lane] = ring.add_shifted(sum[lane], mu[lane]);
    }
    for (row, bytes) in table.chunks_exact_mut(LANES * ring.bytes).enumerate() {
        let (hash, value) = (ring.scale(h, row + 1), plaintext(term, h, row as u64 + 1));
        let mut hidden = [0; LANES];
        for lane in 0..LANES {
            hidden[lane] = ring.sub(ring.add(value[lane], mu[lane]), hash[lane]);
        }
        put(&hidden, bytes);
    }
}

/// weight · (a ∧ b) where the labels' permute bits are those of row `row`.
#[inline(always)]
fn plaintext(term: &TermOp, h: &TermHashes, row: u64) -> Lanes {
    let one = term.gate.is_none();
    let (i, j) = if one { (row, 0) } else { (row >> 1, row & 1) };
    // A zero label's own permute bit is that of the value 0.
    let (i, j) = (i ^ u64::from(term.negated[0]), j ^ u64::from(term.negated[1]));
    let mut value = [0; LANES];
    for ((value, a), b) in value.iter_mut().zip(&h.a).zip(&h.b) {
        let b = if one { 1 } else { b ^ j };
        *value = ((a ^ i) & b & 1).wrapping_neg() & term.weight;
    }
    value
}

/// Evaluates one term: adds the evaluator's share to `sum`. False if a row of the peer's is not reduced.
#[inline(always)]
pub(crate) fn evaluate<K: Kernel>(
    at: Step<'_, K>,
    rows: &[Row],
    term: &TermOp,
    h: &mut TermHashes,
    sum: &mut Lanes,
    table: &[u8],
) -> bool {
    let (a, b) = (&rows[term.wire as usize], term.gate.map(|gate| &rows[gate as usize]));
    at.kernel.evaluate_term(at.key, at.step, a, b, h);
    let ring = term.ring;
    let mut share = ring.scale(h, 0);
    let mut permute = [0; LANES];
    for ((permute, a), second) in permute.iter_mut().zip(&h.a).zip(&h.b) {
        *permute = if b.is_some() { (a & 1) << 1 | second & 1 } else { a & 1 };
    }
    let mut largest = 0;
    for (row, bytes) in table.chunks_exact(LANES * ring.bytes).enumerate() {
        let hidden = get(bytes);
        for lane in 0..LANES {
            largest = largest.max(hidden[lane]);
            let pick = u64::from(permute[lane] == row as u64 + 1).wrapping_neg() & hidden[lane];
            share[lane] = ring.add(share[lane], pick);
        }
    }
    for lane in 0..LANES {
        sum[lane] = ring.add_shifted(sum[lane], share[lane]);
    }
    largest < ring.modulus
}

impl Ring {
    /// Hashes as residues: each as a fraction of 2^128, times the modulus.
    #[inline(always)]
    fn scale(self, h: &TermHashes, row: usize) -> Lanes {
        let (m, low, high) = (self.modulus, &h.low[row], &h.high[row]);
        let mut residues = [0; LANES];
        for lane in 0..LANES {
            residues[lane] = if m.is_power_of_two() {
                low[lane] & (m - 1)
            } else if m >> 32 == 0 {
                // Four limbs of 32 bits; vectors have such products.
                let carry = ((low[lane] & 0xffff_ffff) * m) >> 32;
                let carry = ((low[lane] >> 32) * m + carry) >> 32;
                let carry = ((high[lane] & 0xffff_ffff) * m + carry) >> 32;
                ((high[lane] >> 32) * m + carry) >> 32
            } else {
                let (low, high, m) = (u128::from(low[lane]), u128::from(high[lane]), u128::from(m));
                ((high * m + ((low * m) >> 64)) >> 64) as u64
            };
        }
        residues
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

/// Writes the low bytes of all lanes, then the next bytes, as many as `out` takes.
#[inline(always)]
pub(crate) fn put(values: &Lanes, out: &mut [u8]) {
    for (position, plane) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        for lane in 0..LANES {
            plane[lane] = (values[lane] >> (8 * position)) as u8;
        }
    }
}

/// Reads what [`put`] wrote.
#[inline(always)]
pub(crate) fn get(from: &[u8]) -> Lanes {
    let mut values = [0; LANES];
    for (position, plane) in from.as_chunks::<LANES>().0.iter().enumerate() {
        for lane in 0..LANES {
            values[lane] |= u64::from(plane[lane]) << (8 * position);
        }
    }
    values
}

//! The kernel for any machine: AES by the `aes` crate, which picks the best instructions it finds.

use super::{AND_BYTES, Kernel, LANES, Row, TermHashes, sigma, tweak};
use crate::group::LaneBits;
use crate::program::And;
use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// The portable kernel.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Kernel for Portable {
    type Key = Aes128Enc;

    fn expand(self, keys: &[u128], out: &mut Vec<Aes128Enc>) {
        out.clear();
        out.extend(keys.iter().map(|key| Aes128Enc::new(&Array(key.to_le_bytes()))));
    }

    #[inline(always)]
    fn xor(self, rows: &mut [Row], to: u32, from: &[u32; 4]) {
        let [a, b, c, d] = from.map(|register| &rows[register as usize].0);
        let sum = core::array::from_fn(|lane| a[lane] ^ b[lane] ^ c[lane] ^ d[lane]);
        rows[to as usize].0 = sum;
    }

    #[inline(always)]
    fn garble(
        self,
        key: &Aes128Enc,
        step: u64,
        delta: u128,
        rows: &mut [Row],
        and: &And,
        table: &mut [u8; AND_BYTES],
    ) {
        let [a, b] = operands(rows, and, delta);
        let sigma_delta = sigma(delta);
        let mut y = [Row::ZERO; 4];
        for lane in 0..LANES {
            let (a, b) = (sigma(a.0[lane]), sigma(b.0[lane]));
            [y[0].0[lane], y[1].0[lane]] = [a, a ^ sigma_delta];
            [y[2].0[lane], y[3].0[lane]] = [b, b ^ sigma_delta];
        }
        let h = hash(key, &y, [step, step, step + 1, step + 1]);
        let (to_garbler, to_evaluator) = table.split_at_mut(size_of::<Row>());
        let tables = to_garbler.as_chunks_mut::<16>().0.iter_mut().zip(to_evaluator.as_chunks_mut::<16>().0);
        for (lane, (tg, te)) in tables.enumerate() {
            let (a, b) = (a.0[lane], b.0[lane]);
            let g = h[0].0[lane] ^ h[1].0[lane] ^ (b & 1).wrapping_neg() & delta;
            let e = h[2].0[lane] ^ h[3].0[lane] ^ a;
            let wg = h[0].0[lane] ^ (a & 1).wrapping_neg() & g;
            let we = h[2].0[lane] ^ (b & 1).wrapping_neg() & (e ^ a);
            rows[and.to as usize].0[lane] = wg ^ we ^ rows[and.plus as usize].0[lane];
            *tg = g.to_le_bytes();
            *te = e.to_le_bytes();
        }
    }

    #[inline(always)]
    fn evaluate(self, key: &Aes128Enc, step: u64, rows: &mut [Row], and: &And, table: &[u8; AND_BYTES]) {
        let [a, b] = operands(rows, and, 0);
        let y = [&a, &b].map(|row| Row(core::array::from_fn(|lane| sigma(row.0[lane]))));
        let h = hash(key, &y, [step, step + 1]);
        let (from_garbler, from_evaluator) = table.split_at(size_of::<Row>());
        let tables = from_garbler.as_chunks::<16>().0.iter().zip(from_evaluator.as_chunks::<16>().0);
        for (lane, (g, e)) in tables.enumerate() {
            let (a, b) = (a.0[lane], b.0[lane]);
            let wg = h[0].0[lane] ^ (a & 1).wrapping_neg() & u128::from_le_bytes(*g);
            let we = h[1].0[lane] ^ (b & 1).wrapping_neg() & (u128::from_le_bytes(*e) ^ a);
            rows[and.to as usize].0[lane] = wg ^ we ^ rows[and.plus as usize].0[lane];
        }
    }

    fn input(self, key: &Aes128Enc, index: u64, bits: LaneBits, delta: u128, row: &mut Row) {
        let [labels] = encrypt(key, [Row(core::array::from_fn(|lane| u128::from(index) ^ tweak(lane, 0)))]);
        let flip = |lane: usize| u128::from(bits >> lane & 1).wrapping_neg() & delta;
        *row = Row(core::array::from_fn(|lane| labels.0[lane] ^ flip(lane)));
    }

    fn garble_term(
        self,
        key: &Aes128Enc,
        step: u64,
        delta: u128,
        a: &Row,
        b: Option<&Row>,
        out: &mut TermHashes,
    ) {
        let zero = |label: u128| label ^ (label & 1).wrapping_neg() & delta;
        let (sigma_delta, second) = (sigma(delta), if b.is_some() { delta } else { sigma(delta) });
        let mut y = [Row::ZERO; 4];
        for lane in 0..LANES {
            let first = sigma(zero(a.0[lane])) ^ b.map_or(0, |b| zero(b.0[lane]));
            let rows = [first, first ^ second, first ^ sigma_delta, first ^ sigma_delta ^ delta];
            y.iter_mut().zip(rows).for_each(|(row, y)| row.0[lane] = y);
        }
        store(&hash(key, &y, [step; 4]), a, b, out);
    }

    fn evaluate_term(self, key: &Aes128Enc, step: u64, a: &Row, b: Option<&Row>, out: &mut TermHashes) {
        let y = |lane: usize| sigma(a.0[lane]) ^ b.map_or(0, |b| b.0[lane]);
        store(&hash(key, &[Row(core::array::from_fn(y))], [step]), a, b, out);
    }
}

fn store(hashes: &[Row], a: &Row, b: Option<&Row>, out: &mut TermHashes) {
    for (row, hashes) in hashes.iter().enumerate() {
        out.low[row] = hashes.0.map(|hash| hash as u64);
        out.high[row] = hashes.0.map(|hash| (hash >> 64) as u64);
    }
    out.a = a.0.map(|label| label as u64);
    out.b = b.map_or(out.b, |b| b.0.map(|label| label as u64));
}

/// π(y ⊕ tweak) ⊕ y, each row with its step.
fn hash<const N: usize>(key: &Aes128Enc, y: &[Row; N], steps: [u64; N]) -> [Row; N] {
    let mut tweaked = *y;
    for (row, step) in tweaked.iter_mut().zip(steps) {
        row.0.iter_mut().enumerate().for_each(|(lane, y)| *y ^= tweak(lane, step));
    }
    let mut h = encrypt(key, tweaked);
    for (h, y) in h.iter_mut().zip(y) {
        h.0.iter_mut().zip(&y.0).for_each(|(h, y)| *h ^= y);
    }
    h
}

/// π.
fn encrypt<const N: usize>(key: &Aes128Enc, mut rows: [Row; N]) -> [Row; N] {
    key.encrypt_blocks(Array::cast_slice_from_core_mut(bytemuck::cast_slice_mut(&mut rows)));
    rows
}

/// The two inputs of an AND; a negated wire's zero label is the other label of the wire.
#[inline(always)]
fn operands(rows: &[Row], and: &And, delta: u128) -> [Row; 2] {
    let [left, right] = [and.left, and.right].map(|pair| pair.map(|register| &rows[register as usize].0));
    let flip = and.negated.map(|negated| if negated { delta } else { 0 });
    let sum = |[x, y]: [&[u128; LANES]; 2], flip| Row(core::array::from_fn(|lane| x[lane] ^ y[lane] ^ flip));
    [sum(left, flip[0]), sum(right, flip[1])]
}

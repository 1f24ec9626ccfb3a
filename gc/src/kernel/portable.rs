//! The kernel for any machine: AES by the `aes` crate, which picks the best instructions it finds.

use super::{AND_BYTES, Kernel, LANES, Row, sigma, tweak};
use crate::program::And;
use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// The portable kernel.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Kernel for Portable {
    type Key = Aes128Enc;

    fn key(self, key: u128) -> Aes128Enc {
        Aes128Enc::new(&Array(key.to_le_bytes()))
    }

    #[inline(always)]
    fn hash<const N: usize>(self, key: &Aes128Enc, rows: &mut [Row; N]) {
        let input = *rows;
        key.encrypt_blocks(Array::cast_slice_from_core_mut(bytemuck::cast_slice_mut(rows)));
        for (row, input) in rows.iter_mut().zip(&input) {
            row.0.iter_mut().zip(&input.0).for_each(|(y, x)| *y ^= x);
        }
    }

    #[inline(always)]
    fn xor(self, rows: &mut [Row], to: u32, from: &[u32; 4]) {
        let [a, b, c, d] = from.map(|register| &rows[register as usize].0);
        let sum = core::array::from_fn(|lane| a[lane] ^ b[lane] ^ c[lane] ^ d[lane]);
        rows[to as usize].0 = sum;
    }

    #[inline(always)]
    fn garble(self, key: &Aes128Enc, step: u64, delta: u128, rows: &mut [Row], and: &And, table: &mut [u8]) {
        let [a, b] = operands(rows, and, delta);
        let mut h = [Row::ZERO; 4];
        let sigma_delta = sigma(delta);
        for lane in 0..LANES {
            h[0].0[lane] = sigma(a.0[lane]) ^ tweak(lane, step);
            h[1].0[lane] = h[0].0[lane] ^ sigma_delta;
            h[2].0[lane] = sigma(b.0[lane]) ^ tweak(lane, step + 1);
            h[3].0[lane] = h[2].0[lane] ^ sigma_delta;
        }
        self.hash(key, &mut h);
        let (to_garbler, to_evaluator) = table[..AND_BYTES].split_at_mut(size_of::<Row>());
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
    fn evaluate(self, key: &Aes128Enc, step: u64, rows: &mut [Row], and: &And, table: &[u8]) {
        let [a, b] = operands(rows, and, 0);
        let mut h = [Row::ZERO; 2];
        for lane in 0..LANES {
            h[0].0[lane] = sigma(a.0[lane]) ^ tweak(lane, step);
            h[1].0[lane] = sigma(b.0[lane]) ^ tweak(lane, step + 1);
        }
        self.hash(key, &mut h);
        let (from_garbler, from_evaluator) = table[..AND_BYTES].split_at(size_of::<Row>());
        let tables = from_garbler.as_chunks::<16>().0.iter().zip(from_evaluator.as_chunks::<16>().0);
        for (lane, (g, e)) in tables.enumerate() {
            let (a, b) = (a.0[lane], b.0[lane]);
            let wg = h[0].0[lane] ^ (a & 1).wrapping_neg() & u128::from_le_bytes(*g);
            let we = h[1].0[lane] ^ (b & 1).wrapping_neg() & (u128::from_le_bytes(*e) ^ a);
            rows[and.to as usize].0[lane] = wg ^ we ^ rows[and.plus as usize].0[lane];
        }
    }
}

/// The two inputs of an AND; a negated wire's zero label is the other label of the wire.
#[inline(always)]
fn operands(rows: &[Row], and: &And, delta: u128) -> [Row; 2] {
    let [left, right] = [and.left, and.right].map(|pair| pair.map(|register| &rows[register as usize].0));
    let flip = and.negated.map(|negated| if negated { delta } else { 0 });
    let sum = |[x, y]: [&[u128; LANES]; 2], flip| Row(core::array::from_fn(|lane| x[lane] ^ y[lane] ^ flip));
    [sum(left, flip[0]), sum(right, flip[1])]
}

//! Bit slices: plane j holds bit j of all values, packed, 64 values per word.
//!
//! A comparison then works on 64 values with every instruction, and more where the compiler has wider registers.

use ot::bits;
use zeroize::Zeroize;

/// Planes of equal length, one after the other. Wiped when dropped.
pub(crate) struct Planes {
    words: usize,
    bits: Vec<u64>,
}

impl Drop for Planes {
    fn drop(&mut self) {
        self.bits.zeroize();
    }
}

impl Planes {
    /// The low `count` bits of these values.
    pub(crate) fn slice(values: &[u64], count: usize) -> Self {
        let words = bits::words(values.len());
        let mut planes = Self { words, bits: vec![0; count * words] };
        let mut block = [0; 64];
        for (word, values) in values.chunks(64).enumerate() {
            block[..values.len()].copy_from_slice(values);
            block[values.len()..].fill(0);
            transpose(&mut block);
            for (j, &row) in block[..count].iter().enumerate() {
                planes.bits[j * words + word] = row;
            }
        }
        block.zeroize();
        planes
    }

    /// Plane j.
    pub(crate) fn plane(&self, j: usize) -> &[u64] {
        &self.bits[j * self.words..(j + 1) * self.words]
    }
}

/// Transposes a 64×64 matrix of bits, row i being word i: swaps ever smaller quadrants (Hacker's Delight, 7-3).
fn transpose(rows: &mut [u64; 64]) {
    let (mut width, mut mask) = (32, u64::MAX >> 32);
    while width > 0 {
        for pair in rows.chunks_exact_mut(2 * width) {
            let (low, high) = pair.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                let swap = (*low >> width ^ *high) & mask;
                *high ^= swap;
                *low ^= swap << width;
            }
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};

    #[test]
    fn planes_hold_the_bits() {
        let mut values = vec![0; 150];
        Prg::new(&Seed::from_bytes([3; 16])).fill_u64(&mut values);
        for count in [1, 17, 64] {
            let planes = Planes::slice(&values, count);
            for (i, value) in values.iter().enumerate() {
                assert!((0..count).all(|j| bits::get(planes.plane(j), i) == (value >> j & 1 == 1)));
            }
        }
    }
}

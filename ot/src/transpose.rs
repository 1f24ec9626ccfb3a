//! Transposition of bit matrices: 128 columns in, one 128-bit block per row out.
//!
//! Eklundh's recursion (IEEE Trans. Computers C-21, 1972): at step `s` = 64, 32 … 1 the off-diagonal `s`×`s`
//! bits of every 2`s`×2`s` square change places. A tile is 128 columns of 512 rows, that is four 128×128
//! squares side by side, so that every step works on whole 512-bit lines. The same safe code is compiled for
//! several instruction sets, and the widest one that the machine has is taken at run time.

use crate::{Block, KAPPA};

/// Rows of a tile.
pub(crate) const TILE_ROWS: usize = 512;

/// One tile: a 512-bit piece of each of the 128 columns.
type Tile = [[u64; 8]; KAPPA];

/// A kernel, and the instruction set that it is compiled for.
type Kernel = (&'static str, fn(&mut Tile));

/// A matrix of 128 columns with room for a fixed number of rows.
///
/// Columns lie one after the other, with a gap of 64 bytes: a power-of-two distance would map all of them to
/// the same few cache sets.
pub(crate) struct BitMatrix {
    words: Vec<u64>,
    stride: usize,
}

impl BitMatrix {
    /// Room for `rows` rows, a multiple of [`TILE_ROWS`].
    pub(crate) fn new(rows: usize) -> Self {
        assert!(rows.is_multiple_of(TILE_ROWS), "whole tiles");
        let stride = rows / 64 + 8;
        Self { words: vec![0; KAPPA * stride], stride }
    }

    /// The first `rows` bits, a multiple of 64, of column `j`.
    pub(crate) fn column_mut(&mut self, j: usize, rows: usize) -> &mut [u64] {
        &mut self.words[j * self.stride..][..rows / 64]
    }

    /// Row `i` into `out[i]`, for as many rows as `out` has.
    pub(crate) fn rows_into(&self, out: &mut [Block]) {
        let transpose = kernel();
        let mut tile = [[0; 8]; KAPPA];
        for (t, out) in out.chunks_mut(TILE_ROWS).enumerate() {
            for (line, column) in tile.iter_mut().zip(self.words.chunks_exact(self.stride)) {
                line.copy_from_slice(&column[8 * t..8 * t + 8]);
            }
            transpose(&mut tile);
            for (square, out) in out.chunks_mut(KAPPA).enumerate() {
                for (line, out) in tile.iter().zip(out) {
                    *out = Block::from(line[2 * square]) | Block::from(line[2 * square + 1]) << 64;
                }
            }
        }
    }
}

impl Drop for BitMatrix {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.words);
    }
}

/// The fastest kernel of this machine.
fn kernel() -> fn(&mut Tile) {
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = x86::kernels().last() {
        return kernel.1;
    }
    portable
}

fn portable(tile: &mut Tile) {
    transpose(tile);
}

/// The recursion, from the widest step to the narrowest.
#[inline(always)]
fn transpose(tile: &mut Tile) {
    let (low, high) = tile.split_at_mut(KAPPA / 2);
    for (a, b) in low.iter_mut().zip(high) {
        for square in 0..4 {
            std::mem::swap(&mut a[2 * square + 1], &mut b[2 * square]);
        }
    }
    step::<32>(tile, 0x0000_0000_ffff_ffff);
    step::<16>(tile, 0x0000_ffff_0000_ffff);
    step::<8>(tile, 0x00ff_00ff_00ff_00ff);
    step::<4>(tile, 0x0f0f_0f0f_0f0f_0f0f);
    step::<2>(tile, 0x3333_3333_3333_3333);
    step::<1>(tile, 0x5555_5555_5555_5555);
}

/// Lines `r` and `r + S` exchange the high bits of the one with the low bits of the other.
#[inline(always)]
fn step<const S: usize>(tile: &mut Tile, mask: u64) {
    for group in tile.chunks_exact_mut(2 * S) {
        let (low, high) = group.split_at_mut(S);
        for (a, b) in low.iter_mut().zip(high) {
            for (a, b) in a.iter_mut().zip(b) {
                let moved = ((*a >> S) ^ *b) & mask;
                *b ^= moved;
                *a ^= moved << S;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls into functions compiled for a detected instruction set")]
mod x86 {
    use super::{Kernel, Tile};

    /// The kernels that this machine can run, slowest first.
    pub(super) fn kernels() -> Vec<Kernel> {
        let mut kernels: Vec<Kernel> = Vec::new();
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the instruction set was just detected.
            kernels.push(("avx2", |tile| unsafe { avx2(tile) }));
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the instruction set was just detected.
            kernels.push(("avx512f", |tile| unsafe { avx512(tile) }));
        }
        kernels
    }

    #[target_feature(enable = "avx2")]
    fn avx2(tile: &mut Tile) {
        super::transpose(tile);
    }

    #[target_feature(enable = "avx512f")]
    fn avx512(tile: &mut Tile) {
        super::transpose(tile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};

    fn random_tile(seed: u8) -> Tile {
        let mut tile = [[0; 8]; KAPPA];
        Prg::new(&Seed::from_bytes([seed; 16])).fill_u64(tile.as_flattened_mut());
        tile
    }

    fn schoolbook(tile: &Tile) -> Tile {
        let bit = |line: &[u64], i: usize| line[i / 64] >> (i % 64) & 1;
        let mut out = [[0; 8]; KAPPA];
        for square in 0..4 {
            for (r, row) in out.iter_mut().enumerate() {
                for (c, line) in tile.iter().enumerate() {
                    row[2 * square + c / 64] |= bit(&line[2 * square..], r) << (c % 64);
                }
            }
        }
        out
    }

    #[test]
    fn every_kernel_transposes() {
        let mut kernels: Vec<Kernel> = vec![("portable", portable)];
        #[cfg(target_arch = "x86_64")]
        kernels.extend(x86::kernels());
        for name in ["avx2", "avx512f"] {
            if !kernels.iter().any(|kernel| kernel.0 == name) {
                println!("skipped: this machine has no {name}");
            }
        }
        for (name, kernel) in kernels {
            for seed in 0..3 {
                let mut tile = random_tile(seed);
                kernel(&mut tile);
                assert!(tile == schoolbook(&random_tile(seed)), "{name}");
            }
        }
    }

    #[test]
    fn a_matrix_of_any_height_gives_its_rows() {
        let mut matrix = BitMatrix::new(1024);
        let mut prg = Prg::new(&Seed::from_bytes([7; 16]));
        (0..KAPPA).for_each(|j| prg.fill_u64(matrix.column_mut(j, 1024)));
        for n in [1, 127, 512, 700, 1024] {
            let mut out = vec![0; n];
            matrix.rows_into(&mut out);
            for (i, block) in out.into_iter().enumerate() {
                for j in 0..KAPPA {
                    assert_eq!(block >> j & 1 == 1, crate::bits::get(matrix.column_mut(j, 1024), i));
                }
            }
        }
    }
}

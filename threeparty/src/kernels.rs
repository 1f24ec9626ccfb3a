//! Wrapping integer matrix products over gathered operands, blocked and vectorised.
//!
//! Functionality: C += A·B modulo 2^32 or 2^64 (and in `f32` for the float twin), where element (i, j) of each matrix is `data[rows[i] + cols[j]]`
//! ([`Gather`]). Convolutions forward and backward, dense layers and transposed convolutions are such products over
//! a zero-padded image: their im2col matrix is never stored, only one packed panel at a time.
//!
//! Blocking: columns of B in panels of [`NR`], the inner dimension in blocks of [`KC`], rows of A in tiles of
//! [`MR`]; a tile keeps MR·NR accumulators in registers. A panel of KC·NR words stays in L2.
//! The micro-tile has an AVX-512 version (vpmullq needs AVX-512DQ), chosen at run time, and a portable twin.
//! Constant time: no branch and no address depends on the data.

use crate::ring::sealed::Element;

/// Rows of a micro-tile.
pub(crate) const MR: usize = 4;
/// Columns of a micro-tile.
pub(crate) const NR: usize = 32;
/// Inner dimension of a block.
const KC: usize = 1024;

/// Accumulators of one micro-tile.
pub(crate) type Tile<T> = [[T; NR]; MR];

/// A matrix inside a slice: element (i, j) stands at `rows[i] + cols[j]`.
#[derive(Clone, Copy)]
pub(crate) struct Gather<'a, R> {
    /// The elements.
    pub(crate) data: &'a [R],
    /// Offset of each row.
    pub(crate) rows: &'a [usize],
    /// Offset of each column.
    pub(crate) cols: &'a [usize],
}

/// C += A·B, with C's element (i, j) at `rows[i] + cols[j]` of `c`.
///
/// # Panics
/// If the dimensions do not fit, or an offset lies outside its slice.
pub(crate) fn gemm<R: Element>(
    c: &mut [R],
    rows: &[usize],
    cols: &[usize],
    a: Gather<'_, R>,
    b: Gather<'_, R>,
) {
    assert!(a.rows.len() == rows.len() && b.cols.len() == cols.len(), "output and operands differ in shape");
    assert!(a.cols.len() == b.rows.len(), "the inner dimensions differ");
    let inner = KC.min(a.cols.len());
    let mut packed_a = vec![R::default(); rows.len().div_ceil(MR) * MR * inner];
    let mut packed_b = vec![R::default(); NR * inner];
    for (a_cols, b_rows) in a.cols.chunks(KC).zip(b.rows.chunks(KC)) {
        let depth = a_cols.len();
        pack_rows(&mut packed_a, Gather { cols: a_cols, ..a });
        for (b_cols, c_cols) in b.cols.chunks(NR).zip(cols.chunks(NR)) {
            pack_panel(&mut packed_b, Gather { rows: b_rows, cols: b_cols, ..b });
            for (a_tile, c_rows) in packed_a.chunks(MR * depth).zip(rows.chunks(MR)) {
                let mut acc = [[R::default(); NR]; MR];
                R::tile(a_tile, &packed_b[..NR * depth], &mut acc);
                scatter(c, c_rows, c_cols, &acc);
            }
        }
    }
}

/// Packs A as `[tile][inner][MR]`, missing rows as zeros.
fn pack_rows<R: Element>(packed: &mut [R], a: Gather<'_, R>) {
    for (tile, rows) in packed.chunks_mut(MR * a.cols.len()).zip(a.rows.chunks(MR)) {
        for (column, &col) in tile.chunks_exact_mut(MR).zip(a.cols) {
            for (i, out) in column.iter_mut().enumerate() {
                *out = rows.get(i).map_or(R::default(), |row| a.data[row + col]);
            }
        }
    }
}

/// Packs a panel of B as `[inner][NR]`, missing columns as zeros.
fn pack_panel<R: Element>(packed: &mut [R], b: Gather<'_, R>) {
    let width = b.cols.len();
    let contiguous = b.cols.windows(2).all(|pair| pair[1] == pair[0] + 1);
    for (line, &row) in packed.chunks_exact_mut(NR).zip(b.rows) {
        if contiguous {
            line[..width].copy_from_slice(&b.data[row + b.cols[0]..][..width]);
        } else {
            line.iter_mut().zip(b.cols).for_each(|(out, col)| *out = b.data[row + col]);
        }
        line[width..].fill(R::default());
    }
}

fn scatter<R: Element>(c: &mut [R], rows: &[usize], cols: &[usize], acc: &Tile<R>) {
    for (row, line) in rows.iter().zip(acc) {
        for (col, &value) in cols.iter().zip(line) {
            let out = &mut c[row + col];
            *out = out.plus(value);
        }
    }
}

/// acc += a·b for packed `a: [inner][MR]` and `b: [inner][NR]`.
fn tile_portable<R: Element>(a: &[R], b: &[R], acc: &mut Tile<R>, times: impl Fn(R, R) -> R + Copy) {
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
        for (line, &a) in acc.iter_mut().zip(a) {
            line.iter_mut().zip(b).for_each(|(out, &b)| *out = out.plus(times(a, b)));
        }
    }
}

/// The float twin's micro-tile: the portable loop, compiled for AVX-512 where there is one.
pub(crate) fn tile_f32(a: &[f32], b: &[f32], acc: &mut Tile<f32>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was detected just now.
        unsafe { tile_avx512_f32(a, b, acc) };
        return;
    }
    tile_portable(a, b, acc, |a, b| a * b);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn tile_avx512_f32(a: &[f32], b: &[f32], acc: &mut Tile<f32>) {
    let mut sums = *acc;
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        for i in 0..MR {
            for j in 0..NR {
                sums[i][j] += a[i] * b[j];
            }
        }
    }
    *acc = sums;
}

macro_rules! tiles {
    ($dispatch:ident, $vector:ident, $word:ty, $lane:ty, $lanes:expr, $features:literal, [$($feature:tt),*],
     $splat:ident, $mul:ident, $add:ident) => {
        /// One micro-tile by the widest instructions of this machine.
        pub(crate) fn $dispatch(a: &[$word], b: &[$word], acc: &mut Tile<$word>) {
            #[cfg(target_arch = "x86_64")]
            if $(is_x86_feature_detected!($feature))&&* {
                // SAFETY: the features were detected just now.
                unsafe { $vector(a, b, acc) };
                return;
            }
            tile_portable(a, b, acc, <$word>::wrapping_mul);
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        fn $vector(a: &[$word], b: &[$word], acc: &mut Tile<$word>) {
            use core::arch::x86_64::*;
            const VECTORS: usize = NR / $lanes;
            let mut sums = [[_mm512_setzero_si512(); VECTORS]; MR];
            for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
                let load = |v: usize| {
                    // SAFETY: `b` has NR words, which are VECTORS vectors; unaligned loads are allowed.
                    unsafe { _mm512_loadu_si512(b.as_ptr().add(v * $lanes).cast()) }
                };
                let b: [__m512i; VECTORS] = core::array::from_fn(load);
                for i in 0..MR {
                    let a = $splat(a[i] as $lane);
                    for v in 0..VECTORS {
                        sums[i][v] = $add(sums[i][v], $mul(a, b[v]));
                    }
                }
            }
            for (line, sums) in acc.iter_mut().zip(sums) {
                for (out, sum) in line.as_chunks_mut::<$lanes>().0.iter_mut().zip(sums) {
                    // SAFETY: `out` has one vector's worth of words; unaligned access is allowed.
                    unsafe {
                        let old = _mm512_loadu_si512(out.as_ptr().cast());
                        _mm512_storeu_si512(out.as_mut_ptr().cast(), $add(old, sum));
                    }
                }
            }
        }
    };
}
tiles!(
    tile_u64,
    tile_avx512_u64,
    u64,
    i64,
    8,
    "avx512f,avx512dq",
    ["avx512f", "avx512dq"],
    _mm512_set1_epi64,
    _mm512_mullo_epi64,
    _mm512_add_epi64
);
tiles!(
    tile_u32,
    tile_avx512_u32,
    u32,
    i32,
    16,
    "avx512f",
    ["avx512f"],
    _mm512_set1_epi32,
    _mm512_mullo_epi32,
    _mm512_add_epi32
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Ring;
    use prg::{Prg, Seed};

    fn random<R: Ring>(prg: &mut Prg, len: usize) -> Vec<R> {
        let mut out = vec![R::default(); len];
        prg.fill(bytemuck::cast_slice_mut(&mut out));
        out
    }

    fn against_schoolbook<R: Ring>() {
        let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
        for (m, k, n) in [(1, 1, 1), (5, 7, 33), (4, 1030, 32), (9, 3, 65)] {
            let (a, b): (Vec<R>, Vec<R>) = (random(&mut prg, m * k), random(&mut prg, 2 * k * n));
            let mut c: Vec<R> = random(&mut prg, m * n);
            let mut expected = c.clone();
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                for l in 0..k {
                    let term = a[i * k + l].mul(b[l * n * 2 + 2 * j]);
                    expected[i * n + j] = expected[i * n + j].add(term);
                }
            }
            let step = |count: usize, stride: usize| (0..count).map(|i| i * stride).collect::<Vec<_>>();
            let (ar, ac, br, bc) = (step(m, k), step(k, 1), step(k, 2 * n), step(n, 2));
            let a = Gather { data: &a, rows: &ar, cols: &ac };
            gemm(&mut c, &step(m, n), &step(n, 1), a, Gather { data: &b, rows: &br, cols: &bc });
            assert_eq!(c, expected, "{m}×{k}×{n}");
        }
    }

    #[test]
    fn products_equal_schoolbook() {
        against_schoolbook::<u32>();
        against_schoolbook::<u64>();
    }

    fn twins<R: Ring>() {
        for seed in 0..8 {
            let mut prg = Prg::new(&Seed::from_bytes([seed; 16]));
            let depth = 1 + 13 * seed as usize;
            let (a, b): (Vec<R>, Vec<R>) = (random(&mut prg, MR * depth), random(&mut prg, NR * depth));
            let (mut fast, mut portable) = ([[R::default(); NR]; MR], [[R::default(); NR]; MR]);
            R::tile(&a, &b, &mut fast);
            tile_portable(&a, &b, &mut portable, R::mul);
            assert!(fast == portable, "seed {seed}");
        }
    }

    #[test]
    fn vector_tiles_equal_their_portable_twin() {
        #[cfg(target_arch = "x86_64")]
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")) {
            println!("skipped: no AVX-512, both sides of this test ran the portable tile");
        }
        twins::<u32>();
        twins::<u64>();
    }
}

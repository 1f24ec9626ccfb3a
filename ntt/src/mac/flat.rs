//! Plaintexts that are constant over stretches of the NTT domain.
//!
//! A polynomial Σ_j w_j·X^(j·n/r) with r terms is a polynomial of degree r in X^(n/r), and so takes r values only: the value
//! at word i of a transform is that of all words of the stretch ⌊i·r/n⌋ (the first log2 r steps of a transform make
//! it, and the rest copies). Filters of one tap are such polynomials, with r = 1. They need no transform, no memory to speak of,
//! and their products take them from one word.

use super::{Blocking, MAX_INPUTS, PairSums, PairTiles, for_each_slab};
use crate::modulus::pow_mod;
use crate::ring::Ring;
use crate::simd::LANES;
use rayon::prelude::*;

/// Most terms of a flat polynomial: a stretch is at least one group.
const MAX_TERMS: usize = 64;

/// Plaintexts of few terms, `inputs` × `outputs`.
pub struct FlatTiles {
    /// \[limb\]\[stretch\]\[output block\]\[input\]\[output in block\].
    values: Vec<u64>,
    /// Per limb and stretch, the powers that its terms are multiplied with.
    powers: Vec<Vec<u64>>,
    blocking: Blocking,
    terms: usize,
    inputs: usize,
    outputs: usize,
}

impl FlatTiles {
    /// Whether polynomials with this many equally spaced terms are better kept so.
    pub fn suits(degree: usize, terms: usize) -> bool {
        terms.is_power_of_two() && terms <= MAX_TERMS.min(degree / 64)
    }

    /// Room for polynomials with `terms` equally spaced terms, for pairs of `tiles` tiles.
    ///
    /// # Panics
    /// If a dimension is zero, `inputs` exceeds [`MAX_INPUTS`] or `terms` do not suit.
    pub fn new(rings: &[&Ring], tiles: usize, inputs: usize, outputs: usize, terms: usize) -> Self {
        let degree = rings.first().map_or(0, |ring| ring.degree());
        let valid = tiles > 0 && outputs > 0 && inputs > 0 && inputs <= MAX_INPUTS;
        assert!(valid && Self::suits(degree, terms), "{inputs} × {outputs} weights of {terms} terms");
        let blocking = Blocking::for_tiles(tiles);
        let powers = rings.iter().flat_map(|ring| {
            let (root, p) = (pow_mod(ring.root(), (degree / terms) as u64, ring.modulus()), ring.modulus());
            (0..terms).map(move |stretch| {
                let point = pow_mod(root, 2 * reversed(stretch, terms) + 1, p);
                (0..terms).map(|j| pow_mod(point, j as u64, p)).collect()
            })
        });
        let powers: Vec<_> = powers.collect();
        let values = vec![0; powers.len() * inputs * outputs.next_multiple_of(blocking.outputs)];
        Self { values, powers, blocking, terms, inputs, outputs }
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// Computes all values anew: `fill` is called with input, output and zeros to replace by the signed terms, smaller in
    /// absolute value than 2^40.
    pub fn fill(&mut self, rings: &[&Ring], fill: impl Fn(usize, usize, &mut [i64]) + Sync) {
        let (inputs, outputs, terms, block) = (self.inputs, self.outputs, self.terms, self.blocking.outputs);
        let stretch = inputs * outputs.next_multiple_of(block);
        // Per block of outputs, its values in every stretch.
        let mut blocks: Vec<Vec<&mut [u64]>> = Vec::new();
        blocks.resize_with(outputs.div_ceil(block), || Vec::with_capacity(self.powers.len()));
        for values in self.values.chunks_exact_mut(stretch) {
            values.chunks_exact_mut(inputs * block).zip(&mut blocks).for_each(|(v, block)| block.push(v));
        }
        let powers = &self.powers;
        blocks.into_par_iter().enumerate().for_each_init(
            || vec![0; terms],
            |coefficients, (index, mut stretches)| {
                for (input, o) in (0..inputs).flat_map(|i| (0..block).map(move |o| (i, o))) {
                    coefficients.fill(0);
                    if index * block + o < outputs {
                        fill(input, index * block + o, coefficients);
                    }
                    for (k, (values, powers)) in stretches.iter_mut().zip(powers).enumerate() {
                        let terms = coefficients.iter().zip(powers);
                        let sum: i128 = terms.map(|(&w, &x)| i128::from(w) * i128::from(x)).sum();
                        let p = i128::from(rings[k / self.terms].modulus());
                        values[input * block + o] = sum.rem_euclid(p) as u64;
                    }
                }
            },
        );
    }
}

/// The reversal of log2 `count` bits.
fn reversed(index: usize, count: usize) -> u64 {
    if count == 1 { 0 } else { (index.reverse_bits() >> (usize::BITS - count.trailing_zeros())) as u64 }
}

/// sums = pairs · weights, as [`super::multiply_accumulate`].
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply_accumulate_flat(
    rings: &[&Ring],
    pairs: &PairTiles,
    weights: &FlatTiles,
    sums: &mut PairSums,
) {
    let shapes = pairs.inputs == weights.inputs && weights.outputs == sums.outputs;
    assert!(shapes && pairs.blocking == weights.blocking, "shapes");
    assert_eq!(weights.powers.len(), rings.len() * weights.terms, "one ring per limb");
    let stretch = weights.values.len() / weights.powers.len();
    let per_limb = pairs.slabs.degree / LANES;
    for_each_slab(rings, pairs, sums, |slab| {
        let at = slab / per_limb * weights.terms + slab % per_limb * weights.terms / per_limb;
        (&weights.values[at * stretch..][..stretch], &[])
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::{WeightTiles, multiply_accumulate};
    use crate::primes::ntt_primes;
    use crate::simd::Isa;
    use prg::{Prg, Seed};

    #[test]
    fn products_are_those_of_the_transforms() {
        let n = 256;
        for isa in Isa::available() {
            let rings: Vec<_> =
                ntt_primes(n, 50).take(2).map(|p| Ring::with_isa(n, p, isa).unwrap()).collect();
            let rings: Vec<_> = rings.iter().collect();
            let mut prg = Prg::new(&Seed::from_bytes([8; 16]));
            for (tiles, inputs, outputs, terms) in [(1, 3, 5, 1), (3, 2, 3, 4), (2, 5, 1, 2)] {
                let mut x = vec![0; 2 * tiles * inputs * rings.len() * n];
                for (i, x) in x.chunks_exact_mut(n).enumerate() {
                    prg.fill_below(x, rings[i % rings.len()].modulus());
                }
                let mut pairs = PairTiles::new(rings.len(), n, tiles, inputs);
                let places: Vec<_> = (0..tiles).flat_map(|t| (0..inputs).map(move |i| (t, i))).collect();
                pairs.scatter(&places, &x);
                let term = |i: usize, o: usize, j: usize| ((i + 2 * o + j) * 37 % 255) as i64 - 127;
                let mut flat = FlatTiles::new(&rings, tiles, inputs, outputs, terms);
                flat.fill(&rings, |i, o, w| w.iter_mut().enumerate().for_each(|(j, w)| *w = term(i, o, j)));
                let mut dense = WeightTiles::new(rings.len(), n, tiles, inputs, outputs);
                let places: Vec<_> = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o))).collect();
                for &(i, o) in &places {
                    let mut staged = Vec::new();
                    for ring in &rings {
                        let mut w = vec![0; n];
                        (0..terms).for_each(|j| w[j * n / terms] = term(i, o, j) as u64);
                        let mut transformed = vec![0; n];
                        ring.from_signed_into(&mut transformed, &w);
                        ring.forward(&mut transformed);
                        staged.extend(transformed);
                    }
                    dense.scatter(&[(i, o)], &staged);
                }
                let mut sums = [(); 2].map(|()| PairSums::new(rings.len(), n, tiles, outputs));
                multiply_accumulate_flat(&rings, &pairs, &flat, &mut sums[0]);
                multiply_accumulate(&rings, &pairs, &dense, &mut sums[1]);
                let places: Vec<_> = (0..tiles).flat_map(|t| (0..outputs).map(move |o| (t, o))).collect();
                let [got, expected] = sums.map(|sums| {
                    let mut staged = vec![0; 2 * places.len() * rings.len() * n];
                    sums.gather(&places, &mut staged);
                    staged
                });
                assert!(got == expected, "{} {tiles} {inputs} {outputs} {terms}", isa.name());
            }
        }
    }
}

//! Bob's multiply-accumulate where every plaintext is used once: few tiles, many weights.
//!
//! [`crate::WeightBlock`] transforms weights and lays them out so that many tiles pass over them quickly. With one or a few tiles
//! that costs more than all products: polynomials go out to memory and come back for a single use. [`OnceSums`]
//! transforms a handful of weights, multiplies them while they are in the thread's cache, and forgets them.
//!
//! Shapes: ciphertexts are tiles × inputs, sums tiles × outputs of the block that is being computed. Memory:
//! 2·tiles·(inputs + outputs)·limbs·n·8 bytes, and [`SCRATCH`] bytes per thread. Work runs on the threads of the current rayon
//! pool, four outputs per task. Constant time: yes; zero weights are not skipped.

use crate::block::ShareSource;
use crate::params::Params;
use crate::reply::Unsanitised;
use crate::upload::{UploadError, UploadStream};
use meter::Primitive;
use ntt::Words;
use ntt::products::{CALLS, INPUTS, OUTPUTS, Rows, add_products, reduce};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Tiles up to which this is faster than a [`crate::WeightBlock`].
pub const MOST_TILES: usize = 4;

/// Weights in the NTT domain that a thread works on at a time: they and what they meet share its cache.
const SCRATCH: usize = 768 << 10;

/// Words between polynomials beyond their length, so that equal places of several lie in different sets of a cache.
const GAP: usize = 8;

/// Sums over inputs of ciphertexts times plaintexts. They depend on Bob's weights and must be sanitised.
pub struct OnceSums {
    params: Arc<Params>,
    tiles: usize,
    inputs: usize,
    outputs: usize,
    /// \[tile\]\[limb\]\[input\]\[c0, c1\], each n words and the gap.
    pairs: Words,
    /// \[output\]\[tile\]\[c0, c1\]\[limb\], outputs up to a multiple of four.
    sums: Words,
}

impl OnceSums {
    /// Room for `tiles` × `inputs` ciphertexts and sums of up to `outputs` outputs at a time.
    pub fn new(params: &Arc<Params>, tiles: usize, inputs: usize, outputs: usize) -> Self {
        let (pairs, sums) = (Words::default(), Words::default());
        let mut this = Self { params: Arc::clone(params), tiles, inputs, outputs, pairs, sums };
        this.reshape(params, tiles, inputs, outputs);
        this
    }

    /// Another shape or parameter set in the same memory; the contents are unspecified until all tiles are ingested.
    pub fn reshape(&mut self, params: &Arc<Params>, tiles: usize, inputs: usize, outputs: usize) {
        let (words, gaps) = (params.words(), params.limbs().len() * GAP);
        self.pairs.resize(2 * tiles * inputs * (words + gaps));
        self.sums.resize(2 * tiles * outputs.next_multiple_of(OUTPUTS) * words);
        self.params = Arc::clone(params);
        (self.tiles, self.inputs, self.outputs) = (tiles, inputs, outputs);
    }

    /// Reads consecutive ciphertexts of `stream`, the first of which has index `first` and is input 0 of `tile`, and adds
    /// Bob's share if there is one. After an error the contents are unspecified.
    ///
    /// # Panics
    /// If there is no such tile, or the stream belongs to another parameter set.
    pub fn ingest(
        &mut self,
        stream: &UploadStream,
        first: u64,
        bytes: &[u8],
        tile: usize,
        share: Option<ShareSource<'_>>,
    ) -> Result<(), UploadError> {
        assert!(self.params.matches(stream.params()), "sums and stream of one parameter set");
        assert!(tile < self.tiles, "tile {tile} of {}", self.tiles);
        let (n, words, limbs) = (self.params.degree(), self.params.words(), self.params.limbs().len());
        let (pitch, uploads) = (n + GAP, stream.split(bytes, self.inputs)?);
        let rows = 2 * self.inputs * pitch;
        let pairs = &mut self.pairs[tile * limbs * rows..][..limbs * rows];
        // Per input, its two polynomials in every limb.
        let mut places: Vec<Vec<&mut [u64]>> = (0..self.inputs).map(|_| Vec::with_capacity(limbs)).collect();
        for limb in pairs.chunks_exact_mut(rows) {
            limb.chunks_exact_mut(2 * pitch).zip(&mut places).for_each(|(pair, place)| place.push(pair));
        }
        places.into_par_iter().zip(uploads).enumerate().try_for_each_init(
            || (Zeroizing::new(vec![0; n]), Words::zeros(2 * words), meter::scope(Primitive::Transform)),
            |(values, pair, _), (input, (place, bytes))| {
                let values = share.map(|share| {
                    values.fill(0);
                    share(input, values);
                    &values[..]
                });
                let (c0, c1) = pair.split_at_mut(words);
                stream.read_into(first + input as u64, bytes, values, c0, c1)?;
                for ((place, c0), c1) in place.into_iter().zip(c0.chunks_exact(n)).zip(c1.chunks_exact(n)) {
                    place[..n].copy_from_slice(c0);
                    place[pitch..pitch + n].copy_from_slice(c1);
                }
                Ok(())
            },
        )
    }

    /// Computes the sums of a block of outputs: `fill` is called with input, output and n zeros to replace by signed
    /// coefficients, smaller in absolute value than every limb.
    ///
    /// # Panics
    /// If there is no room for so many outputs.
    pub fn compute(&mut self, outputs: Range<usize>, fill: impl Fn(usize, usize, &mut [i64]) + Sync) {
        assert!(outputs.len() <= self.outputs, "{} outputs where {} fit", outputs.len(), self.outputs);
        let words = self.params.words();
        let blocks = outputs.clone().step_by(OUTPUTS).map(|start| start..(start + OUTPUTS).min(outputs.end));
        let blocks: Vec<_> =
            blocks.zip(self.sums.chunks_exact_mut(2 * self.tiles * OUTPUTS * words)).collect();
        let (params, pairs) = (&self.params, &self.pairs);
        let operands = Operands { params, pairs, tiles: self.tiles, inputs: self.inputs };
        blocks.into_par_iter().for_each_init(
            || Scratch::new(params),
            |scratch, (outputs, sums)| {
                sums.fill(0);
                operands.multiply(outputs, &fill, scratch, sums);
            },
        );
    }

    /// The sum of (tile, output), counted from the first output of the block, to be handed to a sanitiser.
    pub fn sum(&self, tile: usize, output: usize) -> Unsanitised<'_> {
        let words = self.params.words();
        let pair = &self.sums[2 * (output * self.tiles + tile) * words..][..2 * words];
        Unsanitised::of_words(&self.params, pair.split_at(words))
    }
}

/// One thread's weights.
struct Scratch {
    coefficients: Vec<i64>,
    /// \[limb\]\[input\]\[output\], each n words and the gap.
    weights: Words,
    /// Inputs at a time.
    inputs: usize,
}

impl Scratch {
    fn new(params: &Params) -> Self {
        let (n, limbs) = (params.degree(), params.limbs().len());
        let inputs = (SCRATCH / (8 * OUTPUTS * params.words())).clamp(1, INPUTS);
        let weights = Words::zeros(limbs * inputs * OUTPUTS * (n + GAP));
        Self { coefficients: vec![0; n], weights, inputs }
    }
}

struct Operands<'a> {
    params: &'a Params,
    pairs: &'a [u64],
    tiles: usize,
    inputs: usize,
}

impl Operands<'_> {
    /// Four outputs, or what is left of them.
    fn multiply(
        &self,
        outputs: Range<usize>,
        fill: &(impl Fn(usize, usize, &mut [i64]) + Sync),
        scratch: &mut Scratch,
        sums: &mut [u64],
    ) {
        let (n, words, limbs) = (self.params.degree(), self.params.words(), self.params.limbs().len());
        let pitch = n + GAP;
        let rows = scratch.inputs * OUTPUTS * pitch;
        if outputs.len() < OUTPUTS {
            scratch.weights.fill(0); // for those that are not there
        }
        for (call, start) in (0..self.inputs).step_by(scratch.inputs).enumerate() {
            if call > 0 && call.is_multiple_of(CALLS) {
                self.reduce(sums);
            }
            let inputs = start..(start + scratch.inputs).min(self.inputs);
            {
                let _metered = meter::scope(Primitive::Transform);
                for (i, input) in inputs.clone().enumerate() {
                    for (o, output) in outputs.clone().enumerate() {
                        scratch.coefficients.fill(0);
                        fill(input, output, &mut scratch.coefficients);
                        for (limb, ring) in self.params.limbs().iter().enumerate() {
                            let row = limb * rows + (i * OUTPUTS + o) * pitch;
                            let words = &mut scratch.weights[row..][..n];
                            ring.from_signed_into(words, bytemuck::cast_slice(&scratch.coefficients));
                            ring.forward(words);
                        }
                    }
                }
            }
            let _metered = meter::scope(Primitive::Hadamard);
            for (limb, ring) in self.params.limbs().iter().enumerate() {
                let w = Rows { words: &scratch.weights[limb * rows..][..rows], pitch };
                for tile in 0..self.tiles {
                    let first = ((tile * limbs + limb) * self.inputs + start) * 2 * pitch;
                    let x = Rows { words: &self.pairs[first..][..inputs.len() * 2 * pitch], pitch };
                    let at = |o: usize, k: usize| (2 * (o * self.tiles + tile) + k) * words + limb * n;
                    let at = std::array::from_fn(|o| [at(o, 0), at(o, 1)]);
                    add_products(ring, inputs.len(), x, w, sums, at);
                }
            }
        }
        let _metered = meter::scope(Primitive::Hadamard);
        self.reduce(sums);
    }

    fn reduce(&self, sums: &mut [u64]) {
        for polynomial in sums.chunks_exact_mut(self.params.words()) {
            let limbs = self.params.limbs().iter().zip(polynomial.chunks_exact_mut(self.params.degree()));
            limbs.for_each(|(ring, words)| reduce(ring, words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Accumulators, CiphertextBlock, WeightBlock};
    use crate::testing::Alice;
    use crate::upload::{Encryptor, UploadFormat};
    use ntt::Modulus;

    #[test]
    fn sums_are_those_of_the_blocks() {
        let t = Modulus::prime(737_281).unwrap();
        for (params, tiles, inputs, outputs) in [
            (Params::small(Modulus::pow2(20).unwrap()).unwrap(), 1, 7, 9),
            (Params::small(t).unwrap(), 3, 2, 4),
            (Params::large(t).unwrap(), 2, 3, 5),
        ] {
            let mut alice = Alice::new(&params, 4);
            let values: Vec<_> = (0..2 * tiles * inputs).map(|_| alice.values()).collect();
            let (mine, his) = values.split_at(tiles * inputs);
            let mut encryptor = Encryptor::new(&alice.key, UploadFormat::FULL, &mut alice.prg);
            let mut bytes = Vec::new();
            encryptor.encrypt(tiles * inputs, |k, x| x.copy_from_slice(&mine[k]), &mut bytes);
            let fill = |i: usize, o: usize, w: &mut [i64]| {
                (0..9).for_each(|k| w[31 * k + o] = ((i + 2 * o + k) * 37 % 255) as i64 - 127);
            };
            let mut block = CiphertextBlock::new(&params, tiles, inputs);
            let places: Vec<_> = (0..tiles).flat_map(|t| (0..inputs).map(move |i| (t, i))).collect();
            let share = |k: usize, x: &mut [u64]| x.copy_from_slice(&his[k]);
            block.ingest(encryptor.stream(), 0, &bytes, &places, Some(&share)).unwrap();
            let mut weights = WeightBlock::new(&params, tiles, inputs, outputs);
            weights.fill(fill);
            let mut expected = Accumulators::new(&params, tiles, outputs);
            expected.multiply_accumulate(&block, &weights);

            let other = Params::small(Modulus::pow2(16).unwrap()).unwrap();
            let mut once = OnceSums::new(&other, 2, 1, 8);
            once.reshape(&params, tiles, inputs, 5);
            for (tile, bytes) in bytes.chunks_exact(bytes.len() / tiles).enumerate() {
                let share = |k: usize, x: &mut [u64]| x.copy_from_slice(&his[tile * inputs + k]);
                let first = (tile * inputs) as u64;
                once.ingest(encryptor.stream(), first, bytes, tile, Some(&share)).unwrap();
            }
            for start in (0..outputs).step_by(5) {
                let range = start..(start + 5).min(outputs);
                once.compute(range.clone(), fill);
                for (tile, output) in (0..tiles).flat_map(|t| range.clone().map(move |o| (t, o))) {
                    let sums = [expected.sum(tile, output), once.sum(tile, output - start)];
                    let [expected, got] = sums.map(|sum| {
                        let mut words = vec![0; 2 * params.words()];
                        Unsanitised::read_into(&[sum], params.words(), &mut words);
                        words
                    });
                    assert!(expected == got, "tile {tile} output {output}");
                }
            }
        }
    }
}

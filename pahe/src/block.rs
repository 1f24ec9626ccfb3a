//! Bob's multiply-accumulate: blocks of ciphertexts times blocks of plaintext polynomials.
//!
//! Shapes: [`CiphertextBlock`] is tiles × inputs, [`WeightBlock`] inputs × outputs, [`Accumulators`] tiles × outputs.
//! All buffers are allocated once and reused (`reshape`; fresh memory costs as much as filling it); memory is
//! (2·tiles·inputs + inputs·outputs + 2·tiles·outputs) · limbs · n · 8 bytes, so the caller bounds it by his blocks:
//! further outputs or tiles reuse the same blocks.
//! Work runs on the threads of the current rayon pool. Constant time: yes; zero weights are not skipped.

use crate::ciphertext::Ciphertext;
use crate::params::Params;
use crate::reply::Unsanitised;
use crate::upload::{UploadError, UploadStream};
use meter::Primitive;
use ntt::mac::flat::{FlatTiles, multiply_accumulate_flat};
use ntt::mac::{PairSums, PairTiles, WeightTiles, multiply_accumulate};
use ntt::{Ring, Words};
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Polynomials prepared side by side before they are copied to the tiled layout: about the size of a cache.
const STAGED: usize = 8;

/// Ciphertexts, tiles × inputs, in the NTT domain.
pub struct CiphertextBlock {
    params: Arc<Params>,
    pairs: PairTiles,
    staging: Words,
}

/// Bob's share of one ciphertext's values: called with the number of the ciphertext among those ingested and n zeros
/// to replace by values below t.
pub type ShareSource<'a> = &'a (dyn Fn(usize, &mut [u64]) + Sync);

impl CiphertextBlock {
    /// Room for `tiles` × `inputs` ciphertexts, all zero.
    ///
    /// # Panics
    /// If a dimension is zero or there are more than [`ntt::mac::MAX_INPUTS`] inputs.
    pub fn new(params: &Arc<Params>, tiles: usize, inputs: usize) -> Self {
        let pairs = PairTiles::new(params.limbs().len(), params.degree(), tiles, inputs);
        Self { params: Arc::clone(params), pairs, staging: Words::zeros(STAGED * 2 * params.words()) }
    }

    /// Another shape or parameter set in the same memory; the contents are unspecified until places are ingested.
    ///
    /// # Panics
    /// As [`CiphertextBlock::new`].
    pub fn reshape(&mut self, params: &Arc<Params>, tiles: usize, inputs: usize) {
        self.pairs.reshape(params.limbs().len(), params.degree(), tiles, inputs);
        self.staging.resize(STAGED * 2 * params.words());
        self.params = Arc::clone(params);
    }

    /// Tiles and inputs.
    pub fn shape(&self) -> (usize, usize) {
        self.pairs.shape()
    }

    /// Reads consecutive ciphertexts of `stream`, the first of which has index `first`, adds Bob's share if there is
    /// one and puts them at `places` (tile, input). After an error the contents of the block are unspecified.
    ///
    /// # Panics
    /// If a place is outside of the block, or the stream belongs to another parameter set.
    pub fn ingest(
        &mut self,
        stream: &UploadStream,
        first: u64,
        bytes: &[u8],
        places: &[(usize, usize)],
        share: Option<ShareSource<'_>>,
    ) -> Result<(), UploadError> {
        assert!(self.params.matches(stream.params()), "block and stream of one parameter set");
        let (n, words) = (self.params.degree(), self.params.words());
        let uploads = stream.split(bytes, places.len())?;
        for (batch, (uploads, places)) in uploads.chunks(STAGED).zip(places.chunks(STAGED)).enumerate() {
            let staging = &mut self.staging[..2 * words * places.len()];
            let pairs = staging.par_chunks_exact_mut(2 * words).zip(uploads).enumerate();
            pairs.try_for_each_init(
                || (Zeroizing::new(vec![0; n]), meter::scope(Primitive::Transform)),
                |(values, _), (k, (pair, bytes))| {
                    let number = batch * STAGED + k;
                    let values = share.map(|share| {
                        values.fill(0);
                        share(number, values);
                        &values[..]
                    });
                    let (c0, c1) = pair.split_at_mut(words);
                    stream.read_into(first + number as u64, bytes, values, c0, c1)
                },
            )?;
            self.pairs.scatter(places, staging);
        }
        Ok(())
    }

    /// Puts a ciphertext that was read or computed before at (tile, input).
    pub fn put(&mut self, tile: usize, input: usize, ciphertext: &Ciphertext) {
        let (c0, c1) = ciphertext.words();
        let (first, second) = self.staging[..2 * c0.len()].split_at_mut(c0.len());
        first.copy_from_slice(c0);
        second.copy_from_slice(c1);
        self.pairs.scatter(&[(tile, input)], &self.staging[..2 * c0.len()]);
    }
}

/// Plaintext polynomials, inputs × outputs, in the NTT domain.
pub struct WeightBlock {
    params: Arc<Params>,
    weights: WeightTiles,
    /// In place of the former where polynomials have few terms.
    flat: Option<FlatTiles>,
    staging: Words,
}

impl WeightBlock {
    /// Room for `inputs` × `outputs` polynomials, all zero, to be multiplied with `tiles` tiles.
    ///
    /// # Panics
    /// If a dimension is zero or there are more than [`ntt::mac::MAX_INPUTS`] inputs.
    pub fn new(params: &Arc<Params>, tiles: usize, inputs: usize, outputs: usize) -> Self {
        let weights = WeightTiles::new(params.limbs().len(), params.degree(), tiles, inputs, outputs);
        Self {
            params: Arc::clone(params),
            weights,
            flat: None,
            staging: Words::zeros(STAGED * params.words()),
        }
    }

    /// Another shape or parameter set in the same memory; the contents are unspecified until [`WeightBlock::fill`].
    ///
    /// # Panics
    /// As [`WeightBlock::new`].
    pub fn reshape(&mut self, params: &Arc<Params>, tiles: usize, inputs: usize, outputs: usize) {
        self.weights.reshape(params.limbs().len(), params.degree(), tiles, inputs, outputs);
        self.staging.resize(STAGED * params.words());
        self.params = Arc::clone(params);
        self.flat = None;
    }

    /// The same for polynomials Σ_j w_j·X^(j·n/terms), which take no transforms.
    ///
    /// # Panics
    /// As [`WeightBlock::new`], and unless [`FlatTiles::suits`] the terms.
    pub fn reshape_flat(
        &mut self,
        params: &Arc<Params>,
        tiles: usize,
        inputs: usize,
        outputs: usize,
        terms: usize,
    ) {
        self.flat = Some(FlatTiles::new(&rings(params), tiles, inputs, outputs, terms));
        self.params = Arc::clone(params);
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> (usize, usize) {
        self.flat.as_ref().map_or_else(|| self.weights.shape(), FlatTiles::shape)
    }

    /// Transforms all polynomials anew: `fill` is called with input, output and zeros, one per coefficient (after
    /// [`WeightBlock::reshape_flat`] one per term), to replace by signed coefficients, smaller in absolute value
    /// than every limb and 2^40.
    pub fn fill(&mut self, fill: impl Fn(usize, usize, &mut [i64]) + Sync) {
        let (inputs, outputs) = self.shape();
        let (params, words) = (&self.params, self.params.words());
        if let Some(flat) = &mut self.flat {
            let _metered = meter::scope(Primitive::Transform);
            return flat.fill(&rings(params), fill);
        }
        let places: Vec<_> = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (i, o))).collect();
        for places in places.chunks(STAGED) {
            let staging = &mut self.staging[..words * places.len()];
            staging.par_chunks_exact_mut(words).zip(places).for_each_init(
                || (vec![0; params.degree()], meter::scope(Primitive::Transform)),
                |(coefficients, _), (words, &(input, output))| {
                    coefficients.fill(0);
                    fill(input, output, coefficients);
                    transform_signed(params, coefficients, words);
                },
            );
            self.weights.scatter(places, staging);
        }
    }
}

fn rings(params: &Params) -> Vec<&Ring> {
    params.limbs().iter().collect()
}

/// Signed coefficients to all limbs in the NTT domain.
pub(crate) fn transform_signed(params: &Params, coefficients: &[i64], words: &mut [u64]) {
    for (ring, words) in params.limbs().iter().zip(words.chunks_exact_mut(params.degree())) {
        ring.from_signed_into(words, bytemuck::cast_slice(coefficients));
        ring.forward(words);
    }
}

/// Sums of ciphertexts times plaintexts, tiles × outputs. They depend on Bob's weights and must be sanitised.
pub struct Accumulators {
    params: Arc<Params>,
    sums: PairSums,
}

impl Accumulators {
    /// Zeros.
    ///
    /// # Panics
    /// If a dimension is zero.
    pub fn new(params: &Arc<Params>, tiles: usize, outputs: usize) -> Self {
        let sums = PairSums::new(params.limbs().len(), params.degree(), tiles, outputs);
        Self { params: Arc::clone(params), sums }
    }

    /// Another shape or parameter set in the same memory; the sums are unspecified until they are computed.
    ///
    /// # Panics
    /// As [`Accumulators::new`].
    pub fn reshape(&mut self, params: &Arc<Params>, tiles: usize, outputs: usize) {
        self.sums.reshape(params.limbs().len(), params.degree(), tiles, outputs);
        self.params = Arc::clone(params);
    }

    /// Tiles and outputs.
    pub fn shape(&self) -> (usize, usize) {
        self.sums.shape()
    }

    /// self\[tile\]\[output\] = Σ_i ciphertexts\[tile\]\[i\] · weights\[i\]\[output\].
    ///
    /// # Panics
    /// If the shapes or parameter sets do not fit together.
    pub fn multiply_accumulate(&mut self, ciphertexts: &CiphertextBlock, weights: &WeightBlock) {
        let same = |params: &Arc<Params>| params.matches(&self.params);
        assert!(same(&ciphertexts.params) && same(&weights.params), "blocks of one parameter set");
        let (rings, pairs) = (rings(&self.params), &ciphertexts.pairs);
        match &weights.flat {
            Some(flat) => multiply_accumulate_flat(&rings, pairs, flat, &mut self.sums),
            None => multiply_accumulate(&rings, pairs, &weights.weights, &mut self.sums),
        }
    }

    /// The sum at (tile, output), to be handed to a sanitiser.
    pub fn sum(&self, tile: usize, output: usize) -> Unsanitised<'_> {
        Unsanitised::of_sum(&self.params, &self.sums, tile, output)
    }
}

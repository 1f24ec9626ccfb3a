//! Hadamard products and sums, on layers larger than any cache.

use crate::bounds::Bounds;
use crate::suite::{Bound, Kernel, Show, Suite};
use ntt::products::{INPUTS, OUTPUTS, Rows, add_products};
use ntt::simd::LANES;
use ntt::{Modulus, Ring, Words, ntt_primes};
use pahe::{
    Accumulators, CiphertextBlock, Encryptor, OnceSums, Params, SecretKey, UploadFormat, WeightBlock,
};
use prg::{Prg, Seed};
use std::hint::black_box;
use std::sync::Arc;

/// Coefficients of a polynomial.
const N: usize = 4096;

const GROUP: &str = "product";

/// All kernels of products.
pub(crate) fn all(suite: &mut Suite, bounds: &Bounds) {
    let params = Params::small(Modulus::pow2(24).unwrap()).unwrap();
    kept(suite, bounds, &params, [8, 64, 64]);
    kept(suite, bounds, &params, [16, 32, 32]);
    once(suite, bounds, &params, [4, 64, 32]);
    once(suite, bounds, &params, [1, 128, 32]);
    in_cache(suite, bounds, 512);
}

/// Summing `count` products from registers, or reading so many bytes, whichever takes longer.
fn bound(bounds: &Bounds, count: f64, bytes: f64) -> Bound {
    let (peak, far) = (count / LANES as f64 * bounds.product, bytes * bounds.far);
    let words = if peak > far { "sums from registers" } else { "reading memory" };
    Bound { seconds: peak.max(far) / count, words: words.into() }
}

/// Encryptions of zero.
fn uploads(params: &Arc<Params>, count: usize) -> (Encryptor, Vec<u8>) {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let secret = SecretKey::generate(params, &mut prg);
    let mut encryptor = Encryptor::new(&secret, UploadFormat::new(params, 0).unwrap(), &mut prg);
    let mut bytes = Vec::new();
    encryptor.encrypt(count, |_, _| (), &mut bytes);
    (encryptor, bytes)
}

/// A 3×3×3 filter among the coefficients.
fn filter(i: usize, o: usize, out: &mut [i64]) {
    (0..27).for_each(|k| out[17 * k + i % 16] = (k + o % 5) as i64 - 13);
}

fn products([tiles, inputs, outputs]: [usize; 3], limbs: usize) -> f64 {
    (tiles * inputs * outputs * limbs * 2 * N) as f64
}

/// Weights that are laid out and meet many tiles.
fn kept(suite: &mut Suite, bounds: &Bounds, params: &Arc<Params>, shape: [usize; 3]) {
    let ([tiles, inputs, outputs], limbs) = (shape, params.limbs().len());
    let (encryptor, bytes) = uploads(params, tiles * inputs);
    let places: Vec<_> = (0..tiles * inputs).map(|k| (k / inputs, k % inputs)).collect();
    let mut block = CiphertextBlock::new(params, tiles, inputs);
    block.ingest(encryptor.stream(), 0, &bytes, &places, None).unwrap();
    let mut weights = WeightBlock::new(params, tiles, inputs, outputs);
    weights.fill(filter);
    let mut sums = Accumulators::new(params, tiles, outputs);
    let count = products(shape, limbs);
    // Operands in, sums in and out; a sum has two words per coefficient.
    let moved = 8 * N * limbs * (2 * tiles * inputs + inputs * outputs + 8 * tiles * outputs);
    let kernel = Kernel {
        group: GROUP,
        name: format!("kept weights {tiles}×{inputs}×{outputs}"),
        show: Show::Nanoseconds,
        units: count,
        bound: bound(bounds, count, moved as f64),
        goal: "≤ 0.10",
    };
    suite.run(kernel, || sums.multiply_accumulate(black_box(&block), &weights));
}

/// Weights that are transformed, meet a few tiles in the cache, and are forgotten.
fn once(suite: &mut Suite, bounds: &Bounds, params: &Arc<Params>, shape: [usize; 3]) {
    let ([tiles, inputs, outputs], limbs) = (shape, params.limbs().len());
    let (encryptor, bytes) = uploads(params, tiles * inputs);
    let mut sums = OnceSums::new(params, tiles, inputs, outputs);
    for (tile, bytes) in bytes.chunks_exact(bytes.len() / tiles).enumerate() {
        sums.ingest(encryptor.stream(), (tile * inputs) as u64, bytes, tile, None).unwrap();
    }
    let count = products(shape, limbs);
    let weights = (inputs * outputs * limbs) as f64;
    let summing = count / LANES as f64 * bounds.product;
    let kernel = Kernel {
        group: GROUP,
        name: format!("weights used once {tiles}×{inputs}×{outputs}"),
        show: Show::Nanoseconds,
        units: count,
        bound: Bound {
            seconds: (weights * bounds.transform(N) + summing) / count,
            words: "its transforms, sums from registers".into(),
        },
        goal: "",
    };
    suite.run(kernel, || sums.compute(0..outputs, filter));
}

/// The products of such weights alone: weights from the cache, pairs from memory.
fn in_cache(suite: &mut Suite, bounds: &Bounds, inputs: usize) {
    let ring = Ring::new(N, ntt_primes(N, 50).next().unwrap()).unwrap();
    let pitch = N + LANES;
    let random = |polynomials: usize| {
        let mut words = Words::zeros(polynomials * pitch);
        Prg::new(&Seed::from_bytes([1; 16])).fill_below(&mut words, ring.modulus());
        words
    };
    let (pairs, weights, mut sums) = (random(2 * inputs), random(INPUTS * OUTPUTS), random(2 * OUTPUTS));
    let at: [[usize; 2]; OUTPUTS] = std::array::from_fn(|o| [2 * o * pitch, (2 * o + 1) * pitch]);
    let count = (inputs * OUTPUTS * 2 * N) as f64;
    let kernel = Kernel {
        group: GROUP,
        name: format!("weights used once 1×{inputs}×{OUTPUTS}, without transforms"),
        show: Show::Nanoseconds,
        units: count,
        bound: bound(bounds, count, (8 * 2 * inputs * N) as f64),
        goal: "≤ 0.10",
    };
    suite.run(kernel, || {
        for pairs in pairs.chunks_exact(2 * INPUTS * pitch) {
            let (x, w) = (Rows { words: pairs, pitch }, Rows { words: &weights, pitch });
            add_products(&ring, INPUTS, x, w, black_box(&mut sums), at);
        }
        ntt::products::reduce(&ring, &mut sums);
    });
}

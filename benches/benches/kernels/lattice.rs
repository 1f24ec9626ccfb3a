//! Transforms, sampling, and the steps of a homomorphic layer per ciphertext.

use crate::bounds::Bounds;
use crate::suite::{Bound, Kernel, Show, Suite};
use ntt::simd::LANES;
use ntt::{CyclicNtt, Modulus, Ring, Slots, ntt_primes};
use pahe::{
    Accumulators, Ciphertext, CiphertextBlock, Decryptor, Encryptor, GaloisKey, Noise, Params, Positions,
    PublicKey, ReplyFormat, ReplyJob, RunBudget, Sanitiser, SecretKey, UploadFormat, WeightBlock, WeightNorm,
};
use prg::{Prg, Seed};
use std::hint::black_box;
use std::sync::Arc;

/// Ciphertexts per call: enough to amortise the call.
const BATCH: usize = 16;

/// All kernels of lattices.
pub(crate) fn all(suite: &mut Suite, bounds: &Bounds) {
    transforms(suite, bounds);
    sampling(suite, bounds);
    let small = Params::small(Modulus::pow2(24).unwrap()).unwrap();
    steps(suite, bounds, "n = 4096", &small);
    let large = Params::large(Modulus::prime(737_281).unwrap()).unwrap();
    steps(suite, bounds, "n = 8192, prime", &large);
    rotation(suite, bounds);
}

fn transforms(suite: &mut Suite, bounds: &Bounds) {
    let kernel = |name: &str, units, n: usize, levels: f64| {
        // A butterfly of eight lanes takes three multiply-adds; log2 n levels of n/2.
        let madds = 3.0 * levels * (n / 2 / LANES) as f64 * bounds.madd;
        let bound = Bound { seconds: madds / units, words: "multiply-adds of its butterflies".into() };
        Kernel { group: "transform", name: name.to_owned(), show: Show::Microseconds, units, bound, goal: "" }
    };
    for n in [4096, 8192] {
        let ring = Ring::new(n, ntt_primes(n, 50).next().unwrap()).unwrap();
        let (mut x, levels) = (vec![1; n], f64::from(n.ilog2()));
        let name = format!("forward, n = {n}");
        suite.run(kernel(&name, 1.0, n, levels), || ring.forward(black_box(&mut x)));
        let name = format!("inverse, n = {n}");
        suite.run(kernel(&name, 1.0, n, levels), || ring.inverse(black_box(&mut x)));
    }
    let slots = Slots::new(8192, ntt_primes(8192, 20).next().unwrap()).unwrap();
    let (values, mut polynomial) = (vec![1; 8192], vec![0; 8192]);
    suite.run(kernel("slots, n = 8192", 1.0, 8192, 13.0), || {
        slots.encode_into(black_box(&values), &mut polynomial);
    });
    let cyclic = CyclicNtt::new(737_281, &[72, 72, 72]).unwrap();
    let mut x = vec![1; cyclic.volume()];
    let levels = (cyclic.volume() as f64).log2();
    suite
        .run(kernel("cyclic 72×72×72", 1.0, cyclic.volume(), levels), || cyclic.forward(black_box(&mut x)));
}

fn sampling(suite: &mut Suite, bounds: &Bounds) {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let (p, mut words) = (ntt_primes(4096, 50).next().unwrap(), vec![0; 4096]);
    let kernel = |name: &str| Kernel {
        group: "sampling",
        name: name.to_owned(),
        show: Show::Microseconds,
        units: 1.0,
        bound: bounds.aes(2048.0, ""),
        goal: "",
    };
    suite.run(kernel("4096 words"), || prg.fill_u64(black_box(&mut words)));
    suite.run(kernel("4096 residues of 50 bits"), || prg.fill_below(black_box(&mut words), p));
}

struct Setting {
    secret: Arc<SecretKey>,
    public: PublicKey,
    format: ReplyFormat,
    upload: UploadFormat,
    prg: Prg,
}

fn setting(params: &Arc<Params>) -> Setting {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let secret = SecretKey::generate(params, &mut prg);
    let public = PublicKey::generate(&secret, &mut prg);
    let upload = UploadFormat::new(params, 0).unwrap();
    let noise = Noise::fresh(upload).with_share().times(WeightNorm::coefficients(127, 27 * 64));
    let format = ReplyFormat::new(params, &RunBudget::standard(1 << 24), noise).unwrap();
    Setting { secret, public, format, upload, prg }
}

fn steps(suite: &mut Suite, bounds: &Bounds, group: &'static str, params: &Arc<Params>) {
    let Setting { secret, public, format, upload, mut prg } = setting(params);
    let (n, limbs) = (params.degree(), params.limbs().len() as f64);
    let kernel = |name: &str, transforms, goal| Kernel {
        group,
        name: name.to_owned(),
        show: Show::Microseconds,
        units: BATCH as f64,
        bound: bounds.transforms(n, transforms),
        goal,
    };
    let mut values = vec![0; n];
    params.plaintext().sample(&mut prg, &mut values);
    let mut encryptor = Encryptor::new(&secret, upload, &mut prg);
    let mut bytes = Vec::new();
    encryptor.encrypt(BATCH, |_, x| x.copy_from_slice(&values), &mut bytes);
    let uploaded = bytes.clone();
    let stream = encryptor.stream().clone();
    suite.run(kernel("encrypt", limbs, "≤ 3 ×"), || {
        bytes.clear();
        encryptor.encrypt(BATCH, |_, x| x.copy_from_slice(&values), &mut bytes);
    });
    let places: Vec<_> = (0..BATCH).map(|k| (k / 8, k % 8)).collect();
    let mut block = CiphertextBlock::new(params, 2, 8);
    let share = |_: usize, x: &mut [u64]| x.copy_from_slice(&values);
    suite.run(kernel("take in, with a share", limbs, ""), || {
        block.ingest(&stream, 0, black_box(&uploaded), &places, Some(&share)).unwrap();
    });
    let mut weights = WeightBlock::new(params, 2, 8, 2);
    let fill = |i: usize, o: usize, w: &mut [i64]| (0..27).for_each(|k| w[17 * k + i] = (k + o) as i64 - 13);
    suite.run(kernel("lay out a weight", limbs, ""), || weights.fill(fill));
    block.ingest(&stream, 0, &uploaded, &places, Some(&share)).unwrap();
    weights.fill(fill);
    let mut sums = Accumulators::new(params, 2, 2);
    sums.multiply_accumulate(&block, &weights);
    let valid: Vec<u32> = (600..n as u32).collect();
    let positions = Positions::List(&valid);
    let job = |k: usize| ReplyJob { source: sums.sum(k / 2 % 2, k % 2), positions };
    let jobs: Vec<_> = (0..BATCH).map(job).collect();
    let mut sanitiser = Sanitiser::new(&Arc::new(public), format, &mut prg);
    let (mut replies, mut shares) = (Vec::new(), Vec::new());
    sanitiser.reply(&jobs, &mut replies, &mut shares);
    let replied = replies.clone();
    suite.run(kernel("reply", 3.0 * limbs, ""), || {
        replies.clear();
        shares.clear();
        sanitiser.reply(&jobs, &mut replies, &mut shares);
    });
    let (decryptor, mut out) = (Decryptor::new(&secret, format), Vec::new());
    suite.run(kernel("decrypt", 2.0, "≤ 3 ×"), || {
        out.clear();
        decryptor.decrypt(&replied, &[positions; BATCH], &mut out).unwrap();
    });
}

fn rotation(suite: &mut Suite, bounds: &Bounds) {
    let params = Params::rotating(Modulus::prime(737_281).unwrap()).unwrap();
    let Setting { secret, upload, mut prg, .. } = setting(&params);
    let mut encryptor = Encryptor::new(&secret, upload, &mut prg);
    let mut bytes = Vec::new();
    encryptor.encrypt(1, |_, _| (), &mut bytes);
    let ciphertext = Ciphertext::read(encryptor.stream(), 0, &bytes, None).unwrap();
    let key = GaloisKey::generate(&secret, 1, &mut prg).unwrap();
    let limbs = params.limbs().len() as f64;
    let transforms = limbs * (limbs + 4.0) + 2.0; // see `pahe::GaloisKey`
    let kernel = Kernel {
        group: "n = 8192, prime",
        name: "rotate and add".to_owned(),
        show: Show::Microseconds,
        units: 1.0,
        bound: bounds.transforms(params.degree(), transforms),
        goal: "",
    };
    suite.run(kernel, || _ = black_box(ciphertext.rotated_sum(black_box(&key))));
}

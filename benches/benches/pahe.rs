//! The steps of a homomorphic layer, per ciphertext, each set against the transforms that it cannot avoid.
//!
//! Run with `RAYON_NUM_THREADS=1` for figures of one core.
#![expect(clippy::unwrap_used, reason = "benchmarks are no interface and may fail loudly")]

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use ntt::Modulus;
use pahe::*;
use prg::{Prg, Seed};
use std::hint::black_box;
use std::sync::Arc;

/// Ciphertexts per call: enough to amortise the call.
const BATCH: usize = 16;

struct Setting {
    params: Arc<Params>,
    secret: Arc<SecretKey>,
    public: Arc<PublicKey>,
    format: ReplyFormat,
    upload: UploadFormat,
    prg: Prg,
}

fn setting(params: Arc<Params>, drop_bits: u32) -> Setting {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let secret = SecretKey::generate(&params, &mut prg);
    let public = Arc::new(PublicKey::generate(&secret, &mut prg));
    let upload = UploadFormat::new(&params, drop_bits).unwrap();
    let noise = Noise::fresh(upload).with_share().times(WeightNorm::coefficients(127, 27 * 64));
    let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 24), noise).unwrap();
    Setting { params, secret, public, format, upload, prg }
}

fn report(params: &Params, name: &str, transforms: f64, seconds: f64) {
    let ring = &params.limbs()[0];
    let mut x = vec![1; params.degree()];
    let once = |_| {
        let start = meter::process_seconds();
        (0..50).for_each(|_| ring.forward(&mut x));
        (meter::process_seconds() - start) / 50.0
    };
    let transform = (0..20).map(once).fold(f64::MAX, f64::min);
    let micros = 1e6 * seconds;
    println!(
        "  {name:<16} {micros:>8.1} µs = {:>5.1} × its {transforms} transforms",
        seconds / transform / transforms
    );
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut f: impl FnMut()) -> f64 {
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(name, |b| b.iter(&mut f));
    let once = |f: &mut dyn FnMut()| {
        let start = meter::process_seconds();
        f();
        (meter::process_seconds() - start) / BATCH as f64
    };
    (0..40).map(|_| once(&mut f)).fold(f64::MAX, f64::min) // CPU time: others may use the machine too
}

fn steps(c: &mut Criterion, name: &str, params: Arc<Params>, drop_bits: u32) {
    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    let Setting { params, secret, public, format, upload, mut prg } = setting(params, drop_bits);
    let (n, limbs) = (params.degree(), params.limbs().len() as f64);
    let mut values = vec![0; n];
    params.plaintext().sample(&mut prg, &mut values);
    let mut encryptor = Encryptor::new(&secret, upload, &mut prg);
    let mut bytes = Vec::new();
    let encrypt = bench(&mut group, "encrypt", || {
        bytes.clear();
        encryptor.encrypt(BATCH, |_, x| x.copy_from_slice(&values), &mut bytes);
    });
    let places: Vec<_> = (0..BATCH).map(|k| (k / 8, k % 8)).collect();
    let mut block = CiphertextBlock::new(&params, 2, 8);
    let share = |_: usize, x: &mut [u64]| x.copy_from_slice(&values);
    let ingest = bench(&mut group, "ingest", || {
        block.ingest(encryptor.stream(), 0, black_box(&bytes), &places, Some(&share)).unwrap();
    });
    let mut weights = WeightBlock::new(&params, 2, 8, 2);
    let fill = |i: usize, o: usize, w: &mut [i64]| (0..27).for_each(|k| w[17 * k + i] = (k + o) as i64 - 13);
    let weight = bench(&mut group, "weights", || weights.fill(fill));
    let mut sums = Accumulators::new(&params, 2, 2);
    sums.multiply_accumulate(&block, &weights);
    let valid: Vec<u32> = (600..n as u32).collect();
    let positions = Positions::List(&valid);
    let job = |k: usize| ReplyJob { source: sums.sum(k / 2 % 2, k % 2), positions };
    let jobs: Vec<_> = (0..BATCH).map(job).collect();
    let mut sanitiser = Sanitiser::new(&public, format, &mut prg);
    let (mut reply_bytes, mut shares) = (Vec::new(), Vec::new());
    let reply = bench(&mut group, "reply", || {
        reply_bytes.clear();
        shares.clear();
        sanitiser.reply(&jobs, &mut reply_bytes, &mut shares);
    });
    let decryptor = Decryptor::new(&secret, format);
    let mut out = Vec::new();
    let decrypt = bench(&mut group, "decrypt", || {
        out.clear();
        decryptor.decrypt(&reply_bytes, &[positions; BATCH], &mut out).unwrap();
    });
    group.finish();
    println!(
        "{name}: {} B up per ciphertext, {} B down per reply",
        bytes.len() / BATCH,
        reply_bytes.len() / BATCH
    );
    report(&params, "encrypt", limbs, encrypt);
    report(&params, "ingest", limbs, ingest);
    report(&params, "weight", limbs, weight);
    report(&params, "reply", 3.0 * limbs, reply);
    report(&params, "decrypt", 2.0, decrypt);
}

fn rotation(c: &mut Criterion) {
    let params = Params::rotating(Modulus::prime(737_281).unwrap()).unwrap();
    let Setting { params, secret, upload, mut prg, .. } = setting(params, 0);
    let mut encryptor = Encryptor::new(&secret, upload, &mut prg);
    let mut bytes = Vec::new();
    encryptor.encrypt(1, |_, _| (), &mut bytes);
    let ciphertext = Ciphertext::read(encryptor.stream(), 0, &bytes, None).unwrap();
    let key = GaloisKey::generate(&secret, 1, &mut prg).unwrap();
    let mut group = c.benchmark_group("rotating");
    group
        .sample_size(10)
        .bench_function("rotated sum", |b| b.iter(|| ciphertext.rotated_sum(black_box(&key))));
    println!("rotating: {} B per Galois key", GaloisKey::byte_len(&params));
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let t = Modulus::pow2(24).unwrap();
    steps(&mut criterion, "small", Params::small(t).unwrap(), 0);
    steps(&mut criterion, "small, 6 bits dropped", Params::small(t).unwrap(), 6);
    steps(&mut criterion, "large, prime", Params::large(Modulus::prime(737_281).unwrap()).unwrap(), 0);
    rotation(&mut criterion);
    criterion.final_summary();
}

//! Whole layers through the public interface: upload, share, multiply-accumulate, reply, decryption.
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use ntt::Modulus;
use pahe::*;
use prg::{Prg, Seed};
use std::sync::Arc;

struct Setting {
    params: Arc<Params>,
    secret: Arc<SecretKey>,
    public: Arc<PublicKey>,
    prg: Prg,
}

fn setting(params: Arc<Params>, seed: u8) -> Setting {
    let mut prg = Prg::new(&Seed::from_bytes([seed; 16]));
    let secret = SecretKey::generate(&params, &mut prg);
    let sent = PublicKey::generate(&secret, &mut prg).to_bytes();
    let public = Arc::new(PublicKey::from_bytes(&params, &sent).unwrap());
    Setting { params, secret, public, prg }
}

fn uniform(t: Modulus, n: usize, prg: &mut Prg) -> Vec<u64> {
    let mut x = vec![0; n];
    t.sample(prg, &mut x);
    x
}

/// Sparse weights: a few taps per (input, output).
fn taps(input: usize, output: usize) -> Vec<(usize, i64)> {
    (0..5).map(|k| (17 * k * k + input, ((input * 31 + output * 7 + k * 53) % 255) as i64 - 127)).collect()
}

/// Product sums mod t of sparse weights with the tiles' values.
fn expected(t: Modulus, x: &[Vec<u64>], output: usize) -> Vec<u64> {
    let n = x[0].len();
    let mut y = vec![0; n];
    for (input, x) in x.iter().enumerate() {
        for (at, w) in taps(input, output) {
            for (i, &x) in x.iter().enumerate() {
                let term = t.mul(t.reduce(w), x);
                let k = (i + at) % n;
                y[k] = if i + at < n { t.add(y[k], term) } else { t.sub(y[k], term) };
            }
        }
    }
    y
}

fn convolution_like(params: Arc<Params>, drop_bits: u32, tiles: usize) {
    layer(setting(params, 1), drop_bits, tiles);
}

fn layer(setting: Setting, drop_bits: u32, tiles: usize) {
    let Setting { params, secret, public, mut prg } = setting;
    let (t, n, inputs, outputs) = (params.plaintext(), params.degree(), 3, 2);
    let format = UploadFormat::new(&params, drop_bits).unwrap();
    let noise = Noise::fresh(format).with_share().times(WeightNorm::coefficients(127, 5 * inputs));
    let reply_format = ReplyFormat::new(&params, &RunBudget::standard(1 << 16), noise).unwrap();
    let alice: Vec<Vec<u64>> = (0..tiles * inputs).map(|_| uniform(t, n, &mut prg)).collect();
    let bob: Vec<Vec<u64>> = (0..tiles * inputs).map(|_| uniform(t, n, &mut prg)).collect();

    let mut encryptor = Encryptor::new(&secret, format, &mut prg);
    let mut upload = Vec::new();
    let first = encryptor.encrypt(tiles * inputs, |k, values| values.copy_from_slice(&alice[k]), &mut upload);
    assert_eq!(upload.len(), tiles * inputs * format.ciphertext_bytes(&params));

    let stream = UploadStream::from_header(&params, format, encryptor.stream().header());
    let places: Vec<_> = (0..tiles * inputs).map(|k| (k / inputs, k % inputs)).collect();
    let mut ciphertexts = CiphertextBlock::new(&params, tiles, inputs);
    let share = |k: usize, values: &mut [u64]| values.copy_from_slice(&bob[k]);
    ciphertexts.ingest(&stream, first, &upload, &places, Some(&share)).unwrap();
    let mut weights = WeightBlock::new(&params, tiles, inputs, outputs);
    weights.fill(|i, o, w| taps(i, o).into_iter().for_each(|(at, value)| w[at] = value));
    let mut sums = Accumulators::new(&params, tiles, outputs);
    sums.multiply_accumulate(&ciphertexts, &weights);

    let valid: Vec<u32> = (100..n as u32).step_by(3).collect();
    let positions = |job: usize| if job == 0 { Positions::All } else { Positions::List(&valid) };
    let source = |job: usize| sums.sum(job / outputs, job % outputs);
    let jobs: Vec<_> =
        (0..tiles * outputs).map(|k| ReplyJob { source: source(k), positions: positions(k) }).collect();
    let (mut reply, mut shares_bob) = (Vec::new(), Vec::new());
    Sanitiser::new(&public, reply_format, &mut prg).reply(&jobs, &mut reply, &mut shares_bob);

    let all: Vec<_> = (0..jobs.len()).map(positions).collect();
    let mut shares_alice = Vec::new();
    let decryptor = Decryptor::new(&secret, reply_format);
    decryptor.decrypt(&reply, &all, &mut shares_alice).unwrap();
    let mut at = 0;
    for (job, positions) in all.iter().enumerate() {
        let add = |k: usize| bob[k].iter().zip(&alice[k]).map(|(&a, &b)| t.add(a, b)).collect();
        let tile = job / outputs * inputs;
        let x: Vec<Vec<u64>> = (tile..tile + inputs).map(add).collect();
        let y = expected(t, &x, job % outputs);
        let indices: Vec<usize> = match positions {
            Positions::All => (0..n).collect(),
            Positions::List(list) => list.iter().map(|&i| i as usize).collect(),
        };
        for i in indices {
            assert_eq!(t.add(shares_alice[at], shares_bob[at]), y[i], "job {job} value {i} of {t}");
            at += 1;
        }
    }
    assert_eq!(at, shares_alice.len());
}

#[test]
fn layers_over_powers_of_two() {
    let t = |bits| Modulus::pow2(bits).unwrap();
    convolution_like(Params::small(t(24)).unwrap(), 0, 3);
    convolution_like(Params::small(t(16)).unwrap(), 12, 1);
    convolution_like(Params::large(t(40)).unwrap(), 0, 2);
}

#[test]
fn layers_over_primes() {
    let t = |p| Modulus::prime(p).unwrap();
    convolution_like(Params::small(t(737_281)).unwrap(), 4, 2);
    convolution_like(Params::small(t(40_961)).unwrap(), 0, 1);
}

#[test]
fn keys_serve_other_plaintext_moduli() {
    let Setting { secret, public, prg, .. } = setting(Params::small(Modulus::pow2(8).unwrap()).unwrap(), 1);
    let params = Params::small(Modulus::pow2(20).unwrap()).unwrap();
    let (secret, public) = (secret.with_params(&params), Arc::new(public.with_params(&params)));
    layer(Setting { params, secret, public, prg }, 0, 1);
}

#[test]
fn malformed_bytes_are_refused() {
    let Setting { params, secret, mut prg, .. } =
        setting(Params::small(Modulus::pow2(20).unwrap()).unwrap(), 2);
    for drop_bits in [0, 10] {
        let format = UploadFormat::new(&params, drop_bits).unwrap();
        let mut encryptor = Encryptor::new(&secret, format, &mut prg);
        let mut upload = Vec::new();
        encryptor.encrypt(1, |_, _| (), &mut upload);
        let mut block = CiphertextBlock::new(&params, 1, 1);
        let mut ingest = |bytes: &[u8]| block.ingest(encryptor.stream(), 0, bytes, &[(0, 0)], None);
        assert_eq!(ingest(&upload), Ok(()));
        assert!(matches!(ingest(&upload[1..]), Err(UploadError::Length { .. })));
        assert!(matches!(ingest(&[]), Err(UploadError::Length { .. })));
        for part in [0, upload.len() - 8] {
            let mut broken = upload.clone();
            broken[part..part + 8].fill(0xff);
            assert_eq!(ingest(&broken), Err(UploadError::Range), "part {part}, {drop_bits} bits dropped");
        }
    }
    let noise = Noise::fresh(UploadFormat::FULL);
    let format = ReplyFormat::new(&params, &RunBudget::standard(1), noise).unwrap();
    let decryptor = Decryptor::new(&secret, format);
    let bytes = vec![0; format.reply_bytes(&params, 5) + 1];
    let refused = decryptor.decrypt(&bytes, &[Positions::List(&[0, 1, 2, 3, 4])], &mut Vec::new());
    assert!(matches!(refused, Err(ReplyError::Length { .. })));
    assert!(matches!(UploadFormat::new(&params, 49), Err(ParamError::DropBits { .. })));
}

#[test]
fn layers_without_room_are_refused() {
    let params = Params::small(Modulus::pow2(32).unwrap()).unwrap();
    let noise = Noise::fresh(UploadFormat::FULL).with_share().times(WeightNorm::coefficients(127, 27 * 512));
    match ReplyFormat::new(&params, &RunBudget::standard(1 << 28), noise) {
        Err(ParamError::NoRoom { needed, available }) => assert!(needed > available),
        other => panic!("{other:?}"),
    }
    let large = Params::large(Modulus::pow2(32).unwrap()).unwrap();
    assert!(ReplyFormat::new(&large, &RunBudget::standard(1 << 28), noise).is_ok());
}

#[test]
fn slots_multiply_value_by_value() {
    let Setting { params, secret, public, mut prg } =
        setting(Params::large(Modulus::prime(737_281).unwrap()).unwrap(), 3);
    let (t, n) = (params.plaintext(), params.degree());
    let slots = params.slots().unwrap();
    let noise = Noise::fresh(UploadFormat::FULL).times(WeightNorm::slots(&params, 1));
    let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 24), noise).unwrap();
    let (x, w) = (uniform(t, n, &mut prg), uniform(t, n, &mut prg));
    let mut encryptor = Encryptor::new(&secret, UploadFormat::FULL, &mut prg);
    let mut upload = Vec::new();
    let first = encryptor.encrypt(1, |_, polynomial| slots.encode_into(&x, polynomial), &mut upload);
    let upload = Ciphertext::read(encryptor.stream(), first, &upload, None).unwrap();
    let mut product = Ciphertext::zero(&params);
    product.multiply_add(&upload, &Plaintext::from_slots(&params, &w).unwrap());
    let job = ReplyJob { source: Unsanitised::from(&product), positions: Positions::All };
    let (mut reply, mut bob, mut alice) = (Vec::new(), Vec::new(), Vec::new());
    Sanitiser::new(&public, format, &mut prg).reply(&[job], &mut reply, &mut bob);
    Decryptor::new(&secret, format).decrypt(&reply, &[Positions::All], &mut alice).unwrap();
    let mut shares = [vec![0; n], vec![0; n]];
    slots.decode_into(&mut alice, &mut shares[0]);
    slots.decode_into(&mut bob, &mut shares[1]);
    for i in 0..n {
        assert_eq!(t.add(shares[0][i], shares[1][i]), t.mul(x[i], w[i]));
    }
}

#[test]
fn windows_are_summed_by_rotation() {
    let Setting { params, secret, public, mut prg } =
        setting(Params::rotating(Modulus::prime(737_281).unwrap()).unwrap(), 4);
    let (t, n) = (params.plaintext(), params.degree());
    let (slots, width) = (params.slots().unwrap(), 64);
    let steps = [1, width as isize];
    let keys: Vec<GaloisKey> = steps
        .iter()
        .map(|&step| {
            let sent = GaloisKey::generate(&secret, step, &mut prg).unwrap().to_bytes();
            GaloisKey::from_bytes(&params, step, &sent).unwrap()
        })
        .collect();
    let mut noise = Noise::fresh(UploadFormat::FULL).with_share();
    steps.iter().for_each(|_| noise = noise.plus(noise.rotated(&params)));
    let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 24), noise).unwrap();

    // Shares of an image of rows of 64; 2×2 windows are summed.
    let (a, b) = (uniform(t, n, &mut prg), uniform(t, n, &mut prg));
    let mut encryptor = Encryptor::new(&secret, UploadFormat::FULL, &mut prg);
    let mut upload = Vec::new();
    let first = encryptor.encrypt(1, |_, polynomial| slots.encode_into(&a, polynomial), &mut upload);
    let mut share = vec![0; n];
    slots.encode_into(&b, &mut share);
    let mut sum = Ciphertext::read(encryptor.stream(), first, &upload, Some(&share)).unwrap();
    keys.iter().for_each(|key| sum = sum.rotated_sum(key));

    let job = ReplyJob { source: Unsanitised::from(&sum), positions: Positions::All };
    let (mut reply, mut bob, mut alice) = (Vec::new(), Vec::new(), Vec::new());
    Sanitiser::new(&public, format, &mut prg).reply(&[job], &mut reply, &mut bob);
    Decryptor::new(&secret, format).decrypt(&reply, &[Positions::All], &mut alice).unwrap();
    let mut shares = [vec![0; n], vec![0; n]];
    slots.decode_into(&mut alice, &mut shares[0]);
    slots.decode_into(&mut bob, &mut shares[1]);
    for row in (0..n / 2 / width - 1).step_by(2) {
        for column in (0..width - 1).step_by(2) {
            let at = row * width + column;
            let window = [at, at + 1, at + width, at + width + 1];
            let expected = window.iter().fold(0, |sum, &i| t.add(sum, t.add(a[i], b[i])));
            assert_eq!(t.add(shares[0][at], shares[1][at]), expected);
        }
    }
}

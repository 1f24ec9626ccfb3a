//! Attacks that succeed on unsanitised replies and fail on sanitised ones, and the statistics behind the format.

use super::*;
use crate::testing::Alice;
use crate::{Plaintext, UploadFormat};
use ntt::Modulus;

fn pow2(bits: u32) -> Modulus {
    Modulus::pow2(bits).unwrap()
}

/// Bob's side of one product with secret weights, and everything Alice knows.
struct Product {
    alice: Alice,
    weights: Vec<i64>,
    upload: Ciphertext,
    product: Ciphertext,
    sanitiser: Sanitiser,
}

fn product(seed: u8) -> Product {
    let params = Params::small(pow2(20)).unwrap();
    let mut alice = Alice::new(&params, seed);
    let message = alice.values();
    let upload = alice.encrypt(UploadFormat::FULL, &message);
    let mut weights = vec![0; params.degree()];
    (0..27).for_each(|k| weights[31 * k] = 7 * k as i64 - 90);
    let mut product = Ciphertext::zero(&params);
    product.multiply_add(&upload, &Plaintext::from_coefficients(&params, &weights));
    let key = Arc::new(PublicKey::generate(&alice.key, &mut alice.prg));
    let noise = Noise::fresh(UploadFormat::FULL).times(crate::WeightNorm::coefficients(127, 27));
    let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 20), noise).unwrap();
    let sanitiser = Sanitiser::new(&key, format, &mut Prg::new(&Seed::from_bytes([seed; 16])));
    Product { alice, weights, upload, product, sanitiser }
}

impl Product {
    /// The reply after re-randomisation and flooding, before anything is cut off, as a ciphertext again.
    fn rerandomised(&self, index: u64) -> Ciphertext {
        let params = &self.alice.params;
        let mut scratch = Scratch::new(params);
        let mut prg = Prg::with_nonce(&self.sanitiser.seed, index);
        let (c0, c1) = self.product.words();
        let mut pair = [c0, c1].concat();
        self.sanitiser.rerandomise(&mut prg, &mut pair, &mut scratch);
        let [mut c0, mut c1] = [pair[..c0.len()].to_vec(), pair[c0.len()..].to_vec()];
        for words in [&mut c0, &mut c1] {
            let limbs = params.limbs().iter().zip(words.chunks_exact_mut(params.degree()));
            limbs.for_each(|(ring, words)| ring.forward(words));
        }
        Ciphertext::from_words(params, c0, c1)
    }

    /// numerator/denominator in the first limb, centred: the weights, if the numerator is their product with it.
    fn divide(&self, mut numerator: Vec<u64>, denominator: &[u64]) -> Vec<i64> {
        let ring = &self.alice.params.limbs()[0];
        let inverse: Vec<u64> = denominator.iter().map(|&a| ring.invert_scalar(a)).collect();
        ring.mul_assign(&mut numerator, &inverse);
        ring.inverse(&mut numerator);
        let p = ring.modulus();
        numerator.iter().map(|&x| x as i64 - if x > p / 2 { p as i64 } else { 0 }).collect()
    }

    /// c1 = a·w, and Alice knows a.
    fn attack_on_c1(&self, reply: &Ciphertext) -> Vec<i64> {
        let n = self.alice.params.degree();
        self.divide(reply.words().1[..n].to_vec(), &self.upload.words().1[..n])
    }

    /// c0 + c1·s = (scaled message + e)·w, and Alice knows the message and e: her own phase.
    fn attack_on_phase(&self, reply: &Ciphertext) -> Vec<i64> {
        let (n, ring) = (self.alice.params.degree(), &self.alice.params.limbs()[0]);
        let [mut of_reply, mut of_upload] =
            [reply, &self.upload].map(|c| self.alice.phase(c.into())[..n].to_vec());
        ring.forward(&mut of_reply);
        ring.forward(&mut of_upload);
        self.divide(of_reply, &of_upload)
    }
}

#[test]
fn an_unsanitised_reply_gives_the_weights_away() {
    let p = product(1);
    assert_eq!(p.attack_on_c1(&p.product), p.weights);
    assert_eq!(p.attack_on_phase(&p.product), p.weights);
}

#[test]
fn the_same_attacks_fail_on_a_sanitised_reply() {
    let p = product(2);
    let reply = p.rerandomised(0);
    // The result itself is intact, so the attacks do not fail for lack of a reply.
    assert_eq!(p.alice.decrypt((&reply).into()), p.alice.decrypt((&p.product).into()));
    let modulus = p.alice.params.limbs()[0].modulus() as f64;
    for guess in [p.attack_on_c1(&reply), p.attack_on_phase(&reply)] {
        let right = guess.iter().zip(&p.weights).filter(|(a, b)| a == b).count();
        assert_eq!(right, 0, "coefficients guessed right, of which most are zero");
        let small = guess.iter().filter(|g| (g.unsigned_abs() as f64) < modulus / 8.0).count();
        assert!((small as f64 / guess.len() as f64 - 0.25).abs() < 0.04, "guesses are uniform: {small}");
    }
}

#[test]
fn every_reply_has_its_own_encryption_of_zero() {
    let mut p = product(4);
    let ring = &p.alice.params.limbs()[0];
    let (a, b) = (p.rerandomised(0), p.rerandomised(1));
    // With a reused encryption of zero the difference of two c1 would vanish or be small.
    let mut difference = a.words().1[..ring.degree()].to_vec();
    ring.sub_assign(&mut difference, &b.words().1[..ring.degree()]);
    ring.inverse(&mut difference);
    let q = ring.modulus();
    let near = difference.iter().filter(|&&d| d.min(q - d) < q / 16).count() as f64;
    assert!((near / ring.degree() as f64 - 0.125).abs() < 0.03, "{near}");
    // The counter goes on from call to call.
    let job = ReplyJob { source: (&p.product).into(), positions: Positions::List(&[]) };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    p.sanitiser.reply(&[job], &mut first, &mut Vec::new());
    p.sanitiser.reply(&[job], &mut second, &mut Vec::new());
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(same < first.len() / 100, "{same} of {} bytes", first.len());
}

#[test]
fn masks_are_uniform_and_cancel() {
    let prime = Modulus::prime(12_289).unwrap();
    for t in [pow2(8), prime] {
        let params = Params::small(t).unwrap();
        let mut alice = Alice::new(&params, 5);
        let message = alice.values();
        let ciphertext = alice.encrypt(UploadFormat::FULL, &message);
        let key = Arc::new(PublicKey::generate(&alice.key, &mut alice.prg));
        let noise = Noise::fresh(UploadFormat::FULL);
        let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 16), noise).unwrap();
        let mut sanitiser = Sanitiser::new(&key, format, &mut alice.prg);
        let job = ReplyJob { source: (&ciphertext).into(), positions: Positions::All };
        let (mut bytes, mut shares, mut values) = (Vec::new(), Vec::new(), Vec::new());
        sanitiser.reply(&[job; 16], &mut bytes, &mut shares);
        let decryptor = crate::Decryptor::new(&alice.key, format);
        decryptor.decrypt(&bytes, &[Positions::All; 16], &mut values).unwrap();
        let sums = values.iter().zip(&shares).map(|(&a, &b)| t.add(a, b));
        assert!(sums.eq(message.iter().copied().cycle().take(values.len())));
        for half in [&values, &shares] {
            let mut bins = [0.0; 64];
            half.iter().for_each(|&v| bins[(v * 64 / t.value()) as usize] += 1.0);
            let mean = half.len() as f64 / 64.0;
            let statistic: f64 = bins.iter().map(|b: &f64| (b - mean).powi(2) / mean).sum();
            assert!((20.0..130.0).contains(&statistic), "chi-square of 63 degrees: {statistic}");
        }
    }
}

#[test]
fn the_flood_is_a_centred_sum_of_three_uniforms() {
    let ring = Ring::new(4096, ntt::ntt_primes(4096, 50).next().unwrap()).unwrap();
    let mut prg = Prg::new(&Seed::from_bytes([6; 16]));
    let mut words = vec![0; 6 * 4096];
    for bits in [1, 10, 40, 47] {
        prg.fill_u64(&mut words);
        let mut x = vec![0; 4096];
        add_flood(&ring, &mut x, &words, bits);
        let p = ring.modulus();
        let centred = x.iter().map(|&x| x as f64 - if x > p / 2 { p as f64 } else { 0.0 });
        let width = f64::from(bits).exp2();
        let samples: Vec<f64> = centred.map(|x| x / width).collect();
        let variance = samples.iter().map(|x| x * x).sum::<f64>() / 4096.0;
        assert!(samples.iter().all(|x| x.abs() <= 1.5));
        // Three times (W² − 1)/12, and a quarter where the mean 3(W−1)/2 is rounded down.
        let expected = 0.25 * (1.0 - width.powi(-2)) + 0.25 * width.powi(-2);
        assert!((variance - expected).abs() < 0.02, "{bits} bits: {variance} for {expected}");
    }
    for bits in [63, 64, 65, 70, 85, 86, 96, 112] {
        prg.fill_u64(&mut words);
        let mut x = vec![0; 4096];
        add_flood(&ring, &mut x, &words, bits);
        let p = u128::from(ring.modulus());
        let mean = 3 * ((1u128 << bits) - 1) / 2;
        for (i, &x) in x.iter().enumerate() {
            let uniform = |k: usize| {
                let above = match flood_words(bits) {
                    3 => 0,
                    4 => words[3 * 4096 + i] >> (21 * k),
                    _ => words[(3 + k) * 4096 + i],
                };
                let above = u128::from(above) << 64;
                (u128::from(words[k * 4096 + i]) + above) % (1 << bits)
            };
            let sum: u128 = (0..3).map(uniform).sum();
            assert_eq!(u128::from(x), (sum % p + p - mean % p) % p, "{bits} bits");
        }
    }
}

#[test]
fn the_hellinger_distance_of_shifted_floods_is_as_derived() {
    for bits in [5, 8, 11] {
        let width = 1usize << bits;
        let uniform = vec![1.0 / width as f64; width];
        let convolve = |a: &[f64], b: &[f64]| {
            let mut out = vec![0.0; a.len() + b.len() - 1];
            for (i, a) in a.iter().enumerate() {
                out[i..i + b.len()].iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
            }
            out
        };
        let density = convolve(&convolve(&uniform, &uniform), &uniform);
        for shift in [1, 3] {
            let at = |k: usize| density.get(k).copied().unwrap_or(0.0);
            let before = |k: usize| if k >= shift { at(k - shift) } else { 0.0 };
            let terms = (0..density.len() + shift).map(|k| (at(k), before(k)));
            let squared: f64 = terms.clone().map(|(a, b)| (a.sqrt() - b.sqrt()).powi(2)).sum::<f64>() / 2.0;
            let variation: f64 = terms.map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0;
            let relative = shift as f64 / width as f64;
            let bound = DISTANCE_PER_SHIFT.powi(2) / 2.0 * relative.powi(2);
            assert!(squared <= bound * (1.0 + 4.0 * relative), "{squared} for {bound}");
            assert!(squared >= bound * 0.8, "the constant is not far above the truth");
            assert!(variation <= DISTANCE_PER_SHIFT * relative);
        }
    }
}

#[test]
fn formats_follow_the_budget() {
    let params = Params::small(pow2(24)).unwrap();
    let noise =
        Noise::fresh(UploadFormat::FULL).with_share().times(crate::WeightNorm::coefficients(127, 27 * 64));
    let of = |values| ReplyFormat::new(&params, &RunBudget::standard(values), noise).unwrap();
    let (short, long) = (of(1 << 20), of(1 << 28));
    // √(N·V): eight more bits of values cost four bits of flood.
    assert_eq!(long.flood_bits() - short.flood_bits(), 4);
    assert_eq!((long.c0_bits(), long.c1_bits()), (26, 33));
    assert_eq!(long.reply_bytes(&params, 1000), 4096 * 33 / 8 + 1000 * 26 / 8);
    let sigma = noise.with_zero_encryption(&params).variance().sqrt();
    let distance = DISTANCE_PER_SHIFT * (28f64 / 2.0).exp2() * sigma / f64::from(long.flood_bits()).exp2();
    assert!(distance.log2() <= -40.0 && distance.log2() > -41.1);
}

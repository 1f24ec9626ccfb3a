//! What tests need beyond the public interface: Alice with all her secrets, exact decryption, measured noise.

use crate::ciphertext::Ciphertext;
use crate::keys::SecretKey;
use crate::noise::Noise;
use crate::params::Params;
use crate::reply::Unsanitised;
use crate::scaling::{add_message, to_digits};
use crate::upload::{Encryptor, UploadFormat};
use prg::{Prg, Seed};
use std::sync::Arc;

/// Alice, seeded.
pub(crate) struct Alice {
    pub(crate) params: Arc<Params>,
    pub(crate) key: Arc<SecretKey>,
    pub(crate) prg: Prg,
}

impl Alice {
    pub(crate) fn new(params: &Arc<Params>, seed: u8) -> Self {
        let mut prg = Prg::new(&Seed::from_bytes([seed; 16]));
        let key = SecretKey::generate(params, &mut prg);
        Self { params: Arc::clone(params), key, prg }
    }

    /// Uniform values mod t.
    pub(crate) fn values(&mut self) -> Vec<u64> {
        let mut x = vec![0; self.params.degree()];
        self.params.plaintext().sample(&mut self.prg, &mut x);
        x
    }

    /// One ciphertext of a stream of its own.
    pub(crate) fn encrypt(&mut self, format: UploadFormat, message: &[u64]) -> Ciphertext {
        let mut encryptor = Encryptor::new(&self.key, format, &mut self.prg);
        let mut bytes = Vec::new();
        let index = encryptor.encrypt(1, |_, x| x.copy_from_slice(message), &mut bytes);
        Ciphertext::read(encryptor.stream(), index, &bytes, None).unwrap()
    }

    /// c0 + c1·s in coefficients, all limbs.
    pub(crate) fn phase(&self, source: Unsanitised<'_>) -> Vec<u64> {
        let n = self.params.degree();
        let words = self.params.words();
        let mut phase = vec![0; 2 * words];
        Unsanitised::read_into(&[source], words, &mut phase);
        let mut c1 = phase.split_off(words);
        let limbs = phase.chunks_exact_mut(n).zip(c1.chunks_exact_mut(n));
        for (l, (ring, (phase, c1))) in self.params.limbs().iter().zip(limbs).enumerate() {
            ring.inverse(phase);
            ring.mul_fixed_assign(c1, self.key.scaled(l));
            ring.inverse_unscaled(c1);
            ring.add_assign(phase, c1);
        }
        phase
    }

    /// Exact decryption: round(t·x/q) mod t of the phase x, by long division of its digits.
    pub(crate) fn decrypt(&self, source: Unsanitised<'_>) -> Vec<u64> {
        let (n, t) = (self.params.degree(), self.params.plaintext().value());
        let mut digits = self.phase(source);
        to_digits(&self.params, &mut digits);
        let value = |i: usize| {
            let fraction = self.params.limbs().iter().enumerate().fold(0u128, |below, (l, ring)| {
                ((u128::from(digits[l * n + i]) << 64) + below) / u128::from(ring.modulus())
            });
            ((fraction * u128::from(t) + (1 << 63)) >> 64) as u64 % t
        };
        (0..n).map(value).collect()
    }

    /// The noise of each coefficient, given the message; exact below half the product of the first two limbs.
    pub(crate) fn noise(&self, source: Unsanitised<'_>, message: &[u64]) -> Vec<f64> {
        let (n, limbs) = (self.params.degree(), self.params.limbs());
        let mut phase = self.phase(source);
        for (l, (ring, phase)) in limbs.iter().zip(phase.chunks_exact_mut(n)).enumerate() {
            let mut scaled = vec![0; n];
            add_message(&self.params, l, &mut scaled, message);
            ring.sub_assign(phase, &scaled);
        }
        to_digits(&self.params, &mut phase);
        let (p0, p1) = (i128::from(limbs[0].modulus()), i128::from(limbs[1].modulus()));
        let value = |i: usize| i128::from(phase[i]) + p0 * i128::from(phase[n + i]);
        (0..n).map(value).map(|x| (if x > p0 * p1 / 2 { x - p0 * p1 } else { x }) as f64).collect()
    }

    /// Asserts that the noise never exceeds its prediction, and returns measured over predicted standard deviation.
    pub(crate) fn check_noise(&self, source: Unsanitised<'_>, message: &[u64], predicted: Noise) -> f64 {
        let noise = self.noise(source, message);
        let largest = noise.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert!(largest <= predicted.bound(40.0), "noise {largest:e} exceeds {:e}", predicted.bound(40.0));
        (noise.iter().map(|x| x * x).sum::<f64>() / noise.len() as f64 / predicted.variance()).sqrt()
    }
}

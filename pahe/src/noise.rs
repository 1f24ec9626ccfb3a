//! Noise prediction.
//!
//! A [`Noise`] is an upper bound of the variance of one coefficient of c0 + c1·s − round-free plaintext, over the
//! randomness of encryption. Errors are sums of many small independent terms with bounded support, hence
//! sub-Gaussian with that variance as proxy: P(|noise| > z·σ) ≤ 2·exp(−z²/2). Nothing here depends on weights, only on
//! their public width and number.
//!
//! | step | variance |
//! | --- | --- |
//! | fresh upload | 10.5 (binomial error) + 1/12 (rounding of q·m/t) + 4^d/12 (d bits dropped) |
//! | Bob's share added | + 3/12: two rounding errors that may be fully correlated |
//! | product with w | · ‖w‖₂² (summed over the inputs) |
//! | zero encryption e·u + e1·s | 10.5·(2n/3 + nonzeros of s) |
//! | key switch, per rotation | L·n·10.5·max(p)²/(12·P²) + (1 + nonzeros of s)/12 |

use crate::params::Params;
use crate::sampling::ERROR_VARIANCE;
use crate::upload::UploadFormat;

/// An upper bound of the variance per coefficient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    variance: f64,
}

/// An upper bound of ‖w‖₂² for the plaintexts that one output sums over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightNorm(f64);

impl WeightNorm {
    /// `terms` nonzero coefficients of absolute value at most `max_abs`, over all inputs together.
    pub fn coefficients(max_abs: u64, terms: usize) -> Self {
        Self((max_abs as f64).powi(2) * terms as f64)
    }

    /// `inputs` slot-encoded plaintexts: n dense coefficients of absolute value at most t/2 each.
    pub fn slots(params: &Params, inputs: usize) -> Self {
        Self((params.plaintext().value() as f64 / 2.0).powi(2) * (params.degree() * inputs) as f64)
    }
}

impl Noise {
    /// Of an upload.
    pub fn fresh(format: UploadFormat) -> Self {
        let dropped = if format.drop_bits() > 0 { 4f64.powi(format.drop_bits() as i32) / 12.0 } else { 0.0 };
        Self { variance: ERROR_VARIANCE + 1.0 / 12.0 + dropped }
    }

    /// After Bob added his share.
    pub fn with_share(self) -> Self {
        Self { variance: self.variance + 3.0 / 12.0 }
    }

    /// After multiplication with plaintexts.
    pub fn times(self, weights: WeightNorm) -> Self {
        Self { variance: self.variance * weights.0 }
    }

    /// Of a sum of two ciphertexts whose noise may be fully correlated (a ciphertext and its rotation).
    pub fn plus(self, other: Self) -> Self {
        Self { variance: (self.variance.sqrt() + other.variance.sqrt()).powi(2) }
    }

    /// After one rotation. Without a special prime the noise is infinite.
    pub fn rotated(self, params: &Params) -> Self {
        let special = params.special().map_or(0.0, |ring| ring.modulus() as f64);
        let largest = params.limbs().iter().map(|ring| ring.modulus()).max().unwrap_or(0) as f64;
        let digits = (params.limbs().len() * params.degree()) as f64 / 12.0 * (largest / special).powi(2);
        let rounding = (1.0 + nonzero_bound(params)) / 12.0;
        Self { variance: self.variance + digits * ERROR_VARIANCE + rounding }
    }

    /// With the fresh encryption of zero that every reply carries.
    pub fn with_zero_encryption(self, params: &Params) -> Self {
        let terms = params.degree() as f64 * 2.0 / 3.0 + nonzero_bound(params);
        Self { variance: self.variance + ERROR_VARIANCE * terms }
    }

    /// The variance.
    pub fn variance(self) -> f64 {
        self.variance
    }

    /// A bound that one coefficient passes with probability at most 2^−`bits`.
    pub fn bound(self, bits: f64) -> f64 {
        tail_factor(bits) * self.variance.sqrt()
    }
}

/// z with 2·exp(−z²/2) = 2^−bits.
pub(crate) fn tail_factor(bits: f64) -> f64 {
    (2.0 * std::f64::consts::LN_2 * (bits + 1.0)).sqrt()
}

/// Nonzero coefficients of a ternary secret: the expected 2n/3 and ten standard deviations.
pub(crate) fn nonzero_bound(params: &Params) -> f64 {
    let n = params.degree() as f64;
    2.0 * n / 3.0 + 10.0 * (2.0 * n / 9.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Accumulators, CiphertextBlock, WeightBlock};
    use crate::testing::Alice;
    use crate::upload::Encryptor;
    use crate::{Ciphertext, GaloisKey, Plaintext};
    use ntt::{Modulus, Ring};
    use std::sync::Arc;

    /// Taps of a 3×3×3 kernel of the largest weights, signs by a counter.
    fn taps(input: usize, w: &mut [i64]) {
        for k in 0..27 {
            w[289 * (k / 9) + 17 * (k / 3 % 3) + k % 3] =
                if (input * 27 + k) * 7 % 11 < 5 { 127 } else { -127 };
        }
    }

    /// Σ x_i·w_i mod t by a transform modulo a prime above the largest sum.
    fn message_sum(ring: &Ring, t: Modulus, values: &[Vec<u64>]) -> Vec<u64> {
        let n = ring.degree();
        let mut sum = vec![0; n];
        for (input, x) in values.iter().enumerate() {
            let mut w = vec![0i64; n];
            taps(input, &mut w);
            let (mut x, mut y) = (x.clone(), vec![0; n]);
            ring.from_signed_into(&mut y, bytemuck::cast_slice(&w));
            ring.forward(&mut x);
            ring.forward(&mut y);
            ring.mul_assign(&mut x, &y);
            ring.add_assign(&mut sum, &x);
        }
        ring.inverse(&mut sum);
        let p = ring.modulus();
        sum.iter().map(|&x| t.reduce(x as i64 - if x > p / 2 { p as i64 } else { 0 })).collect()
    }

    fn convolution(params: &Arc<Params>, inputs: usize, format: UploadFormat) -> f64 {
        let mut alice = Alice::new(params, 4);
        let t = params.plaintext();
        let (mine, his): (Vec<_>, Vec<_>) = (0..inputs).map(|_| (alice.values(), alice.values())).unzip();
        let mut encryptor = Encryptor::new(&alice.key, format, &mut alice.prg);
        let mut bytes = Vec::new();
        encryptor.encrypt(inputs, |k, x| x.copy_from_slice(&mine[k]), &mut bytes);
        let mut block = CiphertextBlock::new(params, 1, inputs);
        let places: Vec<_> = (0..inputs).map(|i| (0, i)).collect();
        let share = |k: usize, x: &mut [u64]| x.copy_from_slice(&his[k]);
        block.ingest(encryptor.stream(), 0, &bytes, &places, Some(&share)).unwrap();
        let mut weights = WeightBlock::new(params, 1, inputs, 1);
        weights.fill(|i, _, w| taps(i, w));
        let mut sums = Accumulators::new(params, 1, 1);
        sums.multiply_accumulate(&block, &weights);
        let add = |(a, b): (&Vec<u64>, &Vec<u64>)| a.iter().zip(b).map(|(&a, &b)| t.add(a, b)).collect();
        let values: Vec<Vec<u64>> = mine.iter().zip(&his).map(add).collect();
        let message = message_sum(&params.limbs()[0], t, &values);
        assert_eq!(alice.decrypt(sums.sum(0, 0)), message);
        let predicted = Noise::fresh(format).with_share().times(WeightNorm::coefficients(127, 27 * inputs));
        alice.check_noise(sums.sum(0, 0), &message, predicted)
    }

    #[test]
    fn the_largest_convolutions_stay_within_the_prediction() {
        for (bits, inputs, drop_bits) in [(24, 512, 0), (24, 64, 12), (16, 128, 24), (32, 64, 0)] {
            let params = Params::small(Modulus::pow2(bits).unwrap()).unwrap();
            let deviation = convolution(&params, inputs, UploadFormat::new(&params, drop_bits).unwrap());
            assert!(
                (0.93..1.03).contains(&deviation),
                "t = 2^{bits}, {inputs} inputs, {drop_bits}: {deviation}"
            );
        }
        let prime = Params::small(Modulus::prime(737_281).unwrap()).unwrap();
        assert!((0.93..1.03).contains(&convolution(&prime, 512, UploadFormat::FULL)));
    }

    #[test]
    fn slot_products_stay_within_the_prediction() {
        let params = Params::large(Modulus::prime(737_281).unwrap()).unwrap();
        let (mut alice, t, inputs) = (Alice::new(&params, 5), params.plaintext(), 24);
        let slots = params.slots().unwrap();
        let (mut total, mut expected) = (Ciphertext::zero(&params), vec![0; params.degree()]);
        for _ in 0..inputs {
            let (x, w) = (alice.values(), alice.values());
            let mut polynomial = vec![0; params.degree()];
            slots.encode_into(&x, &mut polynomial);
            let upload = alice.encrypt(UploadFormat::FULL, &polynomial);
            total.multiply_add(&upload, &Plaintext::from_slots(&params, &w).unwrap());
            expected.iter_mut().zip(x.iter().zip(&w)).for_each(|(y, (&x, &w))| *y = t.add(*y, t.mul(x, w)));
        }
        let mut message = vec![0; params.degree()];
        slots.encode_into(&expected, &mut message);
        let predicted = Noise::fresh(UploadFormat::FULL).times(WeightNorm::slots(&params, inputs));
        let deviation = alice.check_noise((&total).into(), &message, predicted);
        // Uniform coefficients have a third of the bound's square.
        assert!((deviation - 3f64.sqrt().recip()).abs() < 0.03, "{deviation}");
    }

    #[test]
    fn window_sums_stay_within_the_prediction() {
        let params = Params::rotating(Modulus::prime(737_281).unwrap()).unwrap();
        let mut alice = Alice::new(&params, 6);
        let (slots, t, half) = (params.slots().unwrap(), params.plaintext(), params.degree() / 2);
        let values = alice.values();
        let mut polynomial = vec![0; params.degree()];
        slots.encode_into(&values, &mut polynomial);
        let mut sum = alice.encrypt(UploadFormat::FULL, &polynomial);
        let (mut expected, mut noise) = (values, Noise::fresh(UploadFormat::FULL));
        for step in [1, 64, 1024] {
            let key = GaloisKey::generate(&alice.key, step, &mut alice.prg).unwrap();
            sum = sum.rotated_sum(&key);
            noise = noise.plus(noise.rotated(&params));
            let at = |i: usize| i / half * half + (i % half + step as usize) % half;
            expected = (0..params.degree()).map(|i| t.add(expected[i], expected[at(i)])).collect();
        }
        slots.encode_into(&expected, &mut polynomial);
        assert_eq!(alice.decrypt((&sum).into()), polynomial);
        alice.check_noise((&sum).into(), &polynomial, noise);
    }

    #[test]
    fn tails_are_those_of_the_bound() {
        assert!((2.0 * (-tail_factor(40.0).powi(2) / 2.0).exp()).log2() + 40.0 < 1e-9);
        let doubled = Noise { variance: 3.0 }.plus(Noise { variance: 3.0 });
        assert!((doubled.variance() - 12.0).abs() < 1e-9);
    }
}

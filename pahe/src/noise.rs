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

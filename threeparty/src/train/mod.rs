//! Training of convolutional networks, written once and run three ways.
//!
//! Functionality: a [`Network`] (public architecture), images and one-hot labels (secret), a [`Recipe`] (public:
//! optimiser, batch size, order) → trained weights (secret), loss and accuracy per epoch (revealed).
//! [`Learner`] trains over any [`Arithmetic`](crate::arithmetic::Arithmetic): the three servers, or the integer twin in the clear; [`FloatLearner`] is
//! the float twin. All start from the same weights and see the same batches in the same public random order.
//!
//! Method: after "privacy-preserving outsourcing medical image classification based on a convolutional neural network";
//! convolution, max pooling, ReLU (max before ReLU saves comparisons), dense layers, softmax cross-entropy; SGD with
//! momentum, or Adam. Departures: stochastic rounding instead of share-local truncation, gradients with more
//! fractional bits than weights, one message for the gradients of all layers, the loss only at the end of an epoch.
//!
//! Formats: activations, weights and score gradients have [`FRAC`] fractional bits, weight gradients and velocities
//! [`GRADIENT_FRAC`]; comparisons assume magnitudes below 2^14 ([`COMPARED_BITS`] bits).
//! Leakage: the architecture, the recipe, the number of images, and the losses and accuracies that are revealed.

pub mod checkpoint;
mod float;
mod learner;
mod metrics;
mod network;
mod recipe;

pub use float::FloatLearner;
pub use learner::{Learner, Samples, StepCosts};
pub use metrics::{Metrics, roc_area};
pub use network::{Layer, Network, NetworkError};
pub use recipe::{Batch, Optimiser, Recipe, epoch_batches};

/// Fractional bits of activations and weights.
pub const FRAC: u32 = 16;
/// Fractional bits of weight gradients.
pub const GRADIENT_FRAC: u32 = 24;
/// Bits of values that are compared: 31, so magnitudes below 2^14.
pub const COMPARED_BITS: u32 = 31;

/// A real number with [`FRAC`] fractional bits.
pub fn to_fixed(value: f64) -> u64 {
    (value * f64::from(1u32 << FRAC)).round() as i64 as u64
}

/// The real number that a fixed-point value with [`FRAC`] fractional bits stands for.
pub fn from_fixed(value: u64) -> f64 {
    value as i64 as f64 / f64::from(1u32 << FRAC)
}

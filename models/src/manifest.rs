//! The quantised network: a public manifest, and the provider's secret weights.

use crate::graph::{Graph, NodeId, Op, Shape};
use ndarray::{Array1, Array3, Array4, ArrayD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the manifest's format that this software writes and reads.
pub const FORMAT: u32 = 1;

/// What the integers of an edge mean: real value = integer / (2^frac · divisor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Fractional bits.
    pub frac: i32,
    /// A division left open by average pooling over a window that is no power of two; else 1.
    pub divisor: u32,
    /// Largest magnitude that may occur: calibrated, with the manifest's margin. Ranges are proved from it.
    pub bound: u64,
}

/// What is public about a layer with weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Fractional bits of the weights.
    pub weight_frac: i32,
    /// Bits of a weight's magnitude: |w| < 2^weight_bits.
    pub weight_bits: u32,
}

/// A label of the segmentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// What it stands for.
    pub name: String,
    /// The grey value it is written with in pictures.
    pub grey: u8,
}

impl Label {
    /// `count` labels, at least two, with numbers for names and evenly spread grey values.
    pub fn numbered(count: usize) -> Vec<Self> {
        let count = count.max(2);
        let grey = |index: usize| u8::try_from(index * 255 / (count - 1)).unwrap_or(u8::MAX);
        (0..count).map(|index| Self { name: format!("label {index}"), grey: grey(index) }).collect()
    }
}

/// Labels as bytes, as masks in files hold them; `None` where one exceeds 255.
pub fn label_bytes(labels: &Array3<u16>) -> Option<Array3<u8>> {
    let fits = labels.iter().all(|&label| label <= u16::from(u8::MAX));
    fits.then(|| labels.mapv(|label| label as u8))
}

/// Everything about a quantised network that both parties know. Alice gets this and never the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The network's name.
    pub name: String,
    /// Architecture with truncations in place.
    pub graph: Graph,
    /// Per node, the meaning of its value.
    pub edges: Vec<Edge>,
    /// Per node with weights, what is public about them.
    pub layers: BTreeMap<NodeId, Layer>,
    /// Bits of 2^k shares that all ranges were proved for.
    pub share_bits: u32,
    /// Factor between the largest calibrated magnitude and an edge's bound.
    pub margin: f64,
    /// The labels, in the order of the result.
    pub labels: Vec<Label>,
    /// How a scan becomes the input, for the `imaging` crate.
    pub preprocessing: serde_json::Value,
}

/// Integer weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// `[out, in, depth, height, width]` for a convolution, `[in, out, …]` for a transposed one.
    pub weights: ArrayD<i32>,
    /// Per output channel, at the scale of the layer's output.
    pub bias: Array1<i64>,
}

/// A quantised network with its weights: what Bob holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The public part.
    pub manifest: Manifest,
    /// The secret part, per node with weights.
    pub weights: BTreeMap<NodeId, LayerWeights>,
}

impl Edge {
    /// The real value that an integer stands for.
    pub fn to_real(&self, integer: i64) -> f64 {
        integer as f64 / f64::from(self.divisor) * f64::from(-self.frac).exp2()
    }

    /// The nearest integer within the bound; NaN becomes 0.
    pub fn to_integer(&self, real: f64) -> i64 {
        let bound = self.bound as f64;
        (real * f64::from(self.divisor) * f64::from(self.frac).exp2()).round().clamp(-bound, bound) as i64
    }
}

impl Manifest {
    /// A preprocessed image `[channel, depth, height, width]` as the integers that the network reads.
    pub fn quantise_input(&self, image: &Array4<f32>) -> Array4<i64> {
        image.mapv(|value| self.edges[0].to_integer(f64::from(value)))
    }

    /// BLAKE3 over the canonical JSON form: what a run record names and what a plan is bound to.
    pub fn hash(&self) -> [u8; 32] {
        let json = serde_json::to_vec(self).unwrap_or_default();
        *blake3::hash(&json).as_bytes()
    }
}

impl LayerWeights {
    /// Whether the weights and biases have the shapes that `op` needs on an input of shape `input`.
    pub fn check_shape(&self, op: &Op, input: Shape) -> Result<(), String> {
        check_layer_shape(op, input, self.weights.shape(), self.bias.len())
    }
}

/// Whether weights of shape `weights` and `biases` biases are what `op` needs on an input of shape `input`.
pub(crate) fn check_layer_shape(
    op: &Op,
    input: Shape,
    weights: &[usize],
    biases: usize,
) -> Result<(), String> {
    let Some(expected) = op.weight_shape(input.channels) else {
        return Err(format!("a {} carries no weights", op.kind()));
    };
    if weights != expected {
        return Err(format!("its weights have shape {weights:?} instead of {expected:?}"));
    }
    match op.output_channels().unwrap_or(input.channels) {
        channels if channels != biases => {
            Err(format!("it has {biases} biases for {channels} output channels"))
        }
        _ => Ok(()),
    }
}

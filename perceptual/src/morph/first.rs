//! What the data holder needs of a network, and no more: its first convolution, and how scans become its input.
//!
//! The provider takes it out of a bundle or an ONNX network ([`FirstLayer::of`], [`FirstLayer::of_floats`]) and sends it as
//! one file. The data holder sees these weights: morphing cannot be had without that. The other layers she does not need.

use crate::error::{PerceptualError, Result};
use crate::morph::augment::AugmentedLayer;
use crate::morph::conv::{AugmentedConv, Conv};
use crate::morph::files::{Tensor, described, extent, floats, save};
use crate::morph::key::MorphKey;
use imaging::{Prepared, Preprocessing, Scan, prepare};
use models::FloatModel;
use models::graph::{Graph, NodeId, Op, Shape, Window};
use models::manifest::{Edge, Manifest, Model};
use ndarray::{Array1, Array4, Array5, ArrayD, Ix5};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How a scan becomes a network's input; public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scans {
    /// The input's shape.
    pub shape: Shape,
    /// Steps for the `imaging` crate.
    pub preprocessing: serde_json::Value,
    /// What the input's integers mean; networks of floats have none.
    pub edge: Option<Edge>,
}

/// The first convolution of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstLayer {
    /// Its name.
    pub name: String,
    /// How scans become its input.
    pub scans: Scans,
    /// Its geometry.
    pub window: Window,
    /// Shape of its result.
    pub output: Shape,
    /// `[out, in, depth, height, width]`; integers where the network's are.
    pub weights: Array5<f64>,
    /// Per output channel.
    pub bias: Array1<f64>,
}

/// What stands beside the weights in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    name: String,
    scans: Scans,
    window: Window,
    output: Shape,
}

const KIND: &str = "first layer for morphing, version 1";

impl Scans {
    /// From the public part of a bundle.
    pub fn of(manifest: &Manifest) -> Self {
        let (shape, preprocessing) = (manifest.graph.node(0).shape, manifest.preprocessing.clone());
        Self { shape, preprocessing, edge: Some(manifest.edges[0]) }
    }

    /// A scan's patches as floats, and the way back.
    ///
    /// # Errors
    /// If the scan does not fit the network.
    pub fn prepare(&self, scan: &Scan) -> Result<(Prepared, Vec<Array4<f32>>)> {
        let preprocessing: Preprocessing = serde_json::from_value(self.preprocessing.clone())
            .map_err(|error| PerceptualError::Parameters(format!("the network's preprocessing: {error}")))?;
        let prepared = prepare(scan, &preprocessing, self.shape.dims)?;
        let inputs: Vec<_> = (0..prepared.patch_count()).map(|index| prepared.input(index)).collect();
        match inputs.first() {
            Some(input) if <[usize; 4]>::from(input.dim()) == self.shape.to_array() => Ok((prepared, inputs)),
            _ => {
                let expected = format!(
                    "inputs of {:?}; `colour` in the network's preprocessing says how many channels come",
                    self.shape.to_array()
                );
                Err(PerceptualError::Mismatch { expected, found: format!("{:?}", prepared.input_shape()) })
            }
        }
    }

    /// A patch at the scale of the network's input.
    pub fn input(&self, patch: &Array4<f32>) -> Array4<f64> {
        let scaled = |value| self.edge.map_or(value, |edge| edge.to_integer(value) as f64);
        patch.mapv(|value| scaled(f64::from(value)))
    }
}

/// The only reader of the input, if it is a convolution.
pub(crate) fn first_convolution(graph: &Graph) -> Result<(NodeId, Window)> {
    let readers = &graph.consumers()[0];
    match (readers.as_slice(), readers.first().map(|&id| &graph.node(id).op)) {
        (&[id], Some(&Op::Conv { window, .. })) => Ok((id, window)),
        _ => Err(refuse(graph, 0, "the input must be read by one convolution and nothing else")),
    }
}

pub(crate) fn refuse(graph: &Graph, id: NodeId, reason: impl ToString) -> PerceptualError {
    PerceptualError::Network { layer: graph.node(id).name.clone(), reason: reason.to_string() }
}

impl FirstLayer {
    /// Of a network of integers.
    ///
    /// # Errors
    /// If the network does not begin with one convolution.
    pub fn of(model: &Model) -> Result<Self> {
        let graph = &model.manifest.graph;
        let (id, _) = first_convolution(graph)?;
        let layer = model.weights.get(&id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
        let bias = layer.bias.mapv(|value| value as f64);
        Self::new(graph, Scans::of(&model.manifest), layer.weights.mapv(f64::from), bias)
    }

    /// Of a network of floats; what it does is exact up to the rounding of 64-bit floats.
    ///
    /// # Errors
    /// If the network does not begin with one convolution.
    pub fn of_floats(model: &FloatModel) -> Result<Self> {
        let graph = &model.graph;
        let (id, _) = first_convolution(graph)?;
        let layer = model.weights.get(&id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
        let scans =
            Scans { shape: graph.node(0).shape, preprocessing: model.preprocessing.clone(), edge: None };
        Self::new(graph, scans, layer.weights.mapv(f64::from), layer.bias.mapv(f64::from))
    }

    fn new(graph: &Graph, scans: Scans, weights: ArrayD<f64>, bias: Array1<f64>) -> Result<Self> {
        let (id, window) = first_convolution(graph)?;
        let weights = weights.into_dimensionality::<Ix5>().map_err(|error| refuse(graph, id, error))?;
        let node = graph.node(id);
        Ok(Self { name: node.name.clone(), scans, window, output: node.shape, weights, bias })
    }

    pub(crate) fn conv(&self) -> Conv<'_> {
        let (input, output) = (self.scans.shape, self.output);
        Conv { window: &self.window, input, output, weights: self.weights.view() }
    }

    /// C_ac and the channel order: what the data holder makes, once, for the server.
    ///
    /// # Errors
    /// If the key is for another shape, or C_ac would be too large.
    pub fn augment(&self, key: &MorphKey) -> Result<AugmentedLayer> {
        let order = key.channel_order(self.output.channels);
        let exact = self.scans.edge.is_some();
        let conv = AugmentedConv::new(self.conv(), self.bias.view(), &order, key, exact)?;
        Ok(AugmentedLayer { name: self.name.clone(), conv, order, key_fingerprint: key.fingerprint() })
    }

    /// Writes one file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<()> {
        let tensors = [
            Tensor::floats(
                "weight",
                self.weights.shape().to_vec(),
                &self.weights.iter().copied().collect::<Vec<_>>(),
            ),
            Tensor::floats("bias", vec![self.bias.len()], &self.bias.to_vec()),
        ];
        let (name, scans) = (self.name.clone(), self.scans.clone());
        let about = About { name, scans, window: self.window, output: self.output };
        save(path, &tensors, KIND, &about, overwrite)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// If it is none, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| PerceptualError::file(path, error))?;
        let (stored, about) = described::<About>(path, &bytes, KIND)?;
        let About { name, scans, window, output } = about;
        let (shape, weights) = floats(path, &stored, "weight")?;
        let (_, bias) = floats(path, &stored, "bias")?;
        let op = Op::Conv { window, channels: output.channels };
        let fits = extent(scans.shape).is_some()
            && op.infer(&[scans.shape]) == Ok(output)
            && op.weight_shape(scans.shape.channels).is_some_and(|expected| expected[..] == shape[..])
            && bias.len() == output.channels;
        if !fits || weights.iter().chain(&bias).any(|value| !value.is_finite()) {
            return Err(PerceptualError::file(path, "its shapes or weights contradict each other"));
        }
        let weights = ArrayD::from_shape_vec(shape, weights)
            .and_then(|weights| weights.into_dimensionality::<Ix5>())
            .map_err(|error| PerceptualError::file(path, error))?;
        Ok(Self { name, scans, window, output, weights, bias: bias.into() })
    }
}

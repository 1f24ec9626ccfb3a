//! Statistics of a float network's values over images.

use crate::float::{FloatError, FloatModel};
use crate::quantise::QuantiseError;
use ndarray::{Array4, Axis};

/// Images kept to measure the quantised network's error on.
const SAMPLES: usize = 2;

/// Below so many voxels in all images, variance is taken over all channels together.
const FEW_VOXELS: usize = 32;

/// Statistics of one node's value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStats {
    /// Largest magnitude.
    pub max_abs: f64,
    /// Mean of squares.
    pub energy: f64,
    /// Mean over channels of the variance within a channel; over all values where a channel has few.
    pub variance: f64,
    /// Mean per channel.
    pub means: Vec<f64>,
}

/// Statistics of all nodes, in the order of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    pub(crate) nodes: Vec<NodeStats>,
    pub(crate) samples: Vec<Array4<f32>>,
    pub(crate) images: usize,
}

impl Calibration {
    /// Statistics per node, in the order of the graph.
    pub fn nodes(&self) -> &[NodeStats] {
        &self.nodes
    }

    /// Images seen.
    pub fn images(&self) -> usize {
        self.images
    }
}

/// Gathers statistics, image by image.
pub struct Calibrator<'a> {
    model: &'a FloatModel,
    sums: Vec<Sums>,
    samples: Vec<Array4<f32>>,
    images: usize,
}

#[derive(Clone, Default)]
struct Sums {
    max_abs: f32,
    per_channel: Vec<[f64; 2]>,
    voxels: usize,
}

impl<'a> Calibrator<'a> {
    /// For one network.
    pub fn new(model: &'a FloatModel) -> Self {
        Self { model, sums: vec![Sums::default(); model.graph.nodes().len()], samples: Vec::new(), images: 0 }
    }

    /// Runs the network on one more image `[channel, depth, height, width]`.
    pub fn add(&mut self, image: &Array4<f32>) -> Result<(), FloatError> {
        let sums = &mut self.sums;
        self.model.walk(image, |id, value| sums[id].add(value))?;
        if self.samples.len() < SAMPLES {
            self.samples.push(image.clone());
        }
        self.images += 1;
        Ok(())
    }

    /// The statistics; an error where no image was seen or a value is not finite.
    pub fn finish(self) -> Result<Calibration, QuantiseError> {
        if self.images == 0 {
            return Err(QuantiseError::NoImages);
        }
        let nodes: Vec<NodeStats> = self.sums.iter().map(Sums::finish).collect();
        match nodes.iter().position(|node| !(node.max_abs.is_finite() && node.energy.is_finite())) {
            Some(id) => Err(QuantiseError::NotFinite { layer: self.model.graph.node(id).name.clone() }),
            None => Ok(Calibration { nodes, samples: self.samples, images: self.images }),
        }
    }
}

impl Sums {
    fn add(&mut self, value: &Array4<f32>) {
        self.per_channel.resize(value.dim().0, [0.0; 2]);
        for (channel, sums) in value.axis_iter(Axis(0)).zip(&mut self.per_channel) {
            let mut partial = [0.0_f64; 2];
            for &x in channel {
                // A NaN must not vanish in the maximum.
                self.max_abs = if x.is_nan() { f32::INFINITY } else { self.max_abs.max(x.abs()) };
                partial[0] += f64::from(x);
                partial[1] += f64::from(x) * f64::from(x);
            }
            sums[0] += partial[0];
            sums[1] += partial[1];
        }
        self.voxels += value.len() / value.dim().0;
    }

    fn finish(&self) -> NodeStats {
        let voxels = self.voxels as f64;
        let channels = self.per_channel.len() as f64;
        let means: Vec<f64> = self.per_channel.iter().map(|sums| sums[0] / voxels).collect();
        let energy = self.per_channel.iter().map(|sums| sums[1] / voxels).sum::<f64>() / channels;
        // Features of a few images (behind a global pooling, say) vary little or not at all within a channel.
        let offset = match self.voxels {
            ..FEW_VOXELS => (means.iter().sum::<f64>() / channels).powi(2),
            _ => means.iter().map(|mean| mean * mean).sum::<f64>() / channels,
        };
        let variance = energy - offset;
        NodeStats { max_abs: f64::from(self.max_abs), energy, variance: variance.max(0.0), means }
    }
}

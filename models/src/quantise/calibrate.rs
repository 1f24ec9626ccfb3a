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
    pub(crate) channels: Vec<ChannelStats>,
}

/// Statistics of one channel of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ChannelStats {
    pub(crate) max_abs: f64,
    pub(crate) mean: f64,
    pub(crate) energy: f64,
}

impl NodeStats {
    /// From the channels', of `voxels` values each.
    pub(crate) fn of(channels: Vec<ChannelStats>, voxels: usize) -> Self {
        let mean =
            |f: &dyn Fn(&ChannelStats) -> f64| channels.iter().map(f).sum::<f64>() / channels.len() as f64;
        let energy = mean(&|channel| channel.energy);
        // Features of a few images (behind a global pooling, say) vary little or not at all within a channel.
        let offset = match voxels {
            ..FEW_VOXELS => mean(&|channel| channel.mean).powi(2),
            _ => mean(&|channel| channel.mean.powi(2)),
        };
        Self {
            max_abs: channels.iter().map(|channel| channel.max_abs).fold(0.0, f64::max),
            energy,
            variance: (energy - offset).max(0.0),
            means: channels.iter().map(|channel| channel.mean).collect(),
            channels,
        }
    }
}

/// Statistics of all nodes, in the order of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    pub(crate) nodes: Vec<NodeStats>,
    pub(crate) samples: Vec<Array4<f32>>,
    pub(crate) images: usize,
    /// Values per channel of each node, in all images.
    pub(crate) voxels: Vec<usize>,
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
    /// Largest magnitude, sum and sum of squares.
    per_channel: Vec<[f64; 3]>,
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
            None => {
                let voxels = self.sums.iter().map(|sums| sums.voxels).collect();
                Ok(Calibration { nodes, samples: self.samples, images: self.images, voxels })
            }
        }
    }
}

impl Sums {
    fn add(&mut self, value: &Array4<f32>) {
        self.per_channel.resize(value.dim().0, [0.0; 3]);
        for (channel, sums) in value.axis_iter(Axis(0)).zip(&mut self.per_channel) {
            let mut partial = [0.0_f64; 2];
            let mut largest = 0.0_f32;
            for &x in channel {
                // A NaN must not vanish in the maximum.
                largest = if x.is_nan() { f32::INFINITY } else { largest.max(x.abs()) };
                partial[0] += f64::from(x);
                partial[1] += f64::from(x) * f64::from(x);
            }
            sums[0] = sums[0].max(f64::from(largest));
            sums[1] += partial[0];
            sums[2] += partial[1];
        }
        self.voxels += value.len() / value.dim().0;
    }

    fn finish(&self) -> NodeStats {
        let voxels = self.voxels as f64;
        let channel = |&[max_abs, sum, squares]: &[f64; 3]| ChannelStats {
            max_abs,
            mean: sum / voxels,
            energy: squares / voxels,
        };
        NodeStats::of(self.per_channel.iter().map(channel).collect(), self.voxels)
    }
}

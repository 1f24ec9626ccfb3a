//! The public architecture, its weights' layout, and its offsets for a batch size.

use crate::conv::Conv;
use crate::pool::MaxPool;
use models::{Shape, Window};
use prg::{Prg, Seed};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A layer of a network to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Convolution that keeps the extents, or divides them by its stride and rounds up.
    Conv {
        /// Output channels.
        channels: usize,
        /// Taps along every axis that has more than one voxel; odd.
        kernel: usize,
        /// Step along every axis that has more than one voxel; 1 where a job says nothing.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        stride: usize,
    },
    /// Max pooling by two along every axis that has more than one voxel.
    MaxPool,
    /// max(0, x).
    Relu,
    /// Every output reads every voxel.
    Dense {
        /// Number of outputs.
        outputs: usize,
    },
}

fn one() -> usize {
    1
}

fn is_one(stride: &usize) -> bool {
    *stride == 1
}

/// A network to train: input shape and layers; the last layer yields a score per class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Shape of one image.
    pub input: Shape,
    /// Layers in order.
    pub layers: Vec<Layer>,
}

/// An architecture that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A layer that does not fit what it reads.
    #[error("layer {0} does not fit its input")]
    DoesNotFit(usize),
    /// A network without scores at its end.
    #[error("a network ends with a dense layer of at least two outputs")]
    NoScores,
}

/// One layer with its offsets.
pub(crate) enum Stage {
    /// A convolution with the places of its weights and bias.
    Linear(Box<Conv>, Range<usize>, Range<usize>),
    Pool(MaxPool),
    Relu,
}

/// A network with offsets for one batch size.
pub(crate) struct Plan {
    pub(crate) batch: usize,
    pub(crate) classes: usize,
    pub(crate) stages: Vec<Stage>,
}

impl Network {
    /// The paper's network: four convolutions, three 2×2 poolings (before their ReLUs), one dense layer.
    pub fn paper(input: Shape, classes: usize) -> Self {
        let conv = |channels| Layer::Conv { channels, kernel: 3, stride: 1 };
        let mut layers = Vec::new();
        [16, 32, 64].iter().for_each(|&c| layers.extend([conv(c), Layer::MaxPool, Layer::Relu]));
        layers.extend([conv(64), Layer::Relu, Layer::Dense { outputs: classes }]);
        Self { input, layers }
    }

    /// Number of classes.
    pub fn classes(&self) -> Result<usize, NetworkError> {
        match self.layers.last() {
            Some(&Layer::Dense { outputs }) if outputs >= 2 => Ok(outputs),
            _ => Err(NetworkError::NoScores),
        }
    }

    /// Number of weights and biases.
    pub fn parameters(&self) -> Result<usize, NetworkError> {
        let plan = self.plan(1)?;
        let ends = plan.stages.iter().filter_map(|stage| match stage {
            Stage::Linear(_, _, bias) => Some(bias.end),
            _ => None,
        });
        Ok(ends.max().unwrap_or(0))
    }

    /// Initial weights by He et al. (2015), uniform, from a public seed; biases are zero.
    pub fn initial_weights(&self, seed: &Seed) -> Result<Vec<f64>, NetworkError> {
        let mut prg = Prg::new(seed);
        let mut all = vec![0.0; self.parameters()?];
        for stage in self.plan(1)?.stages {
            if let Stage::Linear(conv, weights, _) = stage {
                let limit = (6.0 * conv.output.channels as f64 / conv.weights() as f64).sqrt();
                let uniform = |prg: &mut Prg| (prg.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
                all[weights].iter_mut().for_each(|w| *w = limit * uniform(&mut prg));
            }
        }
        Ok(all)
    }

    /// Offsets for batches of `batch` images.
    pub(crate) fn plan(&self, batch: usize) -> Result<Plan, NetworkError> {
        let classes = self.classes()?;
        let (mut shape, mut used, mut stages) = (self.input, 0, Vec::new());
        for (i, &layer) in self.layers.iter().enumerate() {
            let misfit = || NetworkError::DoesNotFit(i);
            let along = |taps: usize| shape.dims.map(|extent| if extent > 1 { taps } else { 1 });
            let mut linear = |window, channels, shape: &mut Shape| {
                let conv = Conv::new(window, *shape, channels, batch).ok_or_else(misfit)?;
                let weights = used..used + conv.weights();
                used = weights.end + channels;
                *shape = conv.output;
                let bias = weights.end..used;
                Ok(Stage::Linear(Box::new(conv), weights, bias))
            };
            stages.push(match layer {
                Layer::Conv { channels, kernel, stride } if kernel % 2 == 1 && channels * stride > 0 => {
                    let same = Window::dense(along(kernel), along(kernel).map(|taps| taps / 2));
                    linear(Window { stride: along(stride), ..same }, channels, &mut shape)?
                }
                Layer::Dense { outputs } if outputs > 0 => {
                    linear(Window::dense(shape.dims, [0; 3]), outputs, &mut shape)?
                }
                Layer::MaxPool => {
                    let window = Window::tiling(along(2));
                    let pool = MaxPool::new(window, shape, batch).ok_or_else(misfit)?;
                    shape.dims = window.slide(shape.dims).ok_or_else(misfit)?;
                    Stage::Pool(pool)
                }
                Layer::Relu => Stage::Relu,
                Layer::Conv { .. } | Layer::Dense { .. } => return Err(misfit()),
            });
        }
        Ok(Plan { batch, classes, stages })
    }
}

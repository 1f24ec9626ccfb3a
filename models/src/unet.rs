//! The U-Net family of the paper, in one, two and three dimensions, with random weights for benchmarks.
//!
//! L entries in `channels` make 2L−1 layer batches of two 3^rank convolutions with one activation each: down
//! through L−1 poolings by 2, up through L−1 transposed convolutions (kernel 2, stride 2), each joined with the
//! skip of its level (skip first), then a 1^rank readout and argmax (or a threshold for one label channel).
//!
//! Random weights are normal with He's deviation; each channel is then scaled and shifted so that its
//! output on random images has unit deviation and zero mean, as batch norm leaves a trained network (before a
//! square: deviation 0.3 and mean 1). Half of the ReLUs are active and every label occurs.

use crate::float::{FloatError, FloatLayer, FloatModel};
use crate::graph::{Dims, Graph, GraphError, NodeId, Op, Shape, Window};
use crate::manifest::Label;
use crate::quantise::{Calibration, Calibrator, QuantiseError, QuantiseOptions, Report, quantise};
pub use crate::random::random_image;
use crate::random::{QUICK, initialise, products};
use std::collections::BTreeMap;

/// How a level is halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// By averages.
    Avg,
    /// By maxima.
    Max,
}

/// The activation of a layer batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// x².
    Square,
    /// α·x² + β·x + γ with coefficients per channel.
    Quadratic,
}

/// A U-Net to build.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet {
    /// Spatial axes, 1 to 3.
    pub rank: usize,
    /// Input channels and extents; extents divide by 2^(levels − 1).
    pub input: Shape,
    /// Channels per level, from the top.
    pub channels: Vec<usize>,
    /// How a level is halved.
    pub pooling: Pooling,
    /// Per layer batch, in the order of evaluation; 2·levels − 1 entries.
    pub activations: Vec<Activation>,
    /// Labels; one stands for a threshold at zero.
    pub labels: usize,
    /// Seed of the weights.
    pub seed: u64,
}

/// A U-Net that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum UNetError {
    /// A configuration that contradicts itself.
    #[error("U-Net: {0}")]
    Config(String),
    /// A layer that does not fit.
    #[error("U-Net: {0}")]
    Graph(#[from] GraphError),
    /// A layer that cannot be evaluated.
    #[error("U-Net: {0}")]
    Float(#[from] FloatError),
    /// Ranges that do not fit the shares.
    #[error("U-Net: {0}")]
    Quantise(#[from] QuantiseError),
}

/// The activations of a named variant (`relu`, `hybrid`, `square`, `quadratic`, or a list such as `square,relu,relu`).
pub fn activations(variant: &str, levels: usize) -> Result<Vec<Activation>, UNetError> {
    let batches = (2 * levels).saturating_sub(1);
    let one = |name: &str| match name.trim() {
        "relu" => Ok(Activation::Relu),
        "square" => Ok(Activation::Square),
        "quadratic" => Ok(Activation::Quadratic),
        other => Err(UNetError::Config(format!(
            "no activation `{other}`; `relu`, `square` and `quadratic` are known"
        ))),
    };
    if variant == "hybrid" {
        let outermost = |batch: usize| batch == 0 || batch + 1 == batches;
        let hybrid = |batch| if outermost(batch) { Activation::Square } else { Activation::Relu };
        return Ok((0..batches).map(hybrid).collect());
    }
    let list: Vec<Activation> = variant.split(',').map(one).collect::<Result<_, _>>()?;
    match list.len() {
        1 => Ok(vec![list[0]; batches]),
        given if given == batches => Ok(list),
        given => Err(UNetError::Config(format!("{given} activations for {batches} layer batches"))),
    }
}

impl UNet {
    /// The float network with random weights.
    pub fn build(&self) -> Result<FloatModel, UNetError> {
        let small = self.at_initial_size();
        let graph = small.graph()?;
        let count = (16_384 / small.input.volume() as u64).clamp(4, 32);
        let images: Vec<_> =
            (0..count).map(|image| random_image(small.input, self.seed ^ (image + 1))).collect();
        let weights = initialise(&graph, &images, self.seed)?;
        Ok(self.with_weights(self.graph()?, weights))
    }

    /// The quantised network, its ranges calibrated on random images.
    pub fn build_quantised(
        &self,
        options: &QuantiseOptions,
    ) -> Result<(crate::manifest::Model, Report), UNetError> {
        let (model, calibration) = self.build_calibrated()?;
        Ok(quantise(&model, &calibration, options)?)
    }

    /// The float network with its calibration, to be quantised in several ways.
    pub fn build_calibrated(&self) -> Result<(FloatModel, Calibration), UNetError> {
        let model = self.build()?;
        let calibration = self.calibrate(&model)?;
        Ok((model, calibration))
    }

    /// Calibrates on three images, or on one where each takes long. Their extents are the network's own: on a smaller
    /// image the padding weighs more, and the deep layers' values stay below those of a full one.
    fn calibrate(&self, model: &FloatModel) -> Result<Calibration, UNetError> {
        let images = if products(&model.graph) <= QUICK { 3 } else { 1 };
        let mut calibrator = Calibrator::new(model);
        for image in 0..images {
            calibrator.add(&random_image(self.input, self.seed ^ (image + 1)))?;
        }
        Ok(calibrator.finish()?)
    }

    /// The same network on an image small enough to initialise on quickly.
    fn at_initial_size(&self) -> Self {
        let coarsest = 1_usize << self.channels.len().saturating_sub(1);
        let most = [256, 64, 16][self.rank.clamp(1, 3) - 1].max(2 * coarsest);
        let dims = self.input.dims.map(|extent| extent.min(most));
        Self { input: Shape { dims, ..self.input }, ..self.clone() }
    }

    fn with_weights(&self, graph: Graph, weights: BTreeMap<NodeId, FloatLayer>) -> FloatModel {
        let channels: Vec<String> = self.channels.iter().map(ToString::to_string).collect();
        FloatModel {
            name: format!("unet-{}d-{}", self.rank, channels.join("-")),
            graph,
            weights,
            labels: Label::numbered(self.labels),
            preprocessing: serde_json::Value::Null,
        }
    }

    /// The architecture.
    pub fn graph(&self) -> Result<Graph, UNetError> {
        self.check()?;
        let mut graph = Graph::new(self.rank, self.input)?;
        let levels = self.channels.len();
        let mut skips = Vec::new();
        let mut x = 0;
        for level in 0..levels {
            if level > 0 {
                x = graph.push(format!("pool{level}"), self.pool(), vec![x])?;
            }
            x = self.batch(&mut graph, &format!("down{level}"), level, self.activations[level], x)?;
            skips.push(x);
        }
        for level in (0..levels - 1).rev() {
            let batch = 2 * (levels - 1) - level;
            x = graph.push(format!("upconv{level}"), self.upconv(level), vec![x])?;
            x = graph.push(format!("concat{level}"), Op::Concat, vec![skips[level], x])?;
            x = self.batch(&mut graph, &format!("up{level}"), level, self.activations[batch], x)?;
        }
        let window = Window::dense([1; 3], [0; 3]);
        x = graph.push("readout", Op::Conv { window, channels: self.labels }, vec![x])?;
        let readout = if self.labels == 1 { Op::Threshold { at: 0 } } else { Op::ArgMax };
        graph.push("labels", readout, vec![x])?;
        Ok(graph)
    }

    fn check(&self) -> Result<(), UNetError> {
        let refuse = |reason: String| Err(UNetError::Config(reason));
        let levels = self.channels.len();
        if !(1..=8).contains(&levels) || self.channels.contains(&0) {
            return refuse("1 to 8 levels with at least one channel each".into());
        }
        if self.activations.len() != 2 * levels - 1 {
            return refuse(format!(
                "{} activations for {} layer batches",
                self.activations.len(),
                2 * levels - 1
            ));
        }
        if !(1..=3).contains(&self.rank) || self.labels == 0 {
            return refuse("1 to 3 spatial axes and at least one label channel".into());
        }
        let coarsest = 1 << (levels - 1);
        match self.input.dims[3 - self.rank..].iter().find(|&&extent| extent % coarsest != 0) {
            Some(extent) => refuse(format!("extent {extent} does not divide by {coarsest}")),
            None => Ok(()),
        }
    }

    /// `inner` along the spatial axes, `outer` along the leading ones.
    fn axes(&self, inner: usize, outer: usize) -> Dims {
        std::array::from_fn(|axis| if axis >= 3 - self.rank { inner } else { outer })
    }

    fn pool(&self) -> Op {
        let window = Window::tiling(self.axes(2, 1));
        match self.pooling {
            Pooling::Avg => Op::AvgPool { window },
            Pooling::Max => Op::MaxPool { window },
        }
    }

    fn upconv(&self, level: usize) -> Op {
        let window = Window::tiling(self.axes(2, 1));
        Op::ConvTranspose { window, output_padding: [0; 3], channels: self.channels[level] }
    }

    /// Two convolutions with their activations.
    fn batch(
        &self,
        graph: &mut Graph,
        name: &str,
        level: usize,
        activation: Activation,
        mut x: NodeId,
    ) -> Result<NodeId, UNetError> {
        for half in ["a", "b"] {
            let window = Window::dense(self.axes(3, 1), self.axes(1, 0));
            let conv = Op::Conv { window, channels: self.channels[level] };
            x = graph.push(format!("{name}{half}"), conv, vec![x])?;
            x = match activation {
                Activation::Relu => {
                    graph.push(format!("{name}{half}.relu"), Op::Relu { shift: 0 }, vec![x])?
                }
                Activation::Square => graph.push(format!("{name}{half}.square"), Op::Square, vec![x])?,
                Activation::Quadratic => {
                    graph.push(format!("{name}{half}.quadratic"), Op::Quadratic, vec![x])?
                }
            };
        }
        Ok(x)
    }
}

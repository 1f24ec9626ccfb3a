//! The U-Net family of the paper, in one, two and three dimensions, with random weights for benchmarks.
//!
//! L entries in `channels` make 2L−1 layer batches of two 3^rank convolutions with one activation each: down
//! through L−1 poolings by 2, up through L−1 transposed convolutions (kernel 2, stride 2), each joined with the
//! skip of its level (skip first), then a 1^rank readout and argmax (or a threshold for one label channel).
//!
//! Random weights are normal with He's deviation; each channel is then scaled and shifted so that its
//! output on random images has unit deviation and zero mean, as batch norm leaves a trained network (before a
//! square: deviation 0.3 and mean 1). Half of the ReLUs are active and every label occurs.

use crate::float::{FloatError, FloatLayer, FloatModel, eval};
use crate::graph::{Dims, Graph, GraphError, NodeId, Op, Shape, Window};
use crate::manifest::Label;
use crate::quantise::{Calibration, Calibrator, QuantiseError, QuantiseOptions, Report, quantise};
use crate::random::SplitMix;
use ndarray::{Array1, Array4, ArrayD, Axis};
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

/// A smooth random image with values in [−1, 1]: waves of several lengths in random directions, and fine noise. Its
/// statistics do not depend on its extents.
pub fn random_image(shape: Shape, seed: u64) -> Array4<f32> {
    const PERIODS: [f32; 8] = [4.0, 5.5, 8.0, 11.0, 16.0, 22.0, 32.0, 45.0];
    let mut random = SplitMix::new(seed);
    let mut image = Array4::zeros(shape.to_array());
    let spatial = shape.dims.map(|extent| f32::from(u8::from(extent > 1)));
    for mut channel in image.outer_iter_mut() {
        let waves = PERIODS.map(|period| {
            let along: [f32; 3] = std::array::from_fn(|axis| random.normal() * spatial[axis]);
            let length = along.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
            let frequency = std::f32::consts::TAU / period / length;
            let [z, y, x] = along.map(|x| x * frequency);
            [z, y, x, random.uniform() * std::f32::consts::TAU]
        });
        for ((z, y, x), value) in channel.indexed_iter_mut() {
            let phase = |w: &[f32; 4]| w[0] * z as f32 + w[1] * y as f32 + w[2] * x as f32 + w[3];
            let smooth: f32 = waves.iter().map(|wave| phase(wave).sin()).sum();
            *value = (smooth / 5.0 + random.normal() * 0.1).clamp(-1.0, 1.0);
        }
    }
    image
}

impl UNet {
    /// The float network with random weights.
    pub fn build(&self) -> Result<FloatModel, UNetError> {
        let small = self.at_calibration_size();
        let graph = small.graph()?;
        let count = (16_384 / small.input.volume() as u64).clamp(4, 32);
        let images: Vec<_> =
            (0..count).map(|image| random_image(small.input, self.seed ^ (image + 1))).collect();
        let weights = initialise(&graph, &images, self.seed)?;
        Ok(self.with_weights(self.graph()?, weights))
    }

    /// The quantised network. Ranges of a large one are calibrated on random images of a reduced size: statistics
    /// of a layer hardly depend on the extents.
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

    /// Calibrates on the full size where that is quick, on a reduced one otherwise.
    fn calibrate(&self, model: &FloatModel) -> Result<Calibration, UNetError> {
        let (size, images) =
            if products(&model.graph) <= QUICK { (self.clone(), 3) } else { (self.at_calibration_size(), 8) };
        let model = size.with_weights(size.graph()?, model.weights.clone());
        let mut calibrator = Calibrator::new(&model);
        for image in 0..images {
            calibrator.add(&random_image(size.input, self.seed ^ (image + 1)))?;
        }
        Ok(calibrator.finish()?)
    }

    /// The same network on an image small enough to calibrate on quickly.
    fn at_calibration_size(&self) -> Self {
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

/// Products of one evaluation that a calibration may cost.
const QUICK: usize = 4_000_000_000;

/// Multiplications of one evaluation.
fn products(graph: &Graph) -> usize {
    let of = |node: &crate::graph::Node| {
        let inputs = node.inputs.first().map(|&input| graph.node(input).shape)?;
        let taps = node.op.weight_shape(inputs.channels)?.iter().product::<usize>();
        let transposed = matches!(node.op, Op::ConvTranspose { .. });
        Some(taps * if transposed { inputs.volume() } else { node.shape.volume() })
    };
    graph.nodes().iter().filter_map(of).sum()
}

/// Random weights, layer by layer, each normalised on the values that reach it.
fn initialise(
    graph: &Graph,
    images: &[Array4<f32>],
    seed: u64,
) -> Result<BTreeMap<NodeId, FloatLayer>, UNetError> {
    let mut random = SplitMix::new(seed);
    let mut weights = BTreeMap::new();
    let mut values: Vec<Vec<Array4<f32>>> = vec![images.to_vec()];
    for (id, node) in graph.nodes().iter().enumerate().skip(1) {
        let evaluate = |layer: Option<&FloatLayer>| -> Vec<Array4<f32>> {
            let inputs = |image: usize| node.inputs.iter().map(move |&input| (input, image));
            (0..images.len())
                .map(|image| {
                    let inputs: Vec<_> = inputs(image).map(|(input, image)| &values[input][image]).collect();
                    eval(&node.op, &inputs, layer, node.shape)
                })
                .collect()
        };
        let value = match node.op.weight_shape(graph.node(*node.inputs.first().unwrap_or(&0)).shape.channels)
        {
            Some(shape) => {
                let mut layer = random_layer(shape, node.shape.channels, &mut random);
                let mut value = evaluate(Some(&layer));
                let transposed = matches!(node.op, Op::ConvTranspose { .. });
                normalise(&mut layer, transposed, targets(graph, id), &mut value);
                if graph.nodes()[id + 1..].iter().all(|node| node.op.is_readout()) {
                    balance(&mut layer, &mut value);
                }
                weights.insert(id, layer);
                value
            }
            None => evaluate(None),
        };
        values.push(value);
    }
    Ok(weights)
}

fn random_layer(shape: [usize; 5], channels: usize, random: &mut SplitMix) -> FloatLayer {
    let fan_in = shape.iter().product::<usize>() / channels;
    let deviation = (2.0 / fan_in as f32).sqrt();
    let weights = ArrayD::from_shape_simple_fn(shape.to_vec(), || random.normal() * deviation);
    FloatLayer { weights, bias: Array1::zeros(channels) }
}

/// Mean and deviation that a layer's channels are brought to. Before a square the values stay clear of zero: squares of
/// centred values, four in a row, would have tails that no trained network has.
fn targets(graph: &Graph, id: NodeId) -> [f32; 2] {
    let squared = graph.nodes().iter().any(|node| node.op == Op::Square && node.inputs == [id]);
    if squared { [1.0, 0.3] } else { [0.0, 1.0] }
}

/// Scales and shifts the layer's channels so that `values`, its outputs, have the targets' mean and deviation. A
/// channel that hardly varies on these images is not blown up.
fn normalise(layer: &mut FloatLayer, transposed: bool, targets: [f32; 2], values: &mut [Array4<f32>]) {
    let channels = layer.bias.len();
    let count = (values.iter().map(|value| value.len()).sum::<usize>() / channels) as f32;
    let means: Vec<f32> = (0..channels).map(|channel| channel_sum(values, channel, |y| y) / count).collect();
    let deviation = |channel: usize| {
        let mean = means[channel];
        (channel_sum(values, channel, |y| (y - mean) * (y - mean)) / count).sqrt()
    };
    let deviations: Vec<f32> = (0..channels).map(deviation).collect();
    let typical = deviations.iter().sum::<f32>() / channels as f32;
    for channel in 0..channels {
        let scale = targets[1] / deviations[channel].max(typical / 2.0).max(1e-6);
        let mean = means[channel];
        let mut weights = layer.weights.index_axis_mut(Axis(usize::from(transposed)), channel);
        weights.mapv_inplace(|weight| weight * scale);
        layer.bias[channel] = (layer.bias[channel] - mean) * scale + targets[0];
        for value in values.iter_mut() {
            value.index_axis_mut(Axis(0), channel).mapv_inplace(|y| (y - mean) * scale + targets[0]);
        }
    }
}

fn channel_sum(values: &[Array4<f32>], channel: usize, f: impl Fn(f32) -> f32) -> f32 {
    values.iter().map(|value| value.index_axis(Axis(0), channel).iter().map(|&y| f(y)).sum::<f32>()).sum()
}

/// Shifts the scores until every label wins about equally often. Each label's step grows while its direction
/// stays and halves when it turns, whatever the scores' distribution.
fn balance(layer: &mut FloatLayer, scores: &mut [Array4<f32>]) {
    let labels = layer.bias.len();
    let (mut steps, mut before) = (vec![0.1_f32; labels], vec![0.0_f32; labels]);
    for _ in 0..if labels > 1 { 60 } else { 0 } {
        let wins = wins(scores, labels);
        let voxels: usize = wins.iter().sum();
        for label in 0..labels {
            let lacking = (1.0 / labels as f32 - wins[label] as f32 / voxels as f32).signum();
            steps[label] *= if lacking == before[label] { 1.2 } else { 0.5 };
            before[label] = lacking;
            let shift = lacking * steps[label];
            layer.bias[label] += shift;
            scores
                .iter_mut()
                .for_each(|score| score.index_axis_mut(Axis(0), label).mapv_inplace(|y| y + shift));
        }
    }
}

/// How many voxels each label wins.
fn wins(scores: &[Array4<f32>], labels: usize) -> Vec<usize> {
    let mut wins = vec![0; labels];
    for score in scores {
        let (_, depth, height, width) = score.dim();
        let winners = eval(&Op::ArgMax, &[score], None, Shape { channels: 1, dims: [depth, height, width] });
        winners.iter().for_each(|&label| wins[label as usize] += 1);
    }
    wins
}

//! Seeded weights and images for benchmark networks: reproducible, not for secrets.
//!
//! Random weights are normal with He's deviation; each channel is then scaled and shifted so that its output on random
//! images has unit deviation and zero mean, as batch norm leaves a trained network.

use crate::float::{FloatError, FloatLayer, eval};
use crate::graph::{Graph, NodeId, Op, Shape};
use ndarray::{Array1, Array4, ArrayD, Axis};
use std::collections::BTreeMap;

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
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

/// Products of one evaluation that a calibration may cost.
pub(crate) const QUICK: usize = 4_000_000_000;

/// Multiplications of one evaluation.
pub(crate) fn products(graph: &Graph) -> usize {
    let of = |node: &crate::graph::Node| {
        let inputs = node.inputs.first().map(|&input| graph.node(input).shape)?;
        let taps = node.op.weight_shape(inputs.channels)?.iter().product::<usize>();
        let transposed = matches!(node.op, Op::ConvTranspose { .. });
        Some(taps * if transposed { inputs.volume() } else { node.shape.volume() })
    };
    graph.nodes().iter().filter_map(of).sum()
}

/// Random weights, layer by layer, each normalised on the values that reach it.
pub(crate) fn initialise(
    graph: &Graph,
    images: &[Array4<f32>],
    seed: u64,
) -> Result<BTreeMap<NodeId, FloatLayer>, FloatError> {
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

/// Values per channel that a deviation is estimated from.
const LEAST_SAMPLES: usize = 32;

/// Scales and shifts the layer's channels so that `values`, its outputs, have the targets' mean and deviation. A
/// channel that hardly varies on these images is not blown up.
fn normalise(layer: &mut FloatLayer, transposed: bool, targets: [f32; 2], values: &mut [Array4<f32>]) {
    let channels = layer.bias.len();
    // A few values, as those of a layer behind a global pooling, say nothing of a deviation.
    if values.iter().map(|value| value.len() / channels).sum::<usize>() < LEAST_SAMPLES {
        return;
    }
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
    // Labels that outnumber the voxels cannot all win.
    let voxels: usize = scores.iter().map(|score| score.len() / labels).sum();
    for _ in 0..if (2..=voxels).contains(&labels) { 60 } else { 0 } {
        let wins = wins(scores, labels);
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

//! Scales per channel that cost the protocol nothing: a layer's output channel is multiplied by a power of two, and the
//! weights that read it are divided by it.
//!
//! Nagel, van Baalen, Blankevoort, Welling: "Data-Free Quantization Through Weight Equalization and Bias Correction"
//! (ICCV 2019), section 4.1, with powers of two and calibrated ranges of activations in place of the first layer's
//! weights. Between the two stand only operators that commute with positive factors per channel (ReLU, pooling,
//! concatenation, …); channels that an addition or a choice of channels joins share one factor. Inputs, scores, squares and
//! products keep theirs. The network's result does not change, not even in floats: powers of two are exact.

use super::Calibration;
use super::calibrate::{ChannelStats, NodeStats};
use crate::float::FloatModel;
use crate::graph::{Node, NodeId, Op};
use ndarray::Axis;

/// Largest exponent of a factor.
const MOST: f64 = 8.0;

/// The same network with factors per channel, and its statistics.
pub(super) fn equalise(model: &FloatModel, calibration: &Calibration) -> (FloatModel, Calibration) {
    let classes = Classes::of(model);
    let exponents = classes.exponents(model, calibration);
    let exponent = |id: NodeId, channel: usize| exponents[classes.find(classes.slot(id, channel))];
    let (mut model, mut calibration) = (model.clone(), calibration.clone());
    for (&id, layer) in &mut model.weights {
        let node = model.graph.node(id);
        let input = node.inputs[0];
        let power = |exponent: i32| (exponent as f32).exp2();
        if node.op == Op::Quadratic {
            for (channel, bias) in layer.bias.iter_mut().enumerate() {
                let (from, to) = (exponent(input, channel), exponent(id, channel));
                layer.weights[[channel, 0, 0, 0, 0]] *= power(to - 2 * from);
                layer.weights[[channel, 1, 0, 0, 0]] *= power(to - from);
                *bias *= power(to);
            }
            continue;
        }
        let (reads, writes) = axes(node);
        for (channel, mut weights) in layer.weights.axis_iter_mut(Axis(reads)).enumerate() {
            weights *= power(-exponent(input, channel));
        }
        for (channel, mut weights) in layer.weights.axis_iter_mut(Axis(writes)).enumerate() {
            weights *= power(exponent(id, channel));
        }
        layer.bias.indexed_iter_mut().for_each(|(channel, bias)| *bias *= power(exponent(id, channel)));
    }
    for (id, stats) in calibration.nodes.iter_mut().enumerate() {
        let scaled = stats.channels.iter().enumerate().map(|(channel, stats)| {
            let factor = f64::from(exponent(id, channel)).exp2();
            ChannelStats {
                max_abs: stats.max_abs * factor,
                mean: stats.mean * factor,
                energy: stats.energy * factor * factor,
            }
        });
        *stats = NodeStats::of(scaled.collect(), calibration.voxels[id]);
    }
    (model, calibration)
}

/// The axes of a layer's weights along its input's channels and its output's.
fn axes(node: &Node) -> (usize, usize) {
    if matches!(node.op, Op::ConvTranspose { .. }) { (0, 1) } else { (1, 0) }
}

/// Channels that must share a factor: a union-find over all channels of all values. Class 0 has none.
struct Classes {
    parents: Vec<usize>,
    starts: Vec<usize>,
}

impl Classes {
    fn of(model: &FloatModel) -> Self {
        let nodes = model.graph.nodes();
        let mut starts = Vec::new();
        let mut total = 1;
        for node in nodes {
            starts.push(total);
            total += node.shape.channels;
        }
        let mut classes = Self { parents: (0..total).collect(), starts };
        for (id, node) in nodes.iter().enumerate() {
            classes.join(model, id, node);
        }
        classes
    }

    fn slot(&self, id: NodeId, channel: usize) -> usize {
        self.starts[id] + channel
    }

    fn find(&self, mut slot: usize) -> usize {
        while self.parents[slot] != slot {
            slot = self.parents[slot];
        }
        slot
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b)] = a.min(b);
    }

    fn fix(&mut self, model: &FloatModel, id: NodeId) {
        (0..model.graph.node(id).shape.channels).for_each(|channel| self.union(0, self.slot(id, channel)));
    }

    fn join(&mut self, model: &FloatModel, id: NodeId, node: &Node) {
        match &node.op {
            Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Quadratic => {}
            Op::Input => self.fix(model, id),
            Op::Square | Op::Mul | Op::ArgMax | Op::Threshold { .. } => {
                self.fix(model, id);
                node.inputs.iter().for_each(|&input| self.fix(model, input));
            }
            Op::Concat => {
                let mut first = 0;
                for &input in &node.inputs {
                    let channels = model.graph.node(input).shape.channels;
                    (0..channels).for_each(|c| self.union(self.slot(id, first + c), self.slot(input, c)));
                    first += channels;
                }
            }
            Op::Resample(map) if map.axis == 0 => {
                for (channel, row) in map.taps.iter().enumerate() {
                    row.iter().for_each(|&(from, _)| {
                        self.union(self.slot(id, channel), self.slot(node.inputs[0], from));
                    });
                }
            }
            Op::Relu { .. }
            | Op::LeakyRelu { .. }
            | Op::Truncate { .. }
            | Op::Raise { .. }
            | Op::Scale { .. }
            | Op::AvgPool { .. }
            | Op::MaxPool { .. }
            | Op::Resample(_)
            | Op::Add => {
                for &input in &node.inputs {
                    (0..node.shape.channels).for_each(|c| self.union(self.slot(id, c), self.slot(input, c)));
                }
            }
        }
    }

    /// The exponent per class (at its representative): equal products of ranges on both sides.
    fn exponents(&self, model: &FloatModel, calibration: &Calibration) -> Vec<i32> {
        let (mut values, mut weights) =
            (vec![0.0_f64; self.parents.len()], vec![0.0_f64; self.parents.len()]);
        for (id, node) in model.graph.nodes().iter().enumerate() {
            for (channel, stats) in calibration.nodes[id].channels.iter().enumerate() {
                let class = self.find(self.slot(id, channel));
                values[class] = values[class].max(stats.max_abs);
            }
            let Some(layer) = model.weights.get(&id) else { continue };
            let reads = if node.op == Op::Quadratic { 0 } else { axes(node).0 };
            for (channel, column) in layer.weights.axis_iter(Axis(reads)).enumerate() {
                let class = self.find(self.slot(node.inputs[0], channel));
                let largest = column.iter().fold(0.0, |max: f64, &weight| max.max(f64::from(weight.abs())));
                weights[class] = weights[class].max(largest);
            }
        }
        let exponent = |class: usize| {
            let (value, weight) = (values[class], weights[class]);
            if class == 0 || value <= 0.0 || weight <= 0.0 {
                return 0;
            }
            ((weight / value).log2() / 2.0).round().clamp(-MOST, MOST) as i32
        };
        (0..self.parents.len()).map(exponent).collect()
    }
}

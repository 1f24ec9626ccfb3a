//! What drafting asks of layers with weights, and which values share a choice of scale.

use super::{DraftNode, Drafter, rounding_noise};
use crate::float::FloatModel;
use crate::graph::{NodeId, Op};

/// Sizes of a layer's weights.
pub(super) struct LayerStats {
    pub(super) largest: f64,
    /// Largest sum of magnitudes that one output can see, and the number of weights in it.
    pub(super) l1: f64,
    pub(super) terms: f64,
    /// Mean over outputs of the sum of squares.
    pub(super) l2: f64,
    pub(super) largest_bias: f64,
}

impl Drafter<'_> {
    /// Noise that a layer's input rounding and weight rounding add, relative to the variance of its output.
    pub(super) fn relative_noise(&self, id: NodeId, x: &DraftNode, weight_frac: i32) -> f64 {
        let layer = &self.layers[&id];
        let input = self.model.graph.node(id).inputs[0];
        let weight_noise = rounding_noise(weight_frac, 1) * f64::from(x.divisor).powi(2);
        let noise = x.noise * layer.l2 + weight_noise * layer.terms * self.calibration.nodes[input].energy;
        // What a layer adds to a sum is judged by the sum.
        let sums = self.consumers[id].iter().filter(|&&reader| self.model.graph.node(reader).op == Op::Add);
        let variances = sums.chain([&id]).map(|&id| self.calibration.nodes[id].variance);
        noise / variances.fold(1e-12, f64::max)
    }
}

pub(super) fn layer_stats(model: &FloatModel, id: NodeId) -> LayerStats {
    let layer = &model.weights[&id];
    let node = model.graph.node(id);
    let (outputs, overlap) = match node.op {
        // Of a transposed convolution's taps, an output sees one in stride-many.
        Op::ConvTranspose { window, .. } => (1, window.stride.iter().product::<usize>() as f64),
        _ => (0, 1.0),
    };
    let channels = layer.weights.axis_iter(ndarray::Axis(outputs));
    let sums: Vec<[f64; 3]> = channels
        .map(|channel| {
            let l1 = channel.iter().map(|&weight| f64::from(weight.abs())).sum();
            // A zero is not rounded.
            let terms = channel.iter().filter(|&&weight| weight != 0.0).count();
            [l1, channel.iter().map(|&weight| f64::from(weight).powi(2)).sum(), terms as f64]
        })
        .collect();
    LayerStats {
        largest: layer.weights.iter().fold(0.0, |max, &weight| max.max(f64::from(weight.abs()))),
        l1: sums.iter().fold(0.0, |max, sums| max.max(sums[0])),
        terms: sums.iter().fold(0.0, |max: f64, sums| max.max(sums[2])) / overlap,
        l2: sums.iter().map(|sums| sums[1]).sum::<f64>() / sums.len() as f64 / overlap,
        largest_bias: layer.bias.iter().fold(0.0, |max, &bias| max.max(f64::from(bias.abs()))),
    }
}

/// The inputs of a concatenation share one choice of fractional bits.
pub(super) fn share_choices(model: &FloatModel) -> Vec<NodeId> {
    let mut shared: Vec<NodeId> = (0..model.graph.nodes().len()).collect();
    for (id, node) in model.graph.nodes().iter().enumerate() {
        if node.op != Op::Concat {
            continue;
        }
        for &input in &node.inputs {
            let input = moved_from(model, input);
            let op = &model.graph.node(input).op;
            if matches!(op, Op::AvgPool { .. } | Op::MaxPool { .. } | Op::Add) {
                continue;
            }
            let [from, to] = [shared[id].max(shared[input]), shared[id].min(shared[input])];
            shared.iter_mut().filter(|choice| **choice == from).for_each(|choice| *choice = to);
        }
    }
    shared
}

/// The node whose values `id` only moves about.
fn moved_from(model: &FloatModel, mut id: NodeId) -> NodeId {
    while let Op::Resample(map) = &model.graph.node(id).op
        && map.only_moves()
    {
        id = model.graph.node(id).inputs[0];
    }
    id
}

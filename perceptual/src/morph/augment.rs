//! A network whose first convolution is C_ac, and the channel order carried through the rest (algorithm 3).
//!
//! Element-wise operators and pooling keep the order of their input; a concatenation joins its inputs' orders; the next
//! convolutions on every path read their weights in that order and yield plain order again. Where two orders would have to
//! be added, or scores leave the network in secret order, the network is refused.

use crate::error::{PerceptualError, Result};
use crate::morph::conv::{AugmentedConv, Conv};
use crate::morph::key::MorphKey;
use models::graph::{Graph, NodeId, Op};
use models::manifest::{LayerWeights, Manifest, Model};
use models::reference::eval_node;
use ndarray::{Array3, Array4, Axis, Ix5};
use std::collections::BTreeMap;

/// What the server runs on morphed images: no weights of the first layer, the other layers in the secret channel order.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedModel {
    /// The public part of the network, unchanged.
    pub manifest: Manifest,
    /// The first convolution.
    pub first: AugmentedConv,
    /// The other layers.
    pub weights: BTreeMap<NodeId, LayerWeights>,
    /// By which images morphed with another key are told.
    pub key_fingerprint: String,
}

/// Replaces the first convolution of `model`: what the data holder does, once.
///
/// # Errors
/// If the key is for another shape, or the network does not begin with one convolution.
pub fn augment(model: &Model, key: &MorphKey) -> Result<AugmentedModel> {
    let graph = &model.manifest.graph;
    let (first, window) = first_convolution(graph)?;
    let (input, output) = (graph.node(0).shape, graph.node(first).shape);
    let mut weights = model.weights.clone();
    let layer = weights.remove(&first).ok_or_else(|| refuse(graph, first, "it has no weights"))?;
    let filters = layer.weights.into_dimensionality::<Ix5>().map_err(|error| refuse(graph, first, error))?;
    let order = key.channel_order(output.channels);
    let conv = Conv { window: &window, input, output, weights: filters.view() };
    let augmented = AugmentedConv::new(conv, layer.bias.view(), &order, key)?;
    reorder(graph, first, order, &mut weights)?;
    let manifest = model.manifest.clone();
    Ok(AugmentedModel { manifest, first: augmented, weights, key_fingerprint: key.fingerprint() })
}

/// The only reader of the input, if it is a convolution.
pub(crate) fn first_convolution(graph: &Graph) -> Result<(NodeId, models::Window)> {
    let readers = &graph.consumers()[0];
    match (readers.as_slice(), readers.first().map(|&id| &graph.node(id).op)) {
        (&[id], Some(&Op::Conv { window, .. })) => Ok((id, window)),
        _ => Err(refuse(graph, 0, "the input must be read by one convolution and nothing else")),
    }
}

fn refuse(graph: &Graph, id: NodeId, reason: impl ToString) -> PerceptualError {
    PerceptualError::Network { layer: graph.node(id).name.clone(), reason: reason.to_string() }
}

/// Carries the order of `first`'s channels to every layer that reads them.
fn reorder(
    graph: &Graph,
    first: NodeId,
    order: Vec<usize>,
    weights: &mut BTreeMap<NodeId, LayerWeights>,
) -> Result<()> {
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        let plain = (0..node.shape.channels).collect::<Vec<_>>();
        let inputs: Vec<&Vec<usize>> = node.inputs.iter().map(|&input| &orders[input]).collect();
        let own = match &node.op {
            _ if id == first => order.clone(),
            Op::Input => plain,
            Op::Conv { .. } | Op::ConvTranspose { .. } => {
                let axis = Axis(usize::from(matches!(node.op, Op::Conv { .. })));
                let layer = weights.get_mut(&id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
                layer.weights = layer.weights.select(axis, inputs[0]);
                plain
            }
            Op::Concat => {
                let mut base = 0;
                let mut joined = Vec::new();
                for input in inputs {
                    joined.extend(input.iter().map(|channel| base + channel));
                    base += input.len();
                }
                joined
            }
            Op::Quadratic => {
                let layer = weights.get_mut(&id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
                layer.weights = layer.weights.select(Axis(0), inputs[0]);
                layer.bias = layer.bias.select(Axis(0), inputs[0]);
                inputs[0].clone()
            }
            Op::Add | Op::Mul if inputs.iter().any(|input| *input != inputs[0]) => {
                return Err(refuse(
                    graph,
                    id,
                    "it joins channels in secret order with channels in plain order",
                ));
            }
            Op::ArgMax if *inputs[0] != (0..inputs[0].len()).collect::<Vec<_>>() => {
                return Err(refuse(graph, id, "it reads the first layer's channels, whose order is secret"));
            }
            Op::ArgMax | Op::Threshold { .. } => plain,
            _ => inputs[0].clone(),
        };
        orders.push(own);
    }
    Ok(())
}

impl AugmentedModel {
    /// The labels of a morphed image: what the server does, per scan.
    ///
    /// # Errors
    /// If the image has another length or was morphed with another key.
    pub fn run(&self, morphed: &[f64]) -> Result<Array3<u8>> {
        let graph = &self.manifest.graph;
        let (first, _) = first_convolution(graph)?;
        let last_use = graph.last_uses();
        let mut live: Vec<Option<Array4<i64>>> = vec![None; last_use.len()];
        for (id, node) in graph.nodes().iter().enumerate().skip(1) {
            let value = if id == first {
                self.first.apply(morphed)?
            } else {
                let inputs: Vec<_> = node.inputs.iter().filter_map(|&input| live[input].as_ref()).collect();
                eval_node(&node.op, &inputs, self.weights.get(&id))?
            };
            live[id] = Some(value);
            node.inputs.iter().filter(|&&input| last_use[input] == id).for_each(|&input| live[input] = None);
        }
        let last = graph.output();
        let labels = live.pop().flatten().filter(|_| graph.node(last).op.is_readout());
        let labels = labels.ok_or_else(|| refuse(graph, last, "it yields no labels"))?;
        Ok(labels.index_axis(Axis(0), 0).mapv(|label| label as u8))
    }
}

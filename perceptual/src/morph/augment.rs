//! A network whose first convolution is C_ac, and the channel order carried through the rest (algorithm 3).
//!
//! The data holder makes an [`AugmentedLayer`]; the server joins it with the other layers, which it has. Element-wise
//! operators and pooling keep the order of their input; a concatenation joins its inputs' orders; the next convolutions on
//! every path read their weights in that order and yield plain order again. Where two orders would have to be added, or
//! scores leave the network in secret order, the network is refused.

use crate::error::Result;
use crate::morph::conv::AugmentedConv;
use crate::morph::first::{FirstLayer, first_convolution, refuse};
use crate::morph::key::MorphKey;
use models::graph::{Graph, NodeId, Op};
use models::manifest::{LayerWeights, Manifest, Model};
use models::reference::eval_node;
use models::{FloatLayer, FloatModel};
use ndarray::{Array3, Array4, Axis};
use std::collections::BTreeMap;

/// The first convolution as the server gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedLayer {
    /// The layer's name.
    pub name: String,
    /// C_ac with its bias.
    pub conv: AugmentedConv,
    /// Entry s is the channel that stands in place s: for those who hold the layers that read it.
    pub order: Vec<usize>,
    /// By which images morphed with another key are told.
    pub key_fingerprint: String,
}

/// A network of integers that the server runs on morphed images.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedModel {
    /// The public part of the network, unchanged.
    pub manifest: Manifest,
    /// The first convolution.
    pub first: AugmentedConv,
    /// The other layers, in the secret channel order.
    pub weights: BTreeMap<NodeId, LayerWeights>,
}

/// A network of floats that the server runs on morphed images.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedFloats {
    first: AugmentedConv,
    rest: FloatModel,
}

/// The whole of it in one place: the first layer augmented and joined with the rest.
///
/// # Errors
/// If the key is for another shape, or the network cannot be augmented.
pub fn augment(model: &Model, key: &MorphKey) -> Result<AugmentedModel> {
    AugmentedModel::join(model, FirstLayer::of(model)?.augment(key)?)
}

/// Where `layer` belongs in a network.
fn place(graph: &Graph, layer: &AugmentedLayer) -> Result<NodeId> {
    let (first, _) = first_convolution(graph)?;
    let node = graph.node(first);
    let shapes = (graph.node(0).shape, node.shape) == (layer.conv.input, layer.conv.output);
    if node.name != layer.name || !shapes || layer.order.len() != node.shape.channels {
        let reason = format!("the augmented layer `{}` was made for another network", layer.name);
        return Err(refuse(graph, first, reason));
    }
    Ok(first)
}

/// Carries the order of `first`'s channels to every layer that reads them.
fn reorder<'a>(
    graph: &Graph,
    first: NodeId,
    order: &[usize],
    mut weights: impl FnMut(NodeId) -> Option<Selectable<'a>>,
) -> Result<()> {
    let mut orders: Vec<Vec<usize>> = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        let plain = (0..node.shape.channels).collect::<Vec<_>>();
        let inputs: Vec<&Vec<usize>> = node.inputs.iter().map(|&input| &orders[input]).collect();
        let own = match &node.op {
            _ if id == first => order.to_vec(),
            Op::Input => plain,
            Op::Conv { .. } | Op::ConvTranspose { .. } => {
                let axis = Axis(usize::from(matches!(node.op, Op::Conv { .. })));
                let layer = weights(id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
                layer.select(axis, inputs[0], false);
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
                let layer = weights(id).ok_or_else(|| refuse(graph, id, "it has no weights"))?;
                layer.select(Axis(0), inputs[0], true);
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
            Op::Resample(map) if map.axis == 0 => {
                if !inputs[0].is_sorted() {
                    return Err(refuse(graph, id, "it chooses among channels whose order is secret"));
                }
                plain
            }
            Op::ArgMax | Op::Threshold { .. } => plain,
            _ => inputs[0].clone(),
        };
        orders.push(own);
    }
    Ok(())
}

/// A layer of either kind of network.
enum Selectable<'a> {
    Integers(&'a mut LayerWeights),
    Floats(&'a mut FloatLayer),
}

impl Selectable<'_> {
    /// Brings the weights along an axis, and the bias if it goes with the input's channels, to an order.
    fn select(self, axis: Axis, order: &[usize], bias: bool) {
        macro_rules! select {
            ($layer:ident) => {{
                $layer.weights = $layer.weights.select(axis, order);
                if bias {
                    $layer.bias = $layer.bias.select(Axis(0), order);
                }
            }};
        }
        match self {
            Self::Integers(layer) => select!(layer),
            Self::Floats(layer) => select!(layer),
        }
    }
}

impl AugmentedModel {
    /// Puts the augmented layer in place of the first one: what the server does, once.
    ///
    /// # Errors
    /// If the layer was made for another network, or its order cannot be carried through this one.
    pub fn join(model: &Model, layer: AugmentedLayer) -> Result<Self> {
        let graph = &model.manifest.graph;
        let first = place(graph, &layer)?;
        if !layer.conv.exact {
            return Err(refuse(graph, first, "the augmented layer was made for a network of floats"));
        }
        let mut weights = model.weights.clone();
        weights.remove(&first);
        let mut slots: BTreeMap<_, _> = weights.iter_mut().map(|(&id, layer)| (id, layer)).collect();
        reorder(graph, first, &layer.order, |id| slots.remove(&id).map(Selectable::Integers))?;
        Ok(Self { manifest: model.manifest.clone(), first: layer.conv, weights })
    }

    /// The labels of a morphed image: what the server does, per scan.
    ///
    /// # Errors
    /// If the image has another length or was morphed with another key.
    pub fn run(&self, morphed: &[f64]) -> Result<Array3<u16>> {
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
        Ok(labels.index_axis(Axis(0), 0).mapv(|label| label as u16))
    }
}

impl AugmentedFloats {
    /// Puts the augmented layer in place of the first one: what the server does, once.
    ///
    /// # Errors
    /// If the layer was made for another network, or its order cannot be carried through this one.
    pub fn join(model: &FloatModel, layer: AugmentedLayer) -> Result<Self> {
        model.check()?;
        let graph = &model.graph;
        let first = place(graph, &layer)?;
        if layer.conv.exact {
            return Err(refuse(graph, first, "the augmented layer was made for a network of integers"));
        }
        let mut weights: BTreeMap<NodeId, FloatLayer> = model.weights.clone();
        let mut slots: BTreeMap<_, _> = weights.iter_mut().map(|(&id, layer)| (id, layer)).collect();
        reorder(graph, first, &layer.order, |id| slots.remove(&id).map(Selectable::Floats))?;
        // All but the input depend on the first convolution, so it is node 1; its value is the input of the rest.
        let mut rest = Graph::new(graph.rank(), graph.node(first).shape)?;
        for node in &graph.nodes()[2..] {
            rest.push(node.name.clone(), node.op.clone(), node.inputs.iter().map(|&id| id - 1).collect())?;
        }
        let weights = weights.into_iter().filter(|&(id, _)| id != first).map(|(id, layer)| (id - 1, layer));
        let rest = FloatModel { graph: rest, weights: weights.collect(), ..model.clone() };
        Ok(Self { first: layer.conv, rest })
    }

    /// The labels of a morphed image: those of the plain network, but for ties within the rounding of floats.
    ///
    /// # Errors
    /// If the image has another length.
    pub fn run(&self, morphed: &[f64]) -> Result<Array3<u16>> {
        Ok(self.rest.run(&self.first.values(morphed)?.mapv(|value| value as f32))?)
    }

    /// The network's labels.
    pub fn labels(&self) -> &[models::Label] {
        &self.rest.labels
    }
}

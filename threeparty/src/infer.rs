//! Inference of quantised networks: every operator of the graph, on shares.
//!
//! Functionality: shares of an image's integers and of a model's weights → Boolean shares of a label per voxel, which
//! the servers send to the client alone. Public: the manifest. The ring is 2^32 where all ranges fit it, else 2^64.
//!
//! | operator | protocol |
//! | --- | --- |
//! | convolution, transposed convolution, square | local products, one message per layer; fused with the truncation of a node that alone reads it |
//! | ReLU and truncation | stochastic rounding (±1 unit of half up, unbiased, multiples exact), then the sign of the *truncated* value: fewer bits to compare |
//! | max pooling, argmax | tournament; argmax yields index bits, scores stay hidden |
//! | average pooling (sums), raise, concatenation, addition | local |
//! | threshold | sign of at − x |
//!
//! Error: a rounding differs from the integer reference by less than one unit of its edge; comparisons are exact.
//! Cost: [`predict`] gives bytes and rounds per layer, exactly.

use crate::conv::{Conv, ConvTranspose};
use crate::cost::{self, Cost, Spent};
use crate::error::Error;
use crate::party::Party;
use crate::pool::{MaxPool, coordinates, voxel};
use crate::ring::Ring;
use crate::share::{Bits, Shares};
use models::{LayerWeights, Manifest, Model, Node, NodeId, Op, Shape, Window};
use std::collections::BTreeMap;
use std::time::Instant;

const FLOAT: &str = "a manifest's graph is one of integers";

/// Shares of weights and bias of every layer that has some.
pub type WeightShares<R> = BTreeMap<NodeId, [Shares<R>; 2]>;

/// Bits of the ring that a network's ranges need: 32 or 64.
pub fn ring_bits(manifest: &Manifest) -> u32 {
    let largest = manifest.graph.nodes().iter().enumerate().flat_map(|(id, node)| {
        let inputs = node.inputs.iter().map(|&input| {
            let bound = u128::from(manifest.edges[input].bound);
            match node.op {
                Op::Relu { shift } | Op::Truncate { shift } => bound + (1 << shift),
                Op::Square => bound.saturating_mul(bound),
                Op::Scale { factor, .. } => bound.saturating_mul(u128::from(factor.unsigned_abs())),
                Op::Threshold { at } => bound + u128::from(at.unsigned_abs()) + 1,
                _ => 2 * bound, // differences of two
            }
        });
        inputs.chain([u128::from(manifest.edges[id].bound)]).collect::<Vec<_>>()
    });
    // A quarter of the ring for truncation, and as much again for values that errors carry beyond their bounds.
    if largest.max().unwrap_or(0) < 1 << 29 { 32 } else { 64 }
}

/// A layer's weights and bias as ring elements.
pub fn weight_elements<R: Ring>(layer: &LayerWeights) -> [Vec<R>; 2] {
    let weights = layer.weights.iter().map(|&w| R::from_i64(i64::from(w))).collect();
    [weights, layer.bias.iter().map(|&b| R::from_i64(b)).collect()]
}

/// All weights of a model as ring elements.
pub fn model_elements<R: Ring>(model: &Model) -> BTreeMap<NodeId, [Vec<R>; 2]> {
    model.weights.iter().map(|(&id, layer)| (id, weight_elements(layer))).collect()
}

/// Runs the network: label bits per voxel, lowest bit first, and what every layer took.
///
/// # Panics
/// If weights or input do not belong to the manifest.
pub fn infer<R: Ring>(
    party: &mut Party,
    manifest: &Manifest,
    weights: &WeightShares<R>,
    input: &Shares<R>,
) -> Result<(Bits, Vec<Spent>), Error> {
    let schedule = Schedule::new(manifest);
    let mut values: Vec<Option<Value<R>>> = Vec::new();
    let mut spent = Vec::new();
    for (id, node) in manifest.graph.nodes().iter().enumerate() {
        let (start, before) = (Instant::now(), party.traffic());
        let inputs: Vec<&Value<R>> = node.inputs.iter().filter_map(|&i| values[i].as_ref()).collect();
        assert_eq!(inputs.len(), node.inputs.len(), "values live until their last reader");
        let value = match node.op {
            Op::Input => Value::Numbers(input.clone()),
            _ => evaluate(party, &schedule, id, node, weights, &inputs)?,
        };
        values.push(Some(value));
        schedule.dead_after(id).for_each(|dead| values[dead] = None);
        spent.push(Spent::since(start, party.traffic() - before));
    }
    match values.pop().flatten() {
        Some(Value::Labels(labels)) => Ok((labels, spent)),
        _ => unreachable!("a manifest's network ends with a readout"),
    }
}

/// What every layer will cost, in the order of the graph.
pub fn predict(manifest: &Manifest) -> Vec<Cost> {
    let schedule = Schedule::new(manifest);
    let ring = ring_bits(manifest);
    let nodes = manifest.graph.nodes();
    let cost = |(id, node): (NodeId, &Node)| {
        let len = node.shape.len();
        let input = || nodes[node.inputs[0]].shape;
        match node.op {
            Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Square | Op::Mul => {
                cost::product(ring, len, schedule.early[id])
            }
            Op::Quadratic => cost::product(ring, len, 0) + cost::product(ring, len, 0),
            Op::Truncate { .. } => cost::truncate(ring, len, schedule.own_shift(id)),
            Op::Relu { .. } => {
                cost::truncate(ring, len, schedule.own_shift(id)) + cost::relu(ring, len, schedule.bits[id])
            }
            Op::MaxPool { window } => cost::maximum(ring, len, window.taps(), schedule.bits[id]),
            Op::ArgMax => {
                let channels = input().channels;
                cost::maximum(ring, len, channels, schedule.bits[id]) + cost::winner(len, channels)
            }
            Op::Threshold { .. } => cost::sign(len, schedule.bits[id]),
            Op::Input
            | Op::Raise { .. }
            | Op::Scale { .. }
            | Op::AvgPool { .. }
            | Op::Resample(_)
            | Op::Concat
            | Op::Add => Cost::default(),
            Op::LeakyRelu { .. } => unreachable!("{FLOAT}"),
        }
    };
    nodes.iter().enumerate().map(cost).collect()
}

/// The value of a node.
enum Value<R> {
    Numbers(Shares<R>),
    Labels(Bits),
}

/// What the manifest says about how to run each node.
struct Schedule<'a> {
    manifest: &'a Manifest,
    /// Per node, the truncation that its only reader asks for and that it takes over.
    early: Vec<u32>,
    /// Per node that compares, how many bits.
    bits: Vec<u32>,
    last_reader: Vec<NodeId>,
}

impl<'a> Schedule<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        let nodes = manifest.graph.nodes();
        let consumers = manifest.graph.consumers();
        let shift_of = |id: NodeId| match nodes[id].op {
            Op::Relu { shift } | Op::Truncate { shift } => shift,
            _ => 0,
        };
        let early =
            nodes.iter().zip(&consumers).map(|(node, readers)| match (&node.op, readers.as_slice()) {
                (Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Square | Op::Mul, &[reader]) => {
                    shift_of(reader)
                }
                _ => 0,
            });
        let bits = nodes.iter().enumerate().map(|(id, node)| {
            let bound = node.inputs.first().map_or(0, |&input| manifest.edges[input].bound);
            let magnitude = match node.op {
                Op::MaxPool { .. } | Op::ArgMax => 2 * bound,
                Op::Threshold { at } => bound + at.unsigned_abs() + 1,
                _ => (bound >> shift_of(id)) + 1,
            };
            // The sign, and one bit for values that roundings carry beyond their bounds.
            64 - magnitude.leading_zeros() + 2
        });
        let last_reader =
            consumers.iter().enumerate().map(|(id, readers)| readers.iter().copied().max().unwrap_or(id));
        Self { manifest, early: early.collect(), bits: bits.collect(), last_reader: last_reader.collect() }
    }

    /// What a node itself has to truncate.
    fn own_shift(&self, id: NodeId) -> u32 {
        let node = self.manifest.graph.node(id);
        match node.op {
            Op::Relu { shift } | Op::Truncate { shift } if self.early[node.inputs[0]] == 0 => shift,
            _ => 0,
        }
    }

    /// Nodes that nobody reads after `id`.
    fn dead_after(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        (0..id).filter(move |&dead| self.last_reader[dead] == id)
    }
}

fn evaluate<R: Ring>(
    party: &mut Party,
    schedule: &Schedule<'_>,
    id: NodeId,
    node: &Node,
    weights: &WeightShares<R>,
    inputs: &[&Value<R>],
) -> Result<Value<R>, Error> {
    let numbers: Vec<&Shares<R>> = inputs
        .iter()
        .map(|input| match input {
            Value::Numbers(numbers) => numbers,
            Value::Labels(_) => unreachable!("nothing reads a readout"),
        })
        .collect();
    let x = numbers[0];
    let shape = schedule.manifest.graph.node(node.inputs[0]).shape;
    let (early, bits) = (schedule.early[id], schedule.bits[id]);
    Ok(Value::Numbers(match node.op {
        Op::Conv { window, channels } => {
            let plan = Conv::new(window, shape, channels, 1)
                .unwrap_or_else(|| unreachable!("the graph was checked"));
            let [weights, bias] = &weights[&id];
            party.conv(&plan, x, weights, bias, early)?
        }
        Op::ConvTranspose { window, output_padding, channels } => {
            let plan = ConvTranspose::new(window, output_padding, shape, channels);
            let plan = plan.unwrap_or_else(|| unreachable!("the graph was checked"));
            let [weights, bias] = &weights[&id];
            party.conv_transpose(&plan, x, weights, bias, early)?
        }
        Op::Square => party.square_fixed(x, early)?,
        Op::Mul => party.mul_fixed(x, numbers[1], early)?,
        Op::Quadratic => {
            let [weights, bias] = &weights[&id];
            let volume = shape.volume();
            let [alpha, beta] =
                [0, 1].map(|which| weights.pick((0..x.len()).map(|i| i / volume * 2 + which)));
            let slope = party.mul(&alpha, x)?.add(&beta);
            party.mul(&slope, x)?.add(&bias.pick((0..x.len()).map(|i| i / volume)))
        }
        Op::Truncate { .. } => party.truncate(x, schedule.own_shift(id))?,
        Op::Relu { .. } => {
            let x = party.truncate(x, schedule.own_shift(id))?;
            party.relu(&x, bits)?.0
        }
        Op::Scale { factor, .. } => x.scale(R::from_i64(factor)),
        Op::Raise { shift } => x.scale(R::from_u64(1).shl(shift)),
        Op::AvgPool { window } => window_sums(&window, shape, x),
        Op::Resample(ref map) => {
            let side = |x: &[R]| {
                map.apply(x, shape, R::default(), |sum, n, x| sum.add(x.mul(R::from_i64(n.into()))))
            };
            Shares { own: side(&x.own), next: side(&x.next) }
        }
        Op::MaxPool { window } => {
            let pool =
                MaxPool::new(window, shape, 1).unwrap_or_else(|| unreachable!("the graph was checked"));
            party.max_pool(&pool, x, bits)?.0
        }
        Op::Concat => Shares::concat(numbers),
        Op::Add => numbers[1..].iter().fold(x.clone(), |sum, other| sum.add(other)),
        Op::ArgMax => {
            let volume = shape.volume();
            let channels: Vec<_> = (0..shape.channels).map(|c| x.slice(c * volume, volume)).collect();
            let (_, route) = party.maximum(&channels, bits)?;
            return Ok(Value::Labels(party.winner(&route)?));
        }
        Op::Threshold { at } => {
            let difference = party.add_public(&x.scale(R::from_i64(-1)), R::from_i64(at));
            return Ok(Value::Labels(party.negative(&difference, bits)?));
        }
        Op::Input => unreachable!("the input is not computed"),
        Op::LeakyRelu { .. } => unreachable!("{FLOAT}"),
    }))
}

/// Sums over windows; padding counts as zero.
fn window_sums<R: Ring>(window: &Window, shape: Shape, x: &Shares<R>) -> Shares<R> {
    let output = window.slide(shape.dims).unwrap_or_else(|| unreachable!("the graph was checked"));
    let taps: Vec<Vec<usize>> = coordinates(output)
        .map(|at| (0..window.taps()).filter_map(|tap| voxel(window, shape.dims, at, tap)).collect())
        .collect();
    let side = |x: &[R]| {
        let sums = x.chunks(shape.volume()).flat_map(|channel| {
            taps.iter().map(|taps| taps.iter().fold(R::default(), |sum, &i| sum.add(channel[i])))
        });
        sums.collect()
    };
    Shares { own: side(&x.own), next: side(&x.next) }
}

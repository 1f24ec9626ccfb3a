//! The integer reference: what every backend's result is measured against.
//!
//! Each operator means exactly what [`Op`] says, on 64-bit integers, one image `[channel, depth, height, width]` at
//! a time. Exact strategies of the protocol equal it bit for bit. Nothing wraps as long as every value stays within
//! its edge's bound and the model is valid; [`run_checked`] looks.

use crate::graph::{NodeId, Op, Shape};
use crate::kernels::{self, View};
use crate::manifest::{LayerWeights, Model};
use ndarray::{Array3, Array4};

/// Why the reference has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The input does not fit the network.
    #[error("the input has shape {found:?}, but the network reads {expected:?}")]
    InputShape {
        /// What the network reads.
        expected: [usize; 4],
        /// What came.
        found: [usize; 4],
    },
    /// An operator that does not fit its inputs or weights.
    #[error("operator {kind}: {reason}")]
    Operator {
        /// Kind of operator.
        kind: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A value beyond what the ranges were proved for.
    #[error("layer `{layer}`: the value {value} exceeds the bound {bound} that its range was proved for")]
    OutOfRange {
        /// The layer's name.
        layer: String,
        /// The value.
        value: i64,
        /// The edge's bound.
        bound: u64,
    },
    /// A network that yields scores instead of labels.
    #[error("the last layer `{0}` yields no labels; an argmax or a threshold must stand at the end")]
    NoReadout(String),
}

/// The labels of an image.
pub fn run(model: &Model, input: &Array4<i64>) -> Result<Array3<u16>, ReferenceError> {
    labels(model, walk(model, input, |_, _| Ok(()))?)
}

/// The labels of an image; an error where any value leaves its edge's bound.
pub fn run_checked(model: &Model, input: &Array4<i64>) -> Result<Array3<u16>, ReferenceError> {
    labels(model, walk(model, input, |id, value| check_bound(model, id, value))?)
}

/// Every node's value, in the order of the graph.
pub fn run_all(model: &Model, input: &Array4<i64>) -> Result<Vec<Array4<i64>>, ReferenceError> {
    let mut values = Vec::new();
    walk(model, input, |_, value| {
        values.push(value.clone());
        Ok(())
    })?;
    Ok(values)
}

/// The labels of an image where `node` may put another value in place of an operator's own: it gets the node's id, its
/// inputs, and the exact evaluation. Audits use it to account for the carries of inexact strategies.
pub fn run_with(
    model: &Model,
    input: &Array4<i64>,
    node: impl FnMut(NodeId, &[&Array4<i64>], &dyn Fn() -> Evaluated) -> Evaluated,
) -> Result<Array3<u16>, ReferenceError> {
    labels(model, walk_with(model, input, node, |_, _| Ok(()))?)
}

/// A node's value, or why there is none.
pub type Evaluated = Result<Array4<i64>, ReferenceError>;

/// Whether all values, given in the order of the graph, stay within their edges' bounds.
pub fn check_ranges(model: &Model, values: &[Array4<i64>]) -> Result<(), ReferenceError> {
    values.iter().enumerate().try_for_each(|(id, value)| check_bound(model, id, value))
}

/// One operator on integers. `weights` belong to convolutions; the other operators ignore them.
pub fn eval_node(
    op: &Op,
    inputs: &[&Array4<i64>],
    weights: Option<&LayerWeights>,
) -> Result<Array4<i64>, ReferenceError> {
    let refuse = |reason: String| ReferenceError::Operator { kind: op.kind(), reason };
    let shapes: Vec<Shape> = inputs.iter().map(|input| shape_of(input)).collect();
    let shape = op.infer(&shapes).map_err(refuse)?;
    let tensors: Vec<_> = inputs.iter().map(|input| input.as_standard_layout()).collect();
    let views: Vec<View<'_, i64>> = tensors
        .iter()
        .zip(&shapes)
        .map(|(tensor, &shape)| View { values: tensor.as_slice().unwrap_or_default(), shape })
        .collect();
    let values = match op {
        Op::LeakyRelu { .. } => return Err(refuse(FLOAT_ONLY.into())),
        _ if op.has_weights() => {
            let weights = weights.ok_or_else(|| refuse("it has no weights".into()))?;
            weights.check_shape(op, shapes[0]).map_err(refuse)?;
            linear(op, views[0], weights, shape)
        }
        _ => elementwise(op, &views, shape),
    };
    Ok(to_array(shape, values))
}

/// Why an operator of float networks has no integer value.
pub(crate) const FLOAT_ONLY: &str =
    "it belongs to float networks; quantisation replaces it by a weighted sum";

/// `⌊(x + 2^(shift−1)) / 2^shift⌋`: half up; with shift 0, x itself.
pub fn truncate(x: i64, shift: u32) -> i64 {
    if shift == 0 { x } else { (x + (1 << (shift - 1))) >> shift }
}

fn shape_of(tensor: &Array4<i64>) -> Shape {
    let (channels, depth, height, width) = tensor.dim();
    Shape { channels, dims: [depth, height, width] }
}

fn to_array(shape: Shape, values: Vec<i64>) -> Array4<i64> {
    let [depth, height, width] = shape.dims;
    Array4::from_shape_vec((shape.channels, depth, height, width), values)
        .expect("an operator's value has the shape that its graph infers")
}

fn linear(op: &Op, x: View<'_, i64>, layer: &LayerWeights, shape: Shape) -> Vec<i64> {
    let weights: Vec<i64> = layer.weights.iter().map(|&weight| i64::from(weight)).collect();
    let bias = layer.bias.to_vec();
    match op {
        Op::Conv { window, .. } => kernels::conv(x, &weights, &bias, window, shape.dims),
        Op::ConvTranspose { window, .. } => kernels::conv_transpose(x, &weights, &bias, window, shape.dims),
        Op::Quadratic => kernels::quadratic(x, &weights, &bias),
        _ => unreachable!("no other operator carries weights"),
    }
}

fn elementwise(op: &Op, inputs: &[View<'_, i64>], shape: Shape) -> Vec<i64> {
    let x = inputs[0];
    let map = |f: &dyn Fn(i64) -> i64| x.values.iter().map(|&x| f(x)).collect();
    match *op {
        Op::Relu { shift } => map(&|x| truncate(x, shift).max(0)),
        Op::Truncate { shift } => map(&|x| truncate(x, shift)),
        Op::Raise { shift } => map(&|x| x << shift),
        Op::Scale { factor, .. } => map(&|x| x.wrapping_mul(factor)),
        Op::Square => map(&|x| x.wrapping_mul(x)),
        Op::Mul => x.values.iter().zip(inputs[1].values).map(|(&a, &b)| a.wrapping_mul(b)).collect(),
        Op::Threshold { at } => map(&|x| i64::from(x > at)),
        Op::AvgPool { window } => kernels::pool(x, &window, shape.dims, i64::wrapping_add),
        Op::Resample(ref map) => {
            map.apply(x.values, x.shape, 0, |sum, n, x| sum.wrapping_add(i64::from(n).wrapping_mul(x)))
        }
        Op::MaxPool { window } => kernels::pool(x, &window, shape.dims, i64::max),
        Op::ArgMax => kernels::argmax(x).into_iter().map(|label| label as i64).collect(),
        Op::Concat => inputs.iter().flat_map(|input| input.values).copied().collect(),
        Op::Add => {
            let sum = |i: usize| inputs.iter().fold(0_i64, |sum, input| sum.wrapping_add(input.values[i]));
            (0..shape.len()).map(sum).collect()
        }
        Op::Input | Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Quadratic | Op::LeakyRelu { .. } => {
            unreachable!("the input has no inputs, and layers with weights are evaluated apart")
        }
    }
}

/// Evaluates the graph, shows every value to `visit`, drops values after their last reader, returns the last one.
pub(crate) fn walk(
    model: &Model,
    input: &Array4<i64>,
    visit: impl FnMut(NodeId, &Array4<i64>) -> Result<(), ReferenceError>,
) -> Evaluated {
    walk_with(model, input, |_, _, exact| exact(), visit)
}

/// The same with another value in place of an operator's own where `evaluate` says so.
fn walk_with(
    model: &Model,
    input: &Array4<i64>,
    mut evaluate: impl FnMut(NodeId, &[&Array4<i64>], &dyn Fn() -> Evaluated) -> Evaluated,
    mut visit: impl FnMut(NodeId, &Array4<i64>) -> Result<(), ReferenceError>,
) -> Evaluated {
    let nodes = model.manifest.graph.nodes();
    let expected = nodes[0].shape.to_array();
    let found = shape_of(input).to_array();
    if found != expected {
        return Err(ReferenceError::InputShape { expected, found });
    }
    let last_use = model.manifest.graph.last_uses();
    let mut live: Vec<Option<Array4<i64>>> = vec![None; nodes.len()];
    for (id, node) in nodes.iter().enumerate() {
        let value = match node.op {
            Op::Input => input.clone(),
            _ => {
                let inputs: Vec<_> = node.inputs.iter().filter_map(|&input| live[input].as_ref()).collect();
                evaluate(id, &inputs, &|| eval_node(&node.op, &inputs, model.weights.get(&id)))?
            }
        };
        visit(id, &value)?;
        live[id] = Some(value);
        node.inputs.iter().filter(|&&input| last_use[input] == id).for_each(|&input| live[input] = None);
    }
    Ok(live.pop().flatten().expect("the last node has been evaluated and no node reads it"))
}

fn check_bound(model: &Model, id: NodeId, value: &Array4<i64>) -> Result<(), ReferenceError> {
    let bound = model.manifest.edges[id].bound;
    match value.iter().max_by_key(|value| value.unsigned_abs()) {
        Some(&value) if value.unsigned_abs() > bound => Err(ReferenceError::OutOfRange {
            layer: model.manifest.graph.node(id).name.clone(),
            value,
            bound,
        }),
        _ => Ok(()),
    }
}

/// The labels in the last node's value.
pub(crate) fn labels(model: &Model, value: Array4<i64>) -> Result<Array3<u16>, ReferenceError> {
    let last = model.manifest.graph.node(model.manifest.graph.output());
    if !last.op.is_readout() {
        return Err(ReferenceError::NoReadout(last.name.clone()));
    }
    Ok(value.index_axis(ndarray::Axis(0), 0).mapv(|label| label as u16))
}

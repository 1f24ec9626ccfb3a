//! The float network: what was trained, before quantisation. Used to calibrate and to compare.
//!
//! Same graph and same loops as the integer reference, in 32-bit floats; shifts are zero, average pooling divides by
//! the whole window, padding included.

use crate::graph::{Graph, NodeId, Op, Shape};
use crate::kernels::{self, View};
use crate::manifest::{Label, check_layer_shape};
use ndarray::{Array1, Array3, Array4, ArrayD, Axis};
use std::collections::BTreeMap;

/// Float weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatLayer {
    /// `[out, in, depth, height, width]` for a convolution, `[in, out, …]` for a transposed one.
    pub weights: ArrayD<f32>,
    /// Per output channel.
    pub bias: Array1<f32>,
}

/// A float network with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatModel {
    /// The network's name.
    pub name: String,
    /// Architecture; no truncations, shifts are zero.
    pub graph: Graph,
    /// Per node with weights.
    pub weights: BTreeMap<NodeId, FloatLayer>,
    /// The labels, in the order of the result.
    pub labels: Vec<Label>,
    /// How a scan becomes the input, for the `imaging` crate.
    pub preprocessing: serde_json::Value,
}

/// A float network that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    /// The input does not fit the network.
    #[error("the input has shape {found:?}, but the network reads {expected:?}")]
    InputShape {
        /// What the network reads.
        expected: [usize; 4],
        /// What came.
        found: [usize; 4],
    },
    /// A layer whose weights are missing or do not fit.
    #[error("layer `{layer}`: {reason}")]
    Layer {
        /// The layer's name.
        layer: String,
        /// What does not fit.
        reason: String,
    },
    /// A network that yields scores instead of labels.
    #[error("the last layer `{0}` yields no labels; an argmax or a threshold must stand at the end")]
    NoReadout(String),
}

impl FloatModel {
    /// Whether every layer has the weights that its operator needs.
    pub fn check(&self) -> Result<(), FloatError> {
        for (id, node) in self.graph.nodes().iter().enumerate() {
            let refuse = |reason: String| FloatError::Layer { layer: node.name.clone(), reason };
            match self.weights.get(&id) {
                Some(layer) => {
                    let input = node.inputs.first().map_or(node.shape, |&input| self.graph.node(input).shape);
                    check_layer_shape(&node.op, input, layer.weights.shape(), layer.bias.len())
                        .map_err(refuse)?;
                }
                None if node.op.has_weights() => return Err(refuse("it has no weights".into())),
                None => {}
            }
        }
        Ok(())
    }

    /// Every node's value, in the order of the graph.
    pub fn run_all(&self, input: &Array4<f32>) -> Result<Vec<Array4<f32>>, FloatError> {
        let mut values = Vec::new();
        self.walk(input, |_, value| values.push(value.clone()))?;
        Ok(values)
    }

    /// The labels of an image.
    pub fn run(&self, input: &Array4<f32>) -> Result<Array3<u16>, FloatError> {
        let last = self.graph.node(self.graph.output());
        if !last.op.is_readout() {
            return Err(FloatError::NoReadout(last.name.clone()));
        }
        let value = self.walk(input, |_, _| ())?;
        Ok(value.index_axis(Axis(0), 0).mapv(|label| label as u16))
    }

    /// Evaluates the graph, shows each value to `visit`, drops it after its last reader, returns the last one.
    pub fn walk(
        &self,
        input: &Array4<f32>,
        mut visit: impl FnMut(NodeId, &Array4<f32>),
    ) -> Result<Array4<f32>, FloatError> {
        self.check()?;
        let expected = self.graph.node(0).shape.to_array();
        let found: [usize; 4] = input.dim().into();
        if found != expected {
            return Err(FloatError::InputShape { expected, found });
        }
        let last_use = self.graph.last_uses();
        let mut live: Vec<Option<Array4<f32>>> = vec![None; last_use.len()];
        for (id, node) in self.graph.nodes().iter().enumerate() {
            let inputs: Vec<_> = node.inputs.iter().filter_map(|&input| live[input].as_ref()).collect();
            let value = if id == 0 {
                input.as_standard_layout().into_owned()
            } else {
                eval(&node.op, &inputs, self.weights.get(&id), node.shape)
            };
            visit(id, &value);
            live[id] = Some(value);
            node.inputs.iter().filter(|&&input| last_use[input] == id).for_each(|&input| live[input] = None);
        }
        Ok(live.pop().flatten().expect("the last node has been evaluated and no node reads it"))
    }
}

/// One operator; `inputs` and `layer` fit it.
pub(crate) fn eval(
    op: &Op,
    inputs: &[&Array4<f32>],
    layer: Option<&FloatLayer>,
    shape: Shape,
) -> Array4<f32> {
    let views: Vec<View<'_, f32>> = inputs.iter().map(|input| view(input)).collect();
    let x = views[0];
    let map = |f: &dyn Fn(f32) -> f32| -> Vec<f32> { x.values.iter().map(|&x| f(x)).collect() };
    let values = match *op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Quadratic => {
            linear(op, x, layer.expect("a checked model has all weights"), shape)
        }
        Op::Relu { .. } => map(&|x| x.max(0.0)),
        Op::LeakyRelu { slope } => map(&|x| if x > 0.0 { x } else { slope * x }),
        Op::Scale { factor, shift } => {
            let factor = (factor as f64 / f64::from(shift).exp2()) as f32;
            map(&|x| factor * x)
        }
        Op::Input | Op::Truncate { .. } | Op::Raise { .. } => x.values.to_vec(),
        Op::Square => map(&|x| x * x),
        Op::Threshold { at } => map(&|x| f32::from(u8::from(x > at as f32))),
        Op::AvgPool { window } => {
            let mut sums = kernels::pool(x, &window, shape.dims, |a, b| a + b);
            sums.iter_mut().for_each(|sum| *sum /= window.taps() as f32);
            sums
        }
        Op::Resample(ref map) => {
            let ratio = 1.0 / map.denominator as f32;
            let mut sums = map.apply(x.values, x.shape, 0.0, |sum, n, x| sum + n as f32 * x);
            sums.iter_mut().for_each(|sum| *sum *= ratio);
            sums
        }
        Op::MaxPool { window } => kernels::pool(x, &window, shape.dims, f32::max),
        Op::ArgMax => kernels::argmax(x).into_iter().map(|label| label as f32).collect(),
        Op::Concat => views.iter().flat_map(|input| input.values).copied().collect(),
        Op::Add => (0..shape.len()).map(|i| views.iter().map(|input| input.values[i]).sum()).collect(),
        Op::Mul => x.values.iter().zip(views[1].values).map(|(&a, &b)| a * b).collect(),
    };
    Array4::from_shape_vec(shape.to_array(), values).expect("an operator's value has the shape of its node")
}

fn view(tensor: &Array4<f32>) -> View<'_, f32> {
    let (channels, depth, height, width) = tensor.dim();
    let shape = Shape { channels, dims: [depth, height, width] };
    View { values: tensor.as_slice().expect("values of the graph are in standard layout"), shape }
}

fn linear(op: &Op, x: View<'_, f32>, layer: &FloatLayer, shape: Shape) -> Vec<f32> {
    let weights = layer.weights.as_standard_layout();
    let weights = weights.as_slice().expect("just brought to standard layout");
    let bias = layer.bias.to_vec();
    match op {
        Op::Conv { window, .. } => kernels::conv(x, weights, &bias, window, shape.dims),
        Op::ConvTranspose { window, .. } => kernels::conv_transpose(x, weights, &bias, window, shape.dims),
        Op::Quadratic => kernels::quadratic(x, weights, &bias),
        _ => unreachable!("no other operator carries weights"),
    }
}

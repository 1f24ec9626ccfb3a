//! Arithmetic of values with values and with constants: activations, batch norm, quadratics.

use super::refuse;
use crate::float::FloatLayer;
use crate::graph::{NodeId, Op, Window};
use crate::onnx::OnnxError;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;
use ndarray::{Array1, ArrayD, Axis};

impl<'a> Importer<'a> {
    pub(super) fn binary(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let operator = node.op_type.as_str();
        if let Some(constant) = self.constant(node, 1).cloned() {
            return self.affine_by_constant(node, layer, 0, &constant);
        }
        if let (Some(constant), "Mul" | "Add" | "Sub") = (self.constant(node, 0).cloned(), operator) {
            return self.affine_by_constant(node, layer, 1, &constant);
        }
        let (Some(a), Some(b)) = (self.tensor(node, 0)?, self.tensor(node, 1)?) else {
            return Ok(Value::Unknown);
        };
        if self.graph.node(a).shape != self.graph.node(b).shape
            || self.is_flat(node, 0) != self.is_flat(node, 1)
        {
            return refuse(
                "its inputs differ in shape",
                "attention (one factor per channel or voxel) is not supported; join values of one shape",
            );
        }
        let b = match operator {
            "Sub" => self.minus(layer, b)?,
            "Div" => {
                return refuse("a quotient of two values", "normalisation by secret values is not supported");
            }
            _ => b,
        };
        let id = match (operator, self.as_quadratic(operator, a, b)) {
            (_, Some((base, [alpha, beta, gamma]))) => self.quadratic(layer, base, &alpha, &beta, &gamma)?,
            ("Mul", None) if a == b => self.push(layer, Op::Square, vec![a])?,
            ("Mul", None) => self.push(layer, Op::Mul, vec![a, b])?,
            _ => self.push(layer, Op::Add, vec![a, b])?,
        };
        Ok(Value::Node(id, Post::None))
    }

    /// The sum of any number of values.
    pub(super) fn sum(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let Some(inputs) = self.tensors(node)? else { return Ok(Value::Unknown) };
        match inputs[..] {
            [single] => Ok(Value::Node(single, Post::None)),
            _ => Ok(Value::Node(self.push(layer, Op::Add, inputs)?, Post::None)),
        }
    }

    /// max(0, x), written as a clipping or a maximum.
    pub(super) fn clip(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let limit = |index: usize, name: &str, default: f32| match node.input.get(index) {
            Some(input) if !input.is_empty() => match self.constant(node, index)?.to_floats()[..] {
                [limit] => Some(limit),
                _ => None,
            },
            _ => Some(attributes.float(name, default)),
        };
        let limits = match node.op_type.as_str() {
            "Clip" => (limit(1, "min", f32::MIN), limit(2, "max", f32::MAX)),
            _ if node.input.len() == 2 => (limit(1, "", f32::MIN), Some(f32::MAX)),
            _ => (None, None),
        };
        match limits {
            (Some(0.0), Some(high)) if high >= 1e30 => self.unary(node, layer, Op::Relu { shift: 0 }),
            (Some(low), Some(high)) if low <= -1e30 && high >= 1e30 => self.pass(node),
            _ => refuse(
                "only max(0, x) is known of clippings and maxima",
                "train with ReLU in place of ReLU6 or a clipping",
            ),
        }
    }

    /// The value with its sign turned.
    pub(super) fn minus(&mut self, layer: &str, x: NodeId) -> Result<NodeId, Stop> {
        self.push(&format!("{layer}.minus"), Op::Scale { factor: -1, shift: 0 }, vec![x])
    }

    /// max(0, x) + a·(x − max(0, x)): the slopes are secret weights, a diagonal 1×1 convolution.
    pub(super) fn prelu(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let Some(slope) = self.constant(node, 1) else {
            return refuse("its slope is computed, not constant", "export with constants folded");
        };
        let Some(slope) = per_channel(slope, self.graph.node(x).shape.channels, self.graph.rank()) else {
            return refuse("a slope that varies over the image", "use one slope, or one per channel");
        };
        let relu = self.push(&format!("{layer}.relu"), Op::Relu { shift: 0 }, vec![x])?;
        let minus = self.minus(layer, relu)?;
        let negative = self.push(&format!("{layer}.negative"), Op::Add, vec![x, minus])?;
        let scaled = self.diagonal(&format!("{layer}.slope"), negative, &slope, &vec![0.0; slope.len()])?;
        Ok(Value::Node(self.push(layer, Op::Add, vec![scaled, relu])?, Post::None))
    }

    pub(super) fn power(&mut self, node: &NodeProto, layer: &str) -> Result<Value, Stop> {
        match self.constant(node, 1).map(Tensor::to_floats).as_deref() {
            Some([exponent]) if *exponent == 2.0 => self.unary(node, layer, Op::Square),
            Some([exponent]) if *exponent == 1.0 => self.pass(node),
            _ => refuse("an exponent other than 2", "use ReLU or x² as the activation"),
        }
    }

    pub(super) fn affine_by_constant(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        input: usize,
        constant: &Tensor,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, input)? else { return Ok(Value::Unknown) };
        let shape = self.graph.node(x).shape;
        let values = match self.is_flat(node, input) {
            // Features of a flattened image are no channels.
            true if shape.volume() > 1 && constant.len() > 1 => None,
            true => per_channel(constant, shape.channels, 0),
            false => per_channel(constant, shape.channels, self.graph.rank()),
        };
        let Some(values) = values else {
            return refuse("a constant that varies over the image", "use constants per channel");
        };
        let (scale, shift): (Vec<f32>, Vec<f32>) = values
            .into_iter()
            .map(|value| match node.op_type.as_str() {
                "Mul" => (value, 0.0),
                "Div" => (1.0 / value, 0.0),
                "Sub" if input == 1 => (-1.0, value),
                "Sub" => (1.0, -value),
                _ => (1.0, value),
            })
            .unzip();
        self.affine(node, layer, input, x, &scale, &shift)
    }

    pub(super) fn batch_norm(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        if attributes.int("training_mode", 0) != 0 {
            return refuse(
                "it normalises by the statistics of the batch",
                "export in evaluation mode: model.eval()",
            );
        }
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let channels = self.graph.node(x).shape.channels;
        let mut parameters = Vec::new();
        for index in 1..5 {
            match self.constant(node, index).map(Tensor::to_floats) {
                Some(values) if values.len() == channels => parameters.push(values),
                _ => {
                    let field = format!("node `{layer}`: input {index}");
                    let reason = format!("{channels} constants are expected");
                    return Err(OnnxError::field(self.file, field, reason).into());
                }
            }
        }
        let epsilon = attributes.float("epsilon", 1e-5);
        let factor = |c: usize| parameters[0][c] / (parameters[3][c] + epsilon).sqrt();
        let scale: Vec<f32> = (0..channels).map(factor).collect();
        let shift: Vec<f32> = (0..channels).map(|c| parameters[1][c] - parameters[2][c] * scale[c]).collect();
        self.affine(node, layer, 0, x, &scale, &shift)
    }

    /// y = scale·x + shift per channel: folded into the layer that yields x and nothing else reads, otherwise a
    /// convolution of its own.
    pub(super) fn affine(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        input: usize,
        x: NodeId,
        scale: &[f32],
        shift: &[f32],
    ) -> Result<Value, Stop> {
        if scale.iter().chain(shift).any(|value| !value.is_finite()) {
            let field = format!("node `{layer}`");
            return Err(OnnxError::field(self.file, field, "its scale or shift is not finite").into());
        }
        let name = node.input[input].as_str();
        let alone = self.uses(name) == 1 && self.origin.get(&x) == Some(&name);
        if let Some(folded) = self.weights.get_mut(&x).filter(|_| alone) {
            let transposed = matches!(self.graph.node(x).op, Op::ConvTranspose { .. });
            let axis = Axis(usize::from(transposed));
            for (channel, (&scale, &shift)) in scale.iter().zip(shift).enumerate() {
                folded.weights.index_axis_mut(axis, channel).mapv_inplace(|weight| weight * scale);
                folded.bias[channel] = folded.bias[channel] * scale + shift;
            }
            if let Some(output) = node.output.first() {
                self.origin.insert(x, output);
            }
            return Ok(Value::Node(x, Post::None));
        }
        if self.graph.node(x).op == Op::Square {
            let base = self.graph.node(x).inputs[0];
            let beta = vec![0.0; scale.len()];
            return Ok(Value::Node(self.quadratic(layer, base, scale, &beta, shift)?, Post::None));
        }
        Ok(Value::Node(self.diagonal(layer, x, scale, shift)?, Post::None))
    }

    /// y = scale·x + shift per channel as a 1×1 convolution.
    pub(super) fn diagonal(
        &mut self,
        layer: &str,
        x: NodeId,
        scale: &[f32],
        shift: &[f32],
    ) -> Result<NodeId, Stop> {
        let channels = scale.len();
        let id = self.push(layer, Op::Conv { window: Window::dense([1; 3], [0; 3]), channels }, vec![x])?;
        let mut weights = ArrayD::zeros(vec![channels, channels, 1, 1, 1]);
        scale.iter().enumerate().for_each(|(c, &scale)| weights[[c, c, 0, 0, 0]] = scale);
        self.weights.insert(id, FloatLayer { weights, bias: Array1::from_vec(shift.to_vec()) });
        self.diagonals.insert(id);
        Ok(id)
    }
}

/// A constant as one value per channel: a single value, or of shape `[…, channels, 1, …]`.
fn per_channel(constant: &Tensor, channels: usize, rank: usize) -> Option<Vec<f32>> {
    let values = constant.to_floats();
    if let [value] = values[..] {
        return Some(vec![value; channels]);
    }
    let trailing = constant.dims.iter().rev().take(rank).filter(|&&dim| dim == 1).count();
    (values.len() == channels && trailing == rank && constant.dims.len() > rank).then_some(values)
}

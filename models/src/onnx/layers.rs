//! One function per operator: from ONNX's attributes to the graph's geometry, or why not.

use super::OnnxError;
use super::attributes::Attributes;
use super::lower::{Importer, Post, Stop, Value};
use super::proto::NodeProto;
use super::tensor::Tensor;
use crate::float::FloatLayer;
use crate::graph::{Dims, NodeId, Op, Shape, Window};
use ndarray::{Array1, ArrayD, Axis};

fn refuse<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(reason.into(), remedy.into()))
}

impl<'a> Importer<'a> {
    /// Lowers an operator on at least one value that is not constant.
    pub(super) fn layer(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let operator = node.op_type.as_str();
        match operator {
            "Conv" | "ConvTranspose" => self.convolution(node, layer, attributes),
            "BatchNormalization" => self.batch_norm(node, layer, attributes),
            "Relu" => self.unary(node, layer, Op::Relu { shift: 0 }),
            "LeakyRelu" => self.unary(node, layer, Op::LeakyRelu { slope: attributes.float("alpha", 0.01) }),
            "PRelu" => self.prelu(node, layer),
            "Mul" | "Add" | "Sub" | "Div" => self.binary(node, layer),
            "Pow" => self.power(node, layer),
            "AveragePool" | "MaxPool" => self.pool(node, layer, attributes),
            "Concat" => self.concat(node, layer, attributes),
            "Pad" => self.pad(node, attributes),
            "Identity" | "Cast" | "Dropout" | "Squeeze" => self.pass(node),
            "Softmax" | "LogSoftmax" => self.softmax(node, attributes),
            "Sigmoid" if self.leads_to_output(node) => self.post(node, Post::Sigmoid),
            "ArgMax" => self.argmax(node, layer, attributes),
            _ => {
                let (reason, remedy) = advice(operator);
                refuse(reason, remedy)
            }
        }
    }

    /// A value as a layer of the network reads it.
    fn tensor(&self, node: &NodeProto, index: usize) -> Result<Option<NodeId>, Stop> {
        match self.input(node, index) {
            Some(Value::Node(id, Post::None)) => Ok(Some(*id)),
            Some(Value::Node(..)) => refuse(
                "it reads what softmax, sigmoid or argmax yields; these run only at the end",
                "train the network without them inside",
            ),
            Some(Value::Unknown) => Ok(None),
            Some(Value::Constant(_)) => {
                refuse("it reads a constant where an image is expected", "export anew")
            }
            None => refuse("an input is missing", "export anew"),
        }
    }

    fn push(&mut self, layer: &str, op: Op, inputs: Vec<NodeId>) -> Result<NodeId, Stop> {
        Ok(self.graph.push(self.unique(layer), op, inputs)?)
    }

    fn unary(&mut self, node: &NodeProto, layer: &str, op: Op) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        Ok(Value::Node(self.push(layer, op, vec![x])?, Post::None))
    }

    fn convolution(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let transposed = node.op_type == "ConvTranspose";
        let field = |what: &str| format!("node `{layer}`: {what}");
        let groups = attributes.int("group", 1);
        if groups != 1 {
            return refuse(
                format!("{groups} groups of channels"),
                "train with groups=1; depthwise convolutions are not supported",
            );
        }
        let Some(weights) = self.constant(node, 1).cloned() else {
            return refuse("its weights are computed, not constant", "export with constants folded");
        };
        let rank = self.graph.rank();
        if weights.dims.len() != rank + 2 || weights.len() == 0 {
            let reason = format!("shape {:?} for {rank} spatial axes", weights.dims);
            return Err(OnnxError::field(self.file, field("weights"), reason).into());
        }
        let kernel = &weights.dims[2..];
        if attributes
            .ints("kernel_shape")
            .is_some_and(|stated| !stated.iter().map(|&k| k as usize).eq(kernel.iter().copied()))
        {
            return Err(OnnxError::field(
                self.file,
                field("kernel_shape"),
                "it differs from the weights' shape",
            )
            .into());
        }
        let outputs = weights.dims[usize::from(transposed)];
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            None => vec![0.0; outputs],
            Some(_) => match self.constant(node, 2) {
                Some(bias) => bias.to_floats(),
                None => return refuse("its bias is computed, not constant", "export with constants folded"),
            },
        };
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let shape = self.graph.node(x).shape;
        let window = self.window(layer, attributes, kernel, shape, transposed)?;
        let op = if transposed {
            if attributes.has("output_shape") {
                return refuse("it states an output_shape", "export with output_padding instead");
            }
            let output_padding = self.extents(layer, attributes, "output_padding", 0)?;
            Op::ConvTranspose { window, output_padding, channels: outputs }
        } else {
            Op::Conv { window, channels: outputs }
        };
        let expected = op.weight_shape(shape.channels).unwrap_or_default();
        let (from, values) = (weights.dims.clone(), weights.to_floats());
        let misfit = || {
            let reason = format!("weights {from:?} and {} biases on {} channels", bias.len(), shape.channels);
            OnnxError::field(self.file, field("weights"), reason)
        };
        if bias.len() != outputs {
            return Err(misfit().into());
        }
        let weights = ArrayD::from_shape_vec(expected.to_vec(), values).map_err(|_| misfit())?;
        let id = self.push(layer, op, vec![x])?;
        self.weights.insert(id, FloatLayer { weights, bias: Array1::from_vec(bias) });
        Ok(Value::Node(id, Post::None))
    }

    /// Per-axis integers with a default, leading axes neutral.
    fn extents(
        &self,
        layer: &str,
        attributes: &Attributes<'_>,
        name: &str,
        default: usize,
    ) -> Result<Dims, Stop> {
        let rank = self.graph.rank();
        let mut dims = [default; 3];
        let Some(stated) = attributes.ints(name) else { return Ok(dims) };
        let values: Option<Vec<usize>> = stated.iter().map(|&value| usize::try_from(value).ok()).collect();
        match values.filter(|values| values.len() == rank) {
            Some(values) => dims[3 - rank..].copy_from_slice(&values),
            None => {
                let reason = format!("{stated:?} for {rank} spatial axes");
                return Err(OnnxError::field(self.file, format!("node `{layer}`: {name}"), reason).into());
            }
        }
        Ok(dims)
    }

    fn window(
        &self,
        layer: &str,
        attributes: &Attributes<'_>,
        kernel: &[usize],
        input: Shape,
        transposed: bool,
    ) -> Result<Window, Stop> {
        let rank = self.graph.rank();
        let mut window = Window::dense([1; 3], [0; 3]);
        window.kernel[3 - rank..].copy_from_slice(kernel);
        window.stride = self.extents(layer, attributes, "strides", 1)?;
        window.dilation = self.extents(layer, attributes, "dilations", 1)?;
        if [window.kernel, window.stride, window.dilation].iter().flatten().any(|&extent| extent == 0) {
            let reason = "a kernel, stride or dilation of zero";
            return Err(OnnxError::field(self.file, format!("node `{layer}`"), reason).into());
        }
        match attributes.text("auto_pad", "NOTSET").as_str() {
            "NOTSET" | "" => {
                let pads = attributes.ints("pads").unwrap_or_default();
                let values: Option<Vec<usize>> = pads.iter().map(|&pad| usize::try_from(pad).ok()).collect();
                match values.filter(|values| values.is_empty() || values.len() == 2 * rank) {
                    Some(values) if values.is_empty() => {}
                    Some(values) => {
                        window.pad_before[3 - rank..].copy_from_slice(&values[..rank]);
                        window.pad_after[3 - rank..].copy_from_slice(&values[rank..]);
                    }
                    None => {
                        let reason = format!("{pads:?} for {rank} spatial axes");
                        return Err(
                            OnnxError::field(self.file, format!("node `{layer}`: pads"), reason).into()
                        );
                    }
                }
            }
            "VALID" => {}
            same @ ("SAME_UPPER" | "SAME_LOWER") if !transposed => {
                pad_same(&mut window, input, same == "SAME_LOWER")
            }
            other => return refuse(format!("auto_pad {other}"), "export with explicit pads"),
        }
        Ok(window)
    }

    fn pool(&mut self, node: &NodeProto, layer: &str, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let max = node.op_type == "MaxPool";
        if node.output.get(1).is_some_and(|indices| self.uses(indices) > 0) {
            return refuse(
                "the positions of its maxima are used",
                "replace unpooling by transposed convolution",
            );
        }
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let shape = self.graph.node(x).shape;
        let kernel = self.extents(layer, attributes, "kernel_shape", 1)?;
        let window = self.window(layer, attributes, &kernel[3 - self.graph.rank()..], shape, false)?;
        let padded = window.pad_before.iter().chain(&window.pad_after).any(|&pad| pad > 0);
        if !max && padded && attributes.int("count_include_pad", 0) == 0 {
            return refuse("its average leaves out the padding", "use count_include_pad=True, or no padding");
        }
        if attributes.int("ceil_mode", 0) != 0 && !divides(&window, shape) {
            return refuse(
                "its last window reaches beyond the image (ceil_mode)",
                "use ceil_mode=False, or an input whose size divides by the stride",
            );
        }
        let op = if max { Op::MaxPool { window } } else { Op::AvgPool { window } };
        Ok(Value::Node(self.push(layer, op, vec![x])?, Post::None))
    }

    fn binary(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let operator = node.op_type.as_str();
        if let Some(constant) = self.constant(node, 1).cloned() {
            return self.affine_by_constant(node, layer, 0, &constant);
        }
        if let (Some(constant), "Mul" | "Add") = (self.constant(node, 0).cloned(), operator) {
            return self.affine_by_constant(node, layer, 1, &constant);
        }
        let (Some(a), Some(b)) = (self.tensor(node, 0)?, self.tensor(node, 1)?) else {
            return Ok(Value::Unknown);
        };
        let id = match operator {
            "Mul" if a == b => self.push(layer, Op::Square, vec![a])?,
            "Mul" => self.push(layer, Op::Mul, vec![a, b])?,
            "Add" => self.push(layer, Op::Add, vec![a, b])?,
            "Sub" => {
                let minus = self.minus(layer, b)?;
                self.push(layer, Op::Add, vec![a, minus])?
            }
            _ => {
                return refuse("a quotient of two values", "normalisation by secret values is not supported");
            }
        };
        Ok(Value::Node(id, Post::None))
    }

    /// The value with its sign turned.
    fn minus(&mut self, layer: &str, x: NodeId) -> Result<NodeId, Stop> {
        self.push(&format!("{layer}.minus"), Op::Scale { factor: -1, shift: 0 }, vec![x])
    }

    /// max(0, x) + a·(x − max(0, x)): the slopes are secret weights, a diagonal 1×1 convolution.
    fn prelu(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
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

    fn power(&mut self, node: &NodeProto, layer: &str) -> Result<Value, Stop> {
        match self.constant(node, 1).map(Tensor::to_floats).as_deref() {
            Some([exponent]) if *exponent == 2.0 => self.unary(node, layer, Op::Square),
            _ => refuse("an exponent other than 2", "use ReLU or x² as the activation"),
        }
    }

    fn affine_by_constant(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        input: usize,
        constant: &Tensor,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, input)? else { return Ok(Value::Unknown) };
        let Some(values) = per_channel(constant, self.graph.node(x).shape.channels, self.graph.rank()) else {
            return refuse("a constant that varies over the image", "use constants per channel");
        };
        let (scale, shift): (Vec<f32>, Vec<f32>) = values
            .into_iter()
            .map(|value| match node.op_type.as_str() {
                "Mul" => (value, 0.0),
                "Div" => (1.0 / value, 0.0),
                "Sub" => (1.0, -value),
                _ => (1.0, value),
            })
            .unzip();
        self.affine(node, layer, input, x, &scale, &shift)
    }

    fn batch_norm(
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
    fn affine(
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
        Ok(Value::Node(self.diagonal(layer, x, scale, shift)?, Post::None))
    }

    /// y = scale·x + shift per channel as a 1×1 convolution.
    fn diagonal(&mut self, layer: &str, x: NodeId, scale: &[f32], shift: &[f32]) -> Result<NodeId, Stop> {
        let channels = scale.len();
        let id = self.push(layer, Op::Conv { window: Window::dense([1; 3], [0; 3]), channels }, vec![x])?;
        let mut weights = ArrayD::zeros(vec![channels, channels, 1, 1, 1]);
        scale.iter().enumerate().for_each(|(c, &scale)| weights[[c, c, 0, 0, 0]] = scale);
        self.weights.insert(id, FloatLayer { weights, bias: Array1::from_vec(shift.to_vec()) });
        Ok(id)
    }

    fn concat(&mut self, node: &NodeProto, layer: &str, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let axis = attributes.int("axis", 1);
        if axis != 1 && axis != -1 - self.graph.rank() as i64 {
            return refuse(format!("it joins along axis {axis}"), "join along the channels");
        }
        let inputs: Result<Vec<Option<NodeId>>, Stop> =
            (0..node.input.len()).map(|index| self.tensor(node, index)).collect();
        let Some(inputs) = inputs?.into_iter().collect::<Option<Vec<NodeId>>>() else {
            return Ok(Value::Unknown);
        };
        match inputs[..] {
            [single] => Ok(Value::Node(single, Post::None)),
            _ => Ok(Value::Node(self.push(layer, Op::Concat, inputs)?, Post::None)),
        }
    }

    /// Only padding by nothing.
    fn pad(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let pads = match (attributes.ints("pads"), self.constant(node, 1)) {
            (Some(pads), _) => Some(pads.to_vec()),
            (None, Some(pads)) => pads.as_ints().map(<[i64]>::to_vec),
            (None, None) => None,
        };
        match pads {
            Some(pads) if pads.iter().all(|&pad| pad == 0) => self.pass(node),
            Some(pads) => refuse(
                format!("it pads by {pads:?}"),
                "choose an input size that divides by 2 at every level (--input-shape), or pad inside the convolution",
            ),
            None => refuse("its padding is computed from the input", "export with a fixed input size"),
        }
    }

    fn pass(&self, node: &NodeProto) -> Result<Value, Stop> {
        match self.input(node, 0) {
            Some(Value::Node(_, Post::None)) if node.op_type == "Squeeze" => {
                refuse("it drops an axis in the middle of the network", "keep batch and channel axes")
            }
            Some(Value::Constant(_)) | None => {
                refuse("a constant that does not fold", "export with constants folded")
            }
            Some(value) => Ok(value.clone()),
        }
    }

    fn softmax(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        if !self.over_channels(attributes.int("axis", -1)) {
            return refuse("a softmax that is not over the channels", "attention is not supported");
        }
        self.post(node, Post::Softmax)
    }

    fn post(&mut self, node: &NodeProto, post: Post) -> Result<Value, Stop> {
        Ok(self.tensor(node, 0)?.map_or(Value::Unknown, |x| Value::Node(x, post)))
    }

    /// Whether only the result reads a sigmoid.
    fn leads_to_output(&self, node: &NodeProto) -> bool {
        node.output.first().is_some_and(|name| self.uses(name) == 1 && self.is_output(name))
    }

    fn argmax(&mut self, node: &NodeProto, layer: &str, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        if !self.over_channels(attributes.int("axis", 0)) || attributes.int("select_last_index", 0) != 0 {
            return refuse("an argmax not over the channels, or with ties to the last", "use argmax(dim=1)");
        }
        match self.input(node, 0) {
            Some(&Value::Node(x, Post::None | Post::Softmax | Post::Sigmoid)) => {
                Ok(Value::Node(self.push(layer, Op::ArgMax, vec![x])?, Post::Labels))
            }
            Some(Value::Unknown) => Ok(Value::Unknown),
            _ => refuse("it reads labels or a constant", "use one argmax, at the end"),
        }
    }

    fn over_channels(&self, axis: i64) -> bool {
        axis == 1 || axis == -1 - self.graph.rank() as i64
    }
}

/// ONNX's `SAME` padding: as many windows as strides fit.
fn pad_same(window: &mut Window, input: Shape, lower: bool) {
    for axis in 0..3 {
        let span = window.dilation[axis].saturating_mul(window.kernel[axis] - 1).saturating_add(1);
        let steps = input.dims[axis].div_ceil(window.stride[axis]) - 1;
        let pad = (steps * window.stride[axis]).saturating_add(span).saturating_sub(input.dims[axis]);
        let (small, large) = (pad / 2, pad - pad / 2);
        (window.pad_before[axis], window.pad_after[axis]) =
            if lower { (large, small) } else { (small, large) };
    }
}

/// Whether windows fill the padded image exactly, so that rounding up or down is the same.
fn divides(window: &Window, input: Shape) -> bool {
    (0..3).all(|axis| {
        let span = window.dilation[axis].saturating_mul(window.kernel[axis] - 1).saturating_add(1);
        let padded =
            input.dims[axis].saturating_add(window.pad_before[axis]).saturating_add(window.pad_after[axis]);
        padded.checked_sub(span).is_some_and(|rest| rest % window.stride[axis] == 0)
    })
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

/// Why an operator cannot run, and what to do about it.
fn advice(operator: &str) -> (&'static str, &'static str) {
    match operator {
        "InstanceNormalization" | "GroupNormalization" | "LayerNormalization" | "LRN" => (
            "it normalises by statistics of the image, which are secret",
            "train with batch norm, or freeze the statistics (track_running_stats=True)",
        ),
        "Elu" | "Selu" | "Gelu" | "HardSwish" | "Mish" | "Tanh" | "Clip" | "HardSigmoid" => {
            ("this activation is not supported", "train with ReLU, LeakyReLU or PReLU, or x² in some layers")
        }
        "Sigmoid" => {
            ("a sigmoid inside the network", "train with ReLU; SiLU and attention are not supported")
        }
        "Resize" | "Upsample" => {
            ("interpolation is not supported", "upsample by transposed convolution (kernel 2, stride 2)")
        }
        "Gemm" | "MatMul" | "Flatten" | "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" => {
            ("layers of classifiers are not supported", "use a segmentation network")
        }
        "Reshape" | "Transpose" | "Slice" | "Split" | "Gather" | "Expand" | "DepthToSpace"
        | "SpaceToDepth" => (
            "it moves voxels or channels about",
            "upsample by transposed convolution; keep batch and channel axes",
        ),
        "If" | "Loop" | "Scan" => {
            ("control flow that depends on values", "export with tracing, in evaluation mode")
        }
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => {
            ("the file is quantised already", "export the float network")
        }
        _ => ("the operator is not supported", "see the README for the operators that run blindly"),
    }
}

//! Convolutions and the geometry of windows.

use super::refuse;
use crate::float::FloatLayer;
use crate::graph::{Dims, NodeId, Op, Shape, Window};
use crate::onnx::OnnxError;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::{Data, Tensor};
use ndarray::{Array1, ArrayD};

impl<'a> Importer<'a> {
    pub(super) fn convolution(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let transposed = node.op_type == "ConvTranspose";
        let field = |what: &str| format!("node `{layer}`: {what}");
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
        let groups = usize::try_from(attributes.int("group", 1)).unwrap_or(0);
        let Some(weights) = ungrouped(weights, groups) else {
            let reason = format!("{groups} groups do not divide the weights");
            return Err(OnnxError::field(self.file, field("group"), reason).into());
        };
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
        let kernel = &weights.dims[2..];
        let mut window = self.window(layer, attributes, kernel, shape, transposed)?;
        let x = if transposed { x } else { self.take_padding(x, &mut window) };
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

    /// What a padding by zeros reads: the convolution pads by itself.
    fn take_padding(&self, mut x: NodeId, window: &mut Window) -> NodeId {
        while let Op::Resample(map) = &self.graph.node(x).op {
            let input = self.graph.node(x).inputs[0];
            let extent = self.graph.node(input).shape.to_array()[map.axis];
            let (Some(axis), Some([before, after])) = (map.axis.checked_sub(1), map.zero_padding(extent))
            else {
                break;
            };
            window.pad_before[axis] += before;
            window.pad_after[axis] += after;
            x = input;
        }
        x
    }

    /// Per-axis integers with a default, leading axes neutral.
    pub(super) fn extents(
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

    pub(super) fn window(
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

/// The weights of a convolution in groups of channels as one over all of them, zero between groups; `None` where the
/// groups do not divide.
fn ungrouped(weights: Tensor, groups: usize) -> Option<Tensor> {
    if groups == 1 {
        return Some(weights);
    }
    let rows = weights.dims[0];
    if groups == 0 || !rows.is_multiple_of(groups) {
        return None;
    }
    // Rows are outputs, or inputs of a transposed convolution; columns are the other side, within the row's group.
    let (columns, per_group) = (weights.dims[1], rows / groups);
    let taps: usize = weights.dims[2..].iter().product();
    let wide = columns.checked_mul(groups)?;
    let mut dense = vec![0.0; rows.checked_mul(wide)?.checked_mul(taps).filter(|&n| n <= 1 << 28)?];
    for (row, values) in weights.to_floats().chunks(columns * taps).enumerate() {
        let start = (row * wide + row / per_group * columns) * taps;
        dense[start..start + values.len()].copy_from_slice(values);
    }
    let mut dims = weights.dims;
    dims[1] = wide;
    Some(Tensor { dims, data: Data::Floats(dense) })
}

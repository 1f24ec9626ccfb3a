//! Poolings over windows, whole images and axes.

use super::refuse;
use crate::graph::{Op, Shape, Window};
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;
use crate::resample::Resample;

impl<'a> Importer<'a> {
    pub(super) fn pool(
        &mut self,
        node: &NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
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
        let mut window = self.window(layer, attributes, &kernel[3 - self.graph.rank()..], shape, false)?;
        let padded = window.pad_before.iter().chain(&window.pad_after).any(|&pad| pad > 0);
        let counts_padding = attributes.int("count_include_pad", 0) != 0;
        let beyond = if attributes.int("ceil_mode", 0) != 0 { beyond(&window, shape) } else { [0; 3] };
        if max {
            // What lies beyond never wins, as padding does not.
            (0..3).for_each(|axis| window.pad_after[axis] += beyond[axis]);
            return Ok(Value::Node(self.push(layer, Op::MaxPool { window }, vec![x])?, Post::None));
        }
        if beyond != [0; 3] || (padded && (!counts_padding || window.check_covers_input().is_err())) {
            return match averages(&window, shape, beyond, counts_padding) {
                Some(maps) => self.resample(layer, x, maps),
                None => refuse(
                    "its average leaves out the padding, and a window lies in the padding alone or is too wide",
                    "use count_include_pad=True, or no padding",
                ),
            };
        }
        Ok(Value::Node(self.push(layer, Op::AvgPool { window }, vec![x])?, Post::None))
    }

    /// Averages and maxima over whole axes of the image.
    pub(super) fn reduce(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let global = node.op_type.starts_with("Global");
        let max = node.op_type.ends_with("Max") || node.op_type.contains("MaxPool");
        let rank = self.graph.rank();
        let stated = match self.constant(node, 1).and_then(Tensor::as_ints) {
            Some(axes) => axes.to_vec(),
            None => attributes.ints("axes").unwrap_or_default().to_vec(),
        };
        let axes: Option<Vec<usize>> = match global {
            true => Some((4 - rank..4).collect()),
            false => stated.iter().map(|&axis| self.axis(axis).filter(|&axis| axis > 0)).collect(),
        };
        let keeps = global || attributes.int("keepdims", 1) != 0;
        let axes = axes.filter(|axes| !axes.is_empty() && (keeps || axes.len() == rank));
        let Some(axes) = axes.filter(|_| !self.is_flat(node, 0)) else {
            return refuse(
                "it reduces other axes than the image's, or drops some of them",
                "average over all spatial axes, or keep them (keepdim=True)",
            );
        };
        let dims = self.graph.node(x).shape.dims;
        let mut kernel = [1; 3];
        axes.iter().for_each(|&axis| kernel[axis - 1] = dims[axis - 1]);
        let window = Window::tiling(kernel);
        let op = if max { Op::MaxPool { window } } else { Op::AvgPool { window } };
        let id = self.push(layer, op, vec![x])?;
        if !keeps {
            self.mark_flat(node);
        }
        Ok(Value::Node(id, Post::None))
    }
}

/// How far the last window reaches beyond the padded image where extents are rounded up; a window that would start
/// there is left out.
fn beyond(window: &Window, input: Shape) -> [usize; 3] {
    let axis = |axis: usize| {
        let stride = window.stride[axis];
        let reach = input.dims[axis] + window.pad_before[axis];
        let padded = reach + window.pad_after[axis];
        let rest = padded.checked_sub(span(window, axis))? % stride;
        let starts = padded - span(window, axis) - rest + stride;
        (rest > 0 && starts < reach).then_some(stride - rest)
    };
    std::array::from_fn(|at| axis(at).unwrap_or(0))
}

/// From the first tap to the last.
fn span(window: &Window, axis: usize) -> usize {
    window.dilation[axis].saturating_mul(window.kernel[axis] - 1).saturating_add(1)
}

/// Averages over those taps that lie in the image (or in its padding, if that counts) and never beyond, one map per axis;
/// `None` where a window has none.
fn averages(
    window: &Window,
    input: Shape,
    beyond: [usize; 3],
    counts_padding: bool,
) -> Option<Vec<Resample>> {
    let mut wide = *window;
    (0..3).for_each(|axis| wide.pad_after[axis] += beyond[axis]);
    let dims = wide.slide(input.dims)?;
    let along = |axis: usize| {
        let (before, extent) = (window.pad_before[axis], input.dims[axis]);
        let counted = if counts_padding { before + extent + window.pad_after[axis] } else { extent };
        let row = |i: usize| {
            let taps =
                (0..window.kernel[axis]).map(|tap| i * window.stride[axis] + tap * window.dilation[axis]);
            let count = match counts_padding {
                true => taps.clone().filter(|&at| at < counted).count(),
                false => {
                    taps.clone().filter(|&at| at.checked_sub(before).is_some_and(|at| at < counted)).count()
                }
            };
            let inside = taps.filter_map(|at| at.checked_sub(before).filter(|&at| at < extent));
            (count > 0).then(|| inside.map(|at| (at, 1.0 / count as f64)).collect())
        };
        let rows = (0..dims[axis]).map(row).collect::<Option<Vec<_>>>()?;
        Some(Resample::from_coefficients(axis + 1, &rows))
    };
    let moves =
        |&axis: &usize| window.kernel[axis] > 1 || window.stride[axis] > 1 || dims[axis] != input.dims[axis];
    (0..3).filter(moves).map(along).collect()
}

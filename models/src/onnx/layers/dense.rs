//! Fully connected layers, and what lies between them and images: views of a value under another shape.

use super::refuse;
use crate::float::FloatLayer;
use crate::graph::{NodeId, Op, Window};
use crate::onnx::OnnxError;
use crate::onnx::arrangement::Arrangement;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;
use ndarray::{Array1, Array2, ArrayD};

impl<'a> Importer<'a> {
    /// A matrix on a flattened value: a convolution whose kernel is as large as the image.
    pub(super) fn dense(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        if !self.is_flat(node, 0) && !matches!(self.input(node, 0), Some(Value::Unknown)) {
            return refuse(
                "a product of matrices that are no flattened image",
                "attention is not supported; flatten before fully connected layers",
            );
        }
        let Some(matrix) = self.constant(node, 1) else {
            return refuse("its weights are computed, not constant", "export with constants folded");
        };
        let [rows, columns] = matrix.dims[..] else {
            return refuse(format!("weights of shape {:?}", matrix.dims), "use one matrix per layer");
        };
        let values = matrix.to_floats();
        let gemm = node.op_type == "Gemm";
        let number = |name: &str, default| if gemm { attributes.float(name, default) } else { default };
        if gemm && attributes.int("transA", 0) != 0 {
            return refuse("it reads its input transposed", "export anew with transA=0");
        }
        let matrix = Array2::from_shape_vec((rows, columns), values)
            .map_err(|_| OnnxError::field(self.file, format!("node `{layer}`"), "its matrix is damaged"))?;
        let outputs_first = gemm && attributes.int("transB", 0) != 0;
        let matrix = if outputs_first { matrix } else { matrix.reversed_axes() } * number("alpha", 1.0);
        let (outputs, inputs) = matrix.dim();
        let bias = match node.input.get(2).filter(|name| gemm && !name.is_empty()) {
            None => vec![0.0; outputs],
            Some(_) => match self.constant(node, 2).map(Tensor::to_floats).as_deref() {
                Some([single]) => vec![*single; outputs],
                Some(values) if values.len() == outputs => values.to_vec(),
                Some(_) => return refuse("its bias does not fit its matrix", "use one bias per output"),
                None => return refuse("its bias is computed, not constant", "export with constants folded"),
            },
        };
        self.mark_flat(node);
        let Some(Value::Node(x, Post::None)) = self.input(node, 0) else { return Ok(Value::Unknown) };
        let (x, shape) = (*x, self.graph.node(*x).shape);
        if shape.len() != inputs {
            let reason = format!("a matrix for {inputs} values reads {}", shape.len());
            return refuse(reason, "check the size of the input (--input-shape)");
        }
        let [depth, height, width] = shape.dims;
        let kernel = vec![outputs, shape.channels, depth, height, width];
        let weights = ArrayD::from_shape_vec(kernel, matrix.iter().copied().collect())
            .map_err(|_| OnnxError::field(self.file, format!("node `{layer}`"), "its matrix is damaged"))?;
        let window = Window::dense(shape.dims, [0; 3]);
        let id = self.push(layer, Op::Conv { window, channels: outputs }, vec![x])?;
        let bias = Array1::from_vec(bias).mapv(|bias| bias * number("beta", 1.0));
        self.weights.insert(id, FloatLayer { weights, bias });
        Ok(Value::Node(id, Post::None))
    }

    /// Another shape and order for the same values: nothing to do for an image or a vector in the old order; linear maps per
    /// axis where another image comes out; else written down until one does.
    pub(super) fn view(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let rank = self.graph.rank();
        let (arranged, post) = match self.input(node, 0) {
            Some(Value::Node(id, Post::Labels)) => {
                let turned = node.op_type == "Transpose" && self.turns_labels(*id, attributes);
                if turned {
                    return refuse(
                        "it turns the labels about",
                        "give labels as [batch, depth, height, width]",
                    );
                }
                return Ok(Value::Node(*id, Post::Labels));
            }
            Some(Value::Node(id, post)) => {
                let image = Arrangement::image(*id, self.graph.node(*id).shape.to_array(), rank);
                let vector = image.reshaped(&self.extents_of(*id, true)).filter(|_| self.is_flat(node, 0));
                (vector.unwrap_or(image), *post)
            }
            Some(Value::Arranged(arranged, post)) => (arranged.clone(), *post),
            Some(Value::Unknown) => return Ok(Value::Unknown),
            _ => return refuse("a constant that does not fold", "export with constants folded"),
        };
        let from = arranged.dims();
        let to = match node.op_type.as_str() {
            "Transpose" => arranged.transposed(&order(attributes, from.len())),
            _ => arranged.reshaped(&self.viewed(node, attributes, &from)?),
        };
        let Some(arranged) = to else {
            return refuse(
                format!("it turns {from:?} about"),
                "keep batch, channels and spatial axes apart, or flatten all to one",
            );
        };
        let (source, to) = (arranged.source, arranged.dims());
        if arranged.in_order() && to == self.extents_of(source, false) {
            return Ok(Value::Node(source, post));
        }
        if arranged.in_order() && to == self.extents_of(source, true) {
            self.mark_flat(node);
            return Ok(Value::Node(source, post));
        }
        match arranged.steps(rank).filter(|_| post == Post::None) {
            Some(steps) => self.arrange(layer, source, steps),
            None => Ok(Value::Arranged(arranged, post)),
        }
    }

    /// Whether a transposition moves an axis of labels that holds more than one voxel.
    fn turns_labels(&self, id: NodeId, attributes: &Attributes<'_>) -> bool {
        let spatial = &self.graph.node(id).shape.dims[3 - self.graph.rank()..];
        let axes = attributes.ints("perm").map_or(0, <[i64]>::len);
        let order = order(attributes, axes);
        let extent = |axis: &usize| {
            let at = axis.saturating_add(spatial.len()).checked_sub(axes);
            at.and_then(|at| spatial.get(at)).map_or(1, |&extent| extent)
        };
        !order.into_iter().filter(|axis| extent(axis) > 1).is_sorted()
    }

    /// The shape that a view asks for; an error where that is not constant.
    fn viewed(
        &self,
        node: &NodeProto,
        attributes: &Attributes<'_>,
        from: &[usize],
    ) -> Result<Vec<usize>, Stop> {
        let rank = from.len();
        let stated = match node.input.get(1).filter(|name| !name.is_empty()) {
            None => attributes.ints("axes").or(attributes.ints("shape")).map(<[i64]>::to_vec),
            Some(_) => match self.constant(node, 1).and_then(Tensor::as_ints) {
                Some(values) => Some(values.to_vec()),
                None => return refuse("its shape is computed from values", "export with a fixed input size"),
            },
        };
        let axis = |axis: i64, rank: usize| {
            let at = if axis < 0 { axis + rank as i64 } else { axis };
            usize::try_from(at).ok().filter(|&at| at <= rank)
        };
        let axes = |rank: usize| -> Option<Vec<usize>> {
            stated.iter().flatten().map(|&at| axis(at, rank)).collect()
        };
        let to = match node.op_type.as_str() {
            "Flatten" => axis(attributes.int("axis", 1), rank)
                .map(|at| vec![from[..at].iter().product(), from[at..].iter().product()]),
            "Squeeze" => axes(rank).map(|axes| {
                // Without axes, all of extent 1 go.
                let gone = |at: usize| if axes.is_empty() { from[at] == 1 } else { axes.contains(&at) };
                let kept = |(at, _): &(usize, &usize)| !gone(*at);
                from.iter().enumerate().filter(kept).map(|(_, &extent)| extent).collect()
            }),
            "Unsqueeze" => axes(rank + stated.iter().flatten().count()).map(|axes| {
                let mut rest = from.iter();
                (0..rank + axes.len())
                    .map(|at| if axes.contains(&at) { 1 } else { rest.next().copied().unwrap_or(0) })
                    .collect()
            }),
            _ => {
                stated.as_deref().and_then(|shape| reshaped(from, shape, attributes.int("allowzero", 0) != 0))
            }
        };
        match to {
            Some(to) => Ok(to),
            None => refuse(
                format!("it turns {from:?} about"),
                "keep batch, channels and spatial axes in this order",
            ),
        }
    }
}

/// The order of axes that a transposition asks for; by default the reverse.
fn order(attributes: &Attributes<'_>, axes: usize) -> Vec<usize> {
    match attributes.ints("perm") {
        Some(order) => order.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect(),
        None => (0..axes).rev().collect(),
    }
}

/// A shape with zeros (the same extent) and one −1 (the rest) filled in.
fn reshaped(from: &[usize], shape: &[i64], zeros: bool) -> Option<Vec<usize>> {
    let total: usize = from.iter().product();
    let stated = shape.iter().enumerate().map(|(at, &extent)| match extent {
        -1 => Some(None),
        0 if !zeros => from.get(at).map(|&extent| Some(extent)),
        _ => usize::try_from(extent).ok().map(Some),
    });
    let stated: Vec<Option<usize>> = stated.collect::<Option<_>>()?;
    let known = stated.iter().flatten().try_fold(1_usize, |n, &extent| n.checked_mul(extent))?;
    let rest = total.checked_div(known)?;
    let dims: Vec<usize> = stated.into_iter().map(|extent| extent.unwrap_or(rest)).collect();
    (dims.iter().product::<usize>() == total).then_some(dims)
}

//! What stands at the end: softmax, sigmoid, argmax.

use super::refuse;
use crate::graph::Op;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;

impl<'a> Importer<'a> {
    pub(super) fn softmax(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        // Older ones take all axes from this one on together, which changes no label.
        let axis = attributes.int("axis", if self.opset < 13 { 1 } else { -1 });
        if let Some(Value::Arranged(arranged, Post::None)) = self.input(node, 0)
            && arranged.is_channels(from_end(axis, arranged.dims().len()))
        {
            return Ok(Value::Arranged(arranged.clone(), Post::Softmax));
        }
        let value = self.post(node, Post::Softmax)?;
        if !self.over_channels(node, axis) {
            return refuse("a softmax that is not over the channels", "attention is not supported");
        }
        Ok(value)
    }

    pub(super) fn post(&mut self, node: &NodeProto, post: Post) -> Result<Value, Stop> {
        if let Some(Value::Arranged(arranged, Post::None)) = self.input(node, 0) {
            return Ok(Value::Arranged(arranged.clone(), post));
        }
        Ok(self.tensor(node, 0)?.map_or(Value::Unknown, |x| Value::Node(x, post)))
    }

    /// Labels of one channel: whether a score exceeds a limit, or a sigmoid of it does (rounded, one half).
    pub(super) fn exceeds(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let (x, post) = match self.input(node, 0) {
            Some(&Value::Node(x, post)) => (x, post),
            Some(Value::Arranged(arranged, post)) if arranged.keeps_voxels() => (arranged.source, *post),
            Some(Value::Unknown) => return Ok(Value::Unknown),
            _ => {
                return refuse(
                    "it compares an image turned about, or a constant",
                    "compare scores at the end",
                );
            }
        };
        let limit = self.constant(node, 1).map(Tensor::to_floats);
        let at = match (node.op_type.as_str(), limit.as_deref(), post) {
            ("Round", None, Post::Sigmoid) => 0.0,
            ("Greater", Some(&[at]), Post::None) => at,
            ("Greater", Some(&[at]), Post::Sigmoid) if 0.0 < at && at < 1.0 => (at / (1.0 - at)).ln(),
            _ => {
                return refuse(
                    "a comparison or rounding inside the network",
                    "end in scores, or in sigmoid(x) > 0.5",
                );
            }
        };
        if self.graph.node(x).shape.channels != 1 {
            return refuse(
                "a limit on several channels gives labels that overlap",
                "use argmax(dim=1), or one channel",
            );
        }
        let shifted = if at == 0.0 {
            Value::Node(x, Post::None)
        } else {
            self.affine(node, layer, 0, x, &[1.0], &[-at])?
        };
        let Value::Node(x, _) = shifted else { return Ok(shifted) };
        Ok(Value::Node(
            self.push(&format!("{layer}.labels"), Op::Threshold { at: 0 }, vec![x])?,
            Post::Labels,
        ))
    }

    pub(super) fn argmax(
        &mut self,
        node: &NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let axis = attributes.int("axis", 0);
        let over_channels = match self.input(node, 0) {
            Some(Value::Arranged(arranged, _)) => {
                arranged.keeps_voxels() && arranged.is_channels(from_end(axis, arranged.dims().len()))
            }
            _ => self.over_channels(node, axis),
        };
        if !over_channels || attributes.int("select_last_index", 0) != 0 {
            return refuse("an argmax not over the channels, or with ties to the last", "use argmax(dim=1)");
        }
        match self.input(node, 0) {
            Some(Value::Arranged(arranged, _)) => {
                let x = arranged.source;
                Ok(Value::Node(self.push(layer, Op::ArgMax, vec![x])?, Post::Labels))
            }
            Some(&Value::Node(x, Post::None | Post::Softmax | Post::Sigmoid)) => {
                Ok(Value::Node(self.push(layer, Op::ArgMax, vec![x])?, Post::Labels))
            }
            Some(Value::Unknown) => Ok(Value::Unknown),
            _ => refuse("it reads labels or a constant", "use one argmax, at the end"),
        }
    }

    fn over_channels(&self, node: &NodeProto, axis: i64) -> bool {
        let flat = self.is_flat(node, 0);
        let many =
            |value: &Value| matches!(value, Value::Node(x, _) if self.graph.node(*x).shape.volume() > 1);
        if flat && self.input(node, 0).is_some_and(many) {
            return false;
        }
        axis == 1 || axis == if flat { -1 } else { -1 - self.graph.rank() as i64 }
    }
}

/// An axis counted from the front; one that does not exist stays so.
fn from_end(axis: i64, axes: usize) -> usize {
    usize::try_from(if axis < 0 { axis + axes as i64 } else { axis }).unwrap_or(usize::MAX)
}

//! What stands at the end: softmax, sigmoid, argmax.

use super::refuse;
use crate::graph::Op;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;

impl<'a> Importer<'a> {
    pub(super) fn softmax(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let value = self.post(node, Post::Softmax)?;
        if !self.over_channels(node, attributes.int("axis", -1)) {
            return refuse("a softmax that is not over the channels", "attention is not supported");
        }
        Ok(value)
    }

    pub(super) fn post(&mut self, node: &NodeProto, post: Post) -> Result<Value, Stop> {
        Ok(self.tensor(node, 0)?.map_or(Value::Unknown, |x| Value::Node(x, post)))
    }

    /// Whether only the result reads a sigmoid.
    pub(super) fn leads_to_output(&self, node: &NodeProto) -> bool {
        node.output.first().is_some_and(|name| self.uses(name) == 1 && self.is_output(name))
    }

    pub(super) fn argmax(
        &mut self,
        node: &NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        if !self.over_channels(node, attributes.int("axis", 0)) || attributes.int("select_last_index", 0) != 0
        {
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

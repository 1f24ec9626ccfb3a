//! One function per operator: from ONNX's attributes to the graph's geometry, or why not.

mod advice;
mod arithmetic;
mod convolution;
mod dense;
mod pooling;
mod quadratic;
mod readout;
mod resampling;
mod shuffling;

use super::attributes::Attributes;
use super::lower::{Importer, Post, Stop, Value};
use super::proto::NodeProto;
use crate::graph::{NodeId, Op};

fn refuse<T>(reason: impl Into<String>, remedy: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refuse(reason.into(), remedy.into()))
}

/// What may follow a flattening of many voxels: it treats every value alike, or knows how they were flattened.
const READ_FLAT: [&str; 12] =
    ["Relu", "LeakyRelu", "Clip", "Pow", "Add", "Sub", "Mul", "Div", "Sum", "Neg", "Concat", "Max"];

impl<'a> Importer<'a> {
    /// Lowers an operator on at least one value that is not constant.
    pub(super) fn layer(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let operator = node.op_type.as_str();
        let value = match operator {
            "Conv" | "ConvTranspose" => self.convolution(node, layer, attributes),
            "DepthToSpace" | "SpaceToDepth" => self.blocks(node, layer, attributes),
            "Gemm" | "MatMul" => self.dense(node, layer, attributes),
            "BatchNormalization" => self.batch_norm(node, layer, attributes),
            "Relu" => self.unary(node, layer, Op::Relu { shift: 0 }),
            "Clip" | "Max" => self.clip(node, layer, attributes),
            "LeakyRelu" => self.unary(node, layer, Op::LeakyRelu { slope: attributes.float("alpha", 0.01) }),
            "PRelu" => self.prelu(node, layer),
            "Mul" | "Add" | "Sub" | "Div" => self.binary(node, layer),
            "Sum" => self.sum(node, layer),
            "Neg" => self.unary(node, layer, Op::Scale { factor: -1, shift: 0 }),
            "Pow" => self.power(node, layer),
            "AveragePool" | "MaxPool" => self.pool(node, layer, attributes),
            "GlobalAveragePool" | "GlobalMaxPool" | "ReduceMean" | "ReduceMax" => {
                self.reduce(node, layer, attributes)
            }
            "Concat" => self.concat(node, layer, attributes),
            "Pad" => self.pad(node, layer, attributes),
            "Resize" | "Upsample" => self.resize(node, layer, attributes),
            "Slice" => self.slice(node, layer, attributes),
            "Gather" => self.gather(node, layer, attributes),
            "Split" => self.split(node, layer, attributes),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => {
                self.view(node, layer, attributes)
            }
            "Identity" => self.pass(node),
            "Cast" => self.cast(node, attributes),
            "Dropout" => self.dropout(node),
            "Softmax" | "LogSoftmax" => self.softmax(node, attributes),
            "Sigmoid" => self.post(node, Post::Sigmoid),
            "Greater" | "Round" => self.exceeds(node, layer),
            "ArgMax" => self.argmax(node, layer, attributes),
            _ => {
                let (reason, remedy) = advice::advice(operator);
                refuse(reason, remedy)
            }
        }?;
        let chooses_itself = matches!(
            operator,
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Gemm" | "MatMul"
        );
        if !chooses_itself && node.input.iter().any(|name| self.flat.contains(name.as_str())) {
            self.mark_flat(node);
        }
        Ok(value)
    }

    /// The value is a vector: batch and features, no spatial axes.
    fn mark_flat(&mut self, node: &'a NodeProto) {
        self.flat.extend(node.output.first().map(String::as_str));
    }

    fn is_flat(&self, node: &NodeProto, index: usize) -> bool {
        node.input.get(index).is_some_and(|name| self.flat.contains(name.as_str()))
    }

    /// A value as a layer of the network reads it.
    fn tensor(&self, node: &NodeProto, index: usize) -> Result<Option<NodeId>, Stop> {
        match self.input(node, index) {
            Some(Value::Node(id, Post::None)) => {
                let many = self.graph.node(*id).shape.volume() > 1;
                if many && self.is_flat(node, index) && !READ_FLAT.contains(&node.op_type.as_str()) {
                    return refuse(
                        "it reads a flattened image",
                        "only activations and fully connected layers may follow a flattening",
                    );
                }
                Ok(Some(*id))
            }
            Some(Value::Arranged(arranged, Post::None)) => refuse(
                format!("it reads an image turned to {:?}", arranged.dims()),
                "turn batch, channels and spatial axes back before it; attention is not supported",
            ),
            Some(Value::Node(..) | Value::Arranged(..)) => refuse(
                "it reads what softmax, sigmoid or argmax yields; these run only at the end",
                "train the network without them inside (SiLU and attention are not supported), and export all scores",
            ),
            Some(Value::Unknown) => Ok(None),
            Some(Value::Constant(_)) => refuse(
                "it reads a constant where an image is expected",
                "train without maps of constants (coordinates), or export with constants folded",
            ),
            None => refuse("an input is missing", "export anew"),
        }
    }

    /// All inputs as layers read them; `None` where one is the result of something refused.
    fn tensors(&self, node: &NodeProto) -> Result<Option<Vec<NodeId>>, Stop> {
        let inputs: Result<Vec<_>, Stop> =
            (0..node.input.len()).map(|index| self.tensor(node, index)).collect();
        Ok(inputs?.into_iter().collect())
    }

    fn push(&mut self, layer: &str, op: Op, inputs: Vec<NodeId>) -> Result<NodeId, Stop> {
        Ok(self.graph.push(self.unique(layer), op, inputs)?)
    }

    fn unary(&mut self, node: &NodeProto, layer: &str, op: Op) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        Ok(Value::Node(self.push(layer, op, vec![x])?, Post::None))
    }

    fn concat(&mut self, node: &NodeProto, layer: &str, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let axis = attributes.int("axis", 1);
        let last = if self.is_flat(node, 0) { -1 } else { -1 - self.graph.rank() as i64 };
        let Some(inputs) = self.tensors(node)? else { return Ok(Value::Unknown) };
        if let [single] = inputs[..] {
            return Ok(Value::Node(single, Post::None));
        }
        if axis == 1 || axis == last {
            return Ok(Value::Node(self.push(layer, Op::Concat, inputs)?, Post::None));
        }
        match self.axis(axis).filter(|_| !self.is_flat(node, 0)) {
            Some(axis) => self.side_by_side(layer, axis, &inputs),
            None => {
                refuse(format!("it joins along axis {axis}"), "join along the channels or along the image")
            }
        }
    }

    /// Another kind of number: nothing to do for labels, nor between floats; integers would cut scores.
    fn cast(&self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Value, Stop> {
        let floats = matches!(attributes.int("to", 0), 1 | 10 | 11 | 16);
        if !floats
            && matches!(self.input(node, 0), Some(Value::Node(_, post) | Value::Arranged(_, post)) if *post != Post::Labels)
        {
            return refuse(
                "it cuts scores to integers",
                "end in scores, or take the labels first (argmax, sigmoid(x) > 0.5)",
            );
        }
        self.pass(node)
    }

    fn dropout(&self, node: &NodeProto) -> Result<Value, Stop> {
        let training = node.input.get(2).is_some_and(|name| !name.is_empty());
        if training && self.constant(node, 2).is_none_or(|mode| mode.to_floats() != [0.0]) {
            return refuse("it drops values at random", "export in evaluation mode: model.eval()");
        }
        self.pass(node)
    }

    fn pass(&self, node: &NodeProto) -> Result<Value, Stop> {
        match self.input(node, 0) {
            Some(Value::Constant(_)) | None => {
                refuse("a constant that does not fold", "export with constants folded")
            }
            Some(value) => Ok(value.clone()),
        }
    }
}

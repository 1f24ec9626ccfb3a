//! Values moved between channels and voxels, and images side by side: linear maps per axis, and their sums.

use super::refuse;
use super::resampling::MAX_EXTENT;
use crate::graph::{NodeId, Op};
use crate::onnx::arrangement::{Arrangement, Step};
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::resample::Resample;

impl<'a> Importer<'a> {
    /// Blocks of voxels become channels, or the reverse.
    pub(super) fn blocks(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let block = usize::try_from(attributes.int("blocksize", 1)).unwrap_or(0).clamp(1, MAX_EXTENT);
        let shape = self.graph.node(x).shape;
        let ([channels, _, h, w], square) = (shape.to_array(), block * block);
        let columns_first = attributes.text("mode", "DCR") == "CRD";
        let (between, order, to) = if node.op_type == "SpaceToDepth" {
            let (h, w) = (h / block, w / block);
            ([1, channels, h, block, w, block], [0, 3, 5, 1, 2, 4], [1, channels * square, h, w])
        } else {
            let narrow = channels / square;
            let to = [1, narrow, h * block, w * block];
            match columns_first {
                true => ([1, narrow, block, block, h, w], [0, 1, 4, 2, 5, 3], to),
                false => ([1, block, block, narrow, h, w], [0, 3, 4, 1, 5, 2], to),
            }
        };
        let image = Some(Arrangement::image(x, shape.to_array(), 2)).filter(|_| self.graph.rank() == 2);
        let shuffled = image.and_then(|image| image.reshaped(&between)?.transposed(&order)?.reshaped(&to));
        match shuffled.and_then(|shuffled| shuffled.steps(2)) {
            Some(steps) => self.arrange(layer, x, steps),
            None => refuse(
                format!("blocks of {block} on {channels}×{h}×{w}"),
                "use images of two axes, a multiple of the blocks",
            ),
        }
    }

    /// Places the steps that shuffle an image; the last one bears the layer's name.
    pub(super) fn arrange(&mut self, layer: &str, mut x: NodeId, steps: Vec<Step>) -> Result<Value, Stop> {
        let count = steps.len();
        for (index, step) in steps.into_iter().enumerate() {
            let name = if index + 1 == count { layer.to_string() } else { format!("{layer}.{index}") };
            let (op, mut parts) = match step {
                Step::Join(parts) => (Op::Concat, parts),
                Step::Sum(parts) => (Op::Add, parts),
            };
            x = match (parts.len(), parts.pop()) {
                (1, Some(only)) => self.resampled(&name, x, only)?,
                (_, last) => {
                    let parts = parts.into_iter().chain(last).enumerate();
                    let ids = parts.map(|(part, maps)| self.resampled(&format!("{name}.{part}"), x, maps));
                    let ids = ids.collect::<Result<Vec<_>, Stop>>()?;
                    self.push(&name, op, ids)?
                }
            };
        }
        Ok(Value::Node(x, Post::None))
    }

    /// Images joined along a spatial axis: each among zeros in its place, and their sum.
    pub(super) fn side_by_side(
        &mut self,
        layer: &str,
        axis: usize,
        inputs: &[NodeId],
    ) -> Result<Value, Stop> {
        let total: usize = inputs.iter().map(|&x| self.extent(x, axis)).sum();
        let (mut start, mut placed) = (0, Vec::new());
        for (part, &x) in inputs.iter().enumerate() {
            let extent = self.extent(x, axis);
            let within = |at: usize| at.checked_sub(start).filter(|&from| from < extent);
            let map = Resample::pick(axis, (0..total.min(MAX_EXTENT + 1)).map(within));
            placed.push(self.resampled(&format!("{layer}.{part}"), x, vec![map])?);
            start += extent;
        }
        Ok(Value::Node(self.push(layer, Op::Add, placed)?, Post::None))
    }
}

//! Values moved between channels and voxels, and images side by side: linear maps per axis and their sums, or convolutions of
//! zeros and ones, which keep more bits.

use super::refuse;
use super::resampling::MAX_EXTENT;
use crate::float::FloatLayer;
use crate::graph::{NodeId, Op, Window};
use crate::onnx::arrangement::Step;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::resample::Resample;
use ndarray::{Array1, ArrayD};

impl<'a> Importer<'a> {
    /// Blocks of voxels become channels, or the reverse: a convolution with kernel and stride of the block, of zeros and
    /// ones.
    pub(super) fn blocks(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let apart = node.op_type == "DepthToSpace";
        let block = usize::try_from(attributes.int("blocksize", 1)).unwrap_or(0);
        let channels = self.graph.node(x).shape.channels;
        let square = block.saturating_mul(block);
        if self.graph.rank() != 2 || !(1..=64).contains(&block) || (apart && !channels.is_multiple_of(square))
        {
            return refuse(format!("blocks of {block} on {channels} channels"), "use images of two axes");
        }
        let narrow = if apart { channels / square } else { channels };
        let columns_first = attributes.text("mode", "DCR") == "CRD";
        let wide = |c: usize, tap: usize| if columns_first { c * square + tap } else { tap * narrow + c };
        let mut weights = ArrayD::zeros(vec![narrow * square, narrow, 1, block, block]);
        for c in 0..narrow {
            (0..square).for_each(|tap| weights[[wide(c, tap), c, 0, tap / block, tap % block]] = 1.0);
        }
        let window = Window::tiling([1, block, block]);
        let (op, outputs) = if apart {
            (Op::ConvTranspose { window, output_padding: [0; 3], channels: narrow }, narrow)
        } else {
            (Op::Conv { window, channels: narrow * square }, narrow * square)
        };
        let id = self.push(layer, op, vec![x])?;
        self.weights.insert(id, FloatLayer { weights, bias: Array1::zeros(outputs) });
        Ok(Value::Node(id, Post::None))
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

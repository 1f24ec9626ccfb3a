//! The network graph: operators, geometry and shapes, the same for the float and the integer network.
//!
//! Spatial extents always have three entries `[depth, height, width]`; networks of lower rank have leading ones, so
//! that every operator is written once. Tensors are `[channel, depth, height, width]`, row-major, one image at a
//! time. Nodes stand in topological order: node 0 is the input, the last node is the result.

pub use crate::op::Op;
use crate::reference::FLOAT_ONLY;
use serde::{Deserialize, Serialize};

/// Spatial extents `[depth, height, width]`, with leading ones for one and two dimensions.
pub type Dims = [usize; 3];

/// Index of a node in its graph.
pub type NodeId = usize;

/// Values per voxel and spatial extents of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Number of channels.
    pub channels: usize,
    /// Spatial extents.
    pub dims: Dims,
}

impl Shape {
    /// Voxels per channel.
    pub fn volume(&self) -> usize {
        self.dims.iter().product()
    }

    /// Values in all.
    pub fn len(&self) -> usize {
        self.channels * self.volume()
    }

    /// As `[channels, depth, height, width]`.
    pub fn to_array(&self) -> [usize; 4] {
        [self.channels, self.dims[0], self.dims[1], self.dims[2]]
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Geometry of a sliding window, per spatial axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Taps.
    pub kernel: Dims,
    /// Step between windows.
    pub stride: Dims,
    /// Step between taps.
    pub dilation: Dims,
    /// Zeros before the first voxel.
    pub pad_before: Dims,
    /// Zeros after the last voxel.
    pub pad_after: Dims,
}

impl Window {
    /// A dense window: stride 1, no dilation, the same padding on both sides.
    pub fn dense(kernel: Dims, pad: Dims) -> Self {
        Self { kernel, stride: [1; 3], dilation: [1; 3], pad_before: pad, pad_after: pad }
    }

    /// A window that tiles: stride equal to the kernel, no padding.
    pub fn tiling(kernel: Dims) -> Self {
        Self { kernel, stride: kernel, dilation: [1; 3], pad_before: [0; 3], pad_after: [0; 3] }
    }

    /// Taps per window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Extents after sliding over `input`, or `None` where the window does not fit.
    pub fn slide(&self, input: Dims) -> Option<Dims> {
        let mut output = [0; 3];
        for axis in 0..3 {
            let span = self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)?;
            let padded = input[axis].checked_add(self.pad_before[axis])?.checked_add(self.pad_after[axis])?;
            output[axis] = padded.checked_sub(span)?.checked_div(self.stride[axis])? + 1;
        }
        Some(output)
    }

    /// Extents of the transposed convolution over `input`, or `None` where padding eats everything.
    pub fn slide_transposed(&self, input: Dims, output_padding: Dims) -> Option<Dims> {
        let mut output = [0; 3];
        for axis in 0..3 {
            let span = self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)?;
            let full = input[axis].checked_sub(1)?.checked_mul(self.stride[axis])?.checked_add(span)?;
            let padded = full.checked_add(output_padding[axis])?;
            output[axis] = padded.checked_sub(self.pad_before[axis].checked_add(self.pad_after[axis])?)?;
        }
        output.iter().all(|&extent| extent > 0).then_some(output)
    }
}

impl Window {
    /// Whether every window holds at least one voxel of the input.
    pub(crate) fn check_covers_input(&self) -> Result<(), String> {
        for axis in 0..3 {
            let pad = self.pad_before[axis].max(self.pad_after[axis]);
            if pad > 0 && self.dilation[axis] > 1 {
                return Err("pooling with both dilation and padding".into());
            }
            if pad >= self.kernel[axis].max(1) {
                return Err("a window would lie in the padding alone".into());
            }
        }
        Ok(())
    }
}

/// One operator with its inputs and the shape it yields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique within the graph; layers in reports and errors go by it.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// The nodes it reads, all before it.
    pub inputs: Vec<NodeId>,
    /// The shape of its value.
    pub shape: Shape,
}

/// A network: operators in topological order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawGraph")]
pub struct Graph {
    rank: usize,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct RawGraph {
    rank: usize,
    nodes: Vec<Node>,
}

/// A graph that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Rank other than 1, 2 or 3.
    #[error("a network has 1, 2 or 3 spatial axes, not {0}")]
    Rank(usize),
    /// A node that does not fit its inputs.
    #[error("layer `{node}`: {reason}")]
    Node {
        /// The layer's name.
        node: String,
        /// What does not fit.
        reason: String,
    },
}

/// The largest tensor that a graph may hold, in values: bounds memory against a hostile manifest.
pub(crate) const MAX_VALUES: usize = 1 << 30;

/// Most nodes of a graph: names are compared with each other.
const MAX_NODES: usize = 10_000;

impl Graph {
    /// A graph that so far has nothing but its input.
    pub fn new(rank: usize, input: Shape) -> Result<Self, GraphError> {
        if !(1..=3).contains(&rank) || input.dims[..3 - rank].iter().any(|&extent| extent != 1) {
            return Err(GraphError::Rank(rank));
        }
        let mut graph = Self { rank, nodes: Vec::new() };
        let input = Node { name: "input".into(), op: Op::Input, inputs: Vec::new(), shape: input };
        graph.check_size(&input.name, input.shape)?;
        graph.nodes.push(input);
        Ok(graph)
    }

    /// Appends a node, infers its shape, and returns its id.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: Vec<NodeId>,
    ) -> Result<NodeId, GraphError> {
        let name = name.into();
        let refuse = |reason: String| GraphError::Node { node: name.clone(), reason };
        if self.nodes.iter().any(|node| node.name == name) {
            return Err(refuse("another layer has this name".into()));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(refuse(format!("a network has at most {MAX_NODES} layers")));
        }
        if let Some(missing) = inputs.iter().find(|&&id| id >= self.nodes.len()) {
            return Err(refuse(format!("reads node {missing}, which does not stand before it")));
        }
        let shapes: Vec<Shape> = inputs.iter().map(|&id| self.nodes[id].shape).collect();
        let shape = op.infer(&shapes).map_err(refuse)?;
        self.check_size(&name, shape)?;
        self.nodes.push(Node { name, op, inputs, shape });
        Ok(self.nodes.len() - 1)
    }

    fn check_size(&self, name: &str, shape: Shape) -> Result<(), GraphError> {
        let len = shape.dims.iter().try_fold(shape.channels, |len, &extent| len.checked_mul(extent));
        match len {
            Some(1..=MAX_VALUES) => Ok(()),
            _ => {
                Err(GraphError::Node { node: name.into(), reason: "its value is empty or too large".into() })
            }
        }
    }

    /// Number of spatial axes, 1 to 3.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The last node, whose value is the result.
    pub fn output(&self) -> NodeId {
        self.nodes.len() - 1
    }

    /// For each node, the nodes that read it.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| consumers[input].push(id));
        }
        consumers
    }

    /// For each node, the last node that reads it; `usize::MAX` where none does.
    pub fn last_uses(&self) -> Vec<NodeId> {
        let mut last = vec![NodeId::MAX; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| last[input] = id);
        }
        last
    }
}

impl TryFrom<RawGraph> for Graph {
    type Error = GraphError;

    /// Builds the graph anew, so that a file or a peer cannot state shapes that do not follow.
    fn try_from(raw: RawGraph) -> Result<Self, GraphError> {
        let mut nodes = raw.nodes.into_iter();
        let input = nodes.next().filter(|node| node.op == Op::Input && node.inputs.is_empty());
        let input = input.ok_or_else(|| GraphError::Node {
            node: "input".into(),
            reason: "the first layer must be the input".into(),
        })?;
        let mut graph = Self::new(raw.rank, input.shape)?;
        graph.nodes[0].name = input.name;
        for node in nodes {
            if matches!(node.op, Op::LeakyRelu { .. }) {
                return Err(GraphError::Node { node: node.name, reason: FLOAT_ONLY.into() });
            }
            let id = graph.push(node.name, node.op, node.inputs)?;
            let inferred = &graph.nodes[id];
            if inferred.shape != node.shape {
                let reason = format!("states shape {:?}, but it is {:?}", node.shape, inferred.shape);
                return Err(GraphError::Node { node: inferred.name.clone(), reason });
            }
        }
        Ok(graph)
    }
}

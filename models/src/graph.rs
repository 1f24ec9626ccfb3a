//! The network graph: operators, geometry and shapes, the same for the float and the integer network.
//!
//! Spatial extents always have three entries `[depth, height, width]`; networks of lower rank have leading ones, so
//! that every operator is written once. Tensors are `[channel, depth, height, width]`, row-major, one image at a
//! time. Nodes stand in topological order: node 0 is the input, the last node is the result.

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
    fn check_covers_input(&self) -> Result<(), String> {
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

/// The largest kernel, stride, dilation or padding.
const MAX_WINDOW: usize = 1 << 16;

/// What a node computes. On integers the meaning is exact, see `reference`; on floats, shifts are zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The image.
    Input,
    /// y = Σ w·x + b, as ONNX `Conv` with one group. Weights are `[out, in, kernel…]`.
    Conv {
        /// Geometry.
        window: Window,
        /// Output channels.
        channels: usize,
    },
    /// As ONNX `ConvTranspose` with one group. Weights are `[in, out, kernel…]`.
    ConvTranspose {
        /// Geometry.
        window: Window,
        /// Extra extent at the far end.
        output_padding: Dims,
        /// Output channels.
        channels: usize,
    },
    /// y = max(0, ⌊(x + 2^(shift−1)) / 2^shift⌋); with shift 0, y = max(0, x).
    Relu {
        /// Bits truncated.
        shift: u32,
    },
    /// y = x².
    Square,
    /// y = ⌊(x + 2^(shift−1)) / 2^shift⌋, that is half up.
    Truncate {
        /// Bits truncated, at least 1.
        shift: u32,
    },
    /// y = x · 2^shift: raises the number of fractional bits, without communication.
    Raise {
        /// Bits added.
        shift: u32,
    },
    /// On integers the *sum* over the window, padding counting as zero: the division is folded into the scale
    /// ([`Edge`](crate::Edge)). On floats the average, padding included in the count.
    AvgPool {
        /// Geometry.
        window: Window,
    },
    /// The largest value of the window; padding never wins.
    MaxPool {
        /// Geometry.
        window: Window,
    },
    /// The channels of all inputs, one after the other.
    Concat,
    /// The sum of all inputs.
    Add,
    /// The lowest index among the channels with the largest value.
    ArgMax,
    /// 1 where the only channel exceeds `at`, else 0.
    Threshold {
        /// The limit, in units of the input edge.
        at: i64,
    },
}

impl Op {
    /// Whether the node carries weights.
    pub fn is_linear_layer(&self) -> bool {
        matches!(self, Self::Conv { .. } | Self::ConvTranspose { .. })
    }

    /// Output channels of an operator with weights.
    pub fn output_channels(&self) -> Option<usize> {
        match *self {
            Self::Conv { channels, .. } | Self::ConvTranspose { channels, .. } => Some(channels),
            _ => None,
        }
    }

    /// Shape of the weights on an input of `inputs` channels: `[out, in, …]`, for a transposed convolution
    /// `[in, out, …]`.
    pub fn weight_shape(&self, inputs: usize) -> Option<[usize; 5]> {
        match *self {
            Self::Conv { window: Window { kernel: [d, h, w], .. }, channels } => {
                Some([channels, inputs, d, h, w])
            }
            Self::ConvTranspose { window: Window { kernel: [d, h, w], .. }, channels, .. } => {
                Some([inputs, channels, d, h, w])
            }
            _ => None,
        }
    }

    /// Whether the node turns scores into labels for the data holder.
    pub fn is_readout(&self) -> bool {
        matches!(self, Self::ArgMax | Self::Threshold { .. })
    }

    /// The name of the kind of operator.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv { .. } => "conv",
            Self::ConvTranspose { .. } => "conv_transpose",
            Self::Relu { .. } => "relu",
            Self::Square => "square",
            Self::Truncate { .. } => "truncate",
            Self::Raise { .. } => "raise",
            Self::AvgPool { .. } => "avg_pool",
            Self::MaxPool { .. } => "max_pool",
            Self::Concat => "concat",
            Self::Add => "add",
            Self::ArgMax => "argmax",
            Self::Threshold { .. } => "threshold",
        }
    }

    /// Refuses windows and weights too large to be meant, so that no later product overflows.
    fn check_window(&self, inputs: usize) -> Result<(), String> {
        let (Self::Conv { window, .. }
        | Self::ConvTranspose { window, .. }
        | Self::AvgPool { window }
        | Self::MaxPool { window }) = self
        else {
            return Ok(());
        };
        let extents = [window.kernel, window.stride, window.dilation, window.pad_before, window.pad_after];
        if extents.iter().flatten().any(|&extent| extent > MAX_WINDOW) {
            return Err(format!("its window exceeds {MAX_WINDOW} along an axis"));
        }
        let channels = self.output_channels().unwrap_or(1);
        match channels.checked_mul(inputs).and_then(|pairs| pairs.checked_mul(window.taps())) {
            Some(0..=MAX_VALUES) => Ok(()),
            _ => Err("it has too many weights".into()),
        }
    }

    /// The shape of an operator's value, or why there is none.
    pub fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let arity = match self {
            Self::Input => return Err("a graph has one input".into()),
            Self::Concat | Self::Add => 2..=usize::MAX,
            _ => 1..=1,
        };
        if !arity.contains(&inputs.len()) {
            return Err(format!("{} inputs do not fit a {}", inputs.len(), self.kind()));
        }
        let first = inputs[0];
        self.check_window(first.channels)?;
        let no_fit = |dims: Dims| format!("its window does not fit an input of {dims:?}");
        match *self {
            Self::Conv { window, channels } => {
                Ok(Shape { channels, dims: window.slide(first.dims).ok_or_else(|| no_fit(first.dims))? })
            }
            Self::ConvTranspose { window, output_padding, channels } => {
                let dims =
                    window.slide_transposed(first.dims, output_padding).ok_or_else(|| no_fit(first.dims))?;
                Ok(Shape { channels, dims })
            }
            Self::AvgPool { window } | Self::MaxPool { window } => {
                window.check_covers_input()?;
                Ok(Shape { dims: window.slide(first.dims).ok_or_else(|| no_fit(first.dims))?, ..first })
            }
            Self::Concat => {
                if inputs.iter().any(|shape| shape.dims != first.dims) {
                    return Err(format!(
                        "its inputs differ in extent: {:?}",
                        inputs.iter().map(|s| s.dims).collect::<Vec<_>>()
                    ));
                }
                Ok(Shape { channels: inputs.iter().map(|shape| shape.channels).sum(), ..first })
            }
            Self::Add if inputs.iter().any(|&shape| shape != first) => {
                Err("its inputs differ in shape".into())
            }
            Self::ArgMax if !(2..=256).contains(&first.channels) => {
                Err(format!("argmax over {} channels; 2 to 256 are possible", first.channels))
            }
            Self::Threshold { .. } if first.channels != 1 => Err("a threshold reads one channel".into()),
            Self::ArgMax | Self::Threshold { .. } => Ok(Shape { channels: 1, ..first }),
            Self::Truncate { shift: 0 } => Err("a truncation takes off at least one bit".into()),
            Self::Relu { shift } | Self::Truncate { shift } | Self::Raise { shift } if shift > 40 => {
                Err(format!("a shift by {shift} bits; 40 is the most"))
            }
            Self::Input
            | Self::Relu { .. }
            | Self::Square
            | Self::Truncate { .. }
            | Self::Raise { .. }
            | Self::Add => Ok(first),
        }
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
const MAX_VALUES: usize = 1 << 30;

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

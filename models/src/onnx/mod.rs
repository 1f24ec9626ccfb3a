//! Import of trained networks from ONNX files.
//!
//! Reads what PyTorch's exporters (dynamo and TorchScript) write for convolutional networks:
//!
//! | ONNX | in the graph |
//! | --- | --- |
//! | Conv, ConvTranspose | the same; groups of channels become zero weights between them; a Pad by zeros before it is its own |
//! | BatchNormalization, constants per channel | folded into the layer before, else a diagonal 1×1 convolution |
//! | Relu, LeakyRelu, Clip(0, ∞), Max(x, 0) | the same |
//! | PRelu | a ReLU and a diagonal convolution, whose slopes are secret |
//! | Mul(x, x), Pow(x, 2); a·x² + b·x + c in any form | a square; a quadratic |
//! | Add, Sub, Sum, Mul of values of one shape, Concat of channels | the same |
//! | MaxPool, AveragePool | the same; an average that leaves out padding is a linear map per axis |
//! | Global poolings, ReduceMean and ReduceMax over the image | one window |
//! | Gemm, MatMul by a constant | a convolution as large as the image |
//! | Pad (zero, edge, reflect, wrap), Resize and Upsample (nearest, linear), Slice, Split, Gather | a linear map per axis, on shares alone |
//! | DepthToSpace, SpaceToDepth | a convolution of zeros and ones |
//! | Reshape and Transpose that shuffle channels and voxels | linear maps per axis, and their sums |
//! | Flatten, Reshape, Squeeze, Unsqueeze, Transpose | nothing, as long as they view an image or a vector |
//! | Identity, Cast, Dropout; arithmetic on shapes and constants | nothing |
//! | Softmax, Sigmoid, ArgMax at the end | an argmax, or a threshold at zero for one channel |
//!
//! Softmax and Sigmoid fall away: they do not change which label wins. A network that ends in scores gets an argmax.
//!
//! Everything that cannot run blindly is refused at once, each layer with its reason and a remedy. Nothing in a file is
//! trusted: messages are counted before they are decoded, shapes are inferred and never read, tensors must have
//! the length that their shape needs, and a sidecar must lie below the model's folder.

mod arrangement;
mod attributes;
mod fold;
mod layers;
mod lower;
mod proto;
mod tensor;
mod wire;

use crate::float::{FloatError, FloatModel};
use crate::graph::GraphError;
use prost::Message;
use proto::ModelProto;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest file: protobuf's own limit.
const MAX_FILE: u64 = 1 << 31;

/// What the user says about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Spatial extents of the input (with the channels before them, if wanted): needed where the file leaves them
    /// open, otherwise in place of what it says.
    pub input_shape: Option<Vec<usize>>,
}

/// A layer that cannot run blindly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The layer's name in the file.
    pub layer: String,
    /// Its operator.
    pub operator: String,
    /// Why it cannot run.
    pub reason: String,
    /// What the user can do.
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer `{}` ({}): {}; {}", self.layer, self.operator, self.reason, self.remedy)
    }
}

/// A file that cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file that is no ONNX model, or a damaged one.
    #[error("{}: {field}: {reason}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Where in it.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// An input shape is needed.
    #[error(
        "{}: the input `{input}` has shape {stated}; state its extents, e.g. `--input-shape {example}`",
        file.display()
    )]
    InputShape {
        /// The file.
        file: PathBuf,
        /// The input's name.
        input: String,
        /// What the file says, open extents by name.
        stated: String,
        /// What to say.
        example: String,
    },
    /// Layers that cannot run blindly.
    #[error(
        "{}: {} of its layers cannot run blindly:\n{}",
        file.display(), refusals.len(), refusals.iter().map(|refusal| format!("  {refusal}")).collect::<Vec<_>>().join("\n")
    )]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// All of them.
        refusals: Vec<Refusal>,
    },
    /// A network that does not hold together.
    #[error("{}: {source}", file.display())]
    Graph {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: GraphError,
    },
    /// Weights that do not fit their layers.
    #[error("{}: {source}", file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: FloatError,
    },
}

impl OnnxError {
    fn field(file: &Path, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { file: file.into(), field: field.into(), reason: reason.into() }
    }
}

/// Imports the network in `file`. Labels get numbers for names, preprocessing stays open.
pub fn import(file: &Path, options: &ImportOptions) -> Result<FloatModel, OnnxError> {
    let io = |source| OnnxError::Io { path: file.into(), source };
    let mut bytes = Vec::new();
    File::open(file).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(OnnxError::field(file, "file", "it is larger than 2 GiB"));
    }
    import_bytes(file, &bytes, options)
}

/// The same from the file's content; `file` serves error messages and as the place of sidecars.
pub fn import_bytes(file: &Path, bytes: &[u8], options: &ImportOptions) -> Result<FloatModel, OnnxError> {
    wire::check(bytes).map_err(|reason| OnnxError::field(file, "protobuf", reason))?;
    let model = ModelProto::decode(bytes).map_err(|error| {
        OnnxError::field(file, "protobuf", format!("it is no ONNX model, or truncated ({error})"))
    })?;
    lower::lower(file, &model, options)
}

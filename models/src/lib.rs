//! Networks without cryptography: the graph, the backend interface, import, quantisation and the integer reference.
#![forbid(unsafe_code)]

pub mod backend;
pub mod bundle;
pub mod clear;
pub mod float;
pub mod graph;
mod kernels;
pub mod manifest;
pub mod onnx;
mod op;
pub mod quantise;
mod random;
pub mod ranges;
pub mod record;
pub mod reference;
mod resample;
pub mod unet;
pub mod validate;
pub mod zoo;

pub use float::{FloatLayer, FloatModel};
pub use graph::{Dims, Graph, GraphError, Node, NodeId, Op, Shape, Window};
pub use manifest::{Edge, Label, Layer, LayerWeights, Manifest, Model};
pub use resample::Resample;

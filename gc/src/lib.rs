//! Garbled circuits: free XOR, half gates, re-keyed, batched.
#![deny(unsafe_code)]

mod batch;
mod chunk;
mod circuit;
pub mod circuits;
mod cost;
mod error;
mod gates;
mod group;
mod kernel;
mod layout;
mod packing;
mod program;
mod session;
mod term;
pub mod word;

pub use batch::{Evaluator, Garbler, Reveal, evaluate, garble};
pub use circuit::{Circuit, Output, OutputKind, Shape, Sum, Term, clear};
pub use cost::{Cost, cost};
pub use error::GcError;
pub use gates::{Clear, Gates, Word};
pub use kernel::Isa;
pub use program::Program;

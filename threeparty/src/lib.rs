//! Three-party backend: 2-out-of-3 replicated secret sharing, inference and training.
#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("ring elements travel as they lie in memory, little-endian");

pub mod arithmetic;
pub mod backend;
mod bits;
pub mod clear;
pub mod client;
mod compare;
pub mod connect;
mod conv;
pub mod cost;
pub mod data;
mod decompose;
mod error;
mod functions;
pub mod infer;
pub mod job;
#[expect(unsafe_code, reason = "the vector kernels call instructions that were detected at run time")]
mod kernels;
pub mod local;
pub mod machine;
mod multiply;
mod party;
mod pool;
pub mod remote;
mod ring;
pub mod serve;
mod share;
pub mod sharing;
pub mod train;
mod truncate;

pub use conv::{Conv, ConvTranspose};
pub use error::Error;
pub use functions::{Functions, Softmax};
pub use party::{Link, Party};
pub use pool::{MaxPool, Route};
pub use ring::Ring;
pub use share::{Bits, Shares};

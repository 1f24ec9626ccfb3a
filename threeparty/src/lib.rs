//! Three-party backend: 2-out-of-3 replicated secret sharing, inference and training.
#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("ring elements travel as they lie in memory, little-endian");

mod bits;
mod compare;
mod error;
#[expect(unsafe_code, reason = "the vector kernels call instructions that were detected at run time")]
mod kernels;
pub mod local;
mod multiply;
mod party;
mod ring;
mod share;
mod truncate;

pub use error::Error;
pub use party::Party;
pub use ring::Ring;
pub use share::{Bits, Shares};

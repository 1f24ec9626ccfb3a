//! Oblivious transfer: base OT, extension, correlated, random and chosen OT.
//!
//! A *correlated* OT (COT) gives the sender a block `q`, the receiver `q ^ b·delta` for its choice bit `b`,
//! under one offset `delta` of the sender. Everything else is made from it: hashing breaks the correlation
//! (random OT), and a masked message on top carries what the caller wants to transfer.
//!
//! * [`base`]: 128 OTs from public-key cryptography; the seed of everything.
//! * [`iknp`]: extension with chosen bits, 16 bytes per OT, one direction, no limit.
//! * [`silent`]: extension with random bits, 0.03 bytes per OT.
//! * [`source`]: the interface that extensions share; all of the following is written against it.
//! * [`RotSender`], [`RotReceiver`]: random OT of blocks or bits, by re-keyed hashing.
//! * [`arithmetic`]: correlated OT over a [`Ring`]; [`chosen`]: 1-of-2 OT of short strings; [`triples`]: bit
//!   triples.
//! * [`packing`], [`bits`]: values and bits without gaps.
//!
//! All parties are semi-honest; a peer's bytes are still never trusted for lengths, ranges or progress.
#![deny(unsafe_code)]

pub mod arithmetic;
pub mod base;
pub mod bits;
pub mod chosen;
mod hash;
pub mod iknp;
mod kernel;
pub mod packing;
mod ring;
mod rot;
pub mod silent;
pub mod source;
#[cfg(test)]
mod testing;
mod transpose;
pub mod triples;

pub use iknp::{CotReceiver, CotSender};
pub use ring::Ring;
pub use rot::{RotReceiver, RotSender};
pub use silent::{SilentReceiver, SilentSender};
pub use source::{CotReceive, CotSend};

/// 128 bits: a label, a correlation, a seed. Bit `i` has value `2^i`; on the wire the low byte comes first.
pub type Block = u128;

/// Computational security parameter: bits of a block, and the number of base OTs.
pub const KAPPA: usize = 128;

// Blocks travel as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"), "only little-endian machines are supported");

/// Why an oblivious transfer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtError {
    /// The connection failed.
    #[error(transparent)]
    Channel(#[from] channels::ChannelError),
    /// A base-OT message is no group element, or one that an honest peer never sends.
    #[error("the peer's group element {index} of the base transfers is invalid")]
    InvalidPoint {
        /// Position in the message.
        index: usize,
    },
    /// A residue on the wire is not below the modulus.
    #[error("value {index} of the peer is {value}, not below the modulus {modulus}")]
    OutOfRange {
        /// Position in the message.
        index: usize,
        /// What was received.
        value: u64,
        /// The modulus.
        modulus: u64,
    },
    /// Transfers beyond those that were prepared.
    #[error("the transfers that were prepared beforehand are used up")]
    Exhausted,
}

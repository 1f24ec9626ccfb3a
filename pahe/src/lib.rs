//! Packed additively homomorphic encryption: BFV with sanitised replies.
//!
//! Alice holds the [`SecretKey`]. She uploads seeded symmetric encryptions ([`Encryptor`]) of polynomials of n values
//! mod t. Bob adds his own share and multiplies by plaintext polynomials ([`CiphertextBlock`], [`WeightBlock`],
//! [`Accumulators`]), or rotates slots ([`Ciphertext`], [`GaloisKey`]). What he computed is [`Unsanitised`]; the only
//! way to bytes is a [`Sanitiser`], after which Alice's [`Decryptor`] finds result plus mask and Bob keeps the
//! negated mask: additive shares mod t.
//!
//! Brakerski (CRYPTO 2012) and Fan and Vercauteren (ePrint 2012/144) in the residue number system; parameters follow
//! the guidelines of ePrint 2024/463. No network, no channels: bytes in, bytes out.
#![forbid(unsafe_code)]

mod bits;
mod block;
mod ciphertext;
mod decrypt;
mod galois;
mod keys;
mod noise;
mod params;
mod reply;
mod sampling;
mod scaling;
#[cfg(test)]
mod testing;
mod upload;

pub use block::{Accumulators, CiphertextBlock, ShareSource, WeightBlock};
pub use ciphertext::{Ciphertext, Plaintext};
pub use decrypt::Decryptor;
pub use galois::GaloisKey;
pub use keys::{KeyError, PublicKey, SecretKey};
pub use noise::{Noise, WeightNorm};
pub use params::{ParamError, Params};
pub use reply::{Positions, ReplyError, ReplyFormat, ReplyJob, RunBudget, Sanitiser, Unsanitised};
pub use upload::{Encryptor, UploadError, UploadFormat, UploadStream};

//! Packed additively homomorphic encryption: BFV with sanitised replies.
//!
//! Alice holds the [`SecretKey`]. She uploads seeded symmetric encryptions ([`Encryptor`]) of polynomials of n values
//! mod t. Bob adds his own share and multiplies by plaintext polynomials ([`CiphertextBlock`], [`WeightBlock`],
//! [`Accumulators`]; [`OnceSums`] where each is used once), or rotates slots ([`Ciphertext`], [`GaloisKey`]). What he computed is [`Unsanitised`]; the only
//! way to bytes is a [`Sanitiser`], after which Alice's [`Decryptor`] finds result plus mask and Bob keeps the
//! negated mask: additive shares mod t.
//!
//! Brakerski (CRYPTO 2012) and Fan and Vercauteren (ePrint 2012/144) in the residue number system; parameters follow
//! the guidelines of ePrint 2024/463. No network, no channels: bytes in, bytes out.
//!
//! ```
//! use pahe::*;
//! use std::sync::Arc;
//!
//! // Both derive the same sets: one tile, one input, one output, weights of at most 7 bits with 3 taps.
//! let params = Params::small(ntt::Modulus::pow2(24)?)?;
//! let upload = UploadFormat::FULL;
//! let noise = Noise::fresh(upload).with_share().times(WeightNorm::coefficients(127, 3));
//! let format = ReplyFormat::new(&params, &RunBudget::standard(1 << 20), noise)?;
//!
//! // Alice: keys once, then the upload of her share.
//! let mut prg = prg::Prg::from_os();
//! let secret = SecretKey::generate(&params, &mut prg);
//! let key_bytes = PublicKey::generate(&secret, &mut prg).to_bytes();
//! let mut encryptor = Encryptor::new(&secret, upload, &mut prg);
//! let (header, mut bytes) = (encryptor.stream().header(), Vec::new());
//! let first = encryptor.encrypt(1, |_ciphertext, values| values[10] = 5, &mut bytes);
//!
//! // Bob: adds his share, multiplies, replies.
//! let public = Arc::new(PublicKey::from_bytes(&params, &key_bytes)?);
//! let stream = UploadStream::from_header(&params, upload, header);
//! let mut ciphertexts = CiphertextBlock::new(&params, 1, 1);
//! let share = |_ciphertext: usize, values: &mut [u64]| values[10] = 2;
//! ciphertexts.ingest(&stream, first, &bytes, &[(0, 0)], Some(&share))?;
//! let mut weights = WeightBlock::new(&params, 1, 1, 1);
//! weights.fill(|_input, _output, w| w[..3].copy_from_slice(&[3, -1, 2]));
//! let mut sums = Accumulators::new(&params, 1, 1);
//! sums.multiply_accumulate(&ciphertexts, &weights);
//! let positions = Positions::List(&[10, 11, 12]);
//! let (mut reply, mut bob) = (Vec::new(), Vec::new());
//! let job = ReplyJob { source: sums.sum(0, 0), positions };
//! Sanitiser::new(&public, format, &mut prg).reply(&[job], &mut reply, &mut bob);
//!
//! // Alice: her share of the result.
//! let mut alice = Vec::new();
//! Decryptor::new(&secret, format).decrypt(&reply, &[positions], &mut alice)?;
//! let t = params.plaintext();
//! let result: Vec<i64> = alice.iter().zip(&bob).map(|(&a, &b)| t.lift(t.add(a, b))).collect();
//! assert_eq!(result, [21, -7, 14]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bits;
mod block;
mod ciphertext;
mod decrypt;
mod galois;
mod keys;
mod noise;
mod once;
mod params;
mod phase;
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
pub use once::{MOST_TILES, OnceSums};
pub use params::{ParamError, Params};
pub use reply::{Positions, ReplyError, ReplyFormat, ReplyJob, RunBudget, Sanitiser, Unsanitised};
pub use upload::{Encryptor, UploadError, UploadFormat, UploadStream};

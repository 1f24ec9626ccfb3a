//! Perceptual protection: two ways to hide what an image looks like, as backends, and the attacks that measure them.
//!
//! [`pixel`] turns samples into their negatives by a key stream and shuffles colours (Sirichotedumrong, Kinoshita,
//! Kiya: "Privacy-preserving deep neural networks using pixel-based image encryption without common security keys").
//! [`morph`] multiplies the unrolled image by a secret matrix and the first convolution by its inverse (Onesimu,
//! Karthikeyan: "An efficient privacy-preserving deep learning scheme for medical image analysis", after MoLe, arXiv
//! 1909.07632). [`attack`] breaks both as far as they break, [`quality`] says in numbers what is seen, and
//! [`compare`] runs any list of backends on one scan.
//!
//! Security: neither is encryption in the usual sense. The key streams are pseudorandom, but the transformed image
//! keeps structure by design, and each module states what an adversary can do with it. Nothing here runs in constant
//! time. There is no interaction, no network and no dependency on the two-party protocol.
#![forbid(unsafe_code)]

pub mod attack;
pub mod commands;
pub mod compare;
pub mod error;
pub mod keys;
pub mod morph;
mod picture;
pub mod pixel;
pub mod quality;
pub mod write;

pub use error::PerceptualError;
pub use keys::MasterKey;

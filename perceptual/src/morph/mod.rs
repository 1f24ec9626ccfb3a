//! Data morphing (MpLe, after MoLe): the unrolled image times a secret matrix, the first convolution times its inverse.
//!
//! Onesimu, Karthikeyan: "An efficient privacy-preserving deep learning scheme for medical image analysis"; MoLe:
//! arXiv 1909.07632. The data holder has an image D of α channels, unrolled to a row vector of αm² values, and a secret
//! block diagonal M with κ = αm²/q blocks of q × q. She sends T = D·M. The first convolution is a matrix C of αm² × βn²
//! entries; she also makes C_ac = M⁻¹·C with its output channels in a secret order. The server computes T·C_ac = D·C and
//! the rest of the network on it, whose weights are put into the same order.
//!
//! ```text
//! data holder                                      server
//! M, channel order from her key
//!                      <--- first convolution ---  C
//! C_ac = M⁻¹·C, order  ----- C_ac, order ------->  consumers of the first layer in that order    (once)
//! T = D·M              ----------- T ----------->  round(T·C_ac) + bias, the rest of the network (per scan)
//!                      <-------- labels ---------
//! ```
//!
//! Deviations: blocks are well-conditioned by construction ([`MorphKey`]), not random until invertible; any number of
//! spatial axes; C is never formed ([`AugmentedConv`] holds what M⁻¹ fills in); blocks may be independent of each other,
//! where the paper repeats one.
//!
//! Exactness: on integer networks D·C is an integer, and T·C_ac in 64-bit floats is off by far less than one half, so
//! that rounding gives D·C itself; a run that comes near the limit fails instead ([`ROUNDING_LIMIT`]). On networks of floats
//! (ONNX) T·C_ac is D·C up to the rounding of 64-bit floats, and the rest runs in 32 bits as ever.
//!
//! Security: the data holder sees the first layer's weights ([`FirstLayer`]), and no other layer's. Whoever holds the layers that read it must put them into the
//! order and so learns it; it is a secret only where, as in MoLe, the network is trained after the exchange. The server
//! must not know the first layer's weights either: whoever knows C and C_ac finds the channel order and M in polynomial time ([`crate::attack::reverse`]); whoever knows ⌈q/κ⌉ images with their
//! T finds M ([`crate::attack::known`]); repeated blocks show where an image repeats itself. Labels are seen by the server.
//!
//! Cost: 8·αm² bytes per scan up, one byte per voxel down, one round; αm²·q products to morph, and per scan as many
//! products as C_ac has entries, against αp²·βn² of the plain convolution.

mod augment;
mod backend;
pub(crate) mod conv;
mod files;
mod first;
mod key;

pub use augment::{AugmentedFloats, AugmentedLayer, AugmentedModel, augment};
pub use backend::Morph;
pub use conv::{AugmentedConv, ROUNDING_LIMIT};
pub use files::{read_layer, read_morphed, write_layer, write_morphed};
pub use first::{FirstLayer, Scans};
pub use key::{Blocks, CONDITION, MAX_BLOCK, MorphKey};

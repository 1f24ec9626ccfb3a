//! Attacks: what an adversary gets from protected images, and at what price.
//!
//! | attack | on | needs | gives |
//! | --- | --- | --- | --- |
//! | [`fold`] | pixel | nothing | every sample's distance from mid-grey |
//! | [`local`] | pixel, one key | pairs under that key | the key, pixel by pixel |
//! | [`blocks`] | morph | nothing | brightness of each block; which blocks are equal |
//! | [`known`] | morph | ⌈q/κ⌉ pairs (q for independent blocks) | the key |
//! | [`reverse`] | morph | the first layer's weights | channel order and key |
//! | [`guess`] | morph | luck | figures of blind guessing |

pub mod blocks;
pub mod fold;
pub mod guess;
pub mod known;
pub mod local;
pub mod reverse;

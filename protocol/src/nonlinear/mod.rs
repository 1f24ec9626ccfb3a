//! Layers that are not linear: by garbled circuits, by oblivious transfer, by Beaver pairs.

pub mod beaver;
#[cfg(feature = "tfhe")]
pub mod bootstrapped;
pub mod garbled;
pub mod open;
mod planes;
pub mod product;
pub mod product_ot;
pub mod quadratic;
mod rectify;
pub mod relu;
pub mod sign;
mod slots;

pub mod square_ot;
pub mod tournament;
pub mod truncation;
mod words;

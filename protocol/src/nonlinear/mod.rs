//! Layers that are not linear: by garbled circuits, by oblivious transfer, by Beaver pairs.

pub mod garbled;
mod planes;
mod rectify;
pub mod relu;
mod sign;
pub mod square;
pub mod truncation;

//! Layers that are not linear: by garbled circuits, by oblivious transfer, by Beaver pairs.

pub mod garbled;
mod planes;
pub mod product;
mod rectify;
pub mod relu;
pub mod sign;
pub mod square;
pub mod square_ot;
pub mod tournament;
pub mod truncation;
mod words;

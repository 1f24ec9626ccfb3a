//! Layers that are not linear: garbled circuits, squares, truncation.

pub mod garbled;
pub mod square;
pub mod truncation;

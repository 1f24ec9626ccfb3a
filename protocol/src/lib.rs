//! The two-party engine: operators, strategies, plan and sessions.
#![forbid(unsafe_code)]

pub mod cost;
pub mod linear;
pub mod share;

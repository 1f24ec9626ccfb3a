//! The two-party engine: operators, strategies, plan and sessions.
//!
//! A [`Plan`] is derived from a public manifest and a [`Config`]; [`session`] agrees on it with the peer;
//! [`engine`] runs it, from a pool of [`store`] where there is one. Operators live under [`linear`], [`nonlinear`], [`pool`] and [`local`], one file per protocol
//! with both parties' halves side by side; [`strategy`] holds the one table of them.
#![forbid(unsafe_code)]

pub mod audit;
pub mod backend;
pub mod choice;
mod clock;
pub mod config;
pub mod cost;
pub mod engine;
mod error;
pub mod keys;
pub mod linear;
pub mod local;
pub mod nonlinear;
pub mod ots;
mod party;
pub mod plan;
pub mod pool;
pub mod report;
pub mod session;
pub mod share;
pub mod store;
pub mod strategy;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod testing;
mod transfers;
pub mod trial;

pub use config::{Config, Operator, Preset};
pub use error::{PlanError, ProtocolError};
pub use party::{Alice, Bob, DataHolder, Provider};
pub use plan::Plan;

/// Version of the messages between the parties; equal versions derive equal plans.
pub const PROTOCOL_VERSION: u32 = 5;

//! The provider: serves trained networks to clients that it trusts.
//!
//! `bob serve` reads model bundles, listens, and plays Bob's part of the protocol for each client on a thread of its
//! own. A client's failure is logged and ends its own run only. Bob never learns anything about a scan, so neither
//! does his log.
#![forbid(unsafe_code)]

mod args;
mod catalogue;
mod serve;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

pub use args::{Args, Command, Serve};
pub use catalogue::Models;
pub use serve::serve;

/// Runs the command line `args`, program name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Args::parse_from(args).command {
        Command::Serve(flags) => {
            cli::start_log(if flags.run.quiet { "error" } else { "info" });
            cli::finish(serve(&flags))
        }
    }
}

//! The operator's command: everything around a run.
#![forbid(unsafe_code)]

mod args;
mod keygen;

use args::{Args, Command};
use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `args`, program name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Args::parse_from(args).command {
        Command::Alice(party) => return alice::run(party.command_line("alice")),
        Command::Bob(party) => return bob::run(party.command_line("bob")),
        other => other,
    };
    cli::start_log("warn");
    cli::finish(match command {
        Command::Keygen(flags) => keygen::keygen(&flags),
        Command::Alice(_) | Command::Bob(_) => Ok(()), // ran above
    })
}

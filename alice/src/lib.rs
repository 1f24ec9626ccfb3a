//! The data holder: segments a scan with a provider's network.
//!
//! `alice segment` reads and checks everything on this side first (scan, manifest, plan, whether the outputs can be
//! written), then connects, runs the protocol, and writes the labels on the scan's own grid; of a folder, those of every
//! scan. `alice prepare` makes beforehand what does not depend on the scan. `alice manifest` fetches the public part of a network.
#![forbid(unsafe_code)]

mod args;
mod conversation;
mod finished;
mod folder;
mod job;
mod manifest;
mod outputs;
mod prepare;
mod progress;
mod segment;
mod tune;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

pub use args::{Args, Command, FetchManifest, Prepare, Segment, Server};
pub use job::{Job, label_greys, label_styles, preprocessing};
pub use manifest::fetch;
pub use prepare::prepare;
pub use segment::segment;

/// Runs the command line `args`, program name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = Args::parse_from(args).command;
    cli::start_log("warn");
    cli::finish(match command {
        Command::Segment(flags) => segment(&flags),
        Command::Prepare(flags) => prepare(&flags),
        Command::Manifest(flags) => fetch(&flags),
    })
}

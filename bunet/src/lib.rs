//! The operator's command: everything around a run.
//!
//! `bunet demo` shows the whole of it on one machine, `import` turns a trained network into a bundle, `plan` tells what a
//! run will cost, `bench` measures runs of networks of chosen shape, `evaluate` scores labels, `report` makes a page of a
//! run's record, `keygen` makes keys, `compare` runs every backend on
//! one scan, `pixel` and `morph` are the perceptual backends' own commands. Hidden subcommands `alice` and `bob` are
//! those programs, so that demo and benchmarks can
//! start both parties as processes of their own.
#![forbid(unsafe_code)]

mod args;
mod backends;
mod bench;
mod costs;
mod demo;
mod evaluate;
mod import;
mod keygen;
mod pair;
mod plan;
mod report;

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
        Command::Demo(flags) => demo::demo(&flags),
        Command::Bench(bench) => bench::bench(&bench),
        Command::Import(flags) => import::import(&flags),
        Command::Plan(flags) => plan::plan(&flags),
        Command::Evaluate(flags) => evaluate::evaluate(&flags),
        Command::Report(flags) => report::report(&flags),
        Command::Keygen(flags) => keygen::keygen(&flags),
        Command::Compare(flags) => backends::compare(&flags),
        Command::Pixel(command) => backends::pixel(&command),
        Command::Morph(command) => backends::morph(&command),
        Command::Alice(_) | Command::Bob(_) => Ok(()), // ran above
    })
}

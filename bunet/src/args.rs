//! The command line.

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Blind segmentation of medical images: the operator's tools.
///
/// Research software, not a medical device.
#[derive(Parser, Clone, Debug)]
#[command(name = "bunet", version, after_help = cli::EXIT_CODES)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// Make keys and certificates
    Keygen(Keygen),
    /// Everything that the program `alice` does
    #[command(hide = true)]
    Alice(Party),
    /// Everything that the program `bob` does
    #[command(hide = true)]
    Bob(Party),
}

/// The command line of another program.
#[derive(clap::Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct Party {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

impl Party {
    /// The arguments after the program's name.
    pub(crate) fn command_line(self, program: &str) -> impl Iterator<Item = OsString> {
        std::iter::once(program.into()).chain(self.args)
    }
}

/// Flags of `bunet keygen`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Keygen {
    /// Where keys and certificates go
    #[arg(long, value_name = "FOLDER", default_value = "keys")]
    pub(crate) dir: PathBuf,
    /// Who gets a key
    #[arg(value_name = "NAME", default_values = ["alice", "bob"])]
    pub(crate) names: Vec<String>,
}

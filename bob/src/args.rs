//! The command line.

use clap::{Parser, Subcommand};
use cli::{Endpoint, RunFlags};
use std::path::PathBuf;

/// Serves trained segmentation networks without seeing what they segment.
#[derive(Parser, Clone, Debug)]
#[command(name = "bob", version, after_help = cli::EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Serve networks until stopped
    Serve(Serve),
}

/// Flags of `bob serve`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = cli::EXIT_CODES)]
pub struct Serve {
    /// A model bundle; may be repeated (clients choose by name or manifest)
    #[arg(long = "model", value_name = "MODEL.bunet", required = true)]
    pub models: Vec<PathBuf>,
    /// Where to listen; port 0 for a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7600")]
    pub listen: String,
    /// Keys, trust and patience.
    #[command(flatten)]
    pub endpoint: Endpoint,
    /// Most clients at a time; more are told to come back later
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,
    /// Serve one client, then exit; a failure of its run is the exit code
    #[arg(long)]
    pub once: bool,
    /// Keep pools of prepared runs in this folder, for clients that ask (`alice prepare`)
    #[arg(long, value_name = "FOLDER")]
    pub pool: Option<PathBuf>,
    /// Show clients who ask for them (`alice segment --scores`) the scores behind the labels. Scores tell far more about
    /// the weights than labels do
    #[arg(long)]
    pub allow_scores: bool,
    /// Append a record of each run to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Threads, quiet.
    #[command(flatten)]
    pub run: RunFlags,
}

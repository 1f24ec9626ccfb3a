//! The command line.

use clap::{Parser, Subcommand};
use cli::{Endpoint, Failure, PlanFlags, RunFlags};
use protocol::nonlinear::open::OpenReadout;
use protocol::strategy::Strategy;
use protocol::{Config, Operator};
use std::path::PathBuf;

/// Segments scans with a provider's network without showing them to the provider.
///
/// Research software, not a medical device.
#[derive(Parser, Clone, Debug)]
#[command(name = "alice", version, after_help = cli::EXIT_CODES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Segment a scan
    Segment(Box<Segment>),
    /// Make beforehand what later runs need and what does not depend on the scan
    Prepare(Box<Prepare>),
    /// Fetch the public manifest of a network
    Manifest(FetchManifest),
}

/// Where the provider is.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// The provider's server
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    /// Which of its networks [default: its first]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Keys, trust and patience.
    #[command(flatten)]
    pub endpoint: Endpoint,
}

/// Flags of `alice segment`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = cli::EXIT_CODES)]
pub struct Segment {
    /// Where the provider is.
    #[command(flatten)]
    pub server: Server,
    /// The scan: PNG, TIFF, NIfTI or DICOM (a file, or the folder of a series); or a folder of scans
    #[arg(short, long, value_name = "SCAN|FOLDER")]
    pub input: PathBuf,
    /// Where the labels go: .png, .tif, .nii or .nii.gz, on the scan's own grid; for a folder of scans a folder, in which
    /// labels are called as their scans
    #[arg(short, long, value_name = "LABELS|FOLDER")]
    pub output: PathBuf,
    /// The network's public manifest [default: fetched from the server]
    #[arg(long, value_name = "FILE.json")]
    pub manifest: Option<PathBuf>,
    /// Strategies.
    #[command(flatten)]
    pub plan: PlanFlags,
    /// Measure the way to the server and take what is faster on it: comparisons by chains or trees, silent
    /// transfers or IKNP; the strategies must leave the choice
    #[arg(long, conflicts_with = "ot")]
    pub tune: bool,
    /// Take what `alice prepare` put into this folder, as far as it goes
    #[arg(long, value_name = "FOLDER")]
    pub pool: Option<PathBuf>,
    /// Also draw scan, result and reference into a picture (of a folder of scans: pictures in a folder)
    #[arg(long, value_name = "FILE.png|FOLDER")]
    pub overlay: Option<PathBuf>,
    /// Ask the provider, who must allow it, for the scores behind the labels: the labels of overlapping patches then
    /// follow from weighted averages of scores. With a name, also write the scores there, a volume per label (of a folder
    /// of scans: files in a folder)
    #[arg(long, value_name = "FILE.nii.gz|FOLDER", num_args = 0..=1)]
    pub scores: Option<Option<PathBuf>>,
    /// A reference segmentation to score the result against (for a folder of scans: a folder, by the same names)
    #[arg(long, value_name = "LABELS|FOLDER")]
    pub reference: Option<PathBuf>,
    /// Write a record of the run
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long)]
    pub overwrite: bool,
    /// In a folder, skip the scans of which this network has written all that is asked for
    #[arg(long = "continue", conflicts_with = "overwrite")]
    pub resume: bool,
    /// Threads, quiet.
    #[command(flatten)]
    pub run: RunFlags,
}

impl Segment {
    /// What the run is asked to do.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let mut config = self.plan.config()?;
        if self.scores.is_some() {
            config.strategies.insert(Operator::Readout, OpenReadout.name().into());
        }
        Ok(config)
    }

    /// Where the scores go: a file, or a folder.
    pub(crate) fn scores_to(&self) -> Option<&PathBuf> {
        self.scores.as_ref()?.as_ref()
    }
}

/// Flags of `alice prepare`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = cli::EXIT_CODES)]
pub struct Prepare {
    /// Where the provider is.
    #[command(flatten)]
    pub server: Server,
    /// Where what was prepared goes; the provider keeps his half
    #[arg(long, value_name = "FOLDER")]
    pub pool: PathBuf,
    /// How many runs to prepare for: one per scan, or per patch of a larger one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub runs: u32,
    /// The network's public manifest [default: fetched from the server]
    #[arg(long, value_name = "FILE.json")]
    pub manifest: Option<PathBuf>,
    /// Strategies: the same as in the runs.
    #[command(flatten)]
    pub plan: PlanFlags,
    /// Measure the way to the server and prepare for what is faster on it, as `alice segment --tune`, which then takes
    /// what is in the pool
    #[arg(long, conflicts_with = "ot")]
    pub tune: bool,
    /// Write a record of what it cost
    #[arg(long, value_name = "FILE.json")]
    pub json: Option<PathBuf>,
    /// Replace a record that exists
    #[arg(long)]
    pub overwrite: bool,
    /// Threads, quiet.
    #[command(flatten)]
    pub run: RunFlags,
}

/// Flags of `alice manifest`.
#[derive(clap::Args, Clone, Debug)]
pub struct FetchManifest {
    /// Where the provider is.
    #[command(flatten)]
    pub server: Server,
    /// Where the manifest goes
    #[arg(short, long, value_name = "FILE.json")]
    pub output: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub overwrite: bool,
}

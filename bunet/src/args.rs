//! The command line.

use clap::{Parser, Subcommand};
use cli::PlanFlags;
use perceptual::commands::{CompareArgs, MorphCommand, PixelCommand};
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
    /// Segment a sample scan blindly, with both parties on this machine
    Demo(Demo),
    /// Turn a trained network (ONNX) into a bundle to serve
    Import(Import),
    /// Tell what a run will cost: bytes, rounds, memory
    Plan(Plan),
    /// Score labels against references, and against the network in the clear
    Evaluate(Evaluate),
    /// Turn the record of a run into one HTML file
    Report(Report),
    /// Measure networks of chosen shape, with both parties on this machine
    #[command(subcommand)]
    Bench(crate::bench::Bench),
    /// Make keys and certificates
    Keygen(Keygen),
    /// Run every backend on one scan: result, cost, and what an adversary sees
    Compare(Box<Compare>),
    /// Pixel-based encryption of scans: hides the look from the eye, not from an attacker
    #[command(subcommand)]
    Pixel(PixelCommand),
    /// Data morphing: networks on scans times a secret matrix
    #[command(subcommand)]
    Morph(MorphCommand),
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

/// Flags of `bunet demo`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Demo {
    /// A 3-D scan: a volume of a hippocampus
    #[arg(long)]
    pub(crate) volume: bool,
    /// Another sample network
    #[arg(long, value_name = "NAME", value_parser = crate::demo::case_names())]
    pub(crate) model: Option<String>,
    /// Strategies.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,
    /// Where the pictures go; those of an earlier demo are replaced
    #[arg(long, value_name = "FOLDER", default_value = "out")]
    pub(crate) out: PathBuf,
    /// Write a record of the run, both parties' figures in one
    #[arg(long, value_name = "FILE.json")]
    pub(crate) json: Option<PathBuf>,
    /// Threads of each party [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// Flags of `bunet import`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Import {
    /// The trained network
    #[arg(value_name = "MODEL.onnx")]
    pub(crate) onnx: PathBuf,
    /// A folder of scans to calibrate on: a handful, like those the network will see
    #[arg(long, value_name = "FOLDER")]
    pub(crate) calibrate: PathBuf,
    /// Where the bundle goes
    #[arg(short, long, value_name = "MODEL.bunet")]
    pub(crate) output: PathBuf,
    /// How scans are prepared for the network, as in the manifest's `preprocessing` [default: grey values
    /// divided by the largest one of their type, size exact]
    #[arg(long, value_name = "FILE.json")]
    pub(crate) preprocessing: Option<PathBuf>,
    /// The network's name [default: the file's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A label's name, in order, with its grey value in pictures if wanted; may be repeated
    #[arg(long, value_name = "NAME[=GREY]")]
    pub(crate) label: Vec<String>,
    /// Extents of the input where the file leaves them open, e.g. 1x200x200
    #[arg(long, value_name = "CxHxW", value_parser = crate::import::extents)]
    pub(crate) input_shape: Option<crate::import::Extents>,
    /// Bits of the shares
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(16..=40))]
    pub(crate) bits: u32,
    /// Most bits of a weight's magnitude
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=16))]
    pub(crate) weight_bits: u32,
    /// Factor between the largest value seen and the range that is proved to fit
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5)]
    pub(crate) margin: f64,
    /// Write every value's range, bits and error: a page with pictures (.html), or the figures alone (.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Replace a bundle and a report that exist
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Flags of `bunet plan`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = crate::plan::networks())]
pub(crate) struct Plan {
    /// A bundle, or a manifest alone
    #[arg(long, value_name = "MODEL.bunet|MANIFEST.json")]
    pub(crate) model: PathBuf,
    /// Strategies.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,
    /// Estimate the time on this network only
    #[arg(long, value_name = "NAME", value_parser = cli::profile)]
    pub(crate) profile: Option<net::Profile>,
}

/// Flags of `bunet evaluate`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Evaluate {
    /// The labels: a folder, or one file
    #[arg(value_name = "LABELS")]
    pub(crate) predictions: PathBuf,
    /// The reference segmentations: a folder with the same names, or one file
    #[arg(value_name = "REFERENCES")]
    pub(crate) references: Option<PathBuf>,
    /// The network: a manifest names labels and their grey values; with a bundle and --images, the labels are also
    /// compared with those of the network in the clear [default: values are labels]
    #[arg(long, value_name = "MODEL.bunet|MANIFEST.json")]
    pub(crate) model: Option<PathBuf>,
    /// The scans: a folder with the same names, or one file
    #[arg(long, value_name = "SCANS")]
    pub(crate) images: Option<PathBuf>,
    /// Draw scan, labels and reference into pictures in this folder
    #[arg(long, value_name = "FOLDER", requires = "images")]
    pub(crate) overlays: Option<PathBuf>,
    /// Leave out references without labels, and labels without a reference
    #[arg(long)]
    pub(crate) partial: bool,
    /// Write all scores, in the keys of nnU-Net's summary.json
    #[arg(short, long, value_name = "SUMMARY.json")]
    pub(crate) output: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Flags of `bunet report`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Report {
    /// The record that a command wrote with --json: of a run, of a folder, or of a benchmark
    #[arg(value_name = "RUN.json")]
    pub(crate) record: PathBuf,
    /// Where the report goes; it needs no other file, and names those that the record names
    #[arg(short, long, value_name = "REPORT.html")]
    pub(crate) output: PathBuf,
    /// The provider's records (`bob serve --json`): his figures of the same run are put in
    #[arg(long, value_name = "BOB.json")]
    pub(crate) bob: Option<PathBuf>,
    /// A picture to put in, e.g. the overlay; may be repeated
    #[arg(long, value_name = "FILE.png")]
    pub(crate) picture: Vec<PathBuf>,
    /// Replace a report that exists
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// Flags of `bunet compare`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Compare {
    /// What to compare on.
    #[command(flatten)]
    pub(crate) what: CompareArgs,
    /// Strategies of the two-party backend.
    #[command(flatten)]
    pub(crate) plan: PlanFlags,
}

//! `bunet bench`: what networks of chosen shape cost, both parties as two processes over TLS, every voxel checked.
//!
//! Weights are random at a trained network's scale. A run counts only if the network is alive ([`alive`]) and the result is
//! the integer reference's, in every voxel and in every value of the layers that were recorded.

mod activations;
mod alive;
mod classifier;
mod growth;
mod link;
mod markdown;
mod measured;
mod network;
mod paper;
mod run;
mod study;
mod tables;

use clap::{Args, Subcommand};
use cli::{Failure, PlanFlags};
use models::zoo::Classifier;
use network::Architecture;
use std::path::{Path, PathBuf};

/// What is measured.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Bench {
    /// One U-Net with random weights
    Unet(Box<Unet>),
    /// The paper's four architectures, with a report and pictures
    Paper(paper::Paper),
    /// Cost against volume, channels and share bits, with a report and a picture
    Growth(growth::Growth),
    /// ResNet-50 with random weights
    Resnet50(Box<classifier::Flags>),
    /// SqueezeNet 1.1 with random weights
    Squeezenet(Box<classifier::Flags>),
    /// All strategies of every activation on the same values
    Activations(activations::Activations),
}

/// Flags of `bunet bench unet`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Unet {
    /// The network.
    #[command(flatten)]
    architecture: Architecture,
    /// Strategies.
    #[command(flatten)]
    plan: PlanFlags,
    /// How it is run.
    #[command(flatten)]
    conditions: Conditions,
    /// Write a record of the run, both parties' figures in one
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

/// How runs are done.
#[derive(Args, Clone, Debug)]
pub(crate) struct Conditions {
    /// Threads of each party [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Slow both parties down to a named network (see `bunet plan --help`), or `measured`: this machine's loopback,
    /// its rate and round trip measured
    #[arg(long, value_name = "NAME", default_value = "loopback", value_parser = network_of)]
    profile: Network,
    /// How many layers with exact results are compared, too; those that are exact up to carries always are
    #[arg(long, value_name = "N", default_value_t = 4)]
    sample_layers: usize,
}

/// The network between the parties.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Network {
    /// A named one, imitated.
    Named(net::Profile),
    /// This machine's loopback as it is, measured.
    Measured,
}

impl Network {
    /// Its name.
    fn name(self) -> &'static str {
        match self {
            Self::Named(profile) => profile.name,
            Self::Measured => "measured",
        }
    }
}

fn network_of(name: &str) -> Result<Network, String> {
    if name == "measured" {
        return Ok(Network::Measured);
    }
    cli::profile(name).map(Network::Named).map_err(|known| format!("{known}, measured"))
}

/// Measures.
pub(crate) fn bench(what: &Bench) -> Result<(), Failure> {
    let root = crate::pair::folder("bunet-bench-")?;
    crate::pair::remove_on_stop(root.path());
    match what {
        Bench::Unet(flags) => unet(flags, root.path()),
        Bench::Paper(flags) => paper::paper(flags, root.path()),
        Bench::Growth(flags) => growth::growth(flags, root.path()),
        Bench::Resnet50(flags) => classifier::classifier(Classifier::ResNet50, flags),
        Bench::Squeezenet(flags) => classifier::classifier(Classifier::SqueezeNet, flags),
        Bench::Activations(flags) => activations::activations(flags),
    }
}

fn unet(flags: &Unet, root: &Path) -> Result<(), Failure> {
    if let Some(path) = &flags.json {
        imaging::check_writable(path, imaging::Overwrite::Replace).map_err(Failure::output)?;
    }
    let config = flags.plan.config()?;
    let record = run::run(&flags.architecture, &config, false, &flags.conditions, root)?;
    tables::print(&record);
    if let Some(path) = &flags.json {
        cli::write_json(path, &record)?;
    }
    record.verdict()
}

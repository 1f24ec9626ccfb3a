//! One run: build, run both parties, compare.

use super::alive::Life;
use super::measured;
use super::network::{Architecture, write_scan};
use super::{Conditions, Network};
use crate::pair::{self, Pair};
use cli::{Failure, Kind};
use imaging::{LabelGreys, different, read_labels};
use models::graph::NodeId;
use models::record::{Agreement, RunRecord};
use models::{Model, bundle};
use protocol::cost::Exactness;
use protocol::{Config, Plan};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

/// The record of a run with what only a benchmark knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BenchRecord {
    #[serde(flatten)]
    pub(crate) run: RunRecord,
    pub(crate) bench: About,
}

/// What only a benchmark knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The network.
    pub(crate) architecture: Architecture,
    /// What was asked for.
    pub(crate) config: Config,
    /// Share bits that the network was quantised for.
    pub(crate) bits: u32,
    /// What quantisation said to fewer bits.
    pub(crate) refusals: Vec<String>,
    /// The network between the parties.
    pub(crate) network: Wire,
    /// Agreement of values between layers, those of all recorded layers together.
    pub(crate) values: Agreement,
    /// Layers whose inputs were recorded.
    pub(crate) compared_layers: usize,
    /// Whether the network is alive.
    pub(crate) life: Life,
    /// Seconds that the reference took.
    pub(crate) reference_seconds: f64,
}

/// Rate and round trip between the parties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// Each way; null where nothing limits it but the machine.
    pub(crate) bytes_per_second: Option<f64>,
    pub(crate) round_trip_seconds: f64,
}

impl BenchRecord {
    /// A failure unless the run counts.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let wrong = self.run.agreement.map_or(0, |labels| labels.different) + self.bench.values.different;
        if wrong > 0 {
            let message = format!("{wrong} voxels and values differ from the integer reference");
            return Err(Failure::new(Kind::Internal, message));
        }
        match self.bench.life.complaint() {
            Some(complaint) => Err(dead(&complaint)),
            None => Ok(()),
        }
    }
}

fn dead(complaint: &str) -> Failure {
    let remedy = "take another --seed, fewer --labels, more --bits or a larger --size";
    Failure::new(Kind::Plan, format!("the network is dead: {complaint}; {remedy}"))
}

/// Share bits where nothing is said.
const BITS: u32 = 20;

/// Widest shares.
const MOST_BITS: u32 = 40;

/// Builds the network, runs it and compares. With `widen`, shares get as many more bits as it takes to fit.
pub(crate) fn run(
    architecture: &Architecture,
    config: &Config,
    widen: bool,
    conditions: &Conditions,
    root: &Path,
) -> Result<BenchRecord, Failure> {
    let folder = tempfile::tempdir_in(root).map_err(Failure::output)?;
    let folder = folder.path();
    let profile = match conditions.profile {
        Network::Named(profile) => profile,
        Network::Measured => measured::profile()?,
    };
    let (also, refusals) = {
        let (model, refusals) = fit(architecture, config, widen)?;
        bundle::save(&model, &folder.join("model.bunet"), false).map_err(Failure::output)?;
        write_scan(&folder.join("scan.nii"), &architecture.scan()?)?;
        println!(
            "{}, {} bits, preset {}, OTs {}",
            architecture.words(),
            model.manifest.share_bits,
            config.preset.name(),
            config.ot.name()
        );
        (sample(&Plan::derive(&model.manifest, &unbound(config))?, conditions.sample_layers), refusals)
    }; // while the parties run, this process holds nothing large
    println!("Alice has the scan, Bob has the network: two processes, TLS 1.3 with pinned certificates.\n");
    let mut record = parties(folder, config, conditions, &also)?;
    record.command = "bunet bench".into();
    record.profile = profile.name.into();
    let (about, labels) = compare(architecture, config, folder)?;
    record.agreement = Some(labels);
    let network = Wire {
        bytes_per_second: Some(profile.bytes_per_second).filter(|rate| rate.is_finite()),
        round_trip_seconds: profile.round_trip.as_secs_f64(),
    };
    Ok(BenchRecord { run: record, bench: About { refusals, network, ..about } })
}

/// The configuration for a network that was quantised for the bits it names.
fn unbound(config: &Config) -> Config {
    Config { bits: None, ..config.clone() }
}

/// The network for the share bits that are asked for, or the least ones above that fit; and what was refused before.
fn fit(architecture: &Architecture, config: &Config, widen: bool) -> Result<(Model, Vec<String>), Failure> {
    let (draft, asked) = (architecture.draft()?, config.bits.unwrap_or(BITS));
    let mut refusals = Vec::new();
    for bits in asked.. {
        let model = match draft.quantise(bits) {
            Ok(model) => model,
            Err(refusal) if widen && refusal.kind() == Kind::Plan && bits < MOST_BITS => {
                refusals.push(format!("{bits} bits: {refusal}"));
                continue;
            }
            Err(refusal) => return Err(refusal),
        };
        Plan::derive(&model.manifest, &unbound(config))?; // no plan gets easier with wider shares
        return Ok((model, refusals));
    }
    unreachable!("the widest shares fit or are refused")
}

/// So many layers with exact results, evenly spread.
fn sample(plan: &Plan, count: usize) -> Vec<NodeId> {
    let exact = plan.layers().iter().filter(|layer| layer.step.exactness() == Exactness::Exact);
    let exact: Vec<NodeId> = exact.map(|layer| layer.id).collect();
    let count = count.min(exact.len());
    (0..count).map(|i| exact[(2 * i + 1) * exact.len() / (2 * count)]).collect()
}

fn parties(
    folder: &Path,
    config: &Config,
    conditions: &Conditions,
    also: &[NodeId],
) -> Result<RunRecord, Failure> {
    let shaped = match conditions.profile {
        Network::Named(profile) if profile.is_shaped() => Some(profile.name),
        _ => None,
    };
    let alice: Vec<OsString> = ["--input", "scan.nii", "--output", "labels.nii"].map(Into::into).into();
    Pair { folder, config: &unbound(config), threads: conditions.threads, profile: shaped, also, alice }.run()
}

/// Evaluates the reference and compares labels and recorded values.
fn compare(
    architecture: &Architecture,
    config: &Config,
    folder: &Path,
) -> Result<(About, Agreement), Failure> {
    let start = Instant::now();
    let model: Model = bundle::load(&folder.join("model.bunet")).map_err(Failure::input)?;
    let plan = Plan::derive(&model.manifest, &unbound(config))?;
    let input = model.manifest.quantise_input(&architecture.scan()?);
    let mut life = Life::default();
    let checked = pair::audit(folder, &plan, &model, &input, &mut |id, value| life.see(&model, id, value))?;
    let blind = read_labels(folder.join("labels.nii"), &LabelGreys::identity()).map_err(Failure::input)?;
    let labels = Agreement {
        total: blind.len() as u64,
        different: different(blind.mapv(u16::from).view(), checked.labels.view()),
    };
    let about = About {
        architecture: architecture.clone(),
        config: config.clone(),
        bits: model.manifest.share_bits,
        refusals: Vec::new(),
        network: Wire::default(),
        values: checked.values(),
        compared_layers: checked.inputs.len(),
        life,
        reference_seconds: start.elapsed().as_secs_f64(),
    };
    Ok((about, labels))
}

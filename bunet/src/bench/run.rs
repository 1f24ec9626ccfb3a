//! One run: build, run both parties, compare.

use super::Conditions;
use super::alive::Life;
use super::network::{Architecture, write_scan};
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
    /// Share bits that were asked for.
    pub(crate) bits: u32,
    /// Where oblivious transfers came from.
    pub(crate) ot: String,
    /// Agreement of values between layers, those of all recorded layers together.
    pub(crate) values: Agreement,
    /// Layers whose inputs were recorded.
    pub(crate) compared_layers: usize,
    /// Whether the network is alive.
    pub(crate) life: Life,
    /// Seconds that the reference took.
    pub(crate) reference_seconds: f64,
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

/// Builds the network, runs it and compares.
pub(crate) fn run(
    architecture: &Architecture,
    config: &Config,
    conditions: &Conditions,
) -> Result<BenchRecord, Failure> {
    let bits = config.bits.unwrap_or(BITS);
    let folder = pair::folder("bunet-bench-")?;
    pair::remove_on_stop(folder.path());
    let also = {
        let model = architecture.model(bits)?;
        bundle::save(&model, &folder.path().join("model.bunet"), false).map_err(Failure::output)?;
        write_scan(&folder.path().join("scan.nii"), &architecture.scan()?)?;
        sample(&Plan::derive(&model.manifest, config)?, conditions.sample_layers)
    }; // while the parties run, this process holds nothing large
    println!(
        "{}, {bits} bits, preset {}, OTs {}",
        architecture.words(),
        config.preset.name(),
        config.ot.name()
    );
    println!("Alice has the scan, Bob has the network: two processes, TLS 1.3 with pinned certificates.\n");
    let mut record = parties(folder.path(), config, conditions, &also)?;
    record.command = "bunet bench".into();
    record.profile = conditions.profile.name.into();
    let (about, labels) = compare(architecture, config, folder.path())?;
    record.agreement = Some(labels);
    Ok(BenchRecord { run: record, bench: About { bits, ..about } })
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
    let shaped = conditions.profile.is_shaped().then_some(conditions.profile.name);
    let alice: Vec<OsString> = ["--input", "scan.nii", "--output", "labels.nii"].map(Into::into).into();
    Pair { folder, config, threads: conditions.threads, profile: shaped, also, alice }.run()
}

/// Evaluates the reference and compares labels and recorded values.
fn compare(
    architecture: &Architecture,
    config: &Config,
    folder: &Path,
) -> Result<(About, Agreement), Failure> {
    let start = Instant::now();
    let model: Model = bundle::load(&folder.join("model.bunet")).map_err(Failure::input)?;
    let plan = Plan::derive(&model.manifest, config)?;
    let input = model.manifest.quantise_input(&architecture.scan()?);
    let mut life = Life::default();
    let checked = pair::audit(folder, &plan, &model, &input, &mut |id, value| life.see(&model, id, value))?;
    let blind = read_labels(folder.join("labels.nii"), &LabelGreys::identity()).map_err(Failure::input)?;
    let labels =
        Agreement { total: blind.len() as u64, different: different(blind.view(), checked.labels.view()) };
    let about = About {
        architecture: architecture.clone(),
        bits: model.manifest.share_bits,
        ot: config.ot.name().into(),
        values: checked.values(),
        compared_layers: checked.inputs.len(),
        life,
        reference_seconds: start.elapsed().as_secs_f64(),
    };
    Ok((about, labels))
}

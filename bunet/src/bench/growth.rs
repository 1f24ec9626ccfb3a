//! `bunet bench growth`: cost against volume, channels and share bits.

use super::network::Architecture;
use super::run::BenchRecord;
use super::study::{Case, Outcome, run_all};
use super::tables::cpu;
use super::{Conditions, markdown};
use clap::Args;
use cli::{Failure, PlanFlags, Table, sum};
use plot::{Diagram, curves};
use protocol::Config;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Flags of `bunet bench growth`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Growth {
    /// Activations
    #[arg(long = "arch", value_name = "NAME", default_value = "hybrid", value_parser = ["relu", "hybrid", "square"])]
    arch: String,
    /// Spatial axes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    dim: u8,
    /// Channels of each level, from the top
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [8, 16, 32])]
    channels: Vec<usize>,
    /// Extents of the scan, in rising order
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [16, 32, 48, 64])]
    sizes: Vec<usize>,
    /// Factors to the channels, in rising order, on the second of the sizes
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 2, 4])]
    widths: Vec<usize>,
    /// Share bits, in rising order, on the second of the sizes; the first of them stand for all other runs
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [20, 24, 28, 32])]
    share_bits: Vec<u32>,
    /// Where weights and scan come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Strategies.
    #[command(flatten)]
    plan: PlanFlags,
    /// How it is run.
    #[command(flatten)]
    conditions: Conditions,
    /// Where report, picture and records go; records that are there are kept, and their runs not made again
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// What is varied, and what it is counted in.
const AXES: [(&str, &str); 3] =
    [("volume", "voxels"), ("channels", "channels of the first level"), ("bits", "share bits")];

impl Growth {
    fn case(&self, axis: &str, size: usize, width: usize, bits: u32, config: &Config) -> Case {
        let value = match axis {
            "volume" => size,
            "channels" => self.channels[0] * width,
            _ => bits as usize,
        };
        Case {
            name: format!("{axis}-{value}"),
            architecture: Architecture {
                name: self.arch.clone(),
                activations: None,
                pool: "avg".into(),
                dim: self.dim,
                channels: self.channels.iter().map(|channels| channels * width).collect(),
                size: vec![size],
                labels: 3,
                seed: self.seed,
            },
            config: Config { bits: Some(bits), ..config.clone() },
        }
    }

    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let config = self.plan.config()?;
        let given = |what: &str| Failure::input(format!("--{what}: at least one number"));
        let &size = self.sizes.get(1).or(self.sizes.first()).ok_or_else(|| given("sizes"))?;
        let &bits = self.share_bits.first().ok_or_else(|| given("share-bits"))?;
        if self.channels.is_empty() {
            return Err(given("channels"));
        }
        let volume = self.sizes.iter().map(|&size| self.case("volume", size, 1, bits, &config));
        let channels = self.widths.iter().map(|&width| self.case("channels", size, width, bits, &config));
        let share_bits = self.share_bits.iter().map(|&bits| self.case("bits", size, 1, bits, &config));
        Ok(volume.chain(channels).chain(share_bits).collect())
    }
}

/// Runs the study.
pub(crate) fn growth(flags: &Growth, root: &Path) -> Result<(), Failure> {
    run_all(&flags.cases()?, &flags.conditions, &flags.out, root, |outcomes| report(flags, outcomes))
}

/// A name, and how to read it off a record.
type Figure = (&'static str, fn(&BenchRecord) -> f64);

/// What is drawn of a run.
const FIGURES: [Figure; 5] = [
    ("seconds on the clock", |record| total(record).seconds),
    ("CPU seconds", |record| cpu(&record.run)),
    ("bytes", |record| {
        let total = total(record);
        (total.bytes_alice_to_bob + total.bytes_bob_to_alice) as f64
    }),
    ("peak bytes of memory, Alice", |record| record.run.peak_memory_bytes.alice.unwrap_or(0) as f64),
    ("peak bytes of memory, Bob", |record| record.run.peak_memory_bytes.bob.unwrap_or(0) as f64),
];

fn total(record: &BenchRecord) -> models::record::PhaseRecord {
    sum([&record.run.phases.setup, &record.run.phases.offline, &record.run.phases.online])
}

/// Runs along one axis: what was varied, and the record.
fn along<'a>(axis: &str, dim: u8, outcomes: &'a [Outcome<'_>]) -> Vec<(f64, &'a BenchRecord)> {
    let own = outcomes.iter().filter(|outcome| outcome.case.name.split('-').next() == Some(axis));
    let value = |record: &BenchRecord| match axis {
        "volume" => (record.bench.architecture.size[0] as f64).powi(i32::from(dim)),
        "channels" => record.bench.architecture.channels[0] as f64,
        _ => f64::from(record.bench.bits),
    };
    own.filter_map(|outcome| outcome.record.as_ref().ok()).map(|record| (value(record), record)).collect()
}

fn report(flags: &Growth, outcomes: &[Outcome<'_>]) -> Result<(), Failure> {
    let records: Vec<&BenchRecord> =
        outcomes.iter().filter_map(|outcome| outcome.record.as_ref().ok()).collect();
    let mut text = markdown::head("Growth of the cost", &records);
    let channels: Vec<String> = flags.channels.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "{}-D, {}, channels {}, preset {}. Exponents are those of a power law between two neighbouring runs: 1 is linear.\n",
        flags.dim,
        flags.arch,
        channels.join("-"),
        flags.plan.config()?.preset.name()
    );
    let mut diagrams = Vec::new();
    for (axis, unit) in AXES {
        let runs = along(axis, flags.dim, outcomes);
        let _ = writeln!(text, "## {axis}\n");
        text += &table(unit, &runs);
        text.push('\n');
        diagrams.extend(FIGURES.map(|(title, figure)| Diagram {
            title: title.into(),
            axis: unit.into(),
            curves: vec![(String::new(), runs.iter().map(|(x, record)| (*x, figure(record))).collect())],
            linear: true,
        }));
    }
    text += "![growth](growth.svg)\n";
    markdown::write(&flags.out.join("growth.svg"), &curves(&diagrams, FIGURES.len()))?;
    markdown::write(&flags.out.join("report.md"), &text)
}

fn table(unit: &str, runs: &[(f64, &BenchRecord)]) -> String {
    let mut columns = vec![unit];
    FIGURES.iter().for_each(|(title, _)| columns.extend([*title, "exponent"]));
    let mut table = Table::new(&markdown::columns(&columns));
    for (i, (x, record)) in runs.iter().enumerate() {
        let mut cells = vec![format!("{x:.0}")];
        for (_, figure) in FIGURES {
            let y = figure(record);
            let before = i.checked_sub(1).map(|before| &runs[before]).filter(|before| before.0 != *x);
            let exponent = before.map(|(x0, record)| (y / figure(record)).ln() / (x / x0).ln());
            cells.push(if y < 1e4 { format!("{y:.2}") } else { format!("{:.1} M", y / 1e6) });
            cells.push(exponent.map_or_else(String::new, |exponent| format!("{exponent:.2}")));
        }
        table.push(cells);
    }
    table.markdown()
}

//! `bunet bench paper`: the paper's architectures, its times beside ours, where ours go.

use super::network::Architecture;
use super::run::BenchRecord;
use super::study::{Case, Outcome, run_all};
use super::tables::{self, cpu};
use super::{Conditions, markdown};
use crate::costs::spent_by_both;
use clap::Args;
use cli::{Failure, Table, bytes, seconds, sum};
use meter::Primitive;
use plot::{Bar, Group, bars, groups};
use protocol::{Config, Preset};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Flags of `bunet bench paper`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Paper {
    /// Spatial axes: 3 as the paper's heart volumes, 2 as its microscope pictures
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    dim: u8,
    /// Extent of the scan along every axis; the paper has 64 with three axes, 200 with two
    #[arg(long, value_name = "N", default_value_t = 64)]
    size: usize,
    /// Channels of each level, from the top
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [64, 128, 256, 512])]
    channels: Vec<usize>,
    /// Presets to run each architecture with
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "gc,bunet", value_parser = cli::preset)]
    presets: Vec<Preset>,
    /// Runs whose name contains one of these, e.g. `relu16` or `hybrid20-gc`
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Where weights and scan come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How it is run.
    #[command(flatten)]
    conditions: Conditions,
    /// Where report, pictures and records go; records that are there are kept, and their runs not made again
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// A row of the paper's tables.
struct Row {
    name: &'static str,
    title: &'static str,
    arch: &'static str,
    pool: &'static str,
    bits: u32,
    /// The paper's seconds for 64×64×64 (HVSMR) and 200×200 (EM).
    volume: f64,
    picture: f64,
}

#[rustfmt::skip]
const ROWS: [Row; 4] = [
    Row { name: "relu32max", title: "ReLU, 32 bits, max pooling", arch: "relu", pool: "max", bits: 32, volume: 42_616.0, picture: 8_838.0 },
    Row { name: "relu16", title: "ReLU, 16 bits", arch: "relu", pool: "avg", bits: 16, volume: 14_205.0, picture: 2_969.0 },
    Row { name: "hybrid20", title: "hybrid, 20 bits", arch: "hybrid", pool: "avg", bits: 20, volume: 3_054.0, picture: 1_078.0 },
    Row { name: "square16", title: "square, 16 bits", arch: "square", pool: "avg", bits: 16, volume: 1_118.0, picture: 227.0 },
];

impl Paper {
    /// The paper's network is one with these channels, on this size.
    fn is_full(&self) -> bool {
        let size = if self.dim == 3 { 64 } else { 200 };
        self.size == size && self.channels == [64, 128, 256, 512]
    }

    fn papers_seconds(&self, row: &Row) -> f64 {
        if self.dim == 3 { row.volume } else { row.picture }
    }

    /// The runs that are wanted.
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let mut all = self.all();
        let names: Vec<&str> = all.iter().map(|case| case.name.as_str()).collect();
        if let Some(part) =
            self.only.iter().find(|part| !names.iter().any(|name| name.contains(part.as_str())))
        {
            let names = names.join(", ");
            return Err(Failure::input(format!(
                "--only: no run has `{part}` in its name; there are: {names}"
            )));
        }
        all.retain(|case| self.only.is_empty() || self.only.iter().any(|part| case.name.contains(part)));
        Ok(all)
    }

    /// All runs with these presets.
    fn all(&self) -> Vec<Case> {
        let case = |row: &Row, preset: Preset| Case {
            name: format!("{}-{}", row.name, preset.name()),
            architecture: Architecture {
                name: row.arch.into(),
                activations: None,
                pool: row.pool.into(),
                dim: self.dim,
                channels: self.channels.clone(),
                size: vec![self.size],
                labels: if self.dim == 3 { 3 } else { 2 },
                seed: self.seed,
            },
            config: Config { preset, bits: Some(row.bits), ..Config::default() },
        };
        // The quickest architectures first: an interrupted study has most to show.
        let rows = ROWS.iter().rev();
        rows.flat_map(|row| self.presets.iter().map(move |&preset| case(row, preset))).collect()
    }
}

/// Runs the study.
pub(crate) fn paper(flags: &Paper, root: &Path) -> Result<(), Failure> {
    run_all(&flags.cases()?, &flags.conditions, &flags.out, root, |outcomes| report(flags, outcomes))
}

/// The row and preset of every run that counts, slowest architecture first.
fn sound<'a>(outcomes: &'a [Outcome<'_>]) -> Vec<(&'static Row, &'a Outcome<'a>, &'a BenchRecord)> {
    let of = |row: &'static Row| {
        let own = move |outcome: &&Outcome<'_>| outcome.case.name.split('-').next() == Some(row.name);
        outcomes
            .iter()
            .filter(own)
            .filter_map(move |outcome| Some((row, outcome, outcome.record.as_ref().ok()?)))
    };
    ROWS.iter().flat_map(of).collect()
}

fn report(flags: &Paper, outcomes: &[Outcome<'_>]) -> Result<(), Failure> {
    let runs = sound(outcomes);
    let presets: Vec<Preset> = flags.presets.clone();
    let mut text =
        markdown::head("The paper's architectures", &runs.iter().map(|run| run.2).collect::<Vec<_>>());
    let shape = if flags.dim == 3 { "a volume" } else { "a picture" };
    let _ = writeln!(
        text,
        "{shape} of {} voxels a side, channels {}, random weights; seconds are on the clock, set-up and offline phase \
         included, both parties on one machine. The paper's times are for {}, one thread each, with parameters below \
         128 bits of security.\n",
        flags.size,
        flags.channels.iter().map(ToString::to_string).collect::<Vec<_>>().join("-"),
        if flags.dim == 3 { "HVSMR, 64×64×64" } else { "EM, 200×200" },
    );
    text += &table(flags, &runs);
    text += "\n## Phases\n\nThe page of a run has its layers and primitives.\n\n";
    text += &phases(&runs);
    for (row, outcome, record) in &runs {
        let title = format!("{}, preset {}", row.title, record.run.preset);
        markdown::write(&flags.out.join(format!("{}.md", outcome.case.name)), &tables::page(&title, record))?;
    }
    text += "\n## Where the time goes\n\nCPU seconds of both parties by building block.\n\n";
    for preset in &presets {
        let own: Vec<_> = runs.iter().filter(|run| run.2.run.preset == preset.name()).copied().collect();
        if !own.is_empty() {
            let picture = format!("blocks-{}.svg", preset.name());
            markdown::write(&flags.out.join(&picture), &blocks(preset.name(), &own))?;
            let _ = writeln!(text, "![preset {}]({picture})\n", preset.name());
        }
    }
    if !runs.is_empty() {
        markdown::write(&flags.out.join("time.svg"), &times(flags, &runs))?;
        text += "## Seconds by architecture\n\n![seconds](time.svg)\n";
    }
    text += &notes(outcomes);
    markdown::write(&flags.out.join("report.md"), &text)
}

/// The paper's Table 1 beside our figures.
fn table(flags: &Paper, runs: &[(&'static Row, &Outcome<'_>, &BenchRecord)]) -> String {
    let mut table = Table::new(&markdown::columns(&[
        "architecture",
        "paper, s",
        "preset",
        "s",
        "ratio",
        "CPU s",
        "GB",
        "rounds",
        "peak MB, Alice/Bob",
        "shares",
        "voxels equal",
        "values equal",
    ]));
    for (row, _, record) in runs {
        let total = sum([&record.run.phases.setup, &record.run.phases.offline, &record.run.phases.online]);
        let peak = record.run.peak_memory_bytes;
        let megabytes =
            |peak: Option<u64>| peak.map_or("-".into(), |peak| format!("{:.0}", peak as f64 / 1e6));
        let ratio = flags.papers_seconds(row) / total.seconds;
        let (labels, values) = (record.run.agreement.unwrap_or_default(), record.bench.values);
        let equal = |all: models::record::Agreement| match all.different {
            0 => "all".to_owned(),
            different => format!("all but {different}"),
        };
        table.push(vec![
            row.title.into(),
            format!("{:.0}", flags.papers_seconds(row)),
            record.run.preset.clone(),
            format!("{:.1}", total.seconds),
            if flags.is_full() { format!("{ratio:.0}×") } else { "-".into() },
            format!("{:.1}", cpu(&record.run)),
            format!("{:.2}", (total.bytes_alice_to_bob + total.bytes_bob_to_alice) as f64 / 1e9),
            total.rounds.to_string(),
            format!("{} / {}", megabytes(peak.alice), megabytes(peak.bob)),
            record.run.parameters.moduli.join(", "),
            equal(labels),
            equal(values),
        ]);
    }
    table.markdown()
}

/// Every run's phases.
fn phases(runs: &[(&'static Row, &Outcome<'_>, &BenchRecord)]) -> String {
    let mut columns = vec!["run"];
    for phase in ["setup, s", "offline, s", "online, s"] {
        columns.extend([phase, "CPU s, Alice/Bob", "MB up", "MB down", "rounds"]);
    }
    let mut table = Table::new(&markdown::columns(&columns));
    for (_, outcome, record) in runs {
        let phases = &record.run.phases;
        let mut row = vec![format!("[{0}]({0}.md)", outcome.case.name)];
        for phase in [&phases.setup, &phases.offline, &phases.online] {
            let cpu =
                |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.2}"));
            row.push(format!("{:.2}", phase.seconds));
            row.push(format!("{} / {}", cpu(phase.cpu_seconds_alice), cpu(phase.cpu_seconds_bob)));
            row.extend([phase.bytes_alice_to_bob, phase.bytes_bob_to_alice].map(cli::megabytes));
            row.push(phase.rounds.to_string());
        }
        table.push(row);
    }
    table.markdown()
}

/// The paper's Fig. 2: stacked bars of building blocks.
fn blocks(preset: &str, runs: &[(&'static Row, &Outcome<'_>, &BenchRecord)]) -> String {
    let mut names: Vec<&str> = Primitive::ALL.map(Primitive::name).into();
    names.push("other");
    let bar = |(row, _, record): &(&'static Row, &Outcome<'_>, &BenchRecord)| {
        let efforts = &record.run.efforts;
        let in_all = |primitive: Primitive| {
            [&efforts.setup, &efforts.offline, &efforts.online]
                .iter()
                .map(|effort| spent_by_both(effort, primitive))
                .sum()
        };
        let mut parts: Vec<f64> = Primitive::ALL.map(in_all).into();
        parts.push((cpu(&record.run) - parts.iter().sum::<f64>()).max(0.0));
        Bar { label: row.title.into(), note: seconds(cpu(&record.run)), parts }
    };
    bars(
        &format!("CPU time of both parties, preset {preset}"),
        &names,
        &runs.iter().map(bar).collect::<Vec<_>>(),
    )
}

/// Seconds by architecture, the paper's and ours, on a logarithmic scale.
fn times(flags: &Paper, runs: &[(&'static Row, &Outcome<'_>, &BenchRecord)]) -> String {
    let note = |time: f64| if time < 100.0 { format!("{time:.1} s") } else { format!("{time:.0} s") };
    let presets: Vec<&str> = flags.presets.iter().map(|preset| preset.name()).collect();
    let names: Vec<&str> = std::iter::once("the paper").chain(presets.iter().copied()).collect();
    let rows = ROWS.iter().map(|row| {
        let paper = Some((0, flags.papers_seconds(row), note(flags.papers_seconds(row))));
        let own = runs.iter().filter(|run| run.0.name == row.name).filter_map(|(_, _, record)| {
            let place = presets.iter().position(|name| *name == record.run.preset)?;
            Some((1 + place, clock(record), note(clock(record))))
        });
        let bars = paper.filter(|_| flags.is_full()).into_iter().chain(own).collect();
        Group { label: row.title.into(), bars }
    });
    let rows: Vec<Group> = rows.filter(|group| !group.bars.is_empty()).collect();
    groups("seconds on the clock", &names, &rows)
}

fn clock(record: &BenchRecord) -> f64 {
    let phases = &record.run.phases;
    phases.setup.seconds + phases.offline.seconds + phases.online.seconds
}

/// What the planner refused, what failed, what is dead.
fn notes(outcomes: &[Outcome<'_>]) -> String {
    let mut text = String::from("\n## Notes\n\n");
    let mut note = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "- {line}");
    };
    for outcome in outcomes {
        let name = &outcome.case.name;
        match &outcome.record {
            Err(failure) => note(format_args!("`{name}` failed: {failure}")),
            Ok(record) => {
                if let Some(first) = record.bench.refusals.first() {
                    note(format_args!("`{name}` runs with {} bits: {first}", record.bench.bits));
                }
                if let Err(failure) = record.verdict() {
                    note(format_args!("`{name}` does not count: {failure}"));
                }
                if record.bench.life.beyond > 0 {
                    note(format_args!(
                        "`{name}`: {} values beyond their proved range",
                        record.bench.life.beyond
                    ));
                }
                let traffic =
                    sum([&record.run.phases.setup, &record.run.phases.offline, &record.run.phases.online]);
                note(format_args!(
                    "`{name}`: {} up, {} down, {}",
                    bytes(traffic.bytes_alice_to_bob),
                    bytes(traffic.bytes_bob_to_alice),
                    tables::life(&record.bench.life)
                ));
            }
        }
    }
    text
}

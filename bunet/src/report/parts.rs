//! The parts of a report.

use super::page::Page;
use crate::costs::{waits_by_layer, waits_by_phase};
use cli::{Align, CaseStatus, FolderRecord, Table, bytes, is_idle, seconds, sum};
use models::record::{Effort, LayerRecord, PhaseRecord, RunRecord};
use plot::{Bar, bars};
use std::collections::BTreeMap;

/// Most layers that are drawn; the table has all.
const DRAWN: usize = 40;

/// What ran, where, from which version.
pub(super) fn head(page: &mut Page, run: &RunRecord) {
    let commit = run.commit.as_deref().unwrap_or("unknown");
    let made = format!("bunet {}, commit {commit}, `{}`", run.version, run.command);
    page.paragraph(&format!("{made}; backend {}, preset {}.", run.backend, run.preset));
    let threads = format!("{} threads per party", run.threads);
    page.paragraph(&format!("{}, {threads}; network between the parties: {}.", run.machine, run.profile));
    page.paragraph("Research software, not a medical device.");
}

fn total(run: &RunRecord) -> PhaseRecord {
    sum([&run.phases.setup, &run.phases.offline, &run.phases.online])
}

/// What a reader looks for first.
pub(super) fn figures(page: &mut Page, run: &RunRecord) {
    let total = total(run);
    let mut figures = vec![
        ("time", seconds(total.seconds)),
        ("Alice to Bob", bytes(total.bytes_alice_to_bob)),
        ("Bob to Alice", bytes(total.bytes_bob_to_alice)),
        ("rounds", total.rounds.to_string()),
    ];
    let both = |alice: Option<String>, bob: Option<String>| match (alice, bob) {
        (None, None) => None,
        (alice, bob) => Some([alice, bob].map(|value| value.unwrap_or_else(|| "-".into())).join(" / ")),
    };
    let cpu = both(total.cpu_seconds_alice.map(seconds), total.cpu_seconds_bob.map(seconds));
    let memory = both(run.peak_memory_bytes.alice.map(bytes), run.peak_memory_bytes.bob.map(bytes));
    figures.extend(cpu.map(|cpu| ("CPU, Alice / Bob", cpu)));
    figures.extend(memory.map(|memory| ("peak memory, Alice / Bob", memory)));
    if let Some(found) = run.agreement {
        let equal = format!("{} of {}", found.total - found.different, found.total);
        figures.push(("voxels equal to the integer reference", equal));
    }
    let dice = run.dice.iter().flatten().map(|(name, dice)| (format!("Dice {name}"), format!("{dice:.4}")));
    let dice: Vec<(String, String)> = dice.collect();
    figures.extend(dice.iter().map(|(name, dice)| (name.as_str(), dice.clone())));
    page.figures(&figures);
}

/// Every scan of a folder.
pub(super) fn cases(page: &mut Page, folder: &FolderRecord) {
    use Align::{Left, Right};
    page.heading("Scans");
    page.paragraph(&folder.summary.to_string());
    let mut table = Table::new(&[
        ("scan", Left),
        ("", Left),
        ("seconds", Right),
        ("MB up", Right),
        ("MB down", Right),
        ("Dice", Left),
    ]);
    for case in &folder.cases {
        let status = match case.status {
            CaseStatus::Done => "done".to_owned(),
            CaseStatus::Skipped => "finished before".to_owned(),
            CaseStatus::Left => "not tried".to_owned(),
            CaseStatus::Failed => format!("failed: {}", case.error.as_deref().unwrap_or("unknown")),
        };
        let dice: Vec<String> =
            case.dice.iter().flatten().map(|(name, dice)| format!("{name} {dice:.4}")).collect();
        table.row([
            case.case.clone(),
            status,
            format!("{:.2}", case.seconds),
            cli::megabytes(case.bytes_alice_to_bob),
            cli::megabytes(case.bytes_bob_to_alice),
            dice.join(", "),
        ]);
    }
    page.table(&table);
    if folder.summary.done > 1 {
        page.paragraph("What follows is the sum over all scans that were done.");
    }
}

/// Set-up, offline, online.
pub(super) fn phases(page: &mut Page, run: &RunRecord) {
    page.heading("Phases");
    page.table(&cli::phases(run));
    page.paragraph("Bytes count payload and framing as handed to TLS; 1 MB is 10^6 bytes.");
    if let Some(pool) = &run.pool {
        let (items, live) = (pool.items, pool.live);
        let made = bytes(pool.prepared.bytes_alice_to_bob + pool.prepared.bytes_bob_to_alice);
        let text = format!(
            "{items} runs took what was prepared beforehand ({made} then), {live} made it as they went."
        );
        page.paragraph(&text);
    }
    let parts: Vec<(String, BTreeMap<String, f64>)> = primitives(run);
    let mut names: Vec<&str> = parts.iter().flat_map(|(_, by)| by.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<Bar> = parts
        .iter()
        .map(|(label, by)| Bar {
            label: label.clone(),
            parts: names.iter().map(|name| by.get(*name).copied().unwrap_or(0.0)).collect(),
            note: seconds(by.values().sum()),
        })
        .collect();
    if !rows.is_empty() {
        page.drawing(&bars("CPU time by primitive", &names, &rows));
    }
}

/// CPU seconds by primitive, of each party in each phase where they are known.
fn primitives(run: &RunRecord) -> Vec<(String, BTreeMap<String, f64>)> {
    let efforts = &run.efforts;
    let phases: [(&str, &Effort); 3] =
        [("setup", &efforts.setup), ("offline", &efforts.offline), ("online", &efforts.online)];
    let mut found = Vec::new();
    for (phase, effort) in phases {
        for (party, by) in [("Alice", &effort.primitives.alice), ("Bob", &effort.primitives.bob)] {
            if let Some(by) = by.as_ref().filter(|by| by.values().sum::<f64>() > 0.0) {
                found.push((format!("{phase}, {party}"), by.clone()));
            }
        }
    }
    found
}

/// As much of a name's end as stands beside a bar.
fn ending(name: &str) -> String {
    const LONGEST: usize = 30;
    let length = name.chars().count();
    if length <= LONGEST {
        return name.to_owned();
    }
    std::iter::once('…').chain(name.chars().skip(length - LONGEST + 1)).collect()
}

/// What every layer cost, drawn and in figures.
pub(super) fn layers(page: &mut Page, run: &RunRecord) {
    let mut working: Vec<(usize, &LayerRecord)> =
        run.layers.iter().filter(|layer| !is_idle(layer)).enumerate().collect();
    if working.is_empty() {
        return;
    }
    page.heading("Layers");
    if working.len() > DRAWN {
        let cost = |layer: &LayerRecord| layer.seconds;
        working.sort_by(|a, b| cost(b.1).total_cmp(&cost(a.1)));
        working.truncate(DRAWN);
        working.sort_by_key(|(place, _)| *place);
        page.paragraph(&format!("Drawn are the {DRAWN} that took longest."));
    }
    let draw = |title: &str, names: &[&str], parts: &dyn Fn(&LayerRecord) -> (Vec<f64>, String)| {
        let bar = |(_, layer): &(usize, &LayerRecord)| {
            let (parts, note) = parts(layer);
            Bar { label: ending(&layer.name), parts, note }
        };
        let rows: Vec<Bar> =
            working.iter().map(bar).filter(|bar| bar.parts.iter().any(|part| *part > 0.0)).collect();
        bars(title, names, &rows)
    };
    page.drawing(&draw("Time", &["seconds"], &|layer| (vec![layer.seconds], seconds(layer.seconds))));
    page.drawing(&draw("Bytes", &["Alice to Bob", "Bob to Alice"], &|layer| {
        let (up, down) = (layer.bytes_alice_to_bob, layer.bytes_bob_to_alice);
        (vec![up as f64, down as f64], bytes(up + down))
    }));
    page.table(&cli::layers(run));
    cli::layer_phases(run).iter().for_each(|table| page.table(table));
    if let Some((phases, layers)) = waits_by_phase(run).zip(waits_by_layer(run)) {
        page.paragraph("What the parties waited for:");
        page.table(&phases);
        page.table(&layers);
    }
    let as_planned = |layer: &&LayerRecord| {
        (layer.bytes_alice_to_bob, layer.bytes_bob_to_alice)
            == (layer.predicted_bytes_alice_to_bob, layer.predicted_bytes_bob_to_alice)
    };
    let exact = run.layers.iter().filter(as_planned).count();
    let of = run.layers.len();
    page.paragraph(&format!(
        "Up is from Alice to Bob. {exact} of {of} layers sent the bytes that the plan said."
    ));
}

/// What the run's security rests on, and which network it was.
pub(super) fn parameters(page: &mut Page, run: &RunRecord) {
    page.heading("Parameters");
    let parameters = &run.parameters;
    let mut table = Table::new(&[("parameter", Align::Left), ("value", Align::Left)]);
    let lattices = parameters.degrees.iter().zip(&parameters.log2_q);
    let lattices: Vec<String> = lattices.map(|(n, q)| format!("degree {n}, log2 q {q:.1}")).collect();
    for (name, value) in [
        ("network", run.model.name.clone()),
        ("hash of its manifest", run.model.manifest_hash.clone()),
        ("shares modulo", parameters.moduli.join(", ")),
        ("widest share", format!("{} bits", parameters.share_bits)),
        ("lattices", lattices.join("; ")),
        ("security of the lattices", format!("{} bits, estimated", parameters.security_bits)),
        ("statistical security", format!("{} bits per run", parameters.statistical_bits)),
        ("files written", run.outputs.join(", ")),
    ] {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    }
    page.table(&table);
}

//! What a run tells: on the terminal, and on a page of its own.

use super::alive::Life;
use super::markdown;
use super::run::BenchRecord;
use crate::costs::{Part, Party, primitives_by_layer, primitives_by_phase, waits_by_layer, waits_by_phase};
use cli::{Table, bytes, seconds, sum};
use models::record::RunRecord;

/// Everything about one run.
pub(crate) fn print(record: &BenchRecord) {
    let run = &record.run;
    println!("{}", cli::layer_table(run));
    println!("{}", cli::phase_lines(run));
    let apart = cli::layer_phases(run);
    for table in apart.into_iter().chain(waits_by_layer(run)).chain(waits_by_phase(run)) {
        println!("{}", table.render());
    }
    for party in Party::BOTH {
        if let Some(table) = primitives_by_layer(run, party, Part::Both) {
            println!("CPU seconds of {}\n{}", party.name(), table.render());
        }
    }
    println!("{}", primitives_by_phase(run).render());
    println!("{}", closing(record));
}

/// Everything about one run in Markdown. Records of old have fewer tables.
pub(crate) fn page(title: &str, record: &BenchRecord) -> String {
    let run = &record.run;
    let mut text = markdown::head(title, &[record]);
    let mut section = |name: &str, words: &str, table: Option<Table>| {
        if let Some(table) = table {
            text += &format!("## {name}\n\n{words}{}\n", table.markdown());
        }
    };
    section("Phases", "", Some(cli::phases(run)));
    section("Layers", "Up is from Alice to Bob.\n\n", Some(cli::layers(run)));
    section("Layers, offline and online apart", "", cli::layer_phases(run));
    section("What the parties waited for", WAITS, waits_by_phase(run));
    section("What the parties waited for, layer by layer", "", waits_by_layer(run));
    section("CPU time by primitive", "", Some(primitives_by_phase(run)));
    let parts: &[(Part, &str)] = if run.layers.iter().any(|layer| layer.phases.is_some()) {
        &[(Part::Offline, ", offline"), (Part::Online, ", online")]
    } else {
        &[(Part::Both, "")]
    };
    for party in Party::BOTH {
        for (part, phase) in parts {
            let name = format!("CPU seconds of {} by layer and primitive{phase}", party.name());
            section(&name, "", primitives_by_layer(run, party, *part));
        }
    }
    text + &closing(record).lines().map(|line| format!("{line}  \n")).collect::<String>()
}

/// How the tables of waits are to be read.
const WAITS: &str = "A party waits where none of its threads works: for bytes on which the other party works, for the \
network where both wait, or for room in its queue of outgoing bytes. The rest of its clock it works, or has work and no \
core.\n\n";

/// The last lines.
pub(crate) fn closing(record: &BenchRecord) -> String {
    let run = &record.run;
    let total = sum([&run.phases.setup, &run.phases.offline, &run.phases.online]);
    let memory = |peak: Option<u64>| peak.map_or_else(|| "unknown".to_owned(), bytes);
    let (labels, values, life) = (run.agreement.unwrap_or_default(), record.bench.values, &record.bench.life);
    let mut lines = vec![
        format!(
            "{} on the clock, {} of CPU time, {} in both directions, {} rounds, network: {}{}",
            seconds(total.seconds),
            seconds(cpu(run)),
            bytes(total.bytes_alice_to_bob + total.bytes_bob_to_alice),
            total.rounds,
            run.profile,
            wire(record)
        ),
        format!(
            "peak memory: Alice {}, Bob {}; shares modulo {}",
            memory(run.peak_memory_bytes.alice),
            memory(run.peak_memory_bytes.bob),
            run.parameters.moduli.join(", ")
        ),
        format!(
            "the integer reference with this run's carries: {} of {} voxels equal, and {} of {} values in {} layers ({})",
            labels.total - labels.different,
            labels.total,
            values.total - values.different,
            values.total,
            record.bench.compared_layers,
            seconds(record.bench.reference_seconds)
        ),
        self::life(life),
    ];
    if life.beyond > 0 {
        lines.push(format!("{} values lie beyond the range that was proved for them", life.beyond));
    }
    lines.join("\n")
}

/// CPU seconds of both parties in all phases.
pub(crate) fn cpu(run: &RunRecord) -> f64 {
    let total = sum([&run.phases.setup, &run.phases.offline, &run.phases.online]);
    total.cpu_seconds_alice.unwrap_or(0.0) + total.cpu_seconds_bob.unwrap_or(0.0)
}

/// How alive the network is, in words.
pub(crate) fn life(life: &Life) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    format!(
        "labels: {}; active ReLUs: {}",
        life.labels.iter().map(|&share| percent(share)).collect::<Vec<_>>().join(", "),
        life.range().map_or_else(
            || "none there".to_owned(),
            |(least, most)| format!("{} to {} of each layer's", percent(least), percent(most))
        )
    )
}

/// Rate and round trip where they were measured or are imitated.
pub(crate) fn wire(record: &BenchRecord) -> String {
    let wire = record.bench.network;
    let rate = |rate: f64| format!(" ({}/s, {:.2} ms)", bytes(rate as u64), wire.round_trip_seconds * 1e3);
    wire.bytes_per_second.map_or_else(String::new, rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn committed_records_still_make_pages() {
        let reports = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reports");
        let mut pages = 0;
        for folder in ["paper-64", "em-200"] {
            for entry in std::fs::read_dir(format!("{reports}/{folder}")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let record: BenchRecord = serde_json::from_str(&text).unwrap();
                    let page = page("a run", &record);
                    assert!(
                        page.contains("| down0a | conv |") && page.contains("| reply |"),
                        "{}",
                        path.display()
                    );
                    pages += 1;
                }
            }
        }
        assert!(pages > 3, "{pages} records");
    }
}

//! What the demo tells.

use super::Stage;
use super::check::Checked;
use crate::args::Demo;
use cli::{Failure, bytes, seconds, sum};
use models::record::RunRecord;

/// Before the run.
pub(super) fn announce(stage: &Stage<'_>, flags: &Demo) -> Result<(), Failure> {
    let preset = flags.plan.config()?.preset.name();
    println!("Blind segmentation of {} by {}, preset {preset}.", stage.case.scan.name, stage.case.name);
    println!("Alice has the scan, Bob has the network: two processes, TLS 1.3 with pinned certificates.\n");
    Ok(())
}

/// After it.
pub(super) fn print(record: &RunRecord, checked: &Checked) {
    println!("{}", cli::layer_table(record));
    println!("{}", cli::phase_lines(record));
    let total = sum([&record.phases.setup, &record.phases.offline, &record.phases.online]);
    let cpu = total.cpu_seconds_alice.unwrap_or(0.0) + total.cpu_seconds_bob.unwrap_or(0.0);
    println!(
        "{} on the clock, {} of CPU time, {} in both directions",
        seconds(total.seconds),
        seconds(cpu),
        bytes(total.bytes_alice_to_bob + total.bytes_bob_to_alice)
    );
    let parameters = &record.parameters;
    println!(
        "shares modulo {}; lattices of {}+ bits, {} statistical bits per run",
        parameters.moduli.join(", "),
        parameters.security_bits,
        parameters.statistical_bits
    );
    let memory = |peak: Option<u64>| peak.map_or_else(|| "unknown".to_owned(), bytes);
    let peaks = &record.peak_memory_bytes;
    println!("peak memory: Alice {}, Bob {}\n", memory(peaks.alice), memory(peaks.bob));

    let width = checked.scores.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
    for (name, own, trivial) in &checked.scores {
        let dice =
            |score: Option<f64>| score.map_or_else(|| "  -   ".to_owned(), |dice| format!("{dice:.4}"));
        println!("Dice {name:<width$}  {}  (trivial answer {})", dice(own.dice), dice(trivial.dice));
    }
    let agreement = checked.agreement;
    println!(
        "the integer reference with this run's carries: {} of {} voxels equal",
        agreement.total - agreement.different,
        agreement.total
    );
    println!("the integer reference without carries: {} differ\n", checked.without_carries);
    println!("{}", record.outputs.join("\n"));
}

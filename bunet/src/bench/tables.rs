//! What a run tells on the terminal.

use super::alive::Life;
use super::run::BenchRecord;
use cli::{Align, Table, bytes, seconds, sum};
use meter::Primitive;
use models::record::{Effort, LayerRecord, PerParty, RunRecord, Waits};

/// Everything about one run.
pub(crate) fn print(record: &BenchRecord) {
    let run = &record.run;
    println!("{}", cli::layer_table(run));
    println!("{}", cli::phase_lines(run));
    println!("{}", layer_efforts(run));
    println!("{}", phase_efforts(run));
    println!("{}", closing(record));
}

/// Primitives that took any time in this run.
fn occurring(run: &RunRecord) -> Vec<Primitive> {
    let efforts = [&run.efforts.setup, &run.efforts.offline, &run.efforts.online];
    let occurs = |primitive: &Primitive| efforts.iter().any(|effort| spent(effort, *primitive) >= 0.005);
    Primitive::ALL.into_iter().filter(occurs).collect()
}

fn of(primitives: &Option<std::collections::BTreeMap<String, f64>>, primitive: Primitive) -> f64 {
    primitives.as_ref().and_then(|map| map.get(primitive.name())).copied().unwrap_or(0.0)
}

/// CPU seconds of both parties.
pub(crate) fn spent(effort: &Effort, primitive: Primitive) -> f64 {
    of(&effort.primitives.alice, primitive) + of(&effort.primitives.bob, primitive)
}

fn cell(seconds: f64) -> String {
    if seconds < 0.005 { "·".to_owned() } else { format!("{seconds:.2}") }
}

/// Per layer, CPU seconds of both parties by primitive.
fn layer_efforts(run: &RunRecord) -> String {
    let primitives = occurring(run);
    let mut columns = vec![("CPU seconds of both", Align::Left)];
    columns.extend(primitives.iter().map(|primitive| (primitive.name(), Align::Right)));
    columns.extend([("other", Align::Right), ("clock", Align::Right), ("bound by", Align::Left)]);
    let mut table = Table::new(&columns);
    for layer in &run.layers {
        if total(&layer.effort) < 0.005 && layer.seconds < 0.005 {
            continue;
        }
        let mut cells = vec![layer.name.clone()];
        cells.extend(efforts(&layer.effort, &primitives));
        cells.extend([format!("{:.2}", layer.seconds), bound(layer)]);
        table.push(cells);
    }
    table.render()
}

/// CPU seconds by primitive, and the rest.
fn efforts(effort: &Effort, primitives: &[Primitive]) -> Vec<String> {
    let parts: Vec<f64> = primitives.iter().map(|&primitive| spent(effort, primitive)).collect();
    let other = total(effort) - parts.iter().sum::<f64>();
    parts.into_iter().chain([other]).map(cell).collect()
}

fn total(effort: &Effort) -> f64 {
    effort.cpu_seconds.alice.unwrap_or(0.0) + effort.cpu_seconds.bob.unwrap_or(0.0)
}

/// Per phase and party, CPU seconds by primitive and seconds of waiting.
fn phase_efforts(run: &RunRecord) -> String {
    let primitives = occurring(run);
    let mut columns = vec![("CPU seconds", Align::Left)];
    columns.extend(primitives.iter().map(|primitive| (primitive.name(), Align::Right)));
    columns.extend([("other", Align::Right), ("all", Align::Right)]);
    columns.extend([("waits for bytes", Align::Right), ("waits for room", Align::Right)]);
    let mut table = Table::new(&columns);
    let phases =
        [("setup", &run.efforts.setup), ("offline", &run.efforts.offline), ("online", &run.efforts.online)];
    for (name, effort) in phases {
        for (party, own) in [("Alice", one(effort, true)), ("Bob", one(effort, false))] {
            let waits = own.waits.alice.or(own.waits.bob).unwrap_or_default();
            let mut cells = vec![format!("{name}, {party}")];
            cells.extend(efforts(&own, &primitives));
            cells.extend([total(&own), waits.for_peer, waits.for_room].map(cell));
            table.push(cells);
        }
    }
    table.render()
}

/// One party's part.
fn one(effort: &Effort, alice: bool) -> Effort {
    fn part<T: Clone>(both: &PerParty<Option<T>>, alice: bool) -> PerParty<Option<T>> {
        let own = |mine: bool, value: &Option<T>| value.clone().filter(|_| mine);
        PerParty { alice: own(alice, &both.alice), bob: own(!alice, &both.bob) }
    }
    Effort {
        cpu_seconds: part(&effort.cpu_seconds, alice),
        primitives: part(&effort.primitives, alice),
        waits: part(&effort.waits, alice),
    }
}

/// Why a layer took no less time: all cores work, or one party waits for the other, or both for the network.
fn bound(layer: &LayerRecord) -> String {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let effort = &layer.effort;
    if layer.seconds < 0.005 {
        return String::new();
    }
    if total(effort) > 0.85 * cores * layer.seconds {
        return format!("all cores ({})", most(effort));
    }
    let waits = |waits: Option<Waits>| waits.unwrap_or_default().for_peer / layer.seconds;
    let (alice, bob) = (waits(effort.waits.alice), waits(effort.waits.bob));
    if alice.min(bob) > 0.5 {
        "the network".to_owned()
    } else if alice > bob {
        format!("Bob ({})", most(&one(effort, false)))
    } else {
        format!("Alice ({})", most(&one(effort, true)))
    }
}

/// The primitive that took most of this CPU time.
fn most(effort: &Effort) -> &'static str {
    let largest = Primitive::ALL.into_iter().max_by(|&a, &b| spent(effort, a).total_cmp(&spent(effort, b)));
    largest.map_or("", Primitive::name)
}

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
fn wire(record: &BenchRecord) -> String {
    let wire = record.bench.network;
    let rate = |rate: f64| format!(" ({}/s, {:.2} ms)", bytes(rate as u64), wire.round_trip_seconds * 1e3);
    wire.bytes_per_second.map_or_else(String::new, rate)
}

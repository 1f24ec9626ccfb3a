//! One of the three servers: `party --id 0 --job job.json --keys keys/`.

use anyhow::Context;
use channels::Profile;
use clap::Parser;
use net::{Identity, Options, Trusted};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use threeparty::connect::{join, server_name};
use threeparty::job::{Job, Task};
use threeparty::serve::{Checkpoints, Event, serve};
use threeparty::train::StepCosts;
use threeparty::{Party, machine};

/// One of three servers that compute on shares.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// This server's number: 0, 1 or 2.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..3))]
    id: u8,
    /// The job, the same file for all servers and clients.
    #[arg(long)]
    job: PathBuf,
    /// Folder with this server's key and the certificates of all others.
    #[arg(long)]
    keys: PathBuf,
    /// Address to listen at, if it differs from the one in the job.
    #[arg(long)]
    listen: Option<String>,
    /// Folder for checkpoints after each epoch.
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Go on from the newest epoch that all three servers have.
    #[arg(long, requires = "checkpoints")]
    resume: bool,
    /// Imitate a network between the servers, e.g. `three-cloud` (88.5 ms, 220 Mbps).
    #[arg(long)]
    profile: Option<String>,
    /// Seconds without a byte from another party after which the run is given up.
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// File for the record of the run.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let id = usize::from(args.id);
    let text =
        std::fs::read_to_string(&args.job).with_context(|| format!("reading {}", args.job.display()))?;
    let job = Job::parse(&text)?;
    let identity = Identity::load(args.keys.join(server_name(id)).with_extension("key"))?;
    let trusted = Trusted::load(&args.keys)?;
    let patience = Duration::from_secs(args.patience);
    let profile = args.profile.as_deref().map(|name| Profile::named(name).context("no such network profile"));
    let options = Options { idle_timeout: patience, profile: profile.transpose()?, ..Options::default() };
    let listen = args.listen.unwrap_or_else(|| job.servers[id].clone());
    if let Some(folder) = &args.checkpoints {
        std::fs::create_dir_all(folder)?;
    }
    let checkpoints = Checkpoints { folder: args.checkpoints, resume: args.resume };

    let (mut party, mut clients) = join(id, &listen, &job, &identity, &trusted, &options, patience)?;
    let start = Instant::now();
    let mut events = Vec::new();
    let outcome = serve(&mut party, &job, &mut clients, &checkpoints, &mut |event| {
        let full = describe(&event, &job);
        let mut line = full.clone();
        line.as_object_mut().map(|line| line.remove("costs"));
        println!("party {id}: {line}");
        events.push(full);
    });
    let record = record(id, &job, &mut party, start, &args.profile.unwrap_or("real".into()), events);
    if let Some(file) = args.json {
        std::fs::write(file, serde_json::to_string_pretty(&record)?)?;
    }
    Ok(outcome?)
}

/// What the steps of an epoch took, by layer and direction.
fn step_costs(costs: &StepCosts, job: &Job) -> Value {
    let Task::Train(training) = &job.task else { return Value::Null };
    let layers = training.network.layers.iter().zip(&costs.layers).map(
        |(layer, [forward, backward])| json!({ "layer": layer, "forward": forward, "backward": backward }),
    );
    json!({
        "layers": layers.collect::<Vec<_>>(),
        "loss": costs.loss, "weight_gradients": costs.gradients, "update": costs.update,
    })
}

/// What a server's own record can know: its traffic, time and memory, and what was revealed.
fn record(
    id: usize,
    job: &Job,
    party: &mut Party,
    start: Instant,
    profile: &str,
    events: Vec<Value>,
) -> Value {
    let traffic = party.traffic();
    json!({
        "command": "party",
        "version": env!("CARGO_PKG_VERSION"),
        "backend": threeparty::backend::NAME,
        "party": id,
        "job": blake3::Hash::from(job.digest()).to_hex().as_str(),
        "profile": profile,
        "threads": 1,
        "parameters": { "moduli": ["2^64", "2^32", "2"], "security_bits": 128, "statistical_bits": null },
        "phases": { "online": {
            "seconds": start.elapsed().as_secs_f64(),
            "cpu_seconds": machine::cpu_seconds(),
            "bytes_sent": traffic.sent + traffic.control_sent,
            "bytes_received": traffic.received + traffic.control_received,
            "rounds": traffic.rounds,
        } },
        "peak_memory_bytes": machine::peak_memory(),
        "events": events,
    })
}

/// What goes into the record; costs by layer do not go to the terminal.
fn describe(event: &Event, job: &Job) -> Value {
    match event {
        Event::InputsComplete => json!({ "event": "inputs complete" }),
        Event::Resumed(epoch) => json!({ "event": "resumed", "epochs_done": epoch }),
        Event::Epoch { epoch, train, test, time, cpu, steps, traffic, costs } => json!({
            "event": "epoch", "epoch": epoch, "train": train, "test": test, "steps": steps,
            "seconds": time.as_secs_f64(), "cpu_seconds": cpu, "bytes_sent": traffic.sent, "rounds": traffic.rounds,
            "costs": step_costs(costs, job),
        }),
        Event::Image(spent) => json!({ "event": "image", "costs": spent }),
        Event::Measured { values, time, cpu, traffic } => json!({
            "event": "relu", "values": values, "seconds": time.as_secs_f64(), "cpu_seconds": cpu,
            "bytes_sent": traffic.sent, "rounds": traffic.rounds,
        }),
    }
}

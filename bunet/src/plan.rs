//! `bunet plan`: what a run will cost, before it runs.

use crate::args;
use channels::Profile;
use channels::shaper::PROFILES;
use cli::{Align, Failure, Table, bytes, megabytes, seconds, shape};
use models::bundle;
use protocol::Plan;
use protocol::choice::{self, Choice};
use protocol::cost::Flow;
use protocol::engine::is_local;
use protocol::plan::PlannedLayer;

/// Prints layers, phases and times.
pub(crate) fn plan(flags: &args::Plan) -> Result<(), Failure> {
    let manifest = bundle::load_manifest(&flags.model).map_err(Failure::input)?;
    let config = flags.plan.config()?;
    let plan = Plan::derive(&manifest, &config)?;
    println!(
        "{}, preset {}, plan {}\n",
        manifest.name,
        plan.config().preset.name(),
        cli::short(&plan.hash())
    );
    let live = live_values(&plan);
    print!("{}", layers(&plan, &live));
    println!();
    print!("{}", phases(&plan));
    println!("{}", beforehand(&plan));
    println!();
    let profiles = flags.profile.map_or_else(|| PROFILES[1..].to_vec(), |profile| vec![profile]);
    print!("{}", networks_table(&plan, &profiles));
    let choices = choice::choices(&manifest, &config)?;
    if !choices.is_empty() {
        println!("\n{}", choices_table(&choices, &profiles).trim_end());
    }
    let peak = plan.layers().iter().zip(&live).map(|(layer, live)| memory(layer, *live)).max().unwrap_or(0);
    let transfers =
        if plan.layers().iter().any(|layer| !layer.step.ots().is_empty()) { TRANSFERS } else { 0 };
    println!("\npeak memory of Bob, who needs more: about {}", bytes(peak + BASE + transfers));
    Ok(())
}

/// What a party's program holds beside its layers: code, keys, socket queues, chunks of garbled tables.
const BASE: u64 = 48 << 20;

/// What sources of oblivious transfers hold.
const TRANSFERS: u64 = 96 << 20;

fn layers(plan: &Plan, live: &[u64]) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("layer", Left),
        ("operator", Left),
        ("strategy", Left),
        ("shape", Left),
        ("modulus", Left),
        ("MB up", Right),
        ("MB down", Right),
        ("rounds", Right),
        ("MB memory", Right),
    ]);
    let graph = &plan.manifest().graph;
    for (layer, &live) in plan.layers().iter().zip(live) {
        let node = graph.node(layer.id);
        if is_local(&node.op) {
            continue;
        }
        let cost = layer.step.cost().total();
        table.row([
            node.name.clone(),
            node.op.kind().to_owned(),
            layer.strategy.to_owned(),
            shape(node.shape.to_array()),
            layer.modulus.to_string(),
            megabytes(cost.alice_to_bob),
            megabytes(cost.bob_to_alice),
            cost.rounds.to_string(),
            megabytes(memory(layer, live)),
        ]);
    }
    table.render()
}

/// An estimate: shares alive while the layer runs, at eight bytes, and what the layer itself needs.
fn memory(layer: &PlannedLayer, live: u64) -> u64 {
    8 * live + layer.step.memory()
}

/// Per layer, how many values are alive while it runs: its inputs, its result, and what later layers still read.
fn live_values(plan: &Plan) -> Vec<u64> {
    let graph = &plan.manifest().graph;
    let mut last: Vec<usize> = (0..graph.nodes().len()).collect();
    for (id, node) in graph.nodes().iter().enumerate() {
        node.inputs.iter().for_each(|&input| last[input] = last[input].max(id));
    }
    let alive = |now: usize| {
        let born = graph.nodes()[..=now].iter().zip(&last);
        born.filter(|(_, last)| **last >= now).map(|(node, _)| node.shape.len() as u64).sum()
    };
    plan.layers().iter().map(|layer| alive(layer.id)).collect()
}

fn phases(plan: &Plan) -> String {
    use Align::{Left, Right};
    let mut table =
        Table::new(&[("phase", Left), ("Alice→Bob", Right), ("Bob→Alice", Right), ("rounds", Right)]);
    let cost = plan.cost();
    let total = plan.setup_cost() + cost.total();
    for (name, flow) in
        [("setup", plan.setup_cost()), ("offline", cost.offline), ("online", cost.online), ("total", total)]
    {
        table.row([
            name.to_owned(),
            bytes(flow.alice_to_bob),
            bytes(flow.bob_to_alice),
            flow.rounds.to_string(),
        ]);
    }
    table.render()
}

/// What a pool takes out of a run.
fn beforehand(plan: &Plan) -> String {
    let sum = |flow: Flow| (flow.alice_to_bob + flow.bob_to_alice, flow.rounds);
    let (total, rounds) = sum(plan.setup_cost() + plan.cost().offline);
    let (in_run, rounds_in_run) = sum(plan.pooled_setup_cost());
    let rounds = rounds - rounds_in_run;
    format!("of these, `alice prepare` takes {} and {rounds} rounds out of the run", bytes(total - in_run))
}

fn networks_table(plan: &Plan, profiles: &[Profile]) -> String {
    use Align::{Left, Right};
    let mut table =
        Table::new(&[("network", Left), ("rate", Right), ("round trip", Right), ("time on the wire", Right)]);
    let Flow { alice_to_bob, bob_to_alice, rounds } = plan.setup_cost() + plan.cost().total();
    for profile in profiles {
        table.row([
            profile.name.to_owned(),
            rate(profile),
            format!("{} ms", profile.round_trip.as_secs_f64() * 1e3),
            seconds(profile.seconds(alice_to_bob + bob_to_alice, rounds)),
        ]);
    }
    table.render()
}

/// Estimates for all ways to make transfers and comparisons.
fn choices_table(choices: &[Choice], profiles: &[Profile]) -> String {
    let names: Vec<String> = choices.iter().map(Choice::name).collect();
    let mut columns = vec![("transfers and wire", Align::Left)];
    columns.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
    columns.push(("fastest", Align::Left));
    let mut table = Table::new(&columns);
    for profile in profiles {
        let mut cells = vec![profile.name.to_owned()];
        cells.extend(choices.iter().map(|choice| seconds(choice.seconds(profile))));
        cells.push(choices[choice::fastest(choices, profile)].flags());
        table.push(cells);
    }
    table.render()
}

fn rate(profile: &Profile) -> String {
    if profile.bytes_per_second.is_finite() {
        format!("{}/s", bytes(profile.bytes_per_second as u64))
    } else {
        "unlimited".to_owned()
    }
}

/// The named networks, for `--help`.
pub(crate) fn networks() -> String {
    let line = |profile: &Profile| {
        format!("  {:<14} {:>10}, {} ms", profile.name, rate(profile), profile.round_trip.as_secs_f64() * 1e3)
    };
    let lines: Vec<String> = PROFILES.iter().map(line).collect();
    format!("Networks (rate each way, round trip):\n{}", lines.join("\n"))
}

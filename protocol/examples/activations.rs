//! What the strategies of the activations cost per value, both parties in one process: bytes both ways with OTs, rounds,
//! and CPU time of both, over both sources of OTs.
//!
//! `cargo run --release -p protocol --example activations [log2 of the number of values [part of a row's name]]`
#![allow(clippy::unwrap_used, reason = "an example")]

use channels::memory;
use models::manifest::{Edge, Manifest, Model};
use models::{Graph, Op, Shape, Window};
use ndarray::Array4;
use prg::Prg;
use protocol::engine::{Silent, run_alice, run_bob};
use protocol::ots::Source;
use protocol::{Alice, Bob, Config, Operator, Plan};
use std::collections::BTreeMap;

const BITS: u32 = 24;

/// One activation and a threshold.
fn model(op: Op, values: usize, bound: u64) -> Model {
    let mut graph = Graph::new(2, Shape { channels: 1, dims: [1, values / 1024, 1024] }).unwrap();
    let layer = graph.push("layer", op.clone(), vec![0]).unwrap();
    graph.push("labels", Op::Threshold { at: 0 }, vec![layer]).unwrap();
    let edge = |bound| Edge { frac: 0, divisor: 1, bound };
    let after = match op {
        Op::Relu { shift } | Op::Truncate { shift } => bound >> shift,
        Op::Square => bound * bound,
        _ => bound,
    };
    let manifest = Manifest {
        format: 1,
        name: "activation".into(),
        graph,
        edges: vec![edge(bound), edge(after), edge(1)],
        layers: BTreeMap::new(),
        share_bits: BITS,
        margin: 1.0,
        labels: Vec::new(),
        preprocessing: serde_json::Value::Null,
    };
    Model { manifest, weights: BTreeMap::new() }
}

fn run(title: &str, model: &Model, operator: Operator, name: &str, ot: Source) {
    if std::env::args().nth(2).is_some_and(|only| !format!("{title} {name} {ot:?}").contains(&only)) {
        return;
    }
    let mut config = Config { ot, ..Config::default() };
    config.strategies.insert(operator, name.into());
    let plan = Plan::derive(&model.manifest, &config).unwrap();
    let Shape { dims: [_, h, w], .. } = plan.manifest().graph.node(0).shape;
    let (mut prg, bound) = (Prg::from_os(), model.manifest.edges[0].bound as i64);
    let input = Array4::from_shape_simple_fn((1, 1, h, w), || prg.next_u64() as i64 % bound);
    let (to_bob, to_alice) = memory::pair();
    let measured = std::thread::scope(|scope| {
        let bob = scope.spawn(|| run_bob(&plan, &mut Bob::new(to_alice, Prg::from_os()), model, &mut Silent));
        let alice = run_alice(&plan, &mut Alice::new(to_bob, Prg::from_os()), &input, &mut Silent);
        bob.join().unwrap().unwrap();
        alice.unwrap().1
    });
    let (layer, per) = (&measured.layers[0], (h * w) as f64);
    let traffic = &layer.traffic;
    println!(
        "{title:<22} {name:<10} {ot:<8} {:8.2} B/value ({:.2} up, {:.2} down), {:3} rounds, {:7.3} µs CPU ({:.3} offline), {:7.3} µs",
        (traffic.sent + traffic.received) as f64 / per,
        traffic.sent as f64 / per,
        traffic.received as f64 / per,
        plan.layers()[0].cost.online.rounds,
        layer.cpu_seconds / per * 1e6,
        measured.offline.cpu_seconds / per * 1e6,
        layer.seconds / per * 1e6,
        ot = format!("{ot:?}").to_lowercase(),
    );
}

fn main() {
    let log = std::env::args().nth(1).map_or(20, |text| text.parse().unwrap());
    let values = 1 << log;
    let bound = (1 << (BITS - 1)) - (1 << 8);
    let relu = model(Op::Relu { shift: 8 }, values, bound);
    let narrow = model(Op::Relu { shift: 8 }, values, (1 << 19) - (1 << 8));
    let full = model(Op::Relu { shift: 0 }, values, (1 << 23) - 2);
    let truncate = model(Op::Truncate { shift: 8 }, values, (1 << 22) - (1 << 9));
    let square = model(Op::Square, values, (1 << 11) - 1);
    let pool = model(Op::MaxPool { window: Window::tiling([1, 2, 2]) }, values, (1 << 21) - 2);
    for ot in [Source::Silent, Source::Iknp] {
        for name in ["ot", "ot-tree"] {
            run("ReLU by 8", &relu, Operator::Relu, name, ot);
            run("ReLU by 8, below 2^19", &narrow, Operator::Relu, name, ot);
            run("ReLU, no truncation", &full, Operator::Relu, name, ot);
            run("max pooling 2×2", &pool, Operator::MaxPool, name, ot);
        }
        run("truncation by 8", &truncate, Operator::Truncation, "ot", ot);
        run("square", &square, Operator::Square, "beaver-ot", ot);
    }
    run("ReLU by 8", &relu, Operator::Relu, "gc", Source::Iknp);
}

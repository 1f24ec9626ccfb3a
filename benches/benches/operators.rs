//! Operators as whole protocol runs: both parties in one process over an in-memory channel.
//!
//! Prints median wall and CPU seconds of one layer (both parties together), bytes each way, rounds, and the ratio of the
//! CPU time to the first strategy of the group, measured in the same run.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use channels::memory;
use models::manifest::{Edge, Layer, LayerWeights, Manifest, Model};
use models::{Graph, Op, Shape, Window};
use ndarray::{Array1, Array4, ArrayD, IxDyn};
use prg::{Prg, Seed};
use protocol::engine::{Measure, Silent, run_alice, run_bob};
use protocol::{Alice, Bob, Config, Operator, Plan, Preset};
use std::collections::BTreeMap;

/// A network of one operator and an argmax.
fn model(op: Op, channels: usize, dims: [usize; 3], bound: u64) -> Model {
    let rank = if dims[0] > 1 { 3 } else { 2 };
    let mut graph = Graph::new(rank, Shape { channels, dims }).unwrap();
    let layer = graph.push("layer", op.clone(), vec![0]).unwrap();
    graph.push("labels", Op::ArgMax, vec![layer]).unwrap();
    let edge = |bound| Edge { frac: 0, divisor: 1, bound };
    let (mut layers, mut weights) = (BTreeMap::new(), BTreeMap::new());
    if let Op::Conv { window, channels: outputs } = op {
        layers.insert(layer, Layer { weight_frac: 0, weight_bits: 7 });
        let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
        let [d, h, w] = window.kernel;
        let shape = IxDyn(&[outputs, channels, d, h, w]);
        let weight = || (prg.next_u64() % 255) as i32 - 127;
        let values = ArrayD::from_shape_simple_fn(shape, weight);
        weights.insert(layer, LayerWeights { weights: values, bias: Array1::zeros(outputs) });
    }
    let manifest = Manifest {
        format: 1,
        name: "operator".into(),
        graph,
        edges: vec![edge(255), edge(bound), edge(256)],
        layers,
        share_bits: 24,
        margin: 1.0,
        labels: Vec::new(),
        preprocessing: serde_json::Value::Null,
    };
    Model { manifest, weights }
}

/// What the layer cost in one run.
fn run(model: &Model, config: &Config) -> Measure {
    let plan = Plan::derive(&model.manifest, config).unwrap();
    let Shape { channels, dims: [d, h, w] } = plan.manifest().graph.node(0).shape;
    let mut prg = Prg::from_os();
    let input = Array4::from_shape_simple_fn((channels, d, h, w), || (prg.next_u64() % 511) as i64 - 255);
    let (to_bob, to_alice) = memory::pair();
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| run_bob(&plan, &mut Bob::new(to_alice, Prg::from_os()), model, &mut Silent));
        let alice = run_alice(&plan, &mut Alice::new(to_bob, Prg::from_os()), &input, &mut Silent);
        bob.join().unwrap().unwrap();
        alice.unwrap().1.layers[0].total()
    })
}

fn group(title: &str, model: &Model, operator: Operator, strategies: &[&str]) {
    println!("\n{title}");
    let mut baseline = None;
    for &strategy in strategies {
        let mut config = Config { preset: Preset::Gc, bits: Some(24), ..Config::default() };
        config.strategies.insert(operator, strategy.into());
        let mut runs: Vec<Measure> = (0..5).map(|_| run(model, &config)).collect();
        runs.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
        let median = runs[2];
        let cpu = median.cpu_seconds;
        let first = *baseline.get_or_insert(cpu);
        println!(
            "  {strategy:<12} {:>7.3} s wall {cpu:>7.2} CPU s {:>9.3} MB up {:>9.3} MB down {:>2} rounds  ×{:.2}",
            median.seconds,
            median.traffic.sent as f64 / 1e6,
            median.traffic.received as f64 / 1e6,
            median.traffic.rounds,
            cpu / first
        );
    }
}

fn main() {
    let conv = |kernel, pad, channels| Op::Conv { window: Window::dense(kernel, pad), channels };
    let square = model(conv([1, 3, 3], [0, 1, 1], 16), 16, [1, 200, 200], 255 * 127 * 144);
    group("convolution 3×3, 200×200×16→16", &square, Operator::Convolution, &["coefficient", "ensei"]);
    let cube = model(conv([3; 3], [1; 3], 16), 8, [32; 3], 255 * 127 * 216);
    group("convolution 3×3×3, 32³×8→16", &cube, Operator::Convolution, &["coefficient", "ensei"]);
    let pool = model(Op::AvgPool { window: Window::tiling([1, 2, 2]) }, 16, [1, 200, 200], 4 * 255);
    group("average pooling 2×2, 200×200×16", &pool, Operator::AveragePool, &["rotation", "local"]);
    let relu = model(Op::Relu { shift: 8 }, 16, [1, 200, 200], 256);
    group("ReLU with truncation by 8, 640,000 values", &relu, Operator::Relu, &["gc", "ot"]);
    let truncate = model(Op::Truncate { shift: 8 }, 16, [1, 200, 200], 256);
    group("truncation by 8, 640,000 values", &truncate, Operator::Truncation, &["gc", "ot"]);
    let squares = model(Op::Square, 16, [1, 200, 200], 255 * 255);
    group("squares, 640,000 values", &squares, Operator::Square, &["beaver", "beaver-ot"]);
}

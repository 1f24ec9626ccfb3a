//! U-Nets and odd operators through the three-party backend against the integer reference.
#![expect(clippy::unwrap_used, reason = "tests")]

use models::backend::Backend;
use models::quantise::QuantiseOptions;
use models::unet::{Activation, Pooling, UNet, random_image};
use models::{Edge, Graph, Label, Layer, LayerWeights, Manifest, Model, Op, Resample, Shape, Window};
use ndarray::{Array1, Array4, ArrayD};
use std::collections::BTreeMap;
use threeparty::backend::ThreeParty;

/// Runs the model; the labels may differ from the reference only where a rounding tips the scales, and the traffic not
/// at all from what was predicted.
fn check(model: &Model, input: &Array4<i64>, tolerated: f64) {
    let outcome = ThreeParty.run(model, input).unwrap();
    let agreement = outcome.record.agreement.unwrap();
    assert!(agreement.different as f64 <= tolerated * agreement.total as f64, "{agreement:?}");
    for layer in &outcome.record.layers {
        assert_eq!(
            layer.bytes_alice_to_bob, layer.predicted_bytes_alice_to_bob,
            "{} ({})",
            layer.name, layer.kind
        );
    }
}

fn unet(
    rank: usize,
    dims: [usize; 3],
    pooling: Pooling,
    activations: Vec<Activation>,
    labels: usize,
    bits: u32,
) {
    let input = Shape { channels: 1, dims };
    let unet = UNet { rank, input, channels: vec![4, 6], pooling, activations, labels, seed: 3 };
    let options = QuantiseOptions { share_bits: bits, ..QuantiseOptions::default() };
    let (model, _) = unet.build_quantised(&options).unwrap();
    let image = model.manifest.quantise_input(&random_image(input, 77));
    check(&model, &image, 0.03);
}

#[test]
fn unets_agree_with_the_reference() {
    let relu = Activation::Relu;
    unet(2, [1, 16, 16], Pooling::Avg, vec![relu; 3], 3, 24);
    unet(3, [8, 8, 8], Pooling::Max, vec![relu; 3], 2, 24);
    unet(2, [1, 16, 8], Pooling::Max, vec![Activation::Square, relu, Activation::Square], 1, 40);
}

/// A network without any rounding, so that every label must be right.
#[test]
fn exact_operators_are_exact() {
    let mut graph = Graph::new(2, Shape { channels: 2, dims: [1, 7, 9] }).unwrap();
    let window = Window { stride: [1, 2, 2], ..Window::dense([1, 3, 3], [0, 1, 1]) };
    let conv = graph.push("conv", Op::Conv { window, channels: 3 }, vec![0]).unwrap();
    let relu = graph.push("relu", Op::Relu { shift: 0 }, vec![conv]).unwrap();
    let up = Window::tiling([1, 2, 2]);
    let op = Op::ConvTranspose { window: up, output_padding: [0; 3], channels: 4 };
    let up = graph.push("up", op, vec![relu]).unwrap();
    let pool = Window { stride: [1; 3], ..Window::dense([1, 3, 3], [0, 1, 1]) };
    let largest = graph.push("max", Op::MaxPool { window: pool }, vec![up]).unwrap();
    let average = graph.push("avg", Op::AvgPool { window: pool }, vec![up]).unwrap();
    let raised = graph.push("raise", Op::Raise { shift: 2 }, vec![largest]).unwrap();
    let sum = graph.push("sum", Op::Add, vec![raised, average]).unwrap();
    let minus = graph.push("minus", Op::Scale { factor: -3, shift: 1 }, vec![sum]).unwrap();
    let product = graph.push("product", Op::Mul, vec![minus, up]).unwrap();
    let bent = graph.push("bent", Op::Quadratic, vec![up]).unwrap();
    let taps = (0..8).map(|i| vec![(i, 3), ((i + 2) % 8, -1)]).collect();
    let weighed = Op::Resample(Resample { axis: 2, taps, denominator: 2 });
    let weighed = graph.push("weighed", weighed, vec![up]).unwrap();
    let concat = graph.push("concat", Op::Concat, vec![product, bent, weighed]).unwrap();
    let one = Window::dense([1, 1, 1], [0; 3]);
    let scores = graph.push("scores", Op::Conv { window: one, channels: 5 }, vec![concat]).unwrap();
    graph.push("labels", Op::ArgMax, vec![scores]).unwrap();

    let mut state = 1u64;
    let mut random = |len: usize| -> Vec<i32> {
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as i32 % 15 - 7
        };
        (0..len).map(|_| next()).collect()
    };
    let mut layer = |shape: &[usize], outputs: usize| {
        let weights = ArrayD::from_shape_vec(shape, random(shape.iter().product())).unwrap();
        let bias = Array1::from_iter(random(outputs).into_iter().map(i64::from));
        LayerWeights { weights, bias }
    };
    let weights = BTreeMap::from([
        (conv, layer(&[3, 2, 1, 3, 3], 3)),
        (up, layer(&[3, 4, 1, 2, 2], 4)),
        (bent, layer(&[4, 2, 1, 1, 1], 4)),
        (scores, layer(&[5, 12, 1, 1, 1], 5)),
    ]);
    let edges = vec![Edge { frac: 0, divisor: 1, bound: 1 << 28 }; graph.nodes().len()];
    let layers = weights.keys().map(|&id| (id, Layer { weight_frac: 0, weight_bits: 3 })).collect();
    let labels = (0..5).map(|i| Label { name: format!("{i}"), grey: i }).collect();
    let manifest = Manifest {
        format: 1,
        name: "odd".into(),
        graph,
        edges,
        layers,
        share_bits: 32,
        margin: 1.0,
        labels,
        preprocessing: serde_json::Value::Null,
    };
    let model = Model { manifest, weights };
    let input =
        Array4::from_shape_fn((2, 1, 7, 9), |(c, _, y, x)| ((c * 31 + y * 17 + x * 5) % 23) as i64 - 11);
    check(&model, &input, 0.0);
}

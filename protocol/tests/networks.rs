//! Whole networks, both parties in one process: every voxel equals the integer reference, carries included, at the
//! declared cost.
#![allow(clippy::unwrap_used, reason = "tests")]

use models::graph::Shape;
use models::manifest::Model;
use models::onnx::ImportOptions;
use models::quantise::{QuantiseOptions, calibrate, quantise};
use models::reference;
use models::unet::{Pooling, UNet, activations, random_image};
use ndarray::Array4;
use prg::Prg;
use protocol::backend::run_both;
use protocol::engine::{Silent, run_alice_to_scores, run_bob};
use protocol::ots::Source;
use protocol::{Alice, Bob, Config, Operator, Plan, Preset};

fn network(
    rank: usize,
    dims: [usize; 3],
    variant: &str,
    pooling: Pooling,
    bits: u32,
) -> (Model, Array4<i64>) {
    let unet = UNet {
        rank,
        input: Shape { channels: 1, dims },
        channels: vec![4, 6, 8],
        pooling,
        activations: activations(variant, 3).unwrap(),
        labels: 3,
        seed: 7,
    };
    let options = QuantiseOptions { share_bits: bits, ..QuantiseOptions::default() };
    let (model, _) = unet.build_quantised(&options).unwrap();
    let scale = f64::from(model.manifest.edges[0].frac).exp2();
    // One of the images that the ranges were calibrated on.
    let image = random_image(unet.input, unet.seed ^ 1).mapv(|x| (f64::from(x) * scale).round() as i64);
    (model, image)
}

fn check(model: &Model, input: &Array4<i64>, config: &Config) {
    reference::run_checked(model, input)
        .expect("the image stays within the ranges that the network was calibrated for");
    let plan = Plan::derive(&model.manifest, config).unwrap();
    let (labels, record, expected) = run_both(&plan, model, input).unwrap();
    assert_eq!(labels, expected, "{config:?}");
    let [mut used, mut declared] = [(0, 0); 2];
    for layer in &record.layers {
        used = (used.0 + layer.bytes_alice_to_bob, used.1 + layer.bytes_bob_to_alice);
        declared.0 += layer.predicted_bytes_alice_to_bob;
        declared.1 += layer.predicted_bytes_bob_to_alice;
        let predicted = (layer.predicted_bytes_alice_to_bob, layer.predicted_bytes_bob_to_alice);
        assert_eq!((layer.bytes_alice_to_bob, layer.bytes_bob_to_alice), predicted, "{}", layer.name);
    }
    assert_eq!(used, declared);
    let (setup, phase) = (plan.setup_cost(), &record.phases.setup);
    assert_eq!(
        (phase.bytes_alice_to_bob, phase.bytes_bob_to_alice),
        (setup.alice_to_bob, setup.bob_to_alice)
    );
    assert_eq!(phase.rounds, setup.rounds);
}

fn preset(preset: Preset) -> Config {
    Config { preset, ..Config::default() }
}

#[test]
fn networks_of_every_rank_and_activation_run_by_both_presets_over_powers_of_two() {
    for (rank, dims) in [(1, [1, 1, 64]), (2, [1, 24, 20]), (3, [8, 12, 4])] {
        for (variant, pooling, bits) in [
            ("relu", Pooling::Avg, 22),
            ("hybrid", Pooling::Avg, 24),
            ("relu", Pooling::Max, 24),
            ("square", Pooling::Max, 26),
            ("quadratic,relu,quadratic,relu,square", Pooling::Avg, 24),
        ] {
            let (model, input) = network(rank, dims, variant, pooling, bits);
            check(&model, &input, &preset(Preset::Gc));
            check(&model, &input, &preset(Preset::Fast));
        }
    }
}

/// The small networks that the importer is tested with, on the image that ONNX Runtime saw.
fn imported(name: &str) -> (Model, Array4<i64>) {
    let file = |ending: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/data");
        folder.join(format!("{name}.{ending}"))
    };
    let extents = (name == "chain_1d").then(|| vec![11]);
    let model = models::onnx::import(&file("onnx"), &ImportOptions { input_shape: extents }).unwrap();
    let bytes = std::fs::read(file("safetensors")).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let image = stored.tensor("input").unwrap().data().chunks_exact(4);
    let image = image.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let image = Array4::from_shape_vec(model.graph.node(0).shape.to_array(), image).unwrap();
    let calibration = calibrate(&model, [&image]).unwrap();
    let options = QuantiseOptions { share_bits: 26, ..QuantiseOptions::default() };
    let (model, _) = quantise(&model, &calibration, &options).unwrap();
    let input = model.manifest.quantise_input(&image);
    (model, input)
}

#[test]
fn imported_networks_run_blindly() {
    let segmentation =
        ["unet_2d", "odd_3d", "chain_1d", "activations_2d", "pads_3d", "resize_2d", "resize_3d"];
    let classification = ["classifier_2d", "dense_1d", "quadratics_2d"];
    let shuffles = ["shuffles_1d", "shuffles_2d", "shuffles_3d"];
    for name in segmentation.into_iter().chain(classification).chain(shuffles) {
        let (model, input) = imported(name);
        for wanted in [Preset::Fast, Preset::Gc, Preset::Bunet] {
            check(&model, &input, &preset(wanted));
        }
    }
}

#[test]
fn the_default_needs_no_garbling_and_few_rounds_by_trees() {
    let (model, input) = network(2, [1, 24, 20], "relu", Pooling::Max, 24);
    let chains = Plan::derive(&model.manifest, &Config::default()).unwrap();
    assert!(chains.layers().iter().all(|layer| layer.strategy != "gc"));
    let config = preset(Preset::FastWan);
    check(&model, &input, &config);
    let trees = Plan::derive(&model.manifest, &config).unwrap();
    assert!(2 * trees.cost().online.rounds < chains.cost().online.rounds);
}

#[test]
fn networks_run_by_the_papers_strategies() {
    for (rank, dims, variant) in [(2, [1, 24, 20], "hybrid"), (3, [8, 12, 4], "relu")] {
        let (model, input) = network(rank, dims, variant, Pooling::Avg, 24);
        check(&model, &input, &preset(Preset::Bunet));
    }
}

#[test]
fn strategies_mix() {
    let (model, input) = network(2, [1, 16, 16], "hybrid", Pooling::Avg, 24);
    let mut config = preset(Preset::Gc);
    config.strategies.insert(Operator::Truncation, "gc".into());
    config.strategies.insert(Operator::TransposedConvolution, "interleave".into());
    check(&model, &input, &config);
    let last = model.manifest.graph.nodes().iter().rev().find(|node| node.op.kind() == "conv").unwrap();
    config.layers.insert(last.name.clone(), "ensei".into());
    check(&model, &input, &config);
}

#[test]
fn garbled_and_oblivious_transfer_relus_mix_over_both_sources() {
    let (model, input) = network(2, [1, 16, 16], "relu", Pooling::Avg, 24);
    let relus = model.manifest.graph.nodes().iter().filter(|node| node.op.kind() == "relu");
    for source in [Source::Silent, Source::Iknp] {
        let mut config = Config { ot: source, ..preset(Preset::Gc) };
        config.strategies.insert(Operator::Relu, "ot".into());
        config.layers = relus.clone().step_by(2).map(|node| (node.name.clone(), "gc".into())).collect();
        check(&model, &input, &config);
    }
}

fn opening(wanted: Preset) -> Config {
    let mut config = preset(wanted);
    config.strategies.insert(Operator::Readout, "open".into());
    config
}

#[test]
fn opened_scores_yield_the_same_labels_at_the_declared_cost() {
    let (model, input) = network(2, [1, 24, 20], "hybrid", Pooling::Avg, 24);
    for wanted in [Preset::Fast, Preset::Gc, Preset::Bunet] {
        check(&model, &input, &opening(wanted));
    }
    let (threshold, input) = imported("chain_1d");
    check(&threshold, &input, &opening(Preset::Fast));
}

#[test]
fn opened_scores_are_those_of_the_reference() {
    let (model, input) = network(2, [1, 16, 16], "relu", Pooling::Avg, 24);
    let mut config = opening(Preset::Gc);
    config.strategies.insert(Operator::Truncation, "gc".into());
    let run = |config: &Config| {
        let plan = Plan::derive(&model.manifest, config).unwrap();
        let (to_bob, to_alice) = channels::memory::pair();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut bob = Bob::new(to_alice, Prg::from_os());
                run_bob(&plan, &mut bob, &model, &mut Silent).unwrap();
            });
            let mut alice = Alice::new(to_bob, Prg::from_os());
            run_alice_to_scores(&plan, &mut alice, None, &input, &mut Silent)
        })
    };
    let graph = &model.manifest.graph;
    let values = reference::run_all(&model, &input).unwrap();
    assert_eq!(run(&config).unwrap().0, values[graph.node(graph.output()).inputs[0]]);
    // A plan for labels opens nothing else.
    assert!(run(&preset(Preset::Gc)).err().unwrap().to_string().contains("labels, not scores"));
}

#[test]
fn what_cannot_work_is_refused_with_the_layer_and_the_remedy() {
    let (model, _) = network(2, [1, 16, 16], "relu", Pooling::Avg, 20);
    let narrow = Config { bits: Some(16), ..Config::default() };
    let error = Plan::derive(&model.manifest, &narrow).err().unwrap().to_string();
    assert!(
        error.contains("layer `") && error.contains("shares of ") && error.contains("would fit"),
        "{error}"
    );
    let mut unknown = Config::default();
    unknown.strategies.insert(Operator::Relu, "magic".into());
    let error = Plan::derive(&model.manifest, &unknown).err().unwrap().to_string();
    assert!(error.contains("`magic`") && error.contains("gc"), "{error}");
    let mut unknown = Config::default();
    unknown.layers.insert("no such layer".into(), "gc".into());
    assert!(Plan::derive(&model.manifest, &unknown).is_err());
}

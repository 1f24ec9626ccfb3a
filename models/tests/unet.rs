//! The U-Net builder and the quantiser on its networks.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use models::quantise::{QuantiseError, QuantiseOptions, Report, calibrate, quantise};
use models::unet::{Activation, Pooling, UNet, UNetError, activations, random_image};
use models::{Dims, Model, Op, Shape, reference};

fn unet(rank: usize, dims: Dims, variant: &str, pooling: Pooling, labels: usize) -> UNet {
    UNet {
        rank,
        input: Shape { channels: 1, dims },
        channels: vec![4, 8, 16],
        pooling,
        activations: activations(variant, 3).unwrap(),
        labels,
        seed: 7,
    }
}

fn quantised(net: &UNet, share_bits: u32) -> (Model, Report) {
    let weight_bits = if share_bits == 32 { 14 } else { 8 };
    let options = QuantiseOptions { share_bits, weight_bits, margin: 2.0, ..QuantiseOptions::default() };
    net.build_quantised(&options).unwrap()
}

#[test]
fn a_random_network_is_alive() {
    for (rank, dims) in [(1, [1, 1, 256]), (2, [1, 32, 48]), (3, [16, 16, 16])] {
        for variant in ["relu", "hybrid", "square", "quadratic"] {
            let net = unet(rank, dims, variant, Pooling::Avg, 3);
            let model = net.build().unwrap();
            let values = model.run_all(&random_image(net.input, 99)).unwrap();
            for (node, value) in model.graph.nodes().iter().zip(&values) {
                if matches!(node.op, Op::Relu { .. }) {
                    let active = value.iter().filter(|&&x| x > 0.0).count() as f64 / value.len() as f64;
                    assert!((0.2..=0.8).contains(&active), "{rank}-D {variant} {}: {active}", node.name);
                }
            }
            // One image may lack a label by its nature.
            let images = (0..6).map(|seed| model.run(&random_image(net.input, 100 + seed)).unwrap());
            let labels: Vec<u16> = images.flat_map(|labels| labels.into_iter()).collect();
            for label in 0..3 {
                let share = labels.iter().filter(|&&x| x == label).count() as f64 / labels.len() as f64;
                assert!(share >= 0.05, "{rank}-D {variant}: label {label} on {share} of the voxels");
            }
        }
    }
}

#[test]
fn quantised_networks_stay_in_range_and_near_the_floats() {
    for (rank, dims) in [(1, [1, 1, 64]), (2, [1, 32, 32]), (3, [16, 8, 16])] {
        for (variant, share_bits, limit) in [("relu", 20, 0.08), ("relu", 32, 0.002), ("hybrid", 24, 0.08)] {
            for pooling in [Pooling::Avg, Pooling::Max] {
                let net = unet(rank, dims, variant, pooling, 3);
                let (model, report) = quantised(&net, share_bits);
                model.manifest.check_ranges(1 << share_bits).unwrap();
                let image = random_image(net.input, 3);
                reference::run_checked(&model, &model.manifest.quantise_input(&image)).unwrap();
                // Scores, not labels: a random network's labels are nearly tied.
                let scores = &report.layers[report.layers.len() - 2];
                assert_eq!(scores.name, "readout");
                let error = scores.error.unwrap();
                assert!(
                    error <= limit,
                    "{rank}-D {variant} {pooling:?} at {share_bits} bits: {error}\n{report}"
                );
            }
        }
    }
}

#[test]
fn truncations_stand_where_no_activation_absorbs_the_shift() {
    let (model, _) = quantised(&unet(2, [1, 16, 16], "hybrid", Pooling::Avg, 2), 24);
    let graph = &model.manifest.graph;
    let truncated = |name: &str| graph.nodes().iter().any(|node| node.name == format!("{name}.truncate"));
    for name in ["down0a", "down0a.square", "down0b", "down0b.square", "upconv1", "upconv0", "up0b.square"] {
        assert!(truncated(name), "{name}");
    }
    for name in ["down1a", "up1b", "readout", "concat0", "pool1"] {
        assert!(!truncated(name), "{name}");
    }
    for node in graph.nodes() {
        if node.op == Op::Concat {
            let fracs: Vec<i32> = node.inputs.iter().map(|&input| model.manifest.edges[input].frac).collect();
            assert_eq!(fracs[0], fracs[1]);
        }
    }
}

#[test]
fn one_label_channel_ends_in_a_threshold() {
    let net = unet(2, [1, 16, 16], "relu", Pooling::Max, 1);
    let (model, _) = quantised(&net, 20);
    assert_eq!(model.manifest.graph.nodes().last().unwrap().op, Op::Threshold { at: 0 });
    let labels = reference::run(&model, &model.manifest.quantise_input(&random_image(net.input, 3))).unwrap();
    assert!(labels.iter().any(|&label| label == 0) && labels.iter().any(|&label| label == 1));
}

#[test]
fn what_does_not_fit_is_refused_with_the_layer_and_a_width_that_fits() {
    let net = unet(2, [1, 16, 16], "relu", Pooling::Avg, 2);
    let mut model = net.build().unwrap();
    let readout = *model.weights.keys().last().unwrap();
    let layer = model.weights.get_mut(&readout).unwrap();
    layer.bias[0] += 30_000.0;
    let image = random_image(net.input, 1);
    let calibration = calibrate(&model, [&image]).unwrap();
    let options = QuantiseOptions { share_bits: 16, ..QuantiseOptions::default() };
    let Err(QuantiseError::Range { layer, range, share_bits: 16, needed_bits: Some(bits) }) =
        quantise(&model, &calibration, &options)
    else {
        panic!("a range of 45000 cannot fit 16 bits");
    };
    assert_eq!(layer, "readout");
    assert!((45_000.0..46_000.0).contains(&range), "{range}");
    quantise(&model, &calibration, &QuantiseOptions { share_bits: bits, ..options.clone() }).unwrap();
    let narrower = QuantiseOptions { share_bits: bits - 1, ..options };
    assert!(quantise(&model, &calibration, &narrower).is_err());
}

#[test]
fn a_narrow_modulus_is_refused_naming_the_layer() {
    let (model, _) = quantised(&unet(2, [1, 16, 16], "relu", Pooling::Avg, 2), 24);
    let error = model.manifest.check_ranges(1 << 17).unwrap_err();
    let worst = error.problems.iter().max_by_key(|problem| problem.needed_bits).unwrap();
    assert_eq!(worst.needed_bits, 24);
    assert!(error.to_string().contains(&worst.layer) && error.to_string().contains(&worst.bound.to_string()));
    model.manifest.check_ranges(1 << 23).unwrap_err();
    model.manifest.check_ranges((1 << 24) + 1).unwrap();
}

#[test]
fn variants_are_named_or_listed() {
    use Activation::{Relu, Square};
    assert_eq!(activations("hybrid", 2).unwrap(), [Square, Relu, Square]);
    assert_eq!(activations("relu", 2).unwrap(), [Relu; 3]);
    assert_eq!(activations("relu,square,square", 2).unwrap(), [Relu, Square, Square]);
    assert!(matches!(activations("relu,square", 2), Err(UNetError::Config(_))));
    assert!(matches!(activations("gelu", 2), Err(UNetError::Config(_))));
    let odd = unet(2, [1, 18, 16], "relu", Pooling::Avg, 2);
    assert!(matches!(odd.build(), Err(UNetError::Config(_))));
}

/// Factors of a channel that the next layer takes back change nothing in floats, and must not matter to integers either.
#[test]
fn channels_of_very_different_sizes_cost_no_accuracy() {
    let even = unet(2, [1, 32, 32], "relu", Pooling::Avg, 3).build().unwrap();
    let mut uneven = even.clone();
    let consumers = even.graph.consumers();
    let only = |id: usize| (consumers[id].len() == 1).then(|| consumers[id][0]);
    let mut changed = 0;
    for (id, node) in even.graph.nodes().iter().enumerate() {
        let Some(next) = only(id).and_then(only) else { continue };
        let convolutions = [&node.op, &even.graph.node(next).op].map(|op| matches!(op, Op::Conv { .. }));
        if convolutions != [true; 2] {
            continue;
        }
        for channel in 0..node.shape.channels {
            let factor = ((channel % 4) as f32 * -2.0).exp2();
            let layer = uneven.weights.get_mut(&id).unwrap();
            layer.weights.index_axis_mut(ndarray::Axis(0), channel).mapv_inplace(|weight| weight * factor);
            layer.bias[channel] *= factor;
            let layer = uneven.weights.get_mut(&next).unwrap();
            layer.weights.index_axis_mut(ndarray::Axis(1), channel).mapv_inplace(|weight| weight / factor);
        }
        changed += 1;
    }
    assert!(changed >= 5, "{changed}");
    let images: Vec<_> = (0..3).map(|seed| random_image(even.graph.node(0).shape, seed)).collect();
    let error = |model, per_channel| {
        let calibration = calibrate(model, &images).unwrap();
        let options = QuantiseOptions { share_bits: 20, per_channel, ..QuantiseOptions::default() };
        let (_, report) = quantise(model, &calibration, &options).unwrap();
        report.layers[report.layers.len() - 2].error.unwrap()
    };
    let [even, plain, equal] = [(&even, false), (&uneven, false), (&uneven, true)].map(|(m, c)| error(m, c));
    println!(
        "scores off by {:.2}%; uneven {:.2}%, per channel {:.2}%",
        100.0 * even,
        100.0 * plain,
        100.0 * equal
    );
    assert!(
        equal <= 1.5 * even && equal < 0.5 * plain,
        "{equal} where {even} was possible and {plain} had to be"
    );
}

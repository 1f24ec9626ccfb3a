//! Whole networks on morphed scans: the labels of the integer reference, bit for bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use models::backend::Backend;
use models::graph::Shape;
use models::manifest::Model;
use models::quantise::QuantiseOptions;
use models::reference;
use models::unet::{Pooling, UNet, activations, random_image};
use ndarray::Array4;
use perceptual::attack::reverse::reverse;
use perceptual::error::PerceptualError;
use perceptual::keys::MasterKey;
use perceptual::morph::{
    AugmentedFloats, AugmentedModel, Blocks, FirstLayer, Morph, MorphKey, augment, read_layer, read_morphed,
    write_layer, write_morphed,
};

fn unet(rank: usize, channels: usize, dims: [usize; 3], variant: &str, pooling: Pooling) -> UNet {
    UNet {
        rank,
        input: Shape { channels, dims },
        channels: vec![6, 8],
        pooling,
        activations: activations(variant, 2).unwrap(),
        labels: 3,
        seed: 7,
    }
}

fn network(rank: usize, channels: usize, dims: [usize; 3], variant: &str, pooling: Pooling) -> Model {
    let unet = unet(rank, channels, dims, variant, pooling);
    unet.build_quantised(&QuantiseOptions { share_bits: 32, ..QuantiseOptions::default() }).unwrap().0
}

fn image(model: &Model, seed: u64) -> Array4<i64> {
    model.manifest.quantise_input(&random_image(model.manifest.graph.node(0).shape, seed))
}

#[test]
fn u_nets_on_morphed_scans_give_the_reference_labels() {
    let cases = [
        (2, 1, [1, 16, 16], "relu", Pooling::Max, 16, Blocks::Repeated),
        (2, 3, [1, 16, 16], "hybrid", Pooling::Avg, 12, Blocks::Independent),
        (3, 1, [8, 8, 8], "relu", Pooling::Max, 32, Blocks::Repeated),
    ];
    for (rank, channels, dims, variant, pooling, kappa, blocks) in cases {
        let model = network(rank, channels, dims, variant, pooling);
        let input = image(&model, 3);
        let mut backend = Morph { master: MasterKey::generate(), kappa, blocks };
        let outcome = backend.run(&model, &input).unwrap();
        assert_eq!(outcome.labels, reference::run(&model, &input).unwrap());
        assert_eq!(outcome.record.agreement.unwrap().different, 0);
        assert_eq!(outcome.record.phases.online.bytes_alice_to_bob, 8 * input.len() as u64);
        let seen: std::collections::BTreeSet<u16> = outcome.labels.iter().copied().collect();
        assert!(seen.len() > 1, "labels that differ say something");
    }
}

#[test]
fn files_travel_between_provider_data_holder_and_server() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = network(2, 1, [1, 16, 16], "relu", Pooling::Max);
    // The provider.
    let first = FirstLayer::of(&model).unwrap();
    first.write(&at("first.safetensors"), false).unwrap();
    // The data holder, who has the one file.
    let seen = FirstLayer::read(&at("first.safetensors")).unwrap();
    assert_eq!(seen, first);
    let key = MorphKey::new(MasterKey::generate(), seen.scans.shape, 16, Blocks::Repeated).unwrap();
    write_layer(&seen.augment(&key).unwrap(), &at("layer.safetensors"), false).unwrap();
    let input = image(&model, 4);
    let morphed = key.morph(&input.mapv(|v| v as f64)).unwrap();
    write_morphed(&at("scan.morphed"), &morphed, &key.fingerprint(), false).unwrap();
    // The server.
    let layer = read_layer(&at("layer.safetensors")).unwrap();
    let (received, fingerprint) = read_morphed(&at("scan.morphed")).unwrap();
    assert_eq!(fingerprint, layer.key_fingerprint);
    let joined = AugmentedModel::join(&model, layer.clone()).unwrap();
    assert_eq!(joined.run(&received).unwrap(), reference::run(&model, &input).unwrap());
    let other = network(2, 1, [1, 16, 32], "relu", Pooling::Max);
    assert!(matches!(AugmentedModel::join(&other, layer), Err(PerceptualError::Network { .. })));
    assert!(read_layer(&at("first.safetensors")).is_err(), "another kind of file");
    std::fs::write(at("scan.morphed"), b"no tensors").unwrap();
    assert!(matches!(read_morphed(&at("scan.morphed")), Err(PerceptualError::File { .. })));
}

#[test]
fn networks_of_floats_give_their_labels_in_two_and_three_dimensions() {
    for (rank, dims, kappa) in [(2, [1, 16, 16], 16), (3, [8, 8, 8], 32)] {
        let unet = unet(rank, 1, dims, "relu", Pooling::Max);
        let model = unet.build().unwrap();
        let input = random_image(unet.input, 9);
        let first = FirstLayer::of_floats(&model).unwrap();
        let key = MorphKey::new(MasterKey::generate(), unet.input, kappa, Blocks::Independent).unwrap();
        let layer = first.augment(&key).unwrap();
        let morphed = key.morph(&input.mapv(f64::from)).unwrap();
        let joined = AugmentedFloats::join(&model, layer.clone()).unwrap();
        assert_eq!(joined.run(&morphed).unwrap(), model.run(&input).unwrap());
        let mut forgotten = layer.clone();
        forgotten.order.rotate_left(1);
        let wrong = AugmentedFloats::join(&model, forgotten).unwrap();
        assert_ne!(wrong.run(&morphed).unwrap(), model.run(&input).unwrap());
        let integers = network(rank, 1, dims, "relu", Pooling::Max);
        assert!(AugmentedModel::join(&integers, layer).is_err(), "made for floats");
    }
}

#[test]
fn the_order_of_channels_reaches_every_consumer() {
    // Were the order forgotten at one consumer, these labels would differ.
    let model = network(2, 1, [1, 16, 16], "relu", Pooling::Max);
    let shape = model.manifest.graph.node(0).shape;
    let key = MorphKey::new(MasterKey::from_bytes([3; 16]), shape, 16, Blocks::Repeated).unwrap();
    let mut augmented = augment(&model, &key).unwrap();
    let input = image(&model, 5);
    let morphed = key.morph(&input.mapv(|v| v as f64)).unwrap();
    let expected = reference::run(&model, &input).unwrap();
    assert_eq!(augmented.run(&morphed).unwrap(), expected);
    augmented.weights.clone_from(&model.weights);
    assert_ne!(augmented.run(&morphed).unwrap(), expected);
}

#[test]
fn who_knows_the_first_layer_computes_the_key_and_the_channel_order() {
    for (rank, dims, kappa, blocks) in
        [(2, [1, 16, 16], 16, Blocks::Repeated), (3, [8, 8, 8], 32, Blocks::Independent)]
    {
        let model = network(rank, 1, dims, "relu", Pooling::Max);
        let shape = model.manifest.graph.node(0).shape;
        let key = MorphKey::new(MasterKey::generate(), shape, kappa, blocks).unwrap();
        let augmented = augment(&model, &key).unwrap();
        let found = reverse(&model, &augmented).unwrap().unwrap();
        assert_eq!(found.order, key.channel_order(6));
        assert!(found.tried <= 6);
        let input = image(&model, 6).mapv(|v| v as f64);
        let seen = found.unmorph(&key.morph(&input).unwrap());
        assert!(input.iter().zip(&seen).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn another_network_does_not_fit_the_reversing_attack() {
    let model = network(2, 1, [1, 16, 16], "relu", Pooling::Max);
    let mut other = model.clone();
    let first = *other.weights.keys().next().unwrap();
    other.weights.get_mut(&first).unwrap().weights.mapv_inplace(|w| w * w % 97 + 1);
    let shape = model.manifest.graph.node(0).shape;
    let key = MorphKey::new(MasterKey::generate(), shape, 16, Blocks::Repeated).unwrap();
    assert!(reverse(&other, &augment(&model, &key).unwrap()).unwrap().is_none());
}

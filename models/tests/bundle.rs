//! Bundles on disk: the way there and back, what is refused, and the backend without protection.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use models::backend::Backend;
use models::bundle::{
    BundleError, MANIFEST, WEIGHTS, check_target, load, load_manifest, save, save_manifest,
};
use models::clear::Clear;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations, random_image};
use models::{Model, Shape, reference};
use std::fs;
use std::path::Path;

fn net(variant: &str, pooling: Pooling) -> UNet {
    UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 16, 16] },
        channels: vec![3, 5],
        pooling,
        activations: activations(variant, 2).unwrap(),
        labels: 3,
        seed: 1,
    }
}

fn model(share_bits: u32, weight_bits: u32) -> Model {
    let mut options = QuantiseOptions { share_bits, weight_bits, ..QuantiseOptions::default() };
    options.margin = 1.1;
    let mut model = net("hybrid", Pooling::Avg).build_quantised(&options).unwrap().0;
    // A number whose shortest decimal form is long.
    model.manifest.preprocessing = serde_json::json!({ "scale": 0.1_f64 + 0.2, "mean": 1.0 / 3.0 });
    model
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    for (name, share_bits, weight_bits) in [("a.bunet", 24, 7), ("b.bunet", 32, 8), ("c.bunet", 40, 16)] {
        let (model, path) = (model(share_bits, weight_bits), folder.path().join(name));
        save(&model, &path, false).unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded, model);
        assert_eq!(loaded.manifest.hash(), model.manifest.hash());
        assert_eq!(load_manifest(&path).unwrap(), model.manifest);
        assert_eq!(load_manifest(&path.join(MANIFEST)).unwrap(), model.manifest);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "nothing is left over: {left:?}");
}

#[test]
fn the_manifest_tells_nothing_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (one, mut other) = (model(24, 8), model(24, 8));
    for layer in other.weights.values_mut() {
        layer.weights.mapv_inplace(|weight| weight / 2);
        layer.bias.mapv_inplace(|bias| bias / 3);
    }
    for (model, name) in [(&one, "one.json"), (&other, "other.json")] {
        save_manifest(&model.manifest, &folder.path().join(name), false).unwrap();
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("one.json"), read("other.json"));
    let again = save_manifest(&one.manifest, &folder.path().join("one.json"), false);
    assert!(matches!(again, Err(BundleError::Exists(_))));
}

#[test]
fn what_is_there_stays_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bunet");
    let (first, second) = (model(24, 8), model(28, 8));
    save(&first, &path, false).unwrap();
    assert!(matches!(save(&second, &path, false), Err(BundleError::Exists(_))));
    assert_eq!(load(&path).unwrap(), first);
    save(&second, &path, true).unwrap();
    assert_eq!(load(&path).unwrap(), second);
    let precious = folder.path().join("thesis");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("chapter1"), "words").unwrap();
    assert!(matches!(save(&second, &precious, true), Err(BundleError::Form { .. })));
    assert!(precious.join("chapter1").exists());
    assert!(check_target(&folder.path().join("no/such/place.bunet"), false).is_err());
    assert!(check_target(&folder.path().join("new.bunet"), false).is_ok());
}

fn refusal(path: &Path) -> String {
    load(path).unwrap_err().to_string()
}

type Change<'a> = &'a dyn Fn(&mut serde_json::Value);

/// Saves a model, changes its manifest's JSON, and returns the refusal.
fn with_manifest(change: impl Fn(&mut serde_json::Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bunet");
    save(&model(24, 8), &path, false).unwrap();
    let file = path.join(MANIFEST);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut json);
    fs::write(&file, serde_json::to_vec(&json).unwrap()).unwrap();
    refusal(&path)
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let cases: [(&str, Change<'_>); 11] = [
        ("version 2", &|json| json["format"] = 2.into()),
        ("missing field `edges`", &|json| {
            json.as_object_mut().unwrap().remove("edges");
        }),
        ("edges", &|json| {
            json["edges"].as_array_mut().unwrap().pop();
        }),
        ("share_bits", &|json| json["share_bits"] = 64.into()),
        ("do not fit shares modulo 16777216", &|json| json["edges"][1]["bound"] = (1 << 24).into()),
        ("out of range", &|json| json["edges"][1]["bound"] = (1_u64 << 50).into()),
        ("follow", &|json| json["edges"][1]["frac"] = 3.into()),
        ("names for 3 labels", &|json| {
            json["labels"].as_array_mut().unwrap().pop();
        }),
        ("states shape", &|json| json["graph"]["nodes"][1]["shape"]["channels"] = 4.into()),
        ("does not stand before it", &|json| json["graph"]["nodes"][1]["inputs"][0] = 1.into()),
        ("too large", &|json| json["graph"]["nodes"][0]["shape"]["dims"][2] = (1_u64 << 40).into()),
    ];
    for (words, change) in cases {
        let error = with_manifest(change);
        assert!(error.contains(words) && error.contains(MANIFEST), "{words}: {error}");
    }
}

#[test]
fn weights_that_do_not_fit_the_manifest_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bunet");
    let good = model(24, 8);
    save(&good, &path, false).unwrap();
    let file = path.join(WEIGHTS);
    let bytes = fs::read(&file).unwrap();
    // Truncated anywhere, or followed by more: an error that names the file.
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        assert!(refusal(&path).contains(WEIGHTS), "{length}");
    }
    fs::write(&file, [&bytes[..], &[0]].concat()).unwrap();
    assert!(refusal(&path).contains(WEIGHTS));
    fs::remove_file(&file).unwrap();
    assert!(matches!(load(&path), Err(BundleError::Io { .. })));
    let mut narrow = good.clone();
    narrow.manifest.layers.values_mut().for_each(|layer| layer.weight_bits = 3);
    let error = save(&narrow, &folder.path().join("narrow.bunet"), false).unwrap_err().to_string();
    assert!(error.contains("layer `down0a`") && error.contains("less than 2^3"), "{error}");
    let mut missing = good;
    missing.weights.pop_first();
    assert!(save(&missing, &folder.path().join("missing.bunet"), false).is_err());
}

#[test]
fn flipped_bits_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bunet");
    save(&model(24, 8), &path, false).unwrap();
    for name in [MANIFEST, WEIGHTS] {
        let file = path.join(name);
        let bytes = fs::read(&file).unwrap();
        for bit in (0..bytes.len().min(4000) * 8).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).unwrap();
            if let Ok(model) = load(&path) {
                model.validate().unwrap();
            }
        }
        fs::write(&file, &bytes).unwrap();
    }
    load(&path).unwrap();
}

#[test]
fn the_clear_backend_yields_the_references_labels() {
    for (variant, pooling) in [("relu", Pooling::Max), ("hybrid", Pooling::Avg)] {
        let net = net(variant, pooling);
        let (model, _) = net.build_quantised(&QuantiseOptions::default()).unwrap();
        let input = model.manifest.quantise_input(&random_image(net.input, 5));
        let outcome = Clear.run(&model, &input).unwrap();
        assert_eq!(outcome.labels, reference::run(&model, &input).unwrap());
        assert_eq!(outcome.record.layers.len(), model.manifest.graph.nodes().len());
        assert_eq!(outcome.record.backend, "clear");
        assert_eq!(outcome.record.model.manifest_hash.len(), 64);
        let wrong = ndarray::Array4::zeros((1, 1, 8, 8));
        assert!(Clear.run(&model, &wrong).unwrap_err().to_string().contains("shape"));
    }
    if cfg!(target_os = "linux") {
        assert!(models::record::peak_memory().unwrap() > 1 << 20);
    }
}

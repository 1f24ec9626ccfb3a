//! The commands of the perceptual backends as processes, and every backend on one scan.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Place, outcome};
use serde_json::Value;

/// Runs a command; exit code, what it says, and its errors.
fn run(place: &Place, words: &str) -> (Option<i32>, String, String) {
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = place.command(&words).output().unwrap();
    let (code, errors) = outcome(&output);
    (code, String::from_utf8(output.stdout).unwrap(), errors)
}

fn done(place: &Place, words: &str) -> String {
    let (code, said, errors) = run(place, words);
    assert_eq!(code, Some(0), "{words}: {errors}");
    said
}

fn fails(place: &Place, words: &str, code: i32, named: &str) {
    let before = place.files();
    let (found, _, errors) = run(place, words);
    assert_eq!(found, Some(code), "{words}: {errors}");
    assert!(errors.contains(named), "`{named}` is not in: {errors}");
    assert_eq!(place.files(), before, "nothing is left behind");
}

fn pixels(place: &Place, name: &str) -> Vec<u8> {
    image::open(place.path(name)).unwrap().to_luma8().into_raw()
}

#[test]
fn scans_are_encrypted_and_come_back() {
    let place = Place::new();
    done(&place, "pixel keygen -o pixel.key");
    done(&place, "pixel keygen -o other.key");
    done(&place, "pixel encrypt -i scan.png -o secret.png -k pixel.key");
    done(&place, "pixel decrypt -i secret.png -o back.png -k pixel.key");
    let (plain, secret) = (pixels(&place, "scan.png"), pixels(&place, "secret.png"));
    assert!(plain.iter().zip(&secret).all(|(p, s)| p == s || *p == 255 - s));
    assert!(plain != secret && plain == pixels(&place, "back.png"));
    std::fs::create_dir(place.path("scans")).unwrap();
    for name in ["scans/a.png", "scans/b.png"] {
        std::fs::copy(place.path("scan.png"), place.path(name)).unwrap();
    }
    done(&place, "pixel encrypt -i scans -o secrets -k pixel.key");
    assert_ne!(pixels(&place, "secrets/a.png"), pixels(&place, "secrets/b.png"), "a key per image");
    done(&place, "pixel decrypt -i secrets -o restored -k pixel.key");
    assert_eq!(pixels(&place, "restored/b.png"), plain);
    fails(&place, "pixel decrypt -i secret.png -o x.png -k other.key", 3, "not the key");
    fails(&place, "pixel decrypt -i scan.png -o x.png -k pixel.key", 3, "sidecar");
    fails(&place, "pixel keygen -o pixel.key", 4, "pixel.key");
    fails(&place, "pixel encrypt -i scan.png -o secret.png -k pixel.key", 4, "secret.png");
    fails(&place, "pixel encrypt -i none.png -o x.png -k pixel.key", 3, "none.png");
}

#[test]
fn a_server_runs_the_network_on_a_morphed_scan() {
    let place = Place::new();
    done(&place, "morph keygen -m net.bunet --kappa 16 -o morph.key");
    done(&place, "morph first -m net.bunet -o first.safetensors");
    done(&place, "morph augment -m first.safetensors -k morph.key -o layer.safetensors");
    done(&place, "morph apply -i scan.png -m net.bunet/manifest.json -k morph.key -o scan.morphed");
    done(&place, "morph run -m net.bunet -l layer.safetensors -i scan.morphed -o labels.png");
    done(&place, "compare -i scan.png -m net.bunet --labels labels.png --json same.json");
    let figures: Value = serde_json::from_slice(&std::fs::read(place.path("same.json")).unwrap()).unwrap();
    assert_eq!(figures["rows"][0]["scores"][1]["dice"], 1.0, "the labels are the plain network's");
    done(&place, "morph keygen -m net.bunet --kappa 16 -o other.key");
    done(&place, "morph apply -i scan.png -m net.bunet -k other.key -o other.morphed");
    fails(&place, "morph run -m net.bunet -l layer.safetensors -i other.morphed -o x.png", 3, "not the key");
    fails(&place, "morph keygen -m net.bunet --kappa 7 -o x.key", 3, "does not divide");
    common::picture(&place.path("large.png"), 24);
    fails(&place, "morph apply -i large.png -m net.bunet -k morph.key -o x.morphed", 3, "large.png");
    fails(
        &place,
        "morph run -m net.bunet -l first.safetensors -i scan.morphed -o x.png",
        3,
        "augmented layer",
    );
    fails(
        &place,
        "morph augment -m net.bunet/manifest.json -k morph.key -o x.safetensors",
        3,
        "manifest.json",
    );
}

#[test]
fn an_onnx_network_runs_on_morphed_scans() {
    let place = Place::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/data/unet_2d.onnx");
    std::fs::copy(sample, place.path("net.onnx")).unwrap();
    let options = models::onnx::ImportOptions { input_shape: Some(vec![8, 8]) };
    let network = models::onnx::import(&place.path("net.onnx"), &options).unwrap();
    let shape = network.graph.node(0).shape;
    assert_eq!(shape.to_array(), [1, 1, 8, 8]);
    common::picture(&place.path("scan.png"), 8);
    done(&place, "morph first -m net.onnx --input-shape 8x8 -o first.safetensors");
    done(&place, "morph keygen -m first.safetensors --kappa 8 -o morph.key");
    done(&place, "morph augment -m first.safetensors -k morph.key -o layer.safetensors");
    std::fs::create_dir(place.path("scans")).unwrap();
    std::fs::copy(place.path("scan.png"), place.path("scans/a.png")).unwrap();
    done(&place, "morph apply --each -i scans -m first.safetensors -k morph.key -o morphed");
    done(
        &place,
        "morph run -m net.onnx --input-shape 8x8 -l layer.safetensors -i morphed/a.png.morphed -o labels.png",
    );
    let picture = pixels(&place, "scan.png").into_iter().map(|grey| f32::from(grey) / 255.0).collect();
    let input = ndarray::Array4::from_shape_vec(shape.to_array(), picture).unwrap();
    let greys = |label: &u16| network.labels[usize::from(*label)].grey;
    let expected: Vec<u8> = network.run(&input).unwrap().iter().map(greys).collect();
    assert_eq!(pixels(&place, "labels.png"), expected);
    fails(
        &place,
        "morph run -m net.bunet -l layer.safetensors -i morphed/a.png.morphed -o x.png",
        7,
        "another network",
    );
}

#[test]
fn every_backend_runs_on_one_scan() {
    let place = Place::new();
    let table = done(&place, "compare -i scan.png -m net.bunet --json all.json --picture all.png");
    let figures: Value = serde_json::from_slice(&std::fs::read(place.path("all.json")).unwrap()).unwrap();
    let rows = figures["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["backend"].as_str().unwrap()).collect();
    assert_eq!(names, ["clear", "two-party", "three-party", "morph", "pixel"]);
    for row in &rows[..4] {
        // Truncation by oblivious transfer may be off by one unit, which a label seldom shows.
        assert!(row["different"].as_u64().unwrap() <= 2, "{row}");
    }
    assert!(
        rows[1]["bytes"][0].as_u64() > Some(10_000) && rows[1]["rounds"].as_u64() > Some(10),
        "{}",
        rows[1]
    );
    assert!(
        rows[1]["leaks"].as_array().unwrap().is_empty() && !rows[4]["leaks"].as_array().unwrap().is_empty()
    );
    assert!(table.contains("no image reaches the servers") && table.contains("folding"), "{table}");
    assert!(image::open(place.path("all.png")).unwrap().width() > 1000);
    fails(&place, "compare -i scan.png -m net.bunet --json all.json", 4, "all.json");
    fails(&place, "compare -i scan.png -m none.bunet", 3, "none.bunet");
    let table = done(&place, "compare -i scan.png -m net.bunet --kappa 7 --strategy relu=gc");
    assert!(table.contains("morph        does not apply: a morphing factor of 7"), "{table}");
}

//! The commands from the command line's words to files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use clap::Parser;
use imaging::{Axes, Colour, Geometry, Intensity, Overwrite, Preprocessing, SampleType, Scan, Size};
use models::graph::Shape;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations};
use models::{bundle, reference};
use ndarray::{Array4, Axis};
use perceptual::PerceptualError;
use perceptual::commands::{CompareArgs, MorphCommand, PixelCommand, prepare_scan};
use perceptual::write::write_scan;
use std::path::Path;

#[derive(Parser)]
enum Command {
    #[command(subcommand)]
    Pixel(PixelCommand),
    #[command(subcommand)]
    Morph(MorphCommand),
    Compare(CompareArgs),
}

fn run(folder: &Path, words: &str) -> Result<String, PerceptualError> {
    let words = words.replace('@', folder.to_str().unwrap());
    match Command::try_parse_from(std::iter::once("test").chain(words.split_whitespace())).unwrap() {
        Command::Pixel(command) => command.run(),
        Command::Morph(command) => command.run(),
        Command::Compare(arguments) => Ok(arguments.run(Vec::new())?.table()),
    }
}

/// A bundle `model` that reads 16×16 pictures, and a picture `scan.png`.
fn prepare_folder(folder: &Path) {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 16, 16] },
        channels: vec![4, 6],
        pooling: Pooling::Max,
        activations: activations("relu", 2).unwrap(),
        labels: 2,
        seed: 5,
    };
    let mut model = unet.build_quantised(&QuantiseOptions::default()).unwrap().0;
    let preprocessing = Preprocessing {
        colour: Colour::Grey,
        orientation: None,
        spacing: None,
        intensity: Intensity::Window { low: 0.0, high: 255.0 },
        size: Size::Exact,
        axes: Axes::Zyx,
    };
    model.manifest.preprocessing = serde_json::to_value(preprocessing).unwrap();
    bundle::save(&model, &folder.join("model"), false).unwrap();
    let picture = Array4::from_shape_fn((1, 1, 16, 16), |(_, _, y, x)| ((x * x + 3 * y * x) % 256) as f32);
    let path = folder.join("scan.png");
    write_scan(&path, &picture, SampleType::U8, &Geometry::unknown(), Overwrite::Refuse).unwrap();
}

#[test]
fn pixel_encrypts_and_decrypts_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_folder(at);
    run(at, "pixel keygen -o @/key").unwrap();
    run(at, "pixel encrypt -i @/scan.png -o @/secret.png -k @/key --scope same").unwrap();
    run(at, "pixel decrypt -i @/secret.png -o @/back.png -k @/key").unwrap();
    let read = |name: &str| Scan::read(at.join(name)).unwrap().voxels().to_owned();
    assert_eq!(read("back.png"), read("scan.png"));
    assert_ne!(read("secret.png"), read("scan.png"));
    let text = run(at, "pixel keyspace --channels 3 --voxels 1024 --shuffle").unwrap();
    assert!(text.contains("2^3072") && text.contains("2^128"), "{text}");
    assert!(run(at, "pixel encrypt -i @/scan.png -o @/x.png -k @/key --depth 4").is_err());
}

#[test]
fn morph_runs_between_two_folders_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_folder(at);
    let said = run(at, "morph keygen -m @/model --kappa 16 -o @/key").unwrap();
    assert!(said.contains("1 known images"), "{said}");
    run(at, "morph first -m @/model -o @/first.safetensors").unwrap();
    run(at, "morph augment -m @/first.safetensors -k @/key -o @/layer.safetensors").unwrap();
    run(at, "morph apply -i @/scan.png -m @/model/manifest.json -k @/key -o @/scan.morphed").unwrap();
    run(at, "morph run -m @/model -l @/layer.safetensors -i @/scan.morphed -o @/labels.png").unwrap();
    let model = bundle::load(&at.join("model")).unwrap();
    let (_, inputs) = prepare_scan(&model.manifest, &Scan::read(at.join("scan.png")).unwrap()).unwrap();
    let expected = reference::run(&model, &inputs[0]).unwrap().mapv(|label| f32::from(label) * 255.0);
    let labels = Scan::read(at.join("labels.png")).unwrap();
    assert_eq!(labels.voxels().index_axis(Axis(0), 0), expected);
    run(at, "morph keygen -m @/model --kappa 16 -o @/other").unwrap();
    run(at, "morph apply -i @/scan.png -m @/model -k @/other -o @/other.morphed").unwrap();
    let error =
        run(at, "morph run -m @/model -l @/layer.safetensors -i @/other.morphed -o @/x.png").unwrap_err();
    assert!(matches!(error, PerceptualError::WrongKey { .. }), "{error}");
    assert!(run(at, "morph keygen -m @/model --kappa 7 -o @/x").is_err());
}

#[test]
fn compare_prints_a_table_and_writes_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare_folder(at);
    let table = run(at, "compare -i @/scan.png -m @/model --json @/c.json --picture @/c.png").unwrap();
    assert!(["clear", "morph", "pixel"].iter().all(|name| table.contains(name)), "{table}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(at.join("c.json")).unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 3);
    assert!(Scan::read(at.join("c.png")).is_ok());
}

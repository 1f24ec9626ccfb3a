//! The bundles that ship with the project, on the scans that ship with it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use imaging::{Geometry, LabelGreys, Preprocessing, Scan, prepare, read_labels, score};
use models::manifest::label_bytes;
use models::{Model, bundle, reference};
use ndarray::{Array3, s};
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name)
}

/// Labels of a shipped bundle on a scan's own grid, every value within its proved range.
fn segmented(model: &Model, scan: &Scan) -> Array3<u8> {
    let manifest = &model.manifest;
    let preprocessing: Preprocessing = serde_json::from_value(manifest.preprocessing.clone()).unwrap();
    let prepared = prepare(scan, &preprocessing, manifest.graph.node(0).shape.dims).unwrap();
    let input = manifest.quantise_input(&prepared.input(0));
    let labels = label_bytes(&reference::run_checked(model, &input).unwrap()).unwrap();
    prepared.restore(&[labels]).unwrap()
}

/// Dice per label of a shipped bundle on a shipped scan.
fn dice(name: &str, image: &str, label: &str) -> Vec<f64> {
    let model = bundle::load(&data(&format!("models/{name}.bunet"))).unwrap();
    let found = segmented(&model, &Scan::read(data(image)).unwrap());
    let manifest = &model.manifest;
    let greys = LabelGreys::new(manifest.labels.iter().map(|label| label.grey).collect()).unwrap();
    let truth = read_labels(data(label), &greys).unwrap();
    let scores = score(found.view(), truth.view(), manifest.labels.len() as u8);
    scores.iter().map(|score| score.dice.unwrap()).collect()
}

#[test]
fn em_bundles_find_membranes() {
    for model in ["em_relu", "em_hybrid", "em_square"] {
        let dice = dice(model, "em_slice26_image.png", "em_slice26_label.png");
        println!("{model}: {dice:.4?}");
        assert!(dice[0] > 0.7 && dice[1] > 0.92, "{model}: {dice:?}");
    }
}

#[test]
fn hippocampus_bundles_find_both_parts() {
    for (model, least) in [("hip_relu", 0.8), ("hip_hybrid", 0.7)] {
        let dice = dice(model, "hippocampus_003.nii.gz", "hippocampus_003_label.nii.gz");
        println!("{model}: {dice:.4?}");
        assert!(dice[1] > least && dice[2] > least, "{model}: {dice:?}");
    }
}

/// A series from a scanner comes with its first axis to the left and its second to the back; NIfTI of the training set have
/// them to the right and to the front.
#[test]
fn the_hippocampus_bundle_turns_scans_that_are_stored_otherwise() {
    let model = bundle::load(&data("models/hip_relu.bunet")).unwrap();
    let scan = Scan::read(data("hippocampus_003.nii.gz")).unwrap();
    let mut geometry: Geometry = *scan.geometry();
    for row in &mut geometry.affine {
        (row[0], row[1]) = (-row[0], -row[1]);
    }
    let turned = scan.voxels().slice(s![.., .., ..;-1, ..;-1]).to_owned();
    let found = segmented(&model, &Scan::from_voxels("turned.nii", turned, geometry));
    assert_eq!(found.slice(s![.., ..;-1, ..;-1]), segmented(&model, &scan));
}

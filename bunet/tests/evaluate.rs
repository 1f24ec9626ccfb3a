//! Scores of labels, and their agreement with the network in the clear.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Place, expected, outcome};
use imaging::{Geometry, LabelGreys, Overwrite, Scan, write_labels};
use ndarray::{Array3, Array4};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Labels as NIfTI with spacing 0.5, 0.75, 2 mm.
fn volume(path: &Path, label: impl Fn(usize, usize, usize) -> u8) {
    let labels = Array3::from_shape_fn((4, 5, 6), |(z, y, x)| label(x, y, z));
    let mut geometry = Geometry::unknown();
    for (axis, spacing) in [0.5, 0.75, 2.0].into_iter().enumerate() {
        geometry.affine[axis][axis] = spacing;
        geometry.spacing[axis] = spacing;
    }
    geometry.known = true;
    let scan = Scan::from_voxels("scan", Array4::zeros((1, 4, 5, 6)), geometry);
    write_labels(path, &labels, &scan, &LabelGreys::identity(), Overwrite::Refuse).unwrap();
}

fn run(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    let output = place.command(&[&["evaluate"], args].concat()).output().unwrap();
    let (code, errors) = outcome(&output);
    (code, String::from_utf8(output.stdout).unwrap(), errors)
}

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

#[test]
fn a_summary_in_nnunets_keys() {
    let place = Place::new();
    for folder in ["labels", "references"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    // Label 1: plates at x = 1 and x = 3, 4 × 5 voxels; label 2 in the reference of b alone; label 0: the rest.
    volume(&place.path("labels/a.nii.gz"), |x, _, _| u8::from(x == 1));
    volume(&place.path("references/a.nii"), |x, _, _| u8::from(x == 3));
    volume(&place.path("labels/b.nii.gz"), |x, _, _| u8::from(x < 2));
    volume(&place.path("references/b.nii.gz"), |x, _, _| if x == 5 { 2 } else { u8::from(x < 3) });
    fs::write(place.path("labels/segmented.json"), "{}").unwrap();
    let (code, text, errors) = run(&place, &["labels", "references", "-o", "summary.json"]);
    assert_eq!(code, Some(0), "{errors}");
    let summary = json(&place, "summary.json");
    let [a, b] = [0, 1].map(|i| summary["metric_per_case"][i].clone());
    assert!(a["prediction_file"].as_str().unwrap().ends_with("labels/a.nii.gz"));
    assert!(a["reference_file"].as_str().unwrap().ends_with("references/a.nii"));
    let counts =
        |metrics: &Value| ["TP", "FP", "FN", "TN", "n_pred", "n_ref"].map(|key| metrics[key].as_u64());
    assert_eq!(counts(&a["metrics"]["1"]), [0, 20, 20, 80, 20, 20].map(Some));
    assert_eq!(
        (a["metrics"]["1"]["Dice"].as_f64(), a["metrics"]["1"]["HD95"].as_f64()),
        (Some(0.0), Some(1.0))
    );
    assert!(a["metrics"]["2"]["Dice"].is_null() && a["metrics"]["2"]["HD95"].is_null(), "in neither");
    assert_eq!(counts(&b["metrics"]["1"]), [40, 0, 20, 60, 40, 60].map(Some));
    assert_eq!(b["metrics"]["1"]["Dice"].as_f64(), Some(0.8));
    // Two thirds of the surface coincide, the far plane is one step off.
    assert_eq!(b["metrics"]["1"]["HD95"].as_f64(), Some(0.5));
    assert_eq!(b["metrics"]["2"]["Dice"].as_f64(), Some(0.0), "in one only");
    assert!(b["metrics"]["2"]["HD95"].is_null());
    assert_eq!(summary["mean"]["1"]["Dice"].as_f64(), Some(0.4));
    assert_eq!(summary["mean"]["1"]["FN"].as_f64(), Some(20.0));
    assert_eq!(summary["mean"]["2"]["Dice"].as_f64(), Some(0.0), "the mean of what is there");
    assert_eq!(summary["foreground_mean"]["Dice"].as_f64(), Some(0.2));
    assert!(summary["foreground_mean"]["HD95"].is_null());
    assert_eq!(summary["hd95_unit"], "mm");
    assert!(text.contains("1 times a label is in neither") && text.contains("1 of 2"), "{text}");

    // References without labels are not passed over in silence.
    fs::remove_file(place.path("labels/a.nii.gz")).unwrap();
    let (code, _, errors) = run(&place, &["labels", "references"]);
    assert!(code == Some(3) && errors.contains("a.nii") && errors.contains("--partial"), "{errors}");
    let (code, text, errors) = run(&place, &["labels", "references", "--partial"]);
    assert!(code == Some(0) && text.contains("1 files have no counterpart"), "{text}{errors}");
    volume(&place.path("labels/c.nii"), |_, _, _| 1);
    let (code, _, errors) = run(&place, &["labels", "references"]);
    assert!(
        code == Some(3) && errors.contains("c.nii") && errors.contains("nothing of this name"),
        "{errors}"
    );
    let (code, text, errors) = run(&place, &["labels", "references", "--partial"]);
    assert!(code == Some(0) && text.contains("2 files have no counterpart"), "{text}{errors}");
    let (code, text, _) = run(&place, &["labels/b.nii.gz", "references/b.nii.gz"]);
    assert!(code == Some(0) && text.contains("0.8000"), "{text}");
}

#[test]
fn blind_labels_are_compared_with_the_network_in_the_clear() {
    let place = Place::new();
    for folder in ["labels", "scans", "references"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    let mut clear = expected(&place);
    let save = |name: &str, pixels: &[u8]| {
        image::GrayImage::from_raw(16, 16, pixels.to_vec()).unwrap().save(place.path(name)).unwrap();
    };
    for name in ["a", "b"] {
        fs::copy(place.path("scan.png"), place.path(&format!("scans/{name}.png"))).unwrap();
        save(&format!("references/{name}.png"), &clear);
    }
    save("labels/a.png", &clear);
    for pixel in &mut clear[..3] {
        *pixel = 255 - *pixel;
    }
    save("labels/b.png", &clear);
    let args = ["labels", "--model", "net.bunet", "--images", "scans", "-o", "agreement.json"];
    let (code, text, errors) = run(&place, &args);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("3 of 512 labels differ"), "{text}");
    let found = json(&place, "agreement.json");
    assert_eq!(found["metric_per_case"][1]["blind_against_clear"]["different"], 3);
    assert_eq!(found["blind_against_clear"]["total"], 512);

    let more =
        ["labels", "references", "--model", "net.bunet", "--images", "scans", "--overlays", "pictures"];
    let (code, text, errors) = run(&place, &more);
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("HD95 voxels") && text.contains("differ from clear"), "{text}");
    assert!(image::open(place.path("pictures/b.png")).unwrap().width() > 200);
    // Without the network, grey values are labels.
    let (code, text, _) = run(&place, &["labels", "references"]);
    assert!(code == Some(0) && text.contains("Dice 255"), "{text}");
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let place = Place::new();
    for folder in ["labels", "other"] {
        fs::create_dir(place.path(folder)).unwrap();
    }
    volume(&place.path("labels/a.nii"), |_, _, _| 1);
    fs::copy(place.path("scan.png"), place.path("other/a.png")).unwrap();
    let refused = |args: &[&str], code: i32, word: &str| {
        let (found, _, errors) = run(&place, args);
        assert!(found == Some(code) && errors.contains(word), "{word}: {errors}");
    };
    refused(&["labels"], 3, "REFERENCES");
    refused(&["labels", "net.bunet"], 3, "nothing of this name");
    refused(&["labels", "scan.png"], 3, "folders for a folder");
    refused(&["none", "labels"], 3, "none");
    refused(&["labels", "other"], 3, "one grid");
    refused(&["other", "other", "--model", "net.bunet"], 3, "stands for no label");
    refused(&["labels", "labels", "-o", "scan.png"], 4, "scan.png");
    refused(&["labels", "labels", "-o", "none/summary.json"], 4, "none");
}

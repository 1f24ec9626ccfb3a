//! Quantises the project's trained networks, measures what that costs in accuracy, and writes their bundles.
//!
//! ```text
//! cargo run --release -p models --example trained -- SHARED measure [BITS…]
//! cargo run --release -p models --example trained -- SHARED write FOLDER
//! ```
//!
//! SHARED holds `models` and `data` (their READMEs describe them). Calibration: EM slices 0 to 24, one 200×200 crop
//! each; of the hippocampus pairs used for training, every fourth. Test: five crops of each EM slice from 25 on;
//! every eighth hippocampus pair in name order.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers may fail loudly")]

use imaging::{
    Axes, AxisCodes, Colour, Divisor, Intensity, LabelGreys, Preprocessing, Scan, Size, prepare, read_labels,
    score, trivial_baseline,
};

use models::onnx::{ImportOptions, import};
use models::quantise::{Calibration, QuantiseOptions, calibrate, quantise};
use models::{FloatModel, Label, bundle, reference};
use ndarray::{Array3, Array4, s};
use std::path::{Path, PathBuf};

/// One image, prepared, with its labels on the network's grid.
struct Case {
    input: Array4<f32>,
    truth: Array3<u8>,
}

/// A trained network and what belongs to it.
struct Trained {
    model: FloatModel,
    calibration: Vec<Array4<f32>>,
    tests: Vec<Case>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (shared, rest) = arguments.split_first().expect("SHARED measure|write …");
    let shared = Path::new(shared);
    match rest.split_first() {
        Some((command, bits)) if command == "measure" => {
            let bits: Vec<u32> = bits.iter().map(|bits| bits.parse().unwrap()).collect();
            let only = std::env::var("ONLY").unwrap_or_default();
            let names = ["em_relu", "em_hybrid", "hip_relu", "hip_hybrid"];
            for name in names.iter().filter(|name| name.contains(&only)) {
                measure(&trained(shared, name), if bits.is_empty() { &[16, 20, 24, 32] } else { &bits });
            }
        }
        Some((command, [folder])) if command == "write" => {
            for (name, share_bits) in [("em_relu", 20), ("em_hybrid", 24), ("hip_relu", 20)] {
                write(&trained(shared, name), share_bits, Path::new(folder));
            }
        }
        _ => panic!("SHARED measure [BITS…] or SHARED write FOLDER"),
    }
}

fn trained(shared: &Path, name: &str) -> Trained {
    let mut model = import(&shared.join(format!("models/{name}.onnx")), &ImportOptions::default()).unwrap();
    let label = |(name, grey): (&str, u8)| Label { name: name.into(), grey };
    let preprocessing = if name.starts_with("em") { em_preprocessing() } else { hippocampus_preprocessing() };
    model.preprocessing = serde_json::to_value(&preprocessing).unwrap();
    let dims = model.graph.node(0).shape.dims;
    let (calibration, tests) = if name.starts_with("em") {
        model.labels = [("membrane", 0), ("cell", 255)].map(label).to_vec();
        em(shared, &preprocessing)
    } else {
        model.labels = [("background", 0), ("anterior", 127), ("posterior", 255)].map(label).to_vec();
        hippocampus(shared, &preprocessing, dims)
    };
    Trained { model, calibration, tests }
}

fn em_preprocessing() -> Preprocessing {
    Preprocessing {
        colour: Colour::Grey,
        orientation: None,
        spacing: None,
        intensity: Intensity::Unit { divisor: Divisor::Value(255.0) },
        size: Size::Patches { overlap: 32 },
        axes: Axes::Zyx,
    }
}

fn hippocampus_preprocessing() -> Preprocessing {
    Preprocessing {
        colour: Colour::Grey,
        orientation: Some(AxisCodes::try_from("RAS".to_owned()).unwrap()),
        spacing: None,
        intensity: Intensity::Zscore { clip: Some(4.0) },
        size: Size::CentrePadCrop,
        axes: Axes::Xyz,
    }
}

fn em(shared: &Path, preprocessing: &Preprocessing) -> (Vec<Array4<f32>>, Vec<Case>) {
    let folder = shared.join("data/em_isbi2012");
    let greys = LabelGreys::new(vec![0, 255]).unwrap();
    let whole = Preprocessing { size: Size::Exact, ..preprocessing.clone() };
    let load = |slice: usize| {
        let scan = Scan::read(folder.join(format!("image/{slice}.png"))).unwrap();
        let truth = read_labels(folder.join(format!("label/{slice}.png")), &greys).unwrap();
        Case { input: prepare(&scan, &whole, [1, 512, 512]).unwrap().input(0), truth }
    };
    let crop = |case: &Case, y: usize, x: usize| Case {
        input: case.input.slice(s![.., .., y..y + 200, x..x + 200]).to_owned(),
        truth: case.truth.slice(s![.., y..y + 200, x..x + 200]).to_owned(),
    };
    let calibration =
        (0..25).map(|slice| crop(&load(slice), slice * 97 % 313, slice * 151 % 313).input).collect();
    let slices = (25..30).filter(|slice| folder.join(format!("image/{slice}.png")).exists());
    let corners = [(0, 0), (0, 312), (312, 0), (312, 312), (156, 156)];
    let tests = slices.flat_map(|slice| corners.map(|(y, x)| crop(&load(slice), y, x))).collect();
    (calibration, tests)
}

fn hippocampus(
    shared: &Path,
    preprocessing: &Preprocessing,
    dims: [usize; 3],
) -> (Vec<Array4<f32>>, Vec<Case>) {
    let folder = shared.join("data/msd_hippocampus");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder.join("images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let load = |path: &PathBuf| {
        let scan = Scan::read(path).unwrap();
        let labels = Scan::read(folder.join("labels").join(path.file_name().unwrap())).unwrap();
        let stored = Preprocessing { intensity: Intensity::AsStored, ..preprocessing.clone() };
        let truth = prepare(&labels, &stored, dims).unwrap().input(0);
        Case {
            input: prepare(&scan, preprocessing, dims).unwrap().input(0),
            truth: truth.index_axis(ndarray::Axis(0), 0).mapv(|label| label as u8),
        }
    };
    let training = names.iter().enumerate().filter(|(index, _)| index % 8 != 0);
    let calibration = training.step_by(4).map(|(_, path)| load(path).input).collect();
    (calibration, names.iter().step_by(8).map(load).collect())
}

fn bytes(labels: Array3<u16>) -> Array3<u8> {
    models::manifest::label_bytes(&labels).unwrap()
}

/// Mean Dice per label over the test cases in which it occurs.
fn dice(tests: &[Case], labels: u8, segment: impl Fn(&Case) -> Array3<u8>) -> Vec<f64> {
    let mut sums = vec![[0.0; 2]; labels.into()];
    for case in tests {
        for found in score(segment(case).view(), case.truth.view(), labels) {
            let Some(dice) = found.dice else { continue };
            sums[usize::from(found.label)][0] += dice;
            sums[usize::from(found.label)][1] += 1.0;
        }
    }
    sums.iter().map(|sums| sums[0] / sums[1]).collect()
}

fn options(share_bits: u32) -> QuantiseOptions {
    let mut options = QuantiseOptions { share_bits, ..QuantiseOptions::default() };
    let set = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<f64>().ok());
    options.margin = set("MARGIN").unwrap_or(options.margin);
    options.weight_bits = set("WEIGHT_BITS").map_or(options.weight_bits, |bits| bits as u32);
    options
}

fn measure(trained: &Trained, widths: &[u32]) {
    let Trained { model, calibration, tests } = trained;
    let labels = model.labels.len() as u8;
    println!("\n{}: {} calibration images, {} test images", model.name, calibration.len(), tests.len());
    let show = |dice: &[f64]| dice.iter().map(|dice| format!("{dice:.4}")).collect::<Vec<_>>().join("  ");
    let trivial = |case: &Case| -> Vec<f64> {
        let scores = trivial_baseline(case.truth.view(), labels);
        scores.iter().map(|score| score.dice.unwrap_or(0.0)).collect()
    };
    let baseline: Vec<Vec<f64>> = tests.iter().map(trivial).collect();
    let mean = |label: usize| baseline.iter().map(|dice| dice[label]).sum::<f64>() / tests.len() as f64;
    println!("  Dice of {:?}", model.labels.iter().map(|label| &label.name[..]).collect::<Vec<_>>());
    println!("  trivial          {}", show(&(0..usize::from(labels)).map(mean).collect::<Vec<_>>()));
    let floats: Vec<Array3<u8>> = tests.iter().map(|case| bytes(model.run(&case.input).unwrap())).collect();
    let index = |case: &Case| tests.iter().position(|other| std::ptr::eq(other, case)).unwrap();
    println!("  float            {}", show(&dice(tests, labels, |case| floats[index(case)].clone())));
    let calibration: Calibration = calibrate(model, calibration).unwrap();
    for &share_bits in widths {
        let (quantised, report) = match quantise(model, &calibration, &options(share_bits)) {
            Ok(result) => result,
            Err(error) => {
                println!("  {share_bits} bits: refused: {error}");
                continue;
            }
        };
        let mut out_of_range = 0;
        let start = std::time::Instant::now();
        let results: Vec<Array3<u8>> = tests
            .iter()
            .map(|case| {
                let input = quantised.manifest.quantise_input(&case.input);
                bytes(reference::run_checked(&quantised, &input).unwrap_or_else(|_| {
                    out_of_range += 1;
                    reference::run(&quantised, &input).unwrap()
                }))
            })
            .collect();
        let seconds = start.elapsed().as_secs_f64() / tests.len() as f64;
        let same = |i: usize| results[i].iter().zip(&floats[i]).filter(|(a, b)| a == b).count();
        let agreement = (0..tests.len()).map(same).sum::<usize>() as f64
            / results.iter().map(|r| r.len()).sum::<usize>() as f64;
        println!(
            "  {share_bits:2} bits          {}   same as float {:.3}%, {out_of_range} of {} out of range, {seconds:.2} s each",
            show(&dice(tests, labels, |case| results[index(case)].clone())),
            100.0 * agreement,
            tests.len()
        );
        if std::env::var_os("REPORT").is_some() {
            println!("{report}");
        }
    }
}

fn write(trained: &Trained, share_bits: u32, folder: &Path) {
    let calibration = calibrate(&trained.model, &trained.calibration).unwrap();
    let (model, report) = quantise(&trained.model, &calibration, &options(share_bits)).unwrap();
    let path = folder.join(format!("{}.bunet", model.manifest.name));
    bundle::save(&model, &path, true).unwrap();
    println!("{}\n{report}", path.display());
}

//! `bunet import`: from a trained network in ONNX to a bundle that Bob can serve.

mod report;

use crate::args::Import;
use alice::preprocessing;
use cli::{Failure, Kind};
use imaging::{Preprocessing, Scan, prepare};
use models::onnx::{ImportOptions, OnnxError};
use models::quantise::{Calibrator, QuantiseOptions};
use models::{FloatModel, Label, bundle, onnx, quantise};
use ndarray::Array4;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Extents of a network's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extents(Vec<usize>);

/// Parses `1x200x200`.
pub(crate) fn extents(text: &str) -> Result<Extents, String> {
    let parts = text.split(['x', ',', '×']).map(|part| part.trim().parse::<usize>());
    let parts: Vec<usize> = parts.collect::<Result<_, _>>().map_err(|_| "not of the form 1x200x200")?;
    if parts.contains(&0) { Err("an extent of 0".into()) } else { Ok(Extents(parts)) }
}

/// Imports a network.
pub(crate) fn import(flags: &Import) -> Result<(), Failure> {
    bundle::check_target(&flags.output, flags.overwrite).map_err(Failure::output)?;
    let target =
        flags.report.as_deref().map(|path| report::Target::new(path, flags.overwrite)).transpose()?;
    let options = ImportOptions { input_shape: flags.input_shape.clone().map(|Extents(extents)| extents) };
    let mut network = onnx::import(&flags.onnx, &options).map_err(refused)?;
    if let Some(name) = &flags.name {
        network.name = name.clone();
    }
    name_labels(&mut network, &flags.label)?;
    let steps = read_preprocessing(flags.preprocessing.as_deref())?;
    network.preprocessing = serde_json::to_value(&steps).map_err(Failure::input)?;

    let (calibration, input_bound) = calibrate(&network, &steps, &flags.calibrate)?;
    let options = QuantiseOptions {
        share_bits: flags.bits,
        margin: flags.margin,
        weight_bits: flags.weight_bits,
        input_bound,
        per_channel: true,
    };
    let (model, report) = quantise::quantise(&network, &calibration, &options)
        .map_err(|error| Failure::new(Kind::Plan, error))?;
    preprocessing(&model.manifest)?;
    bundle::save(&model, &flags.output, flags.overwrite).map_err(Failure::output)?;
    report::print(&flags.output, &model.manifest.name, &report);
    let graph = &model.manifest.graph;
    if graph.node(graph.output()).shape.dims != graph.node(0).shape.dims {
        println!(
            "its labels are not on the input's grid, which `alice segment` needs; `bunet plan` and the library run it"
        );
    }
    target.map_or(Ok(()), |target| target.write(&model.manifest.name, &report))
}

fn refused(error: OnnxError) -> Failure {
    let kind = if matches!(error, OnnxError::Unsupported { .. }) { Kind::Plan } else { Kind::Input };
    Failure::new(kind, error)
}

fn name_labels(network: &mut FloatModel, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let count = network.labels.len();
    if names.len() != count {
        return Err(Failure::input(format!("{} labels named, the network has {count}", names.len())));
    }
    for (label, text) in network.labels.iter_mut().zip(names) {
        let (name, grey) = text.split_once('=').unwrap_or((text, ""));
        let unfit = |_| Failure::input(format!("label `{text}`: the grey value is not between 0 and 255"));
        let grey = if grey.is_empty() { label.grey } else { grey.parse().map_err(unfit)? };
        *label = Label { name: name.to_owned(), grey };
    }
    Ok(())
}

fn read_preprocessing(path: Option<&Path>) -> Result<Preprocessing, Failure> {
    let Some(path) = path else {
        let default: Value = json!({ "intensity": { "unit": { "divisor": "type_max" } }, "size": "exact" });
        return serde_json::from_value(default).map_err(Failure::input);
    };
    let failed = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

/// Runs the float network over every scan of a folder; also the largest magnitude of an input.
fn calibrate(
    network: &FloatModel,
    steps: &Preprocessing,
    folder: &Path,
) -> Result<(quantise::Calibration, f64), Failure> {
    let mut calibrator = Calibrator::new(network);
    let mut largest = 0.0_f32;
    for path in files(folder)? {
        eprintln!("calibrating on {}", path.display());
        for input in inputs(network, steps, &path)? {
            largest = input.iter().fold(largest, |largest, value| largest.max(value.abs()));
            let failed = |error| Failure::input(format!("{}: {error}", path.display()));
            calibrator.add(&input).map_err(failed)?;
        }
    }
    // Headroom for scans that are a little brighter; what exceeds it is clipped.
    let bound = f64::from(largest).max(1e-6) * 1.05;
    Ok((calibrator.finish().map_err(Failure::input)?, bound))
}

fn inputs(network: &FloatModel, steps: &Preprocessing, path: &Path) -> Result<Vec<Array4<f32>>, Failure> {
    let scan = Scan::read(path).map_err(Failure::input)?;
    let prepared = prepare(&scan, steps, network.graph.node(0).shape.dims).map_err(Failure::input)?;
    Ok((0..prepared.patch_count()).map(|patch| prepared.input(patch)).collect())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::input(format!("{}: {error}", folder.display()));
    let entries = folder.read_dir().map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::input(format!("{}: no scan to calibrate on", folder.display())));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_read() {
        assert_eq!(extents("1x200x200"), Ok(Extents(vec![1, 200, 200])));
        assert_eq!(extents("40, 64,48"), Ok(Extents(vec![40, 64, 48])));
        assert!(extents("1x0").is_err() && extents("one").is_err());
    }

    #[test]
    fn the_default_preprocessing_is_one() {
        assert!(read_preprocessing(None).is_ok());
    }
}

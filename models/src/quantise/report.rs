//! What quantisation did, layer by layer.

use crate::float::FloatModel;
use crate::graph::NodeId;
use crate::manifest::Model;
use crate::quantise::{Calibration, QuantiseError};
use crate::reference;
use serde::Serialize;
use std::fmt;

/// What quantisation did to one value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// The layer's name.
    pub name: String,
    /// Kind of operator.
    pub kind: &'static str,
    /// Largest calibrated magnitude, in real units; `None` for a part of a value.
    pub calibrated: Option<f64>,
    /// Largest magnitude that is proved to fit, in real units.
    pub proved: f64,
    /// Fractional bits of the value.
    pub frac: i32,
    /// Bits of the largest integer magnitude.
    pub bits: u32,
    /// Bits of the narrowest shares that carry the value and let all that read it work.
    pub needed_bits: u32,
    /// Fractional bits of the weights, where there are any.
    pub weight_frac: Option<i32>,
    /// Bits of the largest weight's magnitude.
    pub weight_bits: Option<u32>,
    /// Root mean square difference from the float value, relative to the float value's, on calibration images; `None`
    /// for a part of a value.
    pub error: Option<f64>,
    /// Largest difference from the float value, in real units.
    pub largest_error: Option<f64>,
}

impl LayerReport {
    /// Signal over error in decibels.
    pub fn signal_to_error(&self) -> Option<f64> {
        self.error.filter(|&error| error > 0.0).map(|error| -20.0 * error.log10())
    }
}

/// What quantisation did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Bits of the shares.
    pub share_bits: u32,
    /// The margin.
    pub margin: f64,
    /// Images the ranges were calibrated on.
    pub images: usize,
    /// Per value, in the order of the integer graph.
    pub layers: Vec<LayerReport>,
    /// Fraction of voxels with the same result as the float network, on calibration images; null without readout.
    pub label_agreement: Option<f64>,
}

/// Measures a quantised network on the images kept by calibration. `sources` names the float node of each value, `None` where it is a
/// part of one.
pub(super) fn report(
    model: &FloatModel,
    quantised: &Model,
    calibration: &Calibration,
    sources: &[Option<NodeId>],
) -> Result<Report, QuantiseError> {
    let manifest = &quantised.manifest;
    let mut sums = vec![[0.0_f64; 3]; sources.len()];
    let mut agreement = [0_usize; 2];
    let fits = |image: &&ndarray::Array4<f32>| {
        <[usize; 4]>::from(image.dim()) == manifest.graph.node(0).shape.to_array()
    };
    for image in calibration.samples.iter().filter(fits) {
        let floats = model.run_all(image)?;
        let integers = reference::run_all(quantised, &manifest.quantise_input(image))?;
        for ((sum, integer), (edge, &source)) in
            sums.iter_mut().zip(&integers).zip(manifest.edges.iter().zip(sources))
        {
            let Some(source) = source else { continue };
            for (&integer, &float) in integer.iter().zip(&floats[source]) {
                let error = edge.to_real(integer) - f64::from(float);
                sum[0] += error.powi(2);
                sum[2] = sum[2].max(error.abs());
                sum[1] += f64::from(float).powi(2);
            }
        }
        for (&integer, &float) in integers[sources.len() - 1].iter().zip(&floats[model.graph.output()]) {
            agreement[0] += usize::from(integer == float as i64);
            agreement[1] += 1;
        }
    }
    let has_readout = model.graph.node(model.graph.output()).op.is_readout();
    let nodes = manifest.graph.nodes().iter().enumerate();
    let needed = manifest.needed_bits();
    let layers = nodes.map(|(id, node)| LayerReport {
        name: node.name.clone(),
        kind: node.op.kind(),
        calibrated: sources[id].map(|source| calibration.nodes[source].max_abs),
        proved: manifest.edges[id].to_real(manifest.edges[id].bound as i64),
        frac: manifest.edges[id].frac,
        bits: u64::BITS - manifest.edges[id].bound.leading_zeros(),
        needed_bits: needed[id],
        weight_frac: manifest.layers.get(&id).map(|layer| layer.weight_frac),
        weight_bits: manifest.layers.get(&id).map(|layer| layer.weight_bits),
        error: sources[id].map(|_| (sums[id][0] / sums[id][1].max(1e-12)).sqrt()),
        largest_error: sources[id].map(|_| sums[id][2]),
    });
    Ok(Report {
        share_bits: manifest.share_bits,
        margin: manifest.margin,
        images: calibration.images,
        layers: layers.collect(),
        label_agreement: (has_readout && agreement[1] > 0).then(|| agreement[0] as f64 / agreement[1] as f64),
    })
}

impl fmt::Display for Report {
    /// A table, one line per value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share_bits, margin, images, .. } = self;
        writeln!(f, "{share_bits}-bit shares, margin {margin}, calibrated on {images} images")?;
        let width = self.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:width$}  {:14} {:>10} {:>10} {:>5} {:>5} {:>8} {:>8} {:>8}",
            "value", "kind", "calibrated", "proved", "frac", "bits", "w frac", "w bits", "error"
        )?;
        for layer in &self.layers {
            let weights = match (layer.weight_frac, layer.weight_bits) {
                (Some(frac), Some(bits)) => format!("{frac:>8} {bits:>8}"),
                _ => format!("{:>8} {:>8}", "", ""),
            };
            let LayerReport { name, kind, calibrated, proved, frac, bits, error, .. } = layer;
            writeln!(
                f,
                "{name:width$}  {kind:14} {:>10} {proved:>10.4} {frac:>5} {bits:>5} {weights} {:>8}",
                calibrated.map_or_else(String::new, |calibrated| format!("{calibrated:.4}")),
                error.map_or_else(String::new, |error| format!("{:.2}%", 100.0 * error)),
            )?;
        }
        match self.label_agreement {
            Some(agreement) => {
                writeln!(f, "same result as the float network: {:.3}% of voxels", 100.0 * agreement)
            }
            None => Ok(()),
        }
    }
}

//! Quantisation: from a float network and images to integers whose ranges are proved.
//!
//! Scales are powers of two per value and per layer. Let a layer read x with f_x fractional bits, with weights of
//! f_w: its output has f_x + f_w, and must stay below what the following operator allows ([`crate::ranges`]).
//! A ReLU truncates within itself; elsewhere truncations are inserted: after transposed convolutions before a
//! concatenation, before and after squares, after additions. The inputs of a concatenation share one scale; an
//! addition takes place at its finest input's scale, to which the others are raised without communication.
//!
//! The fractional bits are chosen by coordinate descent. The cost is the sum over layers of the noise that rounding
//! activations and weights adds to the layer's output, relative to the variance of that output; weights get
//! what bits the ranges leave. Bounds are the smaller of the calibrated magnitude times the margin and what follows
//! from the inputs' bounds. Factors per channel may be tried (see `equalise`). Biases are corrected for the mean shift that rounding the weights causes.

mod calibrate;
mod draft;
mod equalise;
mod report;

pub use calibrate::{Calibration, Calibrator, NodeStats};
pub use report::{LayerReport, Report};

use crate::float::{FloatError, FloatLayer, FloatModel};
use crate::graph::{Graph, GraphError, NodeId, Op};
use crate::manifest::{Edge, FORMAT, Layer, LayerWeights, Manifest, Model};
use crate::reference::ReferenceError;
use draft::{Draft, DraftNode, Drafter, scale};
use ndarray::{Array1, Array4};
use std::collections::BTreeMap;

/// Widest shares that a network may be quantised for.
pub const MAX_SHARE_BITS: u32 = 40;

/// What the user chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantiseOptions {
    /// Bits of 2^k shares, 16 to 40.
    pub share_bits: u32,
    /// Factor between the largest calibrated magnitude and the proved range.
    pub margin: f64,
    /// Most bits of a weight's magnitude: the noise of homomorphic products grows with them.
    pub weight_bits: u32,
    /// Largest magnitude that preprocessing lets an input have.
    pub input_bound: f64,
    /// Whether to try factors per channel and keep what leaves the smaller error in the scores; takes twice as long.
    pub per_channel: bool,
}

impl Default for QuantiseOptions {
    fn default() -> Self {
        Self { share_bits: 24, margin: 1.5, weight_bits: 7, input_bound: 1.0, per_channel: false }
    }
}

/// A network that cannot be quantised.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantiseError {
    /// Options out of their ranges.
    #[error("{0}")]
    Options(String),
    /// No image to calibrate on.
    #[error("no image to calibrate on")]
    NoImages,
    /// The float network computes NaN or infinity.
    #[error("layer `{layer}`: its float value is not finite")]
    NotFinite {
        /// The layer's name.
        layer: String,
    },
    /// A range that does not fit the shares.
    #[error(
        "layer `{layer}`: values up to {range:.3} (margin included) do not fit {share_bits}-bit shares; {}",
        match needed_bits { Some(bits) => format!("{bits} bits would do"), None => "no share width up to 40 bits would do".into() }
    )]
    Range {
        /// The layer's name.
        layer: String,
        /// Largest magnitude with the margin, in real units.
        range: f64,
        /// The width asked for.
        share_bits: u32,
        /// The least width that would do.
        needed_bits: Option<u32>,
    },
    /// A structure that integers cannot follow.
    #[error("layer `{layer}`: {reason}")]
    Unsupported {
        /// The layer's name.
        layer: String,
        /// Why.
        reason: String,
    },
    /// The float network is broken.
    #[error(transparent)]
    Float(#[from] FloatError),
    /// The integer network cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The integer network cannot be evaluated.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

/// Runs a float network over images.
pub fn calibrate<'a>(
    model: &FloatModel,
    images: impl IntoIterator<Item = &'a Array4<f32>>,
) -> Result<Calibration, QuantiseError> {
    let mut calibrator = Calibrator::new(model);
    for image in images {
        calibrator.add(image)?;
    }
    calibrator.finish()
}

/// Quantises a float network. All ranges of the result are proved for `options.share_bits`.
pub fn quantise(
    model: &FloatModel,
    calibration: &Calibration,
    options: &QuantiseOptions,
) -> Result<(Model, Report), QuantiseError> {
    check_options(options)?;
    model.check()?;
    let plain = quantise_as_is(model, calibration, options)?;
    if !options.per_channel {
        return Ok(plain);
    }
    let (model, calibration) = equalise::equalise(model, calibration);
    let score_error = |report: &Report| {
        let scores =
            report.layers.iter().rev().find(|layer| layer.kind != "argmax" && layer.kind != "threshold");
        scores.and_then(|layer| layer.error).unwrap_or(0.0)
    };
    match quantise_as_is(&model, &calibration, options) {
        Ok(equal) if score_error(&equal.1) < score_error(&plain.1) => Ok(equal),
        _ => Ok(plain),
    }
}

fn quantise_as_is(
    model: &FloatModel,
    calibration: &Calibration,
    options: &QuantiseOptions,
) -> Result<(Model, Report), QuantiseError> {
    let draft = match choose(model, calibration, options, options.share_bits) {
        Err(QuantiseError::Range { layer, range, share_bits, .. }) => {
            let wider = (share_bits + 1..=MAX_SHARE_BITS)
                .find(|&bits| choose(model, calibration, options, bits).is_ok());
            return Err(QuantiseError::Range { layer, range, share_bits, needed_bits: wider });
        }
        other => other?,
    };
    let quantised = build(model, calibration, options, &draft)?;
    let proof = quantised.manifest.check_ranges(1 << options.share_bits);
    assert!(proof.is_ok(), "the chosen scales fit by construction: {proof:?}");
    let sources: Vec<Option<NodeId>> =
        draft.nodes.iter().map(|node| (!node.part).then_some(node.source)).collect();
    let report = report::report(model, &quantised, calibration, &sources)?;
    Ok((quantised, report))
}

fn check_options(options: &QuantiseOptions) -> Result<(), QuantiseError> {
    let refuse = |reason: String| Err(QuantiseError::Options(reason));
    if !(16..=MAX_SHARE_BITS).contains(&options.share_bits) {
        return refuse(format!(
            "{}-bit shares; 16 to {MAX_SHARE_BITS} bits are possible",
            options.share_bits
        ));
    }
    if !(4..=16).contains(&options.weight_bits) {
        return refuse(format!("{}-bit weights; 4 to 16 bits are possible", options.weight_bits));
    }
    if !(1.0..=1e3).contains(&options.margin) || !(1e-6..=1e6).contains(&options.input_bound) {
        return refuse("the margin lies between 1 and 1000, the input's bound between 1e-6 and 1e6".into());
    }
    Ok(())
}

/// The best fractional bits, by coordinate descent from several uniform starts.
fn choose(
    model: &FloatModel,
    calibration: &Calibration,
    options: &QuantiseOptions,
    bits: u32,
) -> Result<Draft, QuantiseError> {
    let drafter = Drafter::new(model, calibration, options, bits);
    let choices = drafter.choices();
    let mut best: Option<Draft> = None;
    for start in [0, 4, 8] {
        let mut choice = vec![start; model.graph.nodes().len()];
        let draft = drafter.draft(&choice)?;
        let found = descend(&drafter, &choices, &mut choice, draft);
        if best.as_ref().is_none_or(|best| found.cost < best.cost) {
            best = Some(found);
        }
    }
    let best = best.expect("there are several starts");
    match best.offender {
        Some(id) => Err(drafter.out_of_range(id)),
        None => Ok(best),
    }
}

fn descend(drafter: &Drafter<'_>, choices: &[NodeId], choice: &mut [i32], mut best: Draft) -> Draft {
    loop {
        let before = best.cost;
        for &id in choices {
            let at = choice[id];
            let mut chosen = at;
            for frac in (at - 3..=at + 3).filter(|frac| (-8..=20).contains(frac)) {
                choice[id] = frac;
                match drafter.draft(choice) {
                    Ok(draft) if draft.cost < best.cost => (best, chosen) = (draft, frac),
                    _ => {}
                }
            }
            choice[id] = chosen;
        }
        if best.cost >= before * 0.999 {
            return best;
        }
    }
}

fn build(
    model: &FloatModel,
    calibration: &Calibration,
    options: &QuantiseOptions,
    draft: &Draft,
) -> Result<Model, QuantiseError> {
    let mut graph = Graph::new(model.graph.rank(), model.graph.node(0).shape)?;
    let (mut layers, mut weights) = (BTreeMap::new(), BTreeMap::new());
    for (id, node) in draft.nodes.iter().enumerate() {
        if id > 0 {
            graph.push(node.name.clone(), node.op.clone(), node.inputs.clone())?;
        }
        if let Some(layer) = model.weights.get(&node.source).filter(|_| node.op.has_weights()) {
            let means = &calibration.nodes[model.graph.node(node.source).inputs[0]].means;
            let divisor = f64::from(draft.nodes[node.inputs[0]].divisor);
            let quantised = match node.op {
                Op::Quadratic => quantise_quadratic(layer, node, divisor),
                _ => quantise_layer(layer, node, divisor, means),
            };
            layers
                .insert(id, Layer { weight_frac: node.weight_frac, weight_bits: magnitude_bits(&quantised) });
            weights.insert(id, quantised);
        }
    }
    let edge = |node: &DraftNode| Edge { frac: node.frac, divisor: node.divisor, bound: node.bound };
    let manifest = Manifest {
        format: FORMAT,
        name: model.name.clone(),
        graph,
        edges: draft.nodes.iter().map(edge).collect(),
        layers,
        share_bits: options.share_bits,
        margin: options.margin,
        labels: model.labels.clone(),
        preprocessing: model.preprocessing.clone(),
    };
    Ok(Model { manifest, weights })
}

fn magnitude_bits(layer: &LayerWeights) -> u32 {
    let largest = layer.weights.iter().map(|weight| weight.unsigned_abs()).max().unwrap_or(0);
    (u32::BITS - largest.leading_zeros()).max(1)
}

/// Rounds the coefficients of α·x² + β·x + γ to the scale of the sum.
fn quantise_quadratic(layer: &FloatLayer, node: &DraftNode, divisor: f64) -> LayerWeights {
    // The sum has 2·f + w fractional bits, of which x² takes 2·f and x takes f.
    let input_frac = (node.frac - node.weight_frac) / 2;
    let scales =
        [scale(node.weight_frac) / (divisor * divisor), scale(node.weight_frac + input_frac) / divisor];
    let weights = layer.weights.indexed_iter();
    let weights = weights.map(|(index, &weight)| (f64::from(weight) * scales[index[1]]).round() as i32);
    let weights = ndarray::ArrayD::from_shape_vec(layer.weights.raw_dim(), weights.collect())
        .expect("as many weights as before");
    let bias = layer.bias.mapv(|bias| (f64::from(bias) * scale(node.frac)).round() as i64);
    LayerWeights { weights, bias }
}

/// Rounds weights and biases; a bias also makes up for what rounding the weights adds on average.
fn quantise_layer(layer: &FloatLayer, node: &DraftNode, divisor: f64, means: &[f64]) -> LayerWeights {
    let step = scale(-node.weight_frac) * divisor;
    let weights = layer.weights.mapv(|weight| (f64::from(weight) / step).round() as i32);
    let mut shift = Array1::<f64>::zeros(layer.bias.len());
    let (transposed, overlap) = match node.op {
        Op::ConvTranspose { window, .. } => (true, window.stride.iter().product::<usize>() as f64),
        _ => (false, 1.0),
    };
    for (index, &weight) in weights.indexed_iter() {
        let (output, input) = if transposed { (index[1], index[0]) } else { (index[0], index[1]) };
        let error = f64::from(weight) * step - f64::from(layer.weights[&index]);
        shift[output] += error * means[input] / overlap;
    }
    let bias = Array1::from_shape_fn(layer.bias.len(), |output| {
        ((f64::from(layer.bias[output]) - shift[output]) * scale(node.frac)).round() as i64
    });
    LayerWeights { weights, bias }
}

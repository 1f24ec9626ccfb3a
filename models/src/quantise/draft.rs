//! From chosen fractional bits to an integer network: where truncations and raises stand, how many bits the weights
//! of each layer get, the bound of each value, and the noise that rounding adds.

mod joins;
mod layers;
mod products;
mod work;

use crate::float::FloatModel;
use crate::graph::{NodeId, Op};
use crate::quantise::{Calibration, QuantiseError, QuantiseOptions};
use crate::ranges::{Need, need_input, need_value};
use layers::{LayerStats, layer_stats, share_choices};
use std::collections::BTreeMap;
use work::Work;

/// Most noise that a layer may add, relative to its variance: beyond, its range leaves too few bits to mean anything.
const MOST_NOISE: f64 = 0.25;

/// A node of the integer network.
#[derive(Clone, Debug)]
pub(super) struct DraftNode {
    pub(super) name: String,
    pub(super) op: Op,
    pub(super) inputs: Vec<usize>,
    /// The float node whose value it stands for, or is a part of.
    pub(super) source: NodeId,
    /// Whether it is a part of a sum: not the float node's value yet.
    pub(super) part: bool,
    pub(super) frac: i32,
    pub(super) divisor: u32,
    pub(super) bound: u64,
    /// Fractional bits of the weights.
    pub(super) weight_frac: i32,
    /// Variance of the roundings that no layer's cost counts yet, in real units.
    noise: f64,
}

/// An integer network without its weights.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) nodes: Vec<DraftNode>,
    /// Sum over layers of the noise that rounding adds, relative to the layer's variance; a great deal more where
    /// ranges do not fit.
    pub(super) cost: f64,
    /// The first float node whose range does not fit.
    pub(super) offender: Option<NodeId>,
}

/// What drafting needs to know of a float network, gathered once.
pub(super) struct Drafter<'a> {
    model: &'a FloatModel,
    calibration: &'a Calibration,
    options: &'a QuantiseOptions,
    modulus: u64,
    consumers: Vec<Vec<NodeId>>,
    layers: BTreeMap<NodeId, LayerStats>,
    /// For each node, the node whose choice of fractional bits it shares.
    shared: Vec<NodeId>,
}

impl<'a> Drafter<'a> {
    pub(super) fn new(
        model: &'a FloatModel,
        calibration: &'a Calibration,
        options: &'a QuantiseOptions,
        bits: u32,
    ) -> Self {
        let layers = model.weights.keys().map(|&id| (id, layer_stats(model, id))).collect();
        Self {
            model,
            calibration,
            options,
            modulus: 1 << bits,
            consumers: model.graph.consumers(),
            layers,
            shared: share_choices(model),
        }
    }

    /// The nodes whose fractional bits are to be chosen.
    pub(super) fn choices(&self) -> Vec<NodeId> {
        let chooses = |id: &NodeId| {
            let op = &self.model.graph.node(*id).op;
            matches!(op, Op::Input | Op::Relu { .. }) || self.is_accumulator(*id) || matches!(op, Op::Concat)
        };
        (0..self.shared.len()).filter(|&id| self.shared[id] == id).filter(chooses).collect()
    }

    /// The integer network for a choice of fractional bits per node.
    pub(super) fn draft(&self, choice: &[i32]) -> Result<Draft, QuantiseError> {
        Work::new(self, choice).run()
    }

    /// The refusal of a layer whose range does not fit.
    pub(super) fn out_of_range(&self, id: NodeId) -> QuantiseError {
        QuantiseError::Range {
            layer: self.model.graph.node(id).name.clone(),
            range: self.calibration.nodes[id].max_abs * self.options.margin,
            share_bits: self.modulus.ilog2(),
            needed_bits: None,
        }
    }

    /// Whether the value stands at the scale of a product, to be truncated before it is used further.
    fn is_accumulator(&self, id: NodeId) -> bool {
        let node = self.model.graph.node(id);
        match node.op {
            Op::Conv { .. }
            | Op::ConvTranspose { .. }
            | Op::LeakyRelu { .. }
            | Op::Square
            | Op::Quadratic
            | Op::Mul
            | Op::Add => true,
            Op::MaxPool { .. } | Op::Scale { .. } => self.is_accumulator(node.inputs[0]),
            Op::Resample(_) if self.passes(id) => self.is_accumulator(node.inputs[0]),
            Op::Resample(ref map) => map.denominator > 1,
            _ => false,
        }
    }

    /// Whether a node moves fewer values than it reads, so that truncating is cheaper after it.
    fn passes(&self, id: NodeId) -> bool {
        let node = self.model.graph.node(id);
        let reads = || self.model.graph.node(node.inputs[0]).shape.len();
        matches!(&node.op, Op::Resample(map) if map.only_moves() && node.shape.len() < reads())
    }

    fn frac(&self, choice: &[i32], id: NodeId) -> i32 {
        choice[self.shared[id]]
    }

    /// The calibrated bound of a value, with the margin, at a scale.
    fn calibrated(&self, id: NodeId, frac: i32, divisor: u32) -> u64 {
        let real = match self.model.graph.node(id).op {
            Op::Input => self.calibration.nodes[id].max_abs.max(self.options.input_bound),
            _ => self.calibration.nodes[id].max_abs * self.options.margin,
        };
        (real * scale(frac) * f64::from(divisor)).min(1e18).ceil() as u64 + 1
    }

    /// Whether value `id` at scale `frac` satisfies itself and all that read it.
    fn fits(&self, choice: &[i32], id: NodeId, frac: i32, divisor: u32, bound: u64) -> bool {
        let fits = |need: Need| need.fits(self.modulus);
        fits(need_value(bound))
            && self.consumers[id].iter().all(|&reader| {
                let op = &self.model.graph.node(reader).op;
                let shift_to = |to: i32| (frac - to).clamp(0, 40).unsigned_abs();
                let truncated_to = |to: i32| match shift_to(to) {
                    0 => true,
                    shift => fits(need_input(&Op::Truncate { shift }, bound)),
                };
                match *op {
                    Op::Relu { .. } => {
                        fits(need_input(&Op::Relu { shift: shift_to(self.frac(choice, reader)) }, bound))
                    }
                    Op::Resample(_) if self.passes(reader) => self.fits(choice, reader, frac, divisor, bound),
                    Op::MaxPool { .. } => {
                        fits(need_input(op, bound)) && self.fits(choice, reader, frac, divisor, bound)
                    }
                    Op::Scale { factor, shift } => {
                        let bound = bound.saturating_mul(factor.unsigned_abs());
                        self.fits(choice, reader, frac + shift as i32, divisor, bound)
                    }
                    Op::Add => {
                        let sum = self.calibrated(reader, frac, divisor);
                        self.fits(choice, reader, frac, divisor, sum)
                    }
                    Op::ArgMax => fits(need_input(op, bound)),
                    Op::Threshold { .. } => fits(need_input(&scaled_threshold(op, frac), bound)),
                    Op::Square => truncated_to(self.square_frac(choice, reader)),
                    Op::Mul => truncated_to(self.mul_frac(choice, reader)),
                    Op::Concat | Op::LeakyRelu { .. } => truncated_to(self.frac(choice, reader)),
                    _ => truncated_to(self.frac(choice, id)),
                }
            })
    }

    /// The most fractional bits that the input of a square may have.
    fn square_frac(&self, choice: &[i32], square: NodeId) -> i32 {
        let input = self.model.graph.node(square).inputs[0];
        let fits = |frac: &i32| {
            let base = self.calibrated(input, *frac, 1);
            let squared = self.calibrated(square, 2 * frac, 1);
            need_input(&Op::Square, base).fits(self.modulus)
                && self.fits(choice, square, 2 * frac, 1, squared)
        };
        (-20..=20).rev().find(fits).unwrap_or(-20)
    }

    /// The most fractional bits that the inputs of a product may have.
    fn mul_frac(&self, choice: &[i32], product: NodeId) -> i32 {
        let fits = |frac: &i32| {
            let bound = self.calibrated(product, 2 * frac, 1);
            self.fits(choice, product, 2 * frac, 1, bound)
        };
        (-20..=20).rev().find(fits).unwrap_or(-20)
    }
}

/// 2^frac.
pub(super) fn scale(frac: i32) -> f64 {
    f64::from(frac).exp2()
}

/// Largest magnitude after truncation.
fn truncated(bound: u64, shift: u32) -> u64 {
    if shift == 0 { bound } else { (bound + (1 << (shift - 1))) >> shift }
}

/// Variance of rounding to a scale.
fn rounding_noise(frac: i32, divisor: u32) -> f64 {
    scale(-2 * frac) / f64::from(divisor).powi(2) / 12.0
}

fn scaled_threshold(op: &Op, frac: i32) -> Op {
    match *op {
        Op::Threshold { at } => Op::Threshold { at: (at as f64 * scale(frac)).round() as i64 },
        _ => op.clone(),
    }
}

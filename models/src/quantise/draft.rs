//! From chosen fractional bits to an integer network: where truncations and raises stand, how many bits the weights
//! of each layer get, the bound of each value, and the noise that rounding adds.

use crate::float::FloatModel;
use crate::graph::{NodeId, Op};
use crate::quantise::{Calibration, QuantiseError, QuantiseOptions};
use crate::ranges::{Need, need_input, need_value};
use std::collections::BTreeMap;

/// A weight needs at least this many bits of magnitude to be worth anything.
const LEAST_WEIGHT_BITS: i32 = 3;

/// Most bits of a leaky ReLU's slope.
const MOST_SLOPE_BITS: u32 = 12;

/// Most bits of a quadratic's linear coefficient.
const MOST_BETA_BITS: i32 = 23;

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

/// Sizes of a layer's weights.
struct LayerStats {
    largest: f64,
    /// Largest sum of magnitudes that one output can see, and the number of weights in it.
    l1: f64,
    terms: f64,
    /// Mean over outputs of the sum of squares.
    l2: f64,
    largest_bias: f64,
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
        let mut work = Work {
            drafter: self,
            choice,
            nodes: Vec::new(),
            natural: Vec::new(),
            cached: BTreeMap::new(),
            cost: 0.0,
            offender: None,
        };
        for id in 0..self.model.graph.nodes().len() {
            let natural = work.emit(id)?;
            work.natural.push(natural);
        }
        work.prove();
        Ok(Draft { nodes: work.nodes, cost: work.cost, offender: work.offender })
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
            _ => false,
        }
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

/// One pass over the float network.
struct Work<'a> {
    drafter: &'a Drafter<'a>,
    choice: &'a [i32],
    nodes: Vec<DraftNode>,
    /// For each float node done, the integer node with its value as the operator yields it.
    natural: Vec<usize>,
    /// Integer nodes brought to another scale.
    cached: BTreeMap<(usize, i32), usize>,
    cost: f64,
    offender: Option<NodeId>,
}

/// What a range that does not fit costs: more than any noise, and more the less it fits, so that descent leads out.
const OFFENCE: f64 = 1e6;

impl Work<'_> {
    /// Finds every value that does not satisfy itself and all that read it.
    fn prove(&mut self) {
        for index in 0..self.nodes.len() {
            let node = self.nodes[index].clone();
            let inputs = node.inputs.iter().map(|&input| need_input(&node.op, self.nodes[input].bound));
            let needs: Vec<Need> = std::iter::once(need_value(node.bound)).chain(inputs).collect();
            for need in needs.iter().filter(|need| !need.fits(self.drafter.modulus)) {
                let lacking = f64::from(need.bits()) - (self.drafter.modulus as f64).log2();
                self.offend(node.source, OFFENCE * lacking);
            }
        }
    }

    fn offend(&mut self, id: NodeId, cost: f64) {
        self.offender = Some(self.offender.map_or(id, |first| first.min(id)));
        self.cost += cost;
    }

    fn emit(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
        let node = self.drafter.model.graph.node(id);
        match node.op {
            Op::Input => Ok(self.emit_input(id)),
            Op::Conv { .. } | Op::ConvTranspose { .. } => self.emit_layer(id),
            Op::Relu { .. } => Ok(self.emit_relu(id)),
            Op::LeakyRelu { slope } => Ok(self.emit_leaky_relu(id, f64::from(slope))),
            Op::Square => self.emit_square(id),
            Op::Quadratic => Ok(self.emit_quadratic(id)),
            Op::Mul => self.emit_mul(id),
            Op::Scale { factor, shift } => {
                let input = self.natural[node.inputs[0]];
                let DraftNode { frac, divisor, bound, .. } = self.nodes[input];
                let bound = bound.saturating_mul(factor.unsigned_abs());
                Ok(self.push(id, node.op.clone(), vec![input], frac + shift as i32, divisor, bound))
            }
            Op::AvgPool { window } => self.emit_avg_pool(id, window.taps()),
            Op::Concat => {
                let frac = self.drafter.frac(self.choice, id);
                self.emit_join(id, frac)
            }
            Op::Add => {
                let frac = self.add_frac(id);
                self.emit_join(id, frac)
            }
            Op::Threshold { .. } => {
                let input = self.natural[node.inputs[0]];
                self.charge_scores(node.inputs[0]);
                let op = scaled_threshold(&node.op, self.nodes[input].frac);
                Ok(self.push(id, op, vec![input], 0, 1, 1))
            }
            Op::ArgMax => {
                let input = self.natural[node.inputs[0]];
                self.charge_scores(node.inputs[0]);
                let labels = self.drafter.model.graph.node(node.inputs[0]).shape.channels as u64;
                Ok(self.push(id, node.op.clone(), vec![input], 0, 1, labels - 1))
            }
            Op::MaxPool { .. } => {
                let input = self.natural[node.inputs[0]];
                let DraftNode { frac, divisor, bound, .. } = self.nodes[input];
                Ok(self.push(id, node.op.clone(), vec![input], frac, divisor, bound))
            }
            Op::Truncate { .. } | Op::Raise { .. } => Err(QuantiseError::Unsupported {
                layer: node.name.clone(),
                reason: "a float network has no shifts".into(),
            }),
        }
    }

    /// Counts the noise of scores that no layer's cost counts, as after a pooling.
    fn charge_scores(&mut self, scores: NodeId) {
        let variance = self.drafter.calibration.nodes[scores].variance.max(1e-12);
        self.cost += self.nodes[self.natural[scores]].noise / variance;
    }

    fn emit_input(&mut self, id: NodeId) -> usize {
        let frac = self.drafter.frac(self.choice, id);
        let bound = self.drafter.calibrated(id, frac, 1);
        let node = self.push(id, Op::Input, Vec::new(), frac, 1, bound);
        self.nodes[node].noise = rounding_noise(frac, 1);
        node
    }

    /// A layer with weights, which get as many bits as the ranges allow. They also absorb an open division.
    fn emit_layer(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
        let drafter = self.drafter;
        let node = drafter.model.graph.node(id);
        let input = self.operand(node.inputs[0]);
        let x = self.nodes[input].clone();
        let layer = &drafter.layers[&id];
        let divisor = f64::from(x.divisor);
        let largest = (layer.largest / divisor).max(1e-12);
        let most = (f64::from((1_u32 << drafter.options.weight_bits) - 1) / largest).log2().floor() as i32;
        let least = most - drafter.options.weight_bits as i32 + LEAST_WEIGHT_BITS;
        let bound = |weight_frac: i32| {
            let frac = x.frac + weight_frac;
            let sum = x.bound as f64 * (layer.l1 / divisor * scale(weight_frac) + layer.terms / 2.0);
            let worst = sum + layer.largest_bias * scale(frac) + 1.0;
            drafter.calibrated(id, frac, 1).min(worst.min(1e18).ceil() as u64)
        };
        let fits = |weight_frac: &i32| {
            let frac = x.frac + weight_frac;
            drafter.fits(self.choice, id, frac, 1, bound(*weight_frac))
        };
        // Where nothing fits, the proof at the end finds out.
        let weight_frac = (least..=most).rev().find(fits).unwrap_or(least);
        let noise = drafter.relative_noise(id, &x, weight_frac);
        if noise > MOST_NOISE {
            self.offend(id, noise);
        }
        self.cost += noise;
        let emitted =
            self.push(id, node.op.clone(), vec![input], x.frac + weight_frac, 1, bound(weight_frac));
        self.nodes[emitted].weight_frac = weight_frac;
        self.nodes[emitted].noise = 0.0;
        Ok(emitted)
    }

    fn emit_relu(&mut self, id: NodeId) -> usize {
        let input = self.natural[self.drafter.model.graph.node(id).inputs[0]];
        let DraftNode { frac, divisor, bound, noise, .. } = self.nodes[input];
        let shift = (frac - self.drafter.frac(self.choice, id)).clamp(0, 40).unsigned_abs();
        let frac = frac - shift as i32;
        let bound = truncated(bound, shift).min(self.drafter.calibrated(id, frac, divisor));
        let node = self.push(id, Op::Relu { shift }, vec![input], frac, divisor, bound);
        let rounding = if shift > 0 { rounding_noise(frac, divisor) / 2.0 } else { 0.0 };
        self.nodes[node].noise = noise + rounding;
        node
    }

    fn emit_square(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
        let drafter = self.drafter;
        let input = drafter.model.graph.node(id).inputs[0];
        let frac = drafter.square_frac(self.choice, id);
        let x = self.request(self.natural[input], frac.min(self.nodes[self.natural[input]].frac));
        let DraftNode { frac, divisor, bound, noise, .. } = self.nodes[x];
        let stats = &drafter.calibration.nodes;
        self.cost += 4.0 * noise * stats[input].energy / stats[id].energy.max(1e-12);
        let divisor = self.divisor(id, u64::from(divisor) * u64::from(divisor))?;
        let bound = bound.saturating_mul(bound).min(drafter.calibrated(id, 2 * frac, divisor));
        let square = self.push(id, Op::Square, vec![x], 2 * frac, divisor, bound);
        self.nodes[square].noise = 0.0;
        Ok(square)
    }

    /// slope·x + (1 − slope)·max(0, x) with the coefficients rounded to as many bits as ranges allow: a truncation, a ReLU
    /// by the same shift, and their weighted sum, which is local.
    fn emit_leaky_relu(&mut self, id: NodeId, slope: f64) -> usize {
        let drafter = self.drafter;
        let source = drafter.model.graph.node(id).inputs[0];
        let input = self.natural[source];
        let frac = drafter.frac(self.choice, id).min(self.nodes[input].frac);
        let linear = self.request(input, frac);
        let DraftNode { divisor, bound, noise, .. } = self.nodes[linear];
        let shift = (self.nodes[input].frac - frac).clamp(0, 40).unsigned_abs();
        let factors = |bits: u32| {
            let factor = (slope * scale(bits as i32)).round() as i64;
            [factor, (1 << bits) - factor]
        };
        let sum = |bits: u32| {
            let [a, b] = factors(bits).map(i64::unsigned_abs);
            (a * bound + b * bound).min(drafter.calibrated(id, frac + bits as i32, divisor))
        };
        let fits = |&bits: &u32| {
            let parts = factors(bits).map(|factor| need_value(factor.unsigned_abs() * bound));
            parts.iter().all(|need| need.fits(drafter.modulus))
                && drafter.fits(self.choice, id, frac + bits as i32, divisor, sum(bits))
        };
        let bits = (1..=MOST_SLOPE_BITS).rev().find(fits).unwrap_or(1);
        let frac_sum = frac + bits as i32;
        let factors = factors(bits);
        let relu = self.push_part(id, "relu", Op::Relu { shift }, linear, frac, bound);
        self.nodes[relu].inputs = vec![input];
        let [a, b] =
            [(linear, "slope", factors[0]), (relu, "rest", factors[1])].map(|(part, suffix, factor)| {
                let bound = factor.unsigned_abs() * bound;
                self.push_part(id, suffix, Op::Scale { factor, shift: bits }, part, frac_sum, bound)
            });
        let leaky = self.push(id, Op::Add, vec![a, b], frac_sum, divisor, sum(bits));
        let stats = &drafter.calibration.nodes;
        let error = factors[0] as f64 / scale(bits as i32) - slope;
        self.cost += error * error * stats[source].energy / stats[id].variance.max(1e-12) / 2.0;
        self.nodes[leaky].noise = noise * (1.0 + slope * slope) / 2.0;
        leaky
    }

    /// α gets as many bits as the ranges allow; β stands at the scale of α·x².
    fn emit_quadratic(&mut self, id: NodeId) -> usize {
        let drafter = self.drafter;
        let source = drafter.model.graph.node(id).inputs[0];
        let input = self.operand(source);
        let DraftNode { frac, divisor, noise, .. } = self.nodes[input];
        let layer = &drafter.model.weights[&id];
        let largest = |which: usize| {
            let column = layer.weights.index_axis(ndarray::Axis(1), which);
            column.iter().fold(1e-12, |max: f64, &weight| max.max(f64::from(weight.abs())))
        };
        let d = f64::from(divisor);
        let [alpha, beta] = [largest(0) / (d * d), largest(1) / d];
        let weight_bits = drafter.options.weight_bits as i32;
        let bits = |magnitude: f64, frac: i32| (magnitude * scale(frac)).log2();
        let bound = |weight_frac: i32| drafter.calibrated(id, 2 * frac + weight_frac, 1);
        let fits = |&weight_frac: &i32| {
            bits(alpha, weight_frac) < f64::from(weight_bits)
                && bits(beta, frac + weight_frac) < f64::from(MOST_BETA_BITS)
                && drafter.fits(self.choice, id, 2 * frac + weight_frac, 1, bound(weight_frac))
        };
        let weight_frac = (-30..=30).rev().find(fits).unwrap_or(-30);
        let stats = &drafter.calibration.nodes;
        let (x, y) = (&stats[source], stats[id].variance.max(1e-12));
        // The slope's energy times the input's noise, and what rounding α and β adds; x⁴ as a normal value has it.
        let slope = 4.0 * largest(0).powi(2) * x.energy + largest(1).powi(2);
        let rounding = 3.0 * x.energy.powi(2) * rounding_noise(weight_frac, 1) * d.powi(4)
            + x.energy * rounding_noise(frac + weight_frac, 1) * d * d;
        let added = (noise * slope + rounding) / y;
        if added > MOST_NOISE {
            self.offend(id, added);
        }
        self.cost += added;
        let quadratic =
            self.push(id, Op::Quadratic, vec![input], 2 * frac + weight_frac, 1, bound(weight_frac));
        self.nodes[quadratic].weight_frac = weight_frac;
        self.nodes[quadratic].noise = 0.0;
        quadratic
    }

    /// Both inputs are truncated as far as their product needs.
    fn emit_mul(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
        let drafter = self.drafter;
        let sources = &drafter.model.graph.node(id).inputs;
        let most = drafter.mul_frac(self.choice, id);
        let inputs: Vec<usize> = sources
            .iter()
            .map(|&source| {
                let natural = self.natural[source];
                self.request(natural, most.min(self.nodes[natural].frac))
            })
            .collect();
        let [x, y] = [&self.nodes[inputs[0]], &self.nodes[inputs[1]]].map(Clone::clone);
        let stats = &drafter.calibration.nodes;
        let noise = x.noise * stats[sources[1]].energy + y.noise * stats[sources[0]].energy;
        self.cost += noise / stats[id].energy.max(1e-12);
        let (frac, divisor) =
            (x.frac + y.frac, self.divisor(id, u64::from(x.divisor) * u64::from(y.divisor))?);
        let bound = x.bound.saturating_mul(y.bound).min(drafter.calibrated(id, frac, divisor));
        let product = self.push(id, Op::Mul, inputs, frac, divisor, bound);
        self.nodes[product].noise = 0.0;
        Ok(product)
    }

    /// A window of 2^p·r voxels adds p fractional bits and leaves a division by r open.
    fn emit_avg_pool(&mut self, id: NodeId, taps: usize) -> Result<usize, QuantiseError> {
        let node = self.drafter.model.graph.node(id);
        let input = self.operand(node.inputs[0]);
        let DraftNode { frac, divisor, bound, noise, .. } = self.nodes[input];
        let halvings = taps.trailing_zeros();
        let divisor = self.divisor(id, u64::from(divisor) * (taps >> halvings) as u64)?;
        let frac = frac + halvings as i32;
        let bound = bound.saturating_mul(taps as u64).min(self.drafter.calibrated(id, frac, divisor));
        let pool = self.push(id, node.op.clone(), vec![input], frac, divisor, bound);
        self.nodes[pool].noise = noise / taps as f64;
        Ok(pool)
    }

    /// A concatenation or addition: all inputs are brought to one scale.
    fn emit_join(&mut self, id: NodeId, frac: i32) -> Result<usize, QuantiseError> {
        let node = self.drafter.model.graph.node(id);
        let inputs: Vec<usize> =
            node.inputs.iter().map(|&input| self.request(self.natural[input], frac)).collect();
        let divisor = self.nodes[inputs[0]].divisor;
        if inputs.iter().any(|&input| self.nodes[input].divisor != divisor) {
            return Err(QuantiseError::Unsupported {
                layer: node.name.clone(),
                reason: "it joins average pools of different windows; use windows of 2^n voxels".into(),
            });
        }
        let bounds = inputs.iter().map(|&input| self.nodes[input].bound);
        let (bound, noise) = match node.op {
            Op::Add => (
                bounds.sum::<u64>().min(self.drafter.calibrated(id, frac, divisor)),
                inputs.iter().map(|&input| self.nodes[input].noise).sum(),
            ),
            _ => {
                let channels = |input: NodeId| self.drafter.model.graph.node(input).shape.channels as f64;
                let noise = |(&input, &source): (&usize, &NodeId)| self.nodes[input].noise * channels(source);
                let sum: f64 = inputs.iter().zip(&node.inputs).map(noise).sum();
                (bounds.max().unwrap_or(0), sum / channels(id))
            }
        };
        let join = self.push(id, node.op.clone(), inputs, frac, divisor, bound);
        self.nodes[join].noise = noise;
        Ok(join)
    }

    /// The scale of an addition: as fine as the finest input, unless a raised input or the sum would not fit.
    fn add_frac(&self, id: NodeId) -> i32 {
        let drafter = self.drafter;
        let inputs: Vec<usize> =
            drafter.model.graph.node(id).inputs.iter().map(|&input| self.natural[input]).collect();
        let finest = inputs.iter().map(|&input| self.nodes[input].frac).max().unwrap_or(0);
        let fits = |frac: &i32| {
            let raised = |&input: &usize| {
                let x = &self.nodes[input];
                let by = (frac - x.frac).clamp(0, 40).unsigned_abs();
                need_value(x.bound << by).fits(drafter.modulus)
            };
            inputs.iter().all(raised)
                && drafter.fits(self.choice, id, *frac, 1, drafter.calibrated(id, *frac, 1))
        };
        (finest - 20..=finest).rev().find(fits).unwrap_or(finest - 20)
    }

    /// The value of a float node as a linear operator reads it: truncated to its chosen scale.
    fn operand(&mut self, id: NodeId) -> usize {
        let natural = self.natural[id];
        if !self.drafter.is_accumulator(id) {
            return natural;
        }
        let frac = self.drafter.frac(self.choice, id).min(self.nodes[natural].frac);
        self.request(natural, frac)
    }

    /// An integer node brought to another scale.
    fn request(&mut self, node: usize, frac: i32) -> usize {
        let x = self.nodes[node].clone();
        if x.frac == frac {
            return node;
        }
        if let Some(&cached) = self.cached.get(&(node, frac)) {
            return cached;
        }
        let shift = (x.frac - frac).unsigned_abs().min(40);
        let serial = self.cached.keys().filter(|(from, _)| *from == node).count();
        let suffix = if serial == 0 { String::new() } else { (serial + 1).to_string() };
        let mut scaled = if x.frac > frac {
            let bound = truncated(x.bound, shift).min(self.drafter.calibrated(x.source, frac, x.divisor));
            let noise = x.noise + rounding_noise(frac, x.divisor);
            DraftNode {
                op: Op::Truncate { shift },
                bound,
                noise,
                name: format!("{}.truncate{suffix}", x.name),
                ..x
            }
        } else {
            DraftNode {
                op: Op::Raise { shift },
                bound: x.bound << shift,
                name: format!("{}.raise{suffix}", x.name),
                ..x
            }
        };
        scaled.inputs = vec![node];
        scaled.frac = frac;
        self.nodes.push(scaled);
        self.cached.insert((node, frac), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    fn push(
        &mut self,
        source: NodeId,
        op: Op,
        inputs: Vec<usize>,
        frac: i32,
        divisor: u32,
        bound: u64,
    ) -> usize {
        let name = self.drafter.model.graph.node(source).name.clone();
        let noise = inputs.first().map_or(0.0, |&input| self.nodes[input].noise);
        let part = false;
        self.nodes.push(DraftNode {
            name,
            op,
            inputs,
            source,
            part,
            frac,
            divisor,
            bound,
            weight_frac: 0,
            noise,
        });
        self.nodes.len() - 1
    }

    /// A part of a float node's value, named after it.
    fn push_part(
        &mut self,
        source: NodeId,
        suffix: &str,
        op: Op,
        input: usize,
        frac: i32,
        bound: u64,
    ) -> usize {
        let divisor = self.nodes[input].divisor;
        let id = self.push(source, op, vec![input], frac, divisor, bound);
        self.nodes[id].part = true;
        self.nodes[id].name = format!("{}.{suffix}", self.nodes[id].name);
        id
    }

    fn divisor(&self, id: NodeId, divisor: u64) -> Result<u32, QuantiseError> {
        u32::try_from(divisor).ok().filter(|&divisor| divisor <= 1 << 16).ok_or_else(|| {
            QuantiseError::Unsupported {
                layer: self.drafter.model.graph.node(id).name.clone(),
                reason: "average pools of odd windows follow each other without a convolution between".into(),
            }
        })
    }
}

impl Drafter<'_> {
    /// Noise that a layer's input rounding and weight rounding add, relative to the variance of its output.
    fn relative_noise(&self, id: NodeId, x: &DraftNode, weight_frac: i32) -> f64 {
        let layer = &self.layers[&id];
        let input = self.model.graph.node(id).inputs[0];
        let weight_noise = rounding_noise(weight_frac, 1) * f64::from(x.divisor).powi(2);
        let noise = x.noise * layer.l2 + weight_noise * layer.terms * self.calibration.nodes[input].energy;
        // What a layer adds to a sum is judged by the sum.
        let sums = self.consumers[id].iter().filter(|&&reader| self.model.graph.node(reader).op == Op::Add);
        let variances = sums.chain([&id]).map(|&id| self.calibration.nodes[id].variance);
        noise / variances.fold(1e-12, f64::max)
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

fn layer_stats(model: &FloatModel, id: NodeId) -> LayerStats {
    let layer = &model.weights[&id];
    let node = model.graph.node(id);
    let (outputs, overlap) = match node.op {
        // Of a transposed convolution's taps, an output sees one in stride-many.
        Op::ConvTranspose { window, .. } => (1, window.stride.iter().product::<usize>() as f64),
        _ => (0, 1.0),
    };
    let channels = layer.weights.axis_iter(ndarray::Axis(outputs));
    let sums: Vec<[f64; 2]> = channels
        .map(|channel| {
            let l1 = channel.iter().map(|&weight| f64::from(weight.abs())).sum();
            [l1, channel.iter().map(|&weight| f64::from(weight).powi(2)).sum()]
        })
        .collect();
    LayerStats {
        largest: layer.weights.iter().fold(0.0, |max, &weight| max.max(f64::from(weight.abs()))),
        l1: sums.iter().fold(0.0, |max, sums| max.max(sums[0])),
        terms: layer.weights.len() as f64 / sums.len() as f64 / overlap,
        l2: sums.iter().map(|sums| sums[1]).sum::<f64>() / sums.len() as f64 / overlap,
        largest_bias: layer.bias.iter().fold(0.0, |max, &bias| max.max(f64::from(bias.abs()))),
    }
}

/// The inputs of a concatenation share one choice of fractional bits.
fn share_choices(model: &FloatModel) -> Vec<NodeId> {
    let mut shared: Vec<NodeId> = (0..model.graph.nodes().len()).collect();
    for (id, node) in model.graph.nodes().iter().enumerate() {
        if node.op != Op::Concat {
            continue;
        }
        for &input in &node.inputs {
            let op = &model.graph.node(input).op;
            if matches!(op, Op::AvgPool { .. } | Op::MaxPool { .. } | Op::Add) {
                continue;
            }
            let [from, to] = [shared[id].max(shared[input]), shared[id].min(shared[input])];
            shared.iter_mut().filter(|choice| **choice == from).for_each(|choice| *choice = to);
        }
    }
    shared
}

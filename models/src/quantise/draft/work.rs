//! The walk over the float network: every operator in its integer form.

use super::{Draft, DraftNode, Drafter, MOST_NOISE, rounding_noise, scale, scaled_threshold, truncated};
use crate::graph::{NodeId, Op};
use crate::quantise::QuantiseError;
use crate::ranges::{Need, need_input, need_value};
use std::collections::BTreeMap;

/// A weight needs at least this many bits of magnitude to be worth anything.
const LEAST_WEIGHT_BITS: i32 = 3;

/// One pass over the float network.
pub(super) struct Work<'a> {
    pub(super) drafter: &'a Drafter<'a>,
    pub(super) choice: &'a [i32],
    pub(super) nodes: Vec<DraftNode>,
    /// For each float node done, the integer node with its value as the operator yields it.
    pub(super) natural: Vec<usize>,
    /// Integer nodes brought to another scale.
    pub(super) cached: BTreeMap<(usize, i32), usize>,
    pub(super) cost: f64,
    pub(super) offender: Option<NodeId>,
}

/// What a range that does not fit costs: more than any noise, and more the less it fits, so that descent leads out.
const OFFENCE: f64 = 1e6;

impl<'a> Work<'a> {
    pub(super) fn new(drafter: &'a Drafter<'a>, choice: &'a [i32]) -> Self {
        let (nodes, natural, cached) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { drafter, choice, nodes, natural, cached, cost: 0.0, offender: None }
    }

    /// Emits every node and proves the ranges.
    pub(super) fn run(mut self) -> Result<Draft, QuantiseError> {
        for id in 0..self.drafter.model.graph.nodes().len() {
            let natural = self.emit(id)?;
            self.natural.push(natural);
        }
        self.prove();
        Ok(Draft { nodes: self.nodes, cost: self.cost, offender: self.offender })
    }

    /// Finds every value that does not satisfy itself and all that read it.
    pub(super) fn prove(&mut self) {
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

    pub(super) fn offend(&mut self, id: NodeId, cost: f64) {
        self.offender = Some(self.offender.map_or(id, |first| first.min(id)));
        self.cost += cost;
    }

    pub(super) fn emit(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
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
            Op::Resample(ref map) => self.emit_resample(id, map),
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
    pub(super) fn charge_scores(&mut self, scores: NodeId) {
        let variance = self.drafter.calibration.nodes[scores].variance.max(1e-12);
        self.cost += self.nodes[self.natural[scores]].noise / variance;
    }

    pub(super) fn emit_input(&mut self, id: NodeId) -> usize {
        let frac = self.drafter.frac(self.choice, id);
        let bound = self.drafter.calibrated(id, frac, 1);
        let node = self.push(id, Op::Input, Vec::new(), frac, 1, bound);
        self.nodes[node].noise = rounding_noise(frac, 1);
        node
    }

    /// A layer with weights, which get as many bits as the ranges allow. They also absorb an open division.
    pub(super) fn emit_layer(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
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

    pub(super) fn emit_relu(&mut self, id: NodeId) -> usize {
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
}

//! Operators without products of their own: average pooling, resampling, concatenation, addition.

use super::work::Work;
use super::{DraftNode, Drafter, rounding_noise, truncated};
use crate::graph::{NodeId, Op};
use crate::quantise::QuantiseError;
use crate::ranges::need_value;
use crate::resample::Resample;

/// Most bits of a coefficient of an interpolation that is not exact.
const MOST_COEFFICIENT_BITS: u32 = 12;

impl Work<'_> {
    /// A window of 2^p·r voxels adds p fractional bits and leaves a division by r open.
    pub(super) fn emit_avg_pool(&mut self, id: NodeId, taps: usize) -> Result<usize, QuantiseError> {
        let node = self.drafter.model.graph.node(id);
        let input = self.operand(node.inputs[0]);
        let DraftNode { frac, divisor, bound, noise, .. } = self.nodes[input];
        let (frac, divisor) = self.after_division(id, frac, divisor, taps)?;
        let bound = bound.saturating_mul(taps as u64).min(self.drafter.calibrated(id, frac, divisor));
        let pool = self.push(id, node.op.clone(), vec![input], frac, divisor, bound);
        self.nodes[pool].noise = noise / taps as f64;
        Ok(pool)
    }

    /// Exact where the denominator is a power of two, or where layers absorb the division; otherwise coefficients with as
    /// many bits as the ranges allow.
    pub(super) fn emit_resample(&mut self, id: NodeId, map: &Resample) -> Result<usize, QuantiseError> {
        let drafter = self.drafter;
        let source = drafter.model.graph.node(id).inputs[0];
        let input = if drafter.passes(id) { self.natural[source] } else { self.operand(source) };
        let DraftNode { frac, divisor, bound: reads, noise, .. } = self.nodes[input];
        let bound = |map: &Resample, frac: i32, divisor: u32| {
            reads.saturating_mul(map.growth()).min(drafter.calibrated(id, frac, divisor))
        };
        let exact = self.after_division(id, frac, divisor, map.denominator as usize);
        let halves = map.denominator.is_power_of_two();
        let (map, frac, divisor) = match exact {
            Ok((frac, divisor)) if halves || drafter.absorbs_division(id) => (map.clone(), frac, divisor),
            _ => {
                let fits = |&bits: &u32| {
                    let frac = frac + bits as i32;
                    drafter.fits(self.choice, id, frac, divisor, bound(&map.rounded(bits), frac, divisor))
                };
                let bits = (1..=MOST_COEFFICIENT_BITS).rev().find(fits).unwrap_or(1);
                let stats = &drafter.calibration.nodes;
                self.cost +=
                    rounding_noise(bits as i32, 1) * stats[source].variance / stats[id].variance.max(1e-12);
                (map.rounded(bits), frac + bits as i32, divisor)
            }
        };
        let bound = bound(&map, frac, divisor);
        let resampled = self.push(id, Op::Resample(map), vec![input], frac, divisor, bound);
        self.nodes[resampled].noise = noise;
        Ok(resampled)
    }

    /// A concatenation or addition: all inputs are brought to one scale.
    pub(super) fn emit_join(&mut self, id: NodeId, frac: i32) -> Result<usize, QuantiseError> {
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
    pub(super) fn add_frac(&self, id: NodeId) -> i32 {
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
    pub(super) fn operand(&mut self, id: NodeId) -> usize {
        let natural = self.natural[id];
        if !self.drafter.is_accumulator(id) {
            return natural;
        }
        let frac = self.drafter.frac(self.choice, id).min(self.nodes[natural].frac);
        self.request(natural, frac)
    }

    /// An integer node brought to another scale.
    pub(super) fn request(&mut self, node: usize, frac: i32) -> usize {
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

    pub(super) fn push(
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
    pub(super) fn push_part(
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

    /// Fractional bits and divisor where a division by `by` = 2^p·r is left open: p bits, and r.
    fn after_division(
        &self,
        id: NodeId,
        frac: i32,
        divisor: u32,
        by: usize,
    ) -> Result<(i32, u32), QuantiseError> {
        let halvings = by.trailing_zeros();
        Ok((frac + halvings as i32, self.divisor(id, u64::from(divisor) * (by >> halvings) as u64)?))
    }

    pub(super) fn divisor(&self, id: NodeId, divisor: u64) -> Result<u32, QuantiseError> {
        u32::try_from(divisor).ok().filter(|&divisor| divisor <= 1 << 16).ok_or_else(|| {
            QuantiseError::Unsupported {
                layer: self.drafter.model.graph.node(id).name.clone(),
                reason: "averages over windows of odd size multiply up to a division by more than 65,536; use windows of \
                         2^n voxels, or a convolution between the poolings"
                    .into(),
            }
        })
    }
}

impl Drafter<'_> {
    /// Whether everything that reads a value folds an open division into weights.
    fn absorbs_division(&self, id: NodeId) -> bool {
        self.consumers[id].iter().all(|&reader| match self.model.graph.node(reader).op {
            Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Quadratic => true,
            Op::Relu { .. } | Op::MaxPool { .. } | Op::AvgPool { .. } | Op::Resample(_) => {
                self.absorbs_division(reader)
            }
            _ => false,
        })
    }
}

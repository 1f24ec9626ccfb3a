//! Operators that multiply values: squares, products, quadratics, and the slopes of leaky ReLUs.

use super::work::Work;
use super::{DraftNode, MOST_NOISE, rounding_noise, scale};
use crate::graph::{NodeId, Op};
use crate::quantise::QuantiseError;
use crate::ranges::need_value;

/// Most bits of a leaky ReLU's slope.
const MOST_SLOPE_BITS: u32 = 12;

/// Most bits of a quadratic's linear coefficient.
const MOST_BETA_BITS: i32 = 23;

impl Work<'_> {
    pub(super) fn emit_square(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
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
    pub(super) fn emit_leaky_relu(&mut self, id: NodeId, slope: f64) -> usize {
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
    pub(super) fn emit_quadratic(&mut self, id: NodeId) -> usize {
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
    pub(super) fn emit_mul(&mut self, id: NodeId) -> Result<usize, QuantiseError> {
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
}

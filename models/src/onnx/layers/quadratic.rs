//! Quadratics of one value, however they are written: α·x² + β·x + γ with constants per channel.

use crate::float::FloatLayer;
use crate::graph::{NodeId, Op};
use crate::onnx::lower::{Importer, Stop};
use ndarray::{Array1, ArrayD};

/// α, β and γ per channel.
type Coefficients = [Vec<f32>; 3];

impl Importer<'_> {
    /// A sum or product of two values as a quadratic of a third, if it is one and no plain square.
    pub(super) fn as_quadratic(
        &self,
        operator: &str,
        a: NodeId,
        b: NodeId,
    ) -> Option<(NodeId, Coefficients)> {
        let product = operator == "Mul";
        if product && a == b && !self.diagonals.contains(&a) {
            return None;
        }
        let (left, right) = (self.polynomials(a), self.polynomials(b));
        left.iter().flat_map(|left| right.iter().map(move |right| (left, right))).find_map(
            |((x, p), (y, q))| {
                let combined = if product { multiply(p, q)? } else { add(p, q) };
                (x == y && combined[0].iter().any(|&alpha| alpha != 0.0)).then_some((*x, combined))
            },
        )
    }

    /// A value as polynomials of degree two at most of itself and of what it was computed from.
    fn polynomials(&self, id: NodeId) -> Vec<(NodeId, Coefficients)> {
        let node = self.graph.node(id);
        let constant = |value: f32| vec![value; node.shape.channels];
        let mut found = vec![(id, [constant(0.0), constant(1.0), constant(0.0)])];
        match node.op {
            Op::Square => found.push((node.inputs[0], [constant(1.0), constant(0.0), constant(0.0)])),
            Op::Quadratic => {
                let layer = &self.weights[&id];
                let column = |which: usize| -> Vec<f32> {
                    (0..node.shape.channels).map(|c| layer.weights[[c, which, 0, 0, 0]]).collect()
                };
                found.push((node.inputs[0], [column(0), column(1), layer.bias.to_vec()]));
            }
            Op::Scale { factor, shift } => {
                let factor = (factor as f64 / f64::from(shift).exp2()) as f32;
                let below = self.polynomials(node.inputs[0]).into_iter();
                found
                    .extend(below.map(|(base, p)| (base, p.map(|p| p.iter().map(|p| p * factor).collect()))));
            }
            Op::Conv { .. } if self.diagonals.contains(&id) => {
                let layer = &self.weights[&id];
                let scaled = |p: &[f32]| {
                    p.iter().enumerate().map(|(c, p)| p * layer.weights[[c, c, 0, 0, 0]]).collect()
                };
                for (base, [alpha, beta, gamma]) in self.polynomials(node.inputs[0]) {
                    let mut shifted: Vec<f32> = scaled(&gamma);
                    shifted.iter_mut().zip(&layer.bias).for_each(|(gamma, bias)| *gamma += bias);
                    found.push((base, [scaled(&alpha), scaled(&beta), shifted]));
                }
            }
            _ => {}
        }
        found
    }

    pub(super) fn quadratic(
        &mut self,
        layer: &str,
        base: NodeId,
        alpha: &[f32],
        beta: &[f32],
        gamma: &[f32],
    ) -> Result<NodeId, Stop> {
        let id = self.push(layer, Op::Quadratic, vec![base])?;
        let mut weights = ArrayD::zeros(vec![alpha.len(), 2, 1, 1, 1]);
        for (c, (&alpha, &beta)) in alpha.iter().zip(beta).enumerate() {
            (weights[[c, 0, 0, 0, 0]], weights[[c, 1, 0, 0, 0]]) = (alpha, beta);
        }
        self.weights.insert(id, FloatLayer { weights, bias: Array1::from_vec(gamma.to_vec()) });
        Ok(id)
    }
}

fn add(p: &Coefficients, q: &Coefficients) -> Coefficients {
    std::array::from_fn(|k| p[k].iter().zip(&q[k]).map(|(p, q)| p + q).collect())
}

/// `None` where the degree would exceed two.
fn multiply(p: &Coefficients, q: &Coefficients) -> Option<Coefficients> {
    let linear = |p: &Coefficients| p[0].iter().all(|&alpha| alpha == 0.0);
    let times = |i: usize, j: usize| p[i].iter().zip(&q[j]).map(|(p, q)| p * q);
    let beta = times(1, 2).zip(times(2, 1)).map(|(a, b)| a + b);
    (linear(p) && linear(q)).then(|| [times(1, 1).collect(), beta.collect(), times(2, 2).collect()])
}

//! Operators that act on shares alone: concatenation, addition, public factors, raising of fractional bits, resampling.
//!
//! Sharing is linear, so each party does to its share what the operator does to the value. No traffic.

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::manifest::LayerWeights;
use models::{Op, Shape};

/// The only strategy of the local operators.
pub struct Local;

impl Strategy for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn operator(&self) -> Operator {
        Operator::Local
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        match site.node.op {
            Op::Concat | Op::Add | Op::Raise { .. } | Op::Scale { .. } | Op::Resample(_) => {
                Ok(Box::new(LocalStep { op: site.node.op.clone(), input: site.inputs[0] }))
            }
            _ => Err(Refusal("is no operator on shares alone".into())),
        }
    }
}

struct LocalStep {
    op: Op,
    /// Shape of its first input.
    input: Shape,
}

impl LocalStep {
    fn scale(&self, input: &Share, factor: u64) -> Vec<u64> {
        input.values.iter().map(|&x| input.modulus.mul(x, factor)).collect()
    }

    fn apply(&self, inputs: &[&Share]) -> Vec<u64> {
        let modulus = inputs[0].modulus;
        match self.op {
            Op::Raise { shift } => self.scale(inputs[0], (1u64 << shift) % modulus.value()),
            Op::Scale { factor, .. } => self.scale(inputs[0], modulus.reduce(factor)),
            Op::Resample(ref map) => map.apply(&inputs[0].values, self.input, 0, |sum, n, x| {
                modulus.add(sum, modulus.mul(modulus.reduce(n.into()), x))
            }),
            Op::Add => {
                let mut sum = inputs[0].values.clone();
                for input in &inputs[1..] {
                    sum.iter_mut().zip(&input.values).for_each(|(sum, &x)| *sum = modulus.add(*sum, x));
                }
                sum
            }
            _ => inputs.iter().flat_map(|input| &input.values).copied().collect(),
        }
    }
}

impl Step for LocalStep {
    fn describe(&self) -> String {
        format!("local {:?}", self.op)
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn alice(&self, _: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        Ok(self.apply(inputs))
    }

    fn bob(
        &self,
        _: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        Ok(self.apply(inputs))
    }
}

//! The proof that nothing wraps: what every operator asks of the values it reads and writes, for shares modulo m.
//!
//! | operator | needs |
//! | --- | --- |
//! | every value | \|x\| < m/2 |
//! | truncation by s | \|x\| + 2^s ≤ m/4 (an OT truncation adds m/4 and a rounding constant) |
//! | ReLU that truncates by s | \|x\| + 2^s < m/2 (a comparison may skip the s low bits) |
//! | square | x² < m/2 |
//! | product, quadratic | their own values, as every value |
//! | max pooling, argmax | \|x\| < m/4 (differences are compared) |
//! | threshold at t | \|x\| + \|t\| + 1 < m/2 |

use crate::graph::{NodeId, Op};
use crate::manifest::Manifest;
use std::fmt;

/// One operator whose values do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeProblem {
    /// The layer's name.
    pub layer: String,
    /// What the operator needs, in words.
    pub rule: &'static str,
    /// The largest magnitude that may occur.
    pub bound: u64,
    /// Bits of the smallest power of two that would do as the modulus.
    pub needed_bits: u32,
}

impl fmt::Display for RangeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { layer, rule, bound, needed_bits } = self;
        write!(f, "layer `{layer}` needs {rule} and values reach {bound}: {needed_bits}-bit shares would do")
    }
}

/// All operators whose values do not fit shares of a modulus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeError {
    /// The modulus.
    pub modulus: u64,
    /// What does not fit, in the order of the graph; never empty.
    pub problems: Vec<RangeProblem>,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "values do not fit shares modulo {}: ", self.modulus)?;
        let problems: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl std::error::Error for RangeError {}

/// What an operator asks of a value with magnitudes up to a bound, as `smallest modulus allowed`.
pub(crate) struct Need {
    rule: &'static str,
    modulus: u128,
}

/// Every value of shares modulo m: |x| < m/2.
pub(crate) fn need_value(bound: u64) -> Need {
    Need { rule: "|x| < m/2", modulus: 2 * u128::from(bound) + 1 }
}

/// What `op` asks of an input with magnitudes up to `bound`.
pub(crate) fn need_input(op: &Op, bound: u64) -> Need {
    let bound = u128::from(bound);
    match *op {
        Op::Truncate { shift } => {
            Need { rule: "|x| + 2^s <= m/4 before a truncation by s", modulus: 4 * (bound + (1 << shift)) }
        }
        Op::Relu { shift } if shift > 0 => Need {
            rule: "|x| + 2^s < m/2 before a ReLU that truncates by s",
            modulus: 2 * (bound + (1 << shift)) + 1,
        },
        Op::Square => Need {
            rule: "x^2 < m/2 before a square",
            modulus: 2 * bound.saturating_mul(bound).min(1 << 100) + 1,
        },
        Op::MaxPool { .. } | Op::ArgMax => {
            Need { rule: "|x| < m/4 where values are compared with each other", modulus: 4 * bound + 1 }
        }
        Op::Threshold { at } => {
            let limit = u128::from(at.unsigned_abs());
            Need { rule: "|x| + |t| + 1 < m/2 before a threshold at t", modulus: 2 * (bound + limit + 1) + 1 }
        }
        _ => Need { rule: "|x| < m/2", modulus: 2 * bound + 1 },
    }
}

impl Need {
    /// Whether a modulus is large enough.
    pub(crate) fn fits(&self, modulus: u64) -> bool {
        self.modulus <= u128::from(modulus)
    }

    /// Bits of the smallest power of two that is large enough.
    pub(crate) fn bits(&self) -> u32 {
        u128::BITS - (self.modulus - 1).leading_zeros()
    }
}

impl Manifest {
    /// Proves that no value wraps in shares modulo `modulus`, given that values stay within their edges' bounds.
    pub fn check_ranges(&self, modulus: u64) -> Result<(), RangeError> {
        let mut problems = Vec::new();
        for (id, node) in self.graph.nodes().iter().enumerate() {
            let bound = self.bound(id);
            let own = std::iter::once((need_value(bound), bound));
            let inputs =
                node.inputs.iter().map(|&input| (need_input(&node.op, self.bound(input)), self.bound(input)));
            // One problem per layer is enough: the one that asks for most.
            let worst = own
                .chain(inputs)
                .filter(|(need, _)| !need.fits(modulus))
                .max_by_key(|(need, _)| need.modulus);
            problems.extend(worst.map(|(need, bound)| RangeProblem {
                layer: node.name.clone(),
                rule: need.rule,
                bound,
                needed_bits: need.bits(),
            }));
        }
        if problems.is_empty() { Ok(()) } else { Err(RangeError { modulus, problems }) }
    }

    /// For each value, bits of the smallest 2^k shares that carry it and let all that read it work.
    pub fn needed_bits(&self) -> Vec<u32> {
        let nodes = self.graph.nodes();
        let mut bits: Vec<u32> = (0..nodes.len()).map(|id| need_value(self.bound(id)).bits()).collect();
        for node in nodes {
            for &input in &node.inputs {
                bits[input] = bits[input].max(need_input(&node.op, self.bound(input)).bits());
            }
        }
        bits
    }

    fn bound(&self, id: NodeId) -> u64 {
        self.edges.get(id).map_or(u64::MAX >> 2, |edge| edge.bound)
    }
}

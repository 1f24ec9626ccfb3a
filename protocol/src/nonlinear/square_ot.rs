//! Squares over 2^k by correlated OTs.
//!
//! Functionality: from shares of x mod 2^k to shares of x² mod 2^k. With a, b the shares, x² = a² + b² + 2ab, and
//! 2ab mod 2^k needs a and b only mod 2^(k−1): one product of a number of Alice's with a number of Bob's
//! (see [`super::product`]). Deviation from Beaver's pairs: multiplying the shares at once costs k bits less each way
//! than a pair with its opening, at the price of doing the work online.
//!
//! Security: semi-honest, that of the OTs. Exact mod 2^k; the planner proves x² < 2^(k−1). Constant time.
//! Cost: k − 1 OTs and k(k−1)/2 bits from Bob per value; one round.

use super::product::Cross;
use super::rectify::low;
use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;

/// Squares by oblivious transfer.
pub struct OtSquare;

impl Strategy for OtSquare {
    fn name(&self) -> &'static str {
        "beaver-ot"
    }

    fn operator(&self) -> Operator {
        Operator::Square
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Square {
            return Err(Refusal("is no square".into()));
        }
        let Modulus::Pow2 { bits } = site.from else {
            return Err(Refusal("multiplies modulo powers of two, not modulo primes; take `beaver`".into()));
        };
        let cross = Cross { bits: bits - 1, choices: bits - 1, n: site.node.shape.len() };
        Ok(Box::new(Squares { bits, cross }))
    }
}

struct Squares {
    bits: u32,
    cross: Cross,
}

impl Squares {
    /// Own square and twice the own share of ab.
    fn sum(&self, own: &[u64], cross: &[u64]) -> Vec<u64> {
        let square = |(x, ab): (&u64, &u64)| low(self.bits, x.wrapping_mul(*x).wrapping_add(ab << 1));
        own.iter().zip(cross).map(square).collect()
    }
}

impl Step for Squares {
    fn describe(&self) -> String {
        format!("ot squares {:?}", self.cross)
    }

    fn cost(&self) -> Cost {
        self.cross.cost()
    }

    fn ots(&self) -> Vec<Take> {
        self.cross.takes()
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let shares = &inputs[0].values;
        Ok(self.sum(shares, &self.cross.alice(alice, shares)?))
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let shares = &inputs[0].values;
        Ok(self.sum(shares, &self.cross.bob(bob, shares)?))
    }
}

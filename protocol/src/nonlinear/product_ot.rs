//! Products of two secrets over 2^k by correlated OTs.
//!
//! Functionality: from shares of x and y mod 2^k to shares of x∘y mod 2^k. Each party multiplies its own shares; the two
//! cross terms are Gilboa's products ([`super::product`], which has the transcript), both in one round.
//! Security: semi-honest, that of the OTs. Exact mod 2^k; the planner proves |x·y| < 2^(k−1). Constant time.
//! Cost: 2k OTs from Bob and k·(k + 1) bits from him per value, one round: at k = 24, 75 bytes.

use super::product::Product;
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

/// Products by oblivious transfer.
pub struct OtProduct;

impl Strategy for OtProduct {
    fn name(&self) -> &'static str {
        "beaver-ot"
    }

    fn operator(&self) -> Operator {
        Operator::Product
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Mul {
            return Err(Refusal("is no product".into()));
        }
        let Modulus::Pow2 { bits } = site.from else {
            return Err(Refusal("multiplies modulo powers of two, not modulo primes; take `beaver`".into()));
        };
        Ok(Box::new(Products(Product { bits, n: site.node.shape.len() })))
    }
}

struct Products(Product);

impl Step for Products {
    fn describe(&self) -> String {
        format!("ot products {:?}", self.0)
    }

    fn cost(&self) -> Cost {
        self.0.cost()
    }

    fn ots(&self) -> Vec<Take> {
        self.0.takes()
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        self.0.alice(alice, &inputs[0].values, &inputs[1].values)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        self.0.bob(bob, &inputs[0].values, &inputs[1].values)
    }
}

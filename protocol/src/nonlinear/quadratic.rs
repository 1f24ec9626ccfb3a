//! Trained quadratics α·x² + β·x + γ with secret coefficients per channel: the worked example of `docs/strategies.md`.
//!
//! Functionality: from shares of x mod m to shares of α·x² + β·x + γ mod m; Bob holds α, β and γ of every channel. With
//! x = a + b, Alice's and Bob's share,
//!
//! ```text
//!   α·x² + β·x + γ  =  a²·α + a·(2·α·b + β)  +  α·b² + β·b + γ
//! ```
//!
//! has two products of a number of Alice's with one of Bob's, and a rest that Bob computes alone. Neither a pair made
//! beforehand nor an opening is needed. [`QuadraticOt`] takes the products by Gilboa's OTs ([`super::product`]) over 2^k,
//! [`QuadraticSlots`] under encryption ([`super::slots`]) over a prime.
//!
//! ```text
//!   Alice (a)                                          Bob (b, α, β, γ)
//!   a², a              <--products, see there-->       α, 2·α·b + β
//!   her shares                                         his shares + α·b² + β·b + γ
//! ```
//!
//! Security: semi-honest, that of the products; their number does not depend on the coefficients. Exact mod m: the planner
//! proves that the result fits, and nothing in between needs to. Constant time.
//! Cost: by OT 2k OTs from Bob and k·(k + 1) bits from him per value (75 bytes at k = 24); in slots two ciphertexts
//! up and one reply down per n values; one round each.

use super::product::Cross;
use super::slots::SlotProducts;
use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use zeroize::Zeroizing;

/// Trained quadratics by oblivious transfer.
pub struct QuadraticOt;

/// Trained quadratics in slots.
pub struct QuadraticSlots;

impl Strategy for QuadraticOt {
    fn name(&self) -> &'static str {
        "ot"
    }

    fn operator(&self) -> Operator {
        Operator::Quadratic
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Modulus::Pow2 { bits } = site.from else {
            return Err(Refusal("multiplies modulo powers of two, not modulo primes; take `slots`".into()));
        };
        let cross = Cross { bits, choices: bits, n: 2 * site.node.shape.len() };
        plan(site, Products::Ot(cross))
    }
}

impl Strategy for QuadraticSlots {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn operator(&self) -> Operator {
        Operator::Quadratic
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        plan(site, Products::Slots(SlotProducts::plan(site, 2, 1)?))
    }
}

fn plan(site: &Site<'_>, products: Products) -> Result<Box<dyn Step>, Refusal> {
    if site.node.op != Op::Quadratic {
        return Err(Refusal("is no quadratic".into()));
    }
    Ok(Box::new(Quadratics { products, modulus: site.from, volume: site.node.shape.volume() }))
}

/// How Alice's numbers are multiplied with Bob's.
enum Products {
    Ot(Cross),
    Slots(SlotProducts),
}

struct Quadratics {
    products: Products,
    modulus: Modulus,
    /// Values per channel.
    volume: usize,
}

impl Step for Quadratics {
    fn describe(&self) -> String {
        match &self.products {
            Products::Ot(cross) => format!("quadratics {cross:?}"),
            Products::Slots(products) => format!("quadratics {}", products.describe()),
        }
    }

    fn cost(&self) -> Cost {
        match &self.products {
            Products::Ot(cross) => cross.cost(),
            Products::Slots(products) => Cost { offline: Flow::default(), online: products.flow() },
        }
    }

    fn ots(&self) -> Vec<Take> {
        match &self.products {
            Products::Ot(cross) => cross.takes(),
            Products::Slots(_) => Vec::new(),
        }
    }

    fn keys(&self) -> Option<KeySpec> {
        match &self.products {
            Products::Ot(_) => None,
            Products::Slots(products) => Some(products.keys()),
        }
    }

    fn reply_coefficients(&self) -> u64 {
        match &self.products {
            Products::Ot(_) => 0,
            Products::Slots(products) => products.reply_coefficients(),
        }
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let (m, a) = (self.modulus, &inputs[0].values);
        let own = Zeroizing::new(vec![a.iter().map(|&a| m.mul(a, a)).collect(), a.clone()]);
        match &self.products {
            Products::Ot(cross) => {
                let shares = cross.alice(alice, &Zeroizing::new(own.concat()))?;
                Ok(self.sum_halves(&shares))
            }
            Products::Slots(products) => Ok(std::mem::take(&mut products.alice(alice, &own)?[0])),
        }
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        weights: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let layer = weights.ok_or_else(|| ProtocolError::Disagreement("the layer has no weights".into()))?;
        let (m, b) = (self.modulus, &inputs[0].values);
        let weight = |channel, which| m.reduce(i64::from(layer.weights[[channel, which, 0, 0, 0]]));
        let [alpha, beta] = [0, 1].map(|which| move |i: usize| weight(i / self.volume, which));
        let linear = |i: usize| m.add(m.mul(m.add(b[i], b[i]), alpha(i)), beta(i));
        let all = |f: &dyn Fn(usize) -> u64| Zeroizing::new((0..b.len()).map(f).collect::<Vec<_>>());
        let shares = match &self.products {
            Products::Ot(cross) => {
                let own = Zeroizing::new([&all(&alpha)[..], &all(&linear)[..]].concat());
                self.sum_halves(&cross.bob(bob, &own)?)
            }
            Products::Slots(products) => {
                let shares = products.bob(bob, |j, _, values, out| {
                    let factors = values.map(|i| if j == 0 { alpha(i) } else { linear(i) });
                    out.iter_mut().zip(factors).for_each(|(out, factor)| *out = factor);
                });
                std::mem::take(&mut shares?[0])
            }
        };
        let rest = |i: usize| {
            let polynomial = m.mul(m.add(m.mul(alpha(i), b[i]), beta(i)), b[i]);
            m.add(polynomial, m.reduce(layer.bias[i / self.volume]))
        };
        Ok(shares.iter().enumerate().map(|(i, &share)| m.add(share, rest(i))).collect())
    }
}

impl Quadratics {
    /// Both products of every value, added.
    fn sum_halves(&self, shares: &[u64]) -> Vec<u64> {
        let (first, second) = shares.split_at(shares.len() / 2);
        first.iter().zip(second).map(|(&a, &b)| self.modulus.add(a, b)).collect()
    }
}

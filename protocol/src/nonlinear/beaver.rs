//! Squares and products of two secrets by Beaver pairs and triples made with homomorphic encryption in slots.
//!
//! Functionality: from shares of x (and y) mod p to shares of x² (or x∘y) mod p. Beaver (CRYPTO 1991); BUNET section IV
//! makes triples by PAHE. With c = a∘b and d = x − a, e = y − b opened, x∘y = c + d∘b + e∘a + d∘e. A square
//! takes one pair (a, a²) and one opening: x² = a² + 2·d∘a + d². Both parties contribute to a = a_A + a_B and b; only cross
//! terms are computed under encryption ([`super::slots`]).
//!
//! ```text
//!   offline   Alice (a_A, b_A)                         Bob (a_B, b_B)
//!             a_A∘b_B + b_A∘a_B, for squares a_A∘2·a_B:  <--see super::slots-->
//!             c_A = a_A∘b_A + her share                c_B = a_B∘b_B + his share
//!   online    x_A − a_A, y_A − b_A  <--exchanged-->    x_B − a_B, y_B − b_B        (their sums d, e are uniform)
//!             c_A + d∘b_A + e∘a_A                      c_B + d∘b_B + e∘a_B + d∘e
//! ```
//!
//! Security: a and b are uniform as long as one party's part is, so that the opened d and e say nothing; replies are
//! sanitised. Each pair serves one value of one run. Exact mod p; the planner proves that results stay below p/2.
//! Constant time.
//! Cost: offline 16 B and one ciphertext per n values up (two for products), one reply per n values down; online ⌈log2 p⌉
//! bits per value each way (twice that for products) in one round.

use super::slots::{SlotProducts, open, opening};
use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use channels::Channel;
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use prg::Prg;
use zeroize::Zeroizing;

/// Squares by pairs made with PAHE.
pub struct BeaverSquare;

/// Products by triples made with PAHE.
pub struct BeaverProduct;

impl Strategy for BeaverSquare {
    fn name(&self) -> &'static str {
        "beaver"
    }

    fn operator(&self) -> Operator {
        Operator::Square
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Square {
            return Err(Refusal("is no square".into()));
        }
        Ok(Box::new(Pairs { products: SlotProducts::plan(site, 1, 1)?, factors: 1 }))
    }
}

impl Strategy for BeaverProduct {
    fn name(&self) -> &'static str {
        "beaver"
    }

    fn operator(&self) -> Operator {
        Operator::Product
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Mul {
            return Err(Refusal("is no product".into()));
        }
        Ok(Box::new(Pairs { products: SlotProducts::plan(site, 2, 1)?, factors: 2 }))
    }
}

struct Pairs {
    products: SlotProducts,
    /// Distinct secrets that are multiplied: one for a square, two for a product.
    factors: usize,
}

/// Value by value.
fn each(m: Modulus, a: &[u64], b: &[u64], f: impl Fn(Modulus, u64, u64) -> u64) -> Vec<u64> {
    a.iter().zip(b).map(|(&a, &b)| f(m, a, b)).collect()
}

fn add(m: Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    each(m, a, b, |m, a, b| m.add(a, b))
}

fn mul(m: Modulus, a: &[u64], b: &[u64]) -> Vec<u64> {
    each(m, a, b, |m, a, b| m.mul(a, b))
}

impl Pairs {
    /// A party's part of a, and of b for products.
    fn sample(&self, prg: &mut Prg) -> Prepared {
        let random = || {
            let mut a = vec![0; self.products.len];
            self.products.modulus.sample(prg, &mut a);
            a
        };
        Prepared(std::iter::repeat_with(random).take(self.factors).collect())
    }

    /// Appends the party's share of c: its own product plus its share of the cross terms.
    fn finish(&self, mut parts: Prepared, cross: &[u64]) -> Prepared {
        let m = self.products.modulus;
        let own = mul(m, &parts.0[0], &parts.0[self.factors - 1]);
        parts.0.push(add(m, &own, cross));
        parts
    }

    /// Opens d (and e), and yields them with this party's share of the result, but for d∘e.
    fn open(
        &self,
        channel: &mut Channel,
        prepared: &Prepared,
        inputs: &[&Share],
    ) -> Result<[Vec<u64>; 2], ProtocolError> {
        let (m, len) = (self.products.modulus, self.products.len);
        let ([.., c], true) = (&prepared.0[..], prepared.0.len() == self.factors + 1) else {
            return Err(ProtocolError::Disagreement("pairs were not prepared".into()));
        };
        let hidden =
            inputs.iter().zip(&prepared.0).flat_map(|(x, a)| each(m, &x.values, a, |m, x, a| m.sub(x, a)));
        let opened = open(channel, m, &hidden.collect::<Vec<_>>())?;
        let (d, e) = (&opened[..len], &opened[opened.len() - len..]);
        let (a, b) = (&prepared.0[0], &prepared.0[self.factors - 1]);
        let share = add(m, &add(m, c, &mul(m, d, b)), &mul(m, e, a));
        Ok([mul(m, d, e), share])
    }
}

impl Step for Pairs {
    fn describe(&self) -> String {
        format!("beaver {} {}", self.factors, self.products.describe())
    }

    fn cost(&self) -> Cost {
        let opened = self.factors * self.products.len;
        Cost { offline: self.products.flow(), online: opening(self.products.modulus, opened) }
    }

    fn keys(&self) -> Option<KeySpec> {
        Some(self.products.keys())
    }

    fn reply_coefficients(&self) -> u64 {
        self.products.reply_coefficients()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        let parts = self.sample(&mut alice.prg);
        let cross = self.products.alice(alice, &parts.0)?;
        Ok(self.finish(parts, &cross[0]))
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        let parts = self.sample(&mut bob.prg);
        let m = self.products.modulus;
        let cross = self.products.bob(bob, |j, _| {
            let (a, other) = (&parts.0[0], &parts.0[self.factors - 1 - j]);
            Zeroizing::new(if self.factors == 1 { add(m, a, a) } else { other.clone() })
        })?;
        Ok(self.finish(parts, &cross[0]))
    }

    fn alice(
        &self,
        alice: &mut Alice,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [_, share] = self.open(&mut alice.channel, &prepared, inputs)?;
        Ok(share)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [opened, share] = self.open(&mut bob.channel, &prepared, inputs)?;
        Ok(add(self.products.modulus, &share, &opened))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, run_layer, values_below};
    use prg::Seed;

    #[test]
    fn several_ciphertexts_and_a_short_one_square() {
        let mut prg = Prg::new(&Seed::from_bytes([61; 16]));
        for p in [40_961, 737_281, 16_760_833] {
            let modulus = Modulus::prime(p).unwrap();
            let limit = ((p / 2) as f64).sqrt() as i64 - 1;
            for len in [1, 5000] {
                let values = values_below(limit, len, &mut prg);
                run_layer(&BeaverSquare, Layer::new(Op::Square, &values, modulus, modulus), &mut prg)
                    .assert_exact();
            }
        }
    }
}

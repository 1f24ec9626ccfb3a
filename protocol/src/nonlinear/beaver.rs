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

use super::slots::SlotProducts;
use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use channels::{Channel, Rx, Tx};
use meter::Primitive;
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use ot::packing;
use prg::Prg;
use rayon::prelude::*;
use std::ops::Range;
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

/// Values that are opened at a time; several threads share them in pieces.
const WINDOW: usize = if cfg!(test) { 1 << 14 } else { 1 << 18 };
/// A piece: bits of any width fill whole bytes.
const PIECE: usize = 1 << 13;

impl Pairs {
    fn modulus(&self) -> Modulus {
        self.products.modulus
    }

    /// A party's part of a, and of b for products.
    fn sample(&self, prg: &mut Prg) -> Prepared {
        let random = || {
            let (mut a, seed) = (vec![0; self.products.len], prg.seed());
            let pieces = a.par_chunks_mut(PIECE).enumerate();
            pieces.for_each(|(i, a)| self.modulus().sample(&mut Prg::with_nonce(&seed, i as u64), a));
            a
        };
        Prepared(std::iter::repeat_with(random).take(self.factors).collect())
    }

    /// Appends the party's share of c: its own product plus its share of the cross terms.
    fn finish(&self, mut parts: Prepared, mut cross: Vec<u64>) -> Prepared {
        let (a, b) = (&parts.0[0], &parts.0[self.factors - 1]);
        let pieces = cross.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE)).zip(b.par_chunks(PIECE));
        pieces.for_each(|((c, a), b)| self.modulus().multiply_add(c, a, b));
        parts.0.push(cross);
        parts
    }

    /// Opens d (and e) and returns this party's share of the result: Bob, `adds_product`, adds d∘e to his.
    fn open(
        &self,
        channel: &mut Channel,
        mut prepared: Prepared,
        inputs: &[&Share],
        adds_product: bool,
    ) -> Result<Vec<u64>, ProtocolError> {
        let share = prepared.0.pop().filter(|_| prepared.0.len() == self.factors);
        let share = share.ok_or_else(|| ProtocolError::Disagreement("pairs were not prepared".into()))?;
        let mut share = Zeroizing::new(share);
        let opening = Opening { m: self.modulus(), inputs, parts: &prepared.0, adds_product };
        channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| opening.send(tx));
                let received = opening.receive(rx, &mut share);
                match sending.join() {
                    Ok(sent) => sent.and(received),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        Ok(std::mem::take(&mut share))
    }
}

/// What one party opens: of every window of values x − a, and then y − b for products.
struct Opening<'a> {
    m: Modulus,
    inputs: &'a [&'a Share],
    parts: &'a [Vec<u64>],
    adds_product: bool,
}

impl Opening<'_> {
    /// A party's share of what is opened of one factor.
    fn hidden(&self, factor: usize, values: Range<usize>) -> Zeroizing<Vec<u64>> {
        let mut hidden = Zeroizing::new(self.inputs[factor].values[values.clone()].to_vec());
        self.m.sub_assign(&mut hidden, &self.parts[factor][values]);
        hidden
    }

    fn windows(&self) -> impl Iterator<Item = Range<usize>> {
        let len = self.parts[0].len();
        (0..len).step_by(WINDOW).map(move |start| start..(start + WINDOW).min(len))
    }

    fn bytes(&self, values: usize) -> usize {
        packing::packed_len(values, self.m.bits())
    }

    fn send(&self, tx: &mut Tx) -> Result<(), ProtocolError> {
        let mut bytes = Vec::new();
        for window in self.windows() {
            bytes.resize(self.bytes(window.len()), 0);
            for factor in 0..self.parts.len() {
                bytes.par_chunks_mut(self.bytes(PIECE)).enumerate().for_each(|(i, bytes)| {
                    let _metered = meter::scope(Primitive::Pairs);
                    let values = piece(&window, i);
                    packing::pack_into(&self.hidden(factor, values), self.m.bits(), bytes);
                });
                tx.send(&bytes)?;
            }
        }
        Ok(tx.flush()?)
    }

    /// Adds to `share`, which begins as c.
    fn receive(&self, rx: &mut Rx, share: &mut [u64]) -> Result<(), ProtocolError> {
        for window in self.windows() {
            let bytes = self.bytes(window.len());
            let theirs: Vec<_> = self.parts.iter().map(|_| rx.recv(bytes)).collect::<Result<_, _>>()?;
            share[window.clone()].par_chunks_mut(PIECE).enumerate().try_for_each(|(i, share)| {
                let _metered = meter::scope(Primitive::Pairs);
                let values = piece(&window, i);
                let bytes = i * self.bytes(PIECE)..i * self.bytes(PIECE) + self.bytes(values.len());
                let theirs: Vec<_> = theirs.iter().map(|theirs| &theirs[bytes.clone()]).collect();
                self.combine(values, &theirs, share)
            })?;
        }
        Ok(())
    }

    /// share += d∘b + e∘(a + d), or without that d.
    fn combine(
        &self,
        values: Range<usize>,
        theirs: &[&[u8]],
        share: &mut [u64],
    ) -> Result<(), ProtocolError> {
        let mut opened = Vec::with_capacity(theirs.len());
        for (factor, bytes) in theirs.iter().enumerate() {
            let mut other = vec![0; values.len()];
            packing::unpack_residues(bytes, self.m, &mut other)?;
            self.m.add_assign(&mut other, &self.hidden(factor, values.clone()));
            opened.push(other);
        }
        let (d, e) = (&opened[0], &opened[opened.len() - 1]);
        let (a, b) = (&self.parts[0][values.clone()], &self.parts[self.parts.len() - 1][values]);
        let mut a = Zeroizing::new(a.to_vec());
        if self.adds_product {
            self.m.add_assign(&mut a, d);
        }
        self.m.multiply_add(share, d, b);
        self.m.multiply_add(share, e, &a);
        Ok(())
    }
}

/// Piece i of a window.
fn piece(window: &Range<usize>, i: usize) -> Range<usize> {
    let start = window.start + i * PIECE;
    start..(start + PIECE).min(window.end)
}

impl Step for Pairs {
    fn describe(&self) -> String {
        format!("beaver {} {}", self.factors, self.products.describe())
    }

    fn cost(&self) -> Cost {
        let len = self.products.len;
        let bytes = (self.factors * packing::packed_len(len, self.modulus().bits())) as u64;
        let online = Flow { alice_to_bob: bytes, bob_to_alice: bytes, rounds: 1 };
        Cost { offline: self.products.flow(), online }
    }

    fn keys(&self) -> Option<KeySpec> {
        Some(self.products.keys())
    }

    fn reply_coefficients(&self) -> u64 {
        self.products.reply_coefficients()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        let parts = self.sample(&mut alice.prg);
        let mut cross = self.products.alice(alice, &parts.0)?;
        Ok(self.finish(parts, cross.swap_remove(0)))
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        let parts = self.sample(&mut bob.prg);
        let mut cross = self.products.bob(bob, |j, _, values, out| {
            let other = &parts.0[self.factors - 1 - j][values];
            out.copy_from_slice(other);
            if self.factors == 1 {
                self.modulus().add_assign(out, other);
            }
        })?;
        Ok(self.finish(parts, cross.swap_remove(0)))
    }

    fn alice(
        &self,
        alice: &mut Alice,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        self.open(&mut alice.channel, prepared, inputs, false)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        self.open(&mut bob.channel, prepared, inputs, true)
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
        for (p, lens) in [(40_961, &[1, 5000][..]), (737_281, &[5000, 40_000]), (16_760_833, &[1, 5000])] {
            let modulus = Modulus::prime(p).unwrap();
            let limit = ((p / 2) as f64).sqrt() as i64 - 1;
            for &len in lens {
                let values = values_below(limit, len, &mut prg);
                run_layer(&BeaverSquare, Layer::new(Op::Square, &values, modulus, modulus), &mut prg)
                    .assert_exact();
            }
        }
    }

    #[test]
    fn products_of_several_windows_are_exact() {
        let mut prg = Prg::new(&Seed::from_bytes([62; 16]));
        let modulus = Modulus::prime(737_281).unwrap();
        let [x, y] = [(); 2].map(|()| values_below(600, WINDOW + PIECE + 3, &mut prg));
        let shape = models::Shape { channels: 1, dims: [1, 1, y.len()] };
        let layer = Layer::new(Op::Mul, &x, modulus, modulus).with(shape, &y);
        run_layer(&BeaverProduct, layer, &mut prg).assert_exact();
    }
}

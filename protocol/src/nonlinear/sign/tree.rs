//! The carry by a prefix tree: a logarithmic number of rounds.
//!
//! A range of positions generates a carry (g) or hands one on (p); leaves are g_i = a_i·b_i and p_i = a_i ⊕ b_i, and a
//! range of two parts has g = g_hi ⊕ p_hi·g_lo and p = p_hi·p_lo (Brent and Kung 1982; over shares SIRNN,
//! ePrint 2021/459). The leaves' products of a bit of each party take one random OT, those of shared bits a triple
//! (see `ot::triples`); of the lowest range only g is wanted.
//!
//! ```text
//!   offline  Alice (choices c, bits m_c; triples)    random OTs       Bob (bits m_0, m_1; triples)
//!   online   d_i = a_i ⊕ c_i, all i                  <--exchange-->   e_i = b_i ⊕ m_0 ⊕ m_1, all i
//!            g_i: m_c ⊕ e_i·c_i                                       g_i: m_0 ⊕ b_i·d_i
//!            for every level: both factors, masked   <--exchange-->   both factors, masked
//! ```
//!
//! Security: semi-honest; all that travels is one-time padded by OTs or triples. Constant time.
//! Cost: r − 1 OTs and bits each way for the leaves, then 2 OTs and 2 bits each way per product, about 2r in all;
//! 1 + ⌈log2(r − 1)⌉ rounds.

use super::{Shape, exchange, prepared};
use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::nonlinear::planes::Planes;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use channels::Channel;
use ot::triples::{self, BitTriples};
use zeroize::Zeroizing;

/// Vectors that a party prepares: two of the leaves' OTs, three of triples.
pub(super) const VECTORS: usize = 5;

/// A comparison by a tree.
pub(super) struct Tree(pub(super) Shape);

/// Planes of one kind, lowest range first.
type Ranges = Vec<Zeroizing<Vec<u64>>>;

impl Tree {
    /// Products of shared planes at every level: one per pair for g, one for p of all pairs but the lowest.
    fn levels(&self) -> impl Iterator<Item = usize> {
        let sizes = std::iter::successors(Some(self.0.gates), |&ranges| Some(ranges.div_ceil(2)));
        sizes.take_while(|&ranges| ranges > 1).map(|ranges| 2 * (ranges / 2) - 1)
    }

    fn leaf_bits(&self) -> usize {
        64 * self.0.words * self.0.gates
    }

    fn triples(&self) -> usize {
        64 * self.0.words * self.levels().sum::<usize>()
    }

    pub(super) fn takes(&self) -> Vec<Take> {
        let products = Take::Bits { n: self.triples() };
        vec![Take::Bits { n: self.leaf_bits() }, products, products]
    }

    pub(super) fn cost(&self) -> Flow {
        let planes = self.0.gates + 2 * self.levels().sum::<usize>();
        let bytes = (8 * self.0.words * planes) as u64;
        Flow { alice_to_bob: bytes, bob_to_alice: bytes, rounds: 1 + self.levels().count() as u64 }
    }

    pub(super) fn prepare_alice(&self, alice: &mut Alice) -> Result<Vec<Vec<u64>>, ProtocolError> {
        let [mut choices, mut chosen] = [(); 2].map(|()| vec![0; self.leaf_bits() / 64]);
        let (ots, channel) = alice.ot()?;
        ots.random_bits(channel, self.leaf_bits(), &mut choices, &mut chosen)?;
        let mut triples = triples::receive(ots, channel, self.triples())?;
        Ok([vec![choices, chosen], parts(&mut triples)].concat())
    }

    pub(super) fn prepare_bob(&self, bob: &mut Bob) -> Result<Vec<Vec<u64>>, ProtocolError> {
        let [mut zeros, mut ones] = [(); 2].map(|()| vec![0; self.leaf_bits() / 64]);
        let (ots, channel) = bob.ot()?;
        ots.random_bits(channel, self.leaf_bits(), &mut zeros, &mut ones)?;
        let mut triples = triples::send(ots, channel, self.triples())?;
        Ok([vec![zeros, ones], parts(&mut triples)].concat())
    }

    pub(super) fn alice(
        &self,
        alice: &mut Alice,
        vectors: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [choices, chosen, a, b, c] = prepared(vectors)?;
        let (choices, chosen) = (Zeroizing::new(choices), Zeroizing::new(chosen));
        let triples = BitTriples { a, b, c };
        let inputs = Planes::slice(shares, self.0.gates + 1);
        let theirs = self.open_leaves(&mut alice.channel, &inputs, &choices)?;
        let product = |((m, e), c): ((&u64, &u64), &u64)| m ^ e & c;
        let products: Zeroizing<Vec<u64>> =
            Zeroizing::new(chosen.iter().zip(&theirs).zip(&*choices).map(product).collect());
        self.combine(&mut alice.channel, &inputs, &products, &triples, 0)
    }

    pub(super) fn bob(
        &self,
        bob: &mut Bob,
        vectors: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [zeros, ones, a, b, c] = prepared(vectors)?;
        let (zeros, mut differences) = (Zeroizing::new(zeros), Zeroizing::new(ones));
        differences.iter_mut().zip(&*zeros).for_each(|(one, zero)| *one ^= zero);
        let triples = BitTriples { a, b, c };
        let inputs = Planes::slice(shares, self.0.gates + 1);
        let theirs = self.open_leaves(&mut bob.channel, &inputs, &differences)?;
        let own = (0..self.0.gates).flat_map(|i| inputs.plane(i));
        let product = |((m, d), x): ((&u64, &u64), &u64)| m ^ d & x;
        let products: Zeroizing<Vec<u64>> =
            Zeroizing::new(zeros.iter().zip(&theirs).zip(own).map(product).collect());
        self.combine(&mut bob.channel, &inputs, &products, &triples, u64::MAX)
    }

    /// Own input bits under pads, against the peer's.
    fn open_leaves(
        &self,
        channel: &mut Channel,
        inputs: &Planes,
        pads: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let bits = (0..self.0.gates).flat_map(|i| inputs.plane(i));
        let own: Vec<u64> = bits.zip(pads).map(|(x, pad)| x ^ pad).collect();
        let mut theirs = vec![0; own.len()];
        exchange(channel, &own, &mut theirs)?;
        Ok(theirs)
    }

    /// Both parties alike, except that `constant` is all ones for one of them: from leaves to the sign.
    fn combine(
        &self,
        channel: &mut Channel,
        inputs: &Planes,
        products: &[u64],
        triples: &BitTriples,
        constant: u64,
    ) -> Result<Vec<u64>, ProtocolError> {
        let words = self.0.words;
        let mut generate: Ranges =
            products.chunks_exact(words).map(|plane| Zeroizing::new(plane.to_vec())).collect();
        let mut propagate: Ranges =
            (0..self.0.gates).map(|i| Zeroizing::new(inputs.plane(i).to_vec())).collect();
        let mut used = 0;
        while generate.len() > 1 {
            let pairs = generate.len() / 2;
            let high = (0..pairs).chain(1..pairs).map(|pair| &propagate[2 * pair + 1]);
            let low_g = (0..pairs).map(|pair| &generate[2 * pair]);
            let low_p = (1..pairs).map(|pair| &propagate[2 * pair]);
            let x = Zeroizing::new(high.flat_map(|plane| plane.iter().copied()).collect::<Vec<_>>());
            let y = Zeroizing::new(
                low_g.chain(low_p).flat_map(|plane| plane.iter().copied()).collect::<Vec<_>>(),
            );
            let z = multiply(channel, &x, &y, triples, used, constant)?;
            used += x.len();
            let (z_g, z_p) = z.split_at(pairs * words);
            let next_g = (0..pairs).map(|pair| xor(&generate[2 * pair + 1], &z_g[pair * words..]));
            let lowest = Zeroizing::new(Vec::new()); // nothing below it will ever hand on a carry
            let next_p = z_p.chunks_exact(words).map(|plane| Zeroizing::new(plane.to_vec()));
            let (mut next_g, mut next_p): (Ranges, Ranges) =
                (next_g.collect(), std::iter::once(lowest).chain(next_p).collect());
            if generate.len() % 2 == 1 {
                next_g.extend(generate.pop());
                next_p.extend(propagate.pop());
            }
            (generate, propagate) = (next_g, next_p);
        }
        let top = inputs.plane(self.0.gates);
        Ok(generate[0].iter().zip(top).map(|(carry, top)| carry ^ top).collect())
    }
}

fn xor(x: &[u64], y: &[u64]) -> Zeroizing<Vec<u64>> {
    Zeroizing::new(x.iter().zip(y).map(|(x, y)| x ^ y).collect())
}

/// Shares of x·y from shares of x and y, with the triples from `first` on.
fn multiply(
    channel: &mut Channel,
    x: &[u64],
    y: &[u64],
    triples: &BitTriples,
    first: usize,
    constant: u64,
) -> Result<Zeroizing<Vec<u64>>, ProtocolError> {
    let n = x.len();
    let [a, b, c] = [&triples.a, &triples.b, &triples.c].map(|plane| &plane[first..first + n]);
    let own: Vec<u64> = x.iter().zip(a).chain(y.iter().zip(b)).map(|(x, pad)| x ^ pad).collect();
    let mut opened = vec![0; own.len()];
    exchange(channel, &own, &mut opened)?;
    opened.iter_mut().zip(&own).for_each(|(opened, own)| *opened ^= own);
    let (d, e) = opened.split_at(n);
    let product = |i: usize| c[i] ^ d[i] & b[i] ^ e[i] & a[i] ^ d[i] & e[i] & constant;
    Ok(Zeroizing::new((0..n).map(product).collect()))
}

/// The triples' three vectors, taken out.
fn parts(triples: &mut BitTriples) -> Vec<Vec<u64>> {
    [&mut triples.a, &mut triples.b, &mut triples.c].map(std::mem::take).into()
}

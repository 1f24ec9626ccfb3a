//! max(0, v) on shares modulo a power of two, exactly: the core of ReLU and of every tournament.
//!
//! Functionality: from shares of v mod 2^r, −2^(r−1) ≤ v < 2^(r−1), to shares of max(0, v) mod 2^t for any t. Paper:
//! Cheetah (ePrint 2022/207, section 4.2) and SIRNN (2021/459, sections 3 and 4) for sign, multiplexer and extension.
//!
//! ```text
//!   Alice (v_A)                                              Bob (v_B)
//!   s_A            <--sign: see its module-->                s_B ⊕ s_A = [v ≥ 0]
//!   z = s·v = s_A·v_A + s_B·v_B + s_A·(1 − 2s_B)·v_B + s_B·(1 − 2s_A)·v_A
//!                  --OT, choice s_A; Bob sends-->            (1 − 2s_B)·v_B
//!   (1 − 2s_A)·v_A --Alice sends; OT, choice s_B-->
//!   and where t > r: z < 2^(r−1), so the shares wrap unless both are below 2^(r−1)
//!   n_A = [z_A < 2^(r−1)]
//!                  --OT, choice n_A; Bob sends-->            n_B = [z_B < 2^(r−1)]
//!   z_A − 2^r + 2^r·(n_A·n_B)_A                              z_B + 2^r·(n_A·n_B)_B
//! ```
//!
//! The multiplexer works mod 2^min(r,t) and the extension's OT mod 2^(t−r), so that low bits that the caller truncated
//! away beforehand, and high bits that it knows to be signs, cost nothing.
//! Security: semi-honest; every message is masked by an OT. Constant time.
//! Cost: the sign's, then min(r, t) bits each way, then t − r bits from Bob; two OTs of Bob's and one of Alice's.

use super::sign::{Form, Sign};
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::strategy::Prepared;
use ot::{Ring, arithmetic, bits};
use zeroize::Zeroizing;

/// max(0, v) of `n` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rectify {
    /// Bits r of the values, at least 2.
    pub(crate) from: u32,
    /// Bits t of the result.
    pub(crate) to: u32,
    /// How many values.
    pub(crate) n: usize,
    /// How signs are computed.
    pub(crate) form: Form,
}

/// The low `bits` bits.
pub(crate) fn low(bits: u32, x: u64) -> u64 {
    x & u64::MAX >> (64 - bits)
}

impl Rectify {
    fn sign(&self) -> Sign {
        Sign { width: self.from as usize, n: self.n, form: self.form }
    }

    fn ring(&self) -> Ring {
        Ring::pow2(self.from.min(self.to))
    }

    fn extension(&self) -> Option<Ring> {
        (self.to > self.from).then(|| Ring::pow2(self.to - self.from))
    }

    /// What it takes from the sources.
    pub(crate) fn takes(&self) -> Vec<Take> {
        let mut takes = self.sign().takes();
        takes.extend([Take::from_bob(self.n), Take::from_alice(self.n)]);
        takes.extend(self.extension().map(|_| Take::from_bob(self.n)));
        takes
    }

    /// Bytes and rounds without the OTs.
    pub(crate) fn cost(&self) -> Cost {
        let product = arithmetic::reply_bytes(self.n, self.ring()) as u64;
        let extension = self.extension().map_or(Flow::default(), |ring| Flow {
            alice_to_bob: 0,
            bob_to_alice: arithmetic::reply_bytes(self.n, ring) as u64,
            rounds: 1,
        });
        let products = Flow { alice_to_bob: product, bob_to_alice: product, rounds: 2 };
        Cost { offline: Flow::default(), online: self.sign().cost() + products + extension }
    }

    /// Alice's offline half.
    pub(crate) fn prepare_alice(&self, alice: &mut Alice, into: &mut Prepared) -> Result<(), ProtocolError> {
        into.0.extend(self.sign().prepare_alice(alice)?);
        Ok(())
    }

    /// Bob's offline half.
    pub(crate) fn prepare_bob(&self, bob: &mut Bob, into: &mut Prepared) -> Result<(), ProtocolError> {
        into.0.extend(self.sign().prepare_bob(bob)?);
        Ok(())
    }

    /// Alice's online half, which takes from `prepared` what comes first there.
    pub(crate) fn alice(
        &self,
        alice: &mut Alice,
        prepared: &mut Prepared,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let positive = Zeroizing::new(self.sign().alice(
            alice,
            take_vectors(prepared, self.sign().vectors())?,
            shares,
        )?);
        let ring = self.ring();
        let mut theirs = Zeroizing::new(vec![0; self.n]);
        let (ots, channel) = alice.ot()?;
        arithmetic::receive(ots, channel, ring, &positive, &mut theirs)?;
        let (own, flipped) = split(ring, &positive, shares);
        let mut masks = Zeroizing::new(vec![0; self.n]);
        let (ots, channel) = alice.reverse_ot()?;
        arithmetic::send(ots, channel, ring, &flipped, &mut masks)?;
        let mut z: Vec<u64> = (0..self.n).map(|i| ring.sub(ring.add(own[i], theirs[i]), masks[i])).collect();
        if let Some(ring) = self.extension() {
            let mut small = Zeroizing::new(vec![0; bits::words(self.n)]);
            z.iter().enumerate().for_each(|(i, &z)| small[i / 64] |= u64::from(self.is_small(z)) << (i % 64));
            let mut both = Zeroizing::new(vec![0; self.n]);
            let (ots, channel) = alice.ot()?;
            arithmetic::receive(ots, channel, ring, &small, &mut both)?;
            let wrap = |both: u64| both.wrapping_sub(1) << self.from;
            z.iter_mut().zip(&*both).for_each(|(z, &both)| *z = low(self.to, z.wrapping_add(wrap(both))));
        }
        Ok(z)
    }

    /// Bob's online half.
    pub(crate) fn bob(
        &self,
        bob: &mut Bob,
        prepared: &mut Prepared,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let mut positive =
            Zeroizing::new(self.sign().bob(bob, take_vectors(prepared, self.sign().vectors())?, shares)?);
        positive.iter_mut().for_each(|word| *word = !*word);
        let ring = self.ring();
        let (own, flipped) = split(ring, &positive, shares);
        let mut masks = Zeroizing::new(vec![0; self.n]);
        let (ots, channel) = bob.ot()?;
        arithmetic::send(ots, channel, ring, &flipped, &mut masks)?;
        let mut theirs = Zeroizing::new(vec![0; self.n]);
        let (ots, channel) = bob.reverse_ot()?;
        arithmetic::receive(ots, channel, ring, &positive, &mut theirs)?;
        let mut z: Vec<u64> = (0..self.n).map(|i| ring.sub(ring.add(own[i], theirs[i]), masks[i])).collect();
        if let Some(ring) = self.extension() {
            let small = z.iter().map(|&z| u64::from(self.is_small(z)));
            let small = Zeroizing::new(small.collect::<Vec<_>>());
            let (ots, channel) = bob.ot()?;
            arithmetic::send(ots, channel, ring, &small, &mut masks)?;
            let wrap = |mask: u64| mask << self.from;
            z.iter_mut().zip(&*masks).for_each(|(z, &mask)| *z = low(self.to, z.wrapping_sub(wrap(mask))));
        }
        Ok(z)
    }

    fn is_small(&self, z: u64) -> bool {
        z >> (self.from - 1) == 0
    }
}

/// The vectors that were prepared first.
pub(crate) fn take_vectors(prepared: &mut Prepared, count: usize) -> Result<Vec<Vec<u64>>, ProtocolError> {
    if prepared.0.len() < count {
        return Err(ProtocolError::Disagreement("comparisons were not prepared".into()));
    }
    let rest = prepared.0.split_off(count);
    Ok(std::mem::replace(&mut prepared.0, rest))
}

/// With the own half s of a bit: s·x, and (1 − 2s)·x.
fn split(ring: Ring, bit: &[u64], x: &[u64]) -> (Zeroizing<Vec<u64>>, Zeroizing<Vec<u64>>) {
    let mask = u64::MAX >> (64 - ring.bits());
    let each = |(i, &x): (usize, &u64)| {
        let keep = u64::from(bits::get(bit, i)).wrapping_neg();
        // −x = !x + 1
        (x & keep & mask, (x ^ keep).wrapping_sub(keep) & mask)
    };
    let (own, flipped) = x.iter().enumerate().map(each).unzip();
    (Zeroizing::new(own), Zeroizing::new(flipped))
}

//! The carry, position by position: the fewest bits.
//!
//! A ripple-carry adder over shares (GMW; comparison as an adder in Catrina, de Hoogh, SCN 2010), with masks that come
//! from the OTs themselves. Carries are c_{i+1} = (a_i ⊕ c_i)(b_i ⊕ c_i) ⊕ c_i; every carry but the last is opened
//! under a mask, δ_i = c_i ⊕ λ_i with λ_i = λ_i^A ⊕ λ_i^B. With u = b_i ⊕ λ^B and v = a_i ⊕ λ^A,
//!
//! ```text
//!   c_{i+1} = u·v ⊕ λ^A·λ^B ⊕ (u·λ^B ⊕ λ^B ⊕ δ·b_i) ⊕ (v·λ^A ⊕ λ^A ⊕ δ·a_i)
//! ```
//!
//! where λ^A·λ^B comes with a random OT for nothing — λ^B is the sender's difference, λ^A the receiver's choice — and
//! u·v with another one for a bit each way, independent of δ and so sent for all positions at once.
//!
//! ```text
//!   offline  Alice (choices c, bits m_c)         random OTs          Bob (bits m_0, m_1)
//!   online   d_i = v_i ⊕ c_i, all i              <--exchange-->      e_i = u_i ⊕ m_0 ⊕ m_1, all i
//!            for every position: share of δ_i    <--exchange-->      share of δ_i
//! ```
//!
//! Security: semi-honest. d and e are one-time padded by the OTs, the shares of δ by λ^A or λ^B, which nothing else
//! that is sent depends on without a pad of its own.
//! Cost: 2r − 3 random OTs of bits; 2r − 3 bits each way per value, values counted in whole words; r − 1 rounds.
//! Constant time.

use super::{Shape, exchange, prepared};
use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::nonlinear::planes::Planes;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use channels::Channel;
use zeroize::{Zeroize, Zeroizing};

/// Vectors that a party prepares: its two of the OTs.
pub(super) const VECTORS: usize = 2;

/// A comparison by a chain.
pub(super) struct Chain(pub(super) Shape);

/// What a party precomputes for one position, planes of all positions one after the other.
struct Gates {
    /// What multiplies the bits that the peer opens.
    open: Vec<u64>,
    /// Own share of the next carry, up to what is opened.
    share: Vec<u64>,
    /// Own half of the mask of this position's carry; zero at position 0, whose carry is zero.
    mask: Vec<u64>,
}

impl Drop for Gates {
    fn drop(&mut self) {
        [&mut self.open, &mut self.share, &mut self.mask].into_iter().for_each(Zeroize::zeroize);
    }
}

impl Chain {
    /// Random OTs of bits: one per position for u·v, one more for λ^A·λ^B where there is a mask.
    fn bits(&self) -> usize {
        64 * self.0.words * (2 * self.0.gates - 1)
    }

    pub(super) fn takes(&self) -> Vec<Take> {
        vec![Take::Bits { n: self.bits() }]
    }

    pub(super) fn cost(&self) -> Flow {
        let bytes = (8 * self.0.words * (2 * self.0.gates - 1)) as u64;
        Flow { alice_to_bob: bytes, bob_to_alice: bytes, rounds: self.0.gates as u64 }
    }

    pub(super) fn prepare_alice(&self, alice: &mut Alice) -> Result<Vec<Vec<u64>>, ProtocolError> {
        let [mut choices, mut chosen] = [(); 2].map(|()| vec![0; self.bits() / 64]);
        let (ots, channel) = alice.ot()?;
        ots.random_bits(channel, self.bits(), &mut choices, &mut chosen)?;
        Ok(vec![choices, chosen])
    }

    pub(super) fn prepare_bob(&self, bob: &mut Bob) -> Result<Vec<Vec<u64>>, ProtocolError> {
        let [mut zeros, mut ones] = [(); 2].map(|()| vec![0; self.bits() / 64]);
        let (ots, channel) = bob.ot()?;
        ots.random_bits(channel, self.bits(), &mut zeros, &mut ones)?;
        Ok(vec![zeros, ones])
    }

    pub(super) fn alice(
        &self,
        alice: &mut Alice,
        vectors: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [choices, chosen] = prepared(vectors)?;
        let (choices, chosen) = (Zeroizing::new(choices), Zeroizing::new(chosen));
        let inputs = Planes::slice(shares, self.0.gates + 1);
        let (gates, opened) = self.gates_from(&inputs, &choices, &chosen, &choices);
        self.walk(&mut alice.channel, &inputs, gates, &opened)
    }

    pub(super) fn bob(
        &self,
        bob: &mut Bob,
        vectors: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let [zeros, ones] = prepared(vectors)?;
        let (zeros, mut differences) = (Zeroizing::new(zeros), Zeroizing::new(ones));
        differences.iter_mut().zip(&*zeros).for_each(|(one, zero)| *one ^= zero);
        let inputs = Planes::slice(shares, self.0.gates + 1);
        let (mut gates, opened) = self.gates_from(&inputs, &differences, &zeros, &differences);
        // What the receiver opens meets u itself, not the pad under which u is opened.
        for i in 0..self.0.gates {
            let at = i * self.0.words;
            for (j, &x) in inputs.plane(i).iter().enumerate() {
                gates.open[at + j] = x ^ gates.mask[at + j];
            }
        }
        self.walk(&mut bob.channel, &inputs, gates, &opened)
    }

    /// Both parties alike: own masks and pads, and own bits from the OTs. Yields the gates and what is opened first.
    fn gates_from(&self, inputs: &Planes, masks: &[u64], own: &[u64], pads: &[u64]) -> (Gates, Vec<u64>) {
        let (gates, words) = (self.0.gates, self.0.words);
        // Planes of the OTs: `gates` of them for u·v, then those for the masks of positions 1 and on.
        let second = gates * words;
        let mut result = Gates {
            open: pads[..second].to_vec(),
            share: own[..second].to_vec(),
            mask: [&vec![0; words][..], &masks[second..]].concat(),
        };
        let mut opened = vec![0; second];
        for i in 0..gates {
            for (j, &x) in inputs.plane(i).iter().enumerate() {
                let at = i * words + j;
                let mask = result.mask[at];
                opened[at] = x ^ mask ^ pads[at];
                result.share[at] ^= (x ^ mask) & mask ^ mask;
            }
        }
        for (share, own) in result.share[words..].iter_mut().zip(&own[second..]) {
            *share ^= own;
        }
        (result, opened)
    }

    /// Both parties alike: opens, then walks up the carries. Yields the share of the sign.
    fn walk(
        &self,
        channel: &mut Channel,
        inputs: &Planes,
        mut gates: Gates,
        opened: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let words = self.0.words;
        let mut theirs = vec![0; opened.len()];
        exchange(channel, opened, &mut theirs)?;
        for ((share, &open), &theirs) in gates.share.iter_mut().zip(&gates.open).zip(&theirs) {
            *share ^= open & theirs;
        }
        let mut delta = vec![0; words];
        let mut carry = Zeroizing::new(gates.share[..words].to_vec());
        for i in 1..self.0.gates {
            let at = i * words..(i + 1) * words;
            let own: Vec<u64> = carry.iter().zip(&gates.mask[at.clone()]).map(|(c, mask)| c ^ mask).collect();
            exchange(channel, &own, &mut delta)?;
            delta.iter_mut().zip(&own).for_each(|(delta, own)| *delta ^= own);
            let gate = gates.share[at].iter().zip(inputs.plane(i)).zip(&delta);
            carry.iter_mut().zip(gate).for_each(|(c, ((share, x), delta))| *c = share ^ x & delta);
        }
        let top = inputs.plane(self.0.gates);
        Ok(carry.iter().zip(top).map(|(carry, top)| carry ^ top).collect())
    }
}

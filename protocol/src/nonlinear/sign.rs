//! The sign of shared values by a bit-sliced carry chain.
//!
//! Functionality: from shares a + b = v mod 2^r to XOR shares of v's top bit. Secure comparison as an adder (GMW;
//! Catrina, de Hoogh, SCN 2010; SIRNN, ePrint 2021/459, counts it), every gate for all values at once, 64 per word.
//!
//! The top bit is a_{r−1} ⊕ b_{r−1} ⊕ c_{r−1} with carries c_{i+1} = (a_i ⊕ c_i)(b_i ⊕ c_i) ⊕ c_i. Every carry but
//! the last is opened under a mask, δ_i = c_i ⊕ λ_i with λ_i = λ_i^A ⊕ λ_i^B. With u = b_i ⊕ λ^B and v = a_i ⊕ λ^A,
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

use super::planes::Planes;
use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use channels::Channel;
use ot::bits;
use zeroize::{Zeroize, Zeroizing};

/// The sign of `n` values mod 2^`width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Bits r of the ring, at least 2.
    pub(crate) width: usize,
    /// How many values.
    pub(crate) n: usize,
}

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
    fn words(&self) -> usize {
        bits::words(self.n)
    }

    /// Positions with a carry.
    fn gates(&self) -> usize {
        self.width - 1
    }

    /// Random OTs of bits: one per position for u·v, one more for λ^A·λ^B where there is a mask.
    fn bits(&self) -> usize {
        64 * self.words() * (2 * self.gates() - 1)
    }

    /// What it takes from the source.
    pub(crate) fn takes(&self) -> Take {
        Take::Bits { n: self.bits() }
    }

    /// Online bytes and rounds.
    pub(crate) fn cost(&self) -> Flow {
        let bytes = (8 * self.words() * (2 * self.gates() - 1)) as u64;
        Flow { alice_to_bob: bytes, bob_to_alice: bytes, rounds: self.gates() as u64 }
    }

    /// Alice's random OTs: choices and the bits chosen.
    pub(crate) fn prepare_alice(&self, alice: &mut Alice) -> Result<[Vec<u64>; 2], ProtocolError> {
        let [mut choices, mut chosen] = [(); 2].map(|()| vec![0; self.bits() / 64]);
        let (ots, channel) = alice.ot()?;
        ots.random_bits(channel, self.bits(), &mut choices, &mut chosen)?;
        Ok([choices, chosen])
    }

    /// Bob's random OTs: pairs of bits.
    pub(crate) fn prepare_bob(&self, bob: &mut Bob) -> Result<[Vec<u64>; 2], ProtocolError> {
        let [mut zeros, mut ones] = [(); 2].map(|()| vec![0; self.bits() / 64]);
        let (ots, channel) = bob.ot()?;
        ots.random_bits(channel, self.bits(), &mut zeros, &mut ones)?;
        Ok([zeros, ones])
    }

    /// Alice's share of the signs of values of which she holds `shares`.
    pub(crate) fn alice(
        &self,
        alice: &mut Alice,
        [choices, chosen]: [Vec<u64>; 2],
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let (choices, chosen) = (Zeroizing::new(choices), Zeroizing::new(chosen));
        let inputs = Planes::slice(shares, self.width);
        let (gates, opened) = self.gates_from(&inputs, &choices, &chosen, &choices);
        self.walk(&mut alice.channel, &inputs, gates, &opened)
    }

    /// Bob's share.
    pub(crate) fn bob(
        &self,
        bob: &mut Bob,
        [zeros, ones]: [Vec<u64>; 2],
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        let (zeros, mut differences) = (Zeroizing::new(zeros), Zeroizing::new(ones));
        differences.iter_mut().zip(&*zeros).for_each(|(one, zero)| *one ^= zero);
        let inputs = Planes::slice(shares, self.width);
        let (mut gates, opened) = self.gates_from(&inputs, &differences, &zeros, &differences);
        // What the receiver opens meets u itself, not the pad under which u is opened.
        for i in 0..self.gates() {
            let at = i * self.words();
            for (j, &x) in inputs.plane(i).iter().enumerate() {
                gates.open[at + j] = x ^ gates.mask[at + j];
            }
        }
        self.walk(&mut bob.channel, &inputs, gates, &opened)
    }

    /// Both parties alike: own masks and pads, and own bits from the OTs. Yields the gates and what is opened first.
    fn gates_from(&self, inputs: &Planes, masks: &[u64], own: &[u64], pads: &[u64]) -> (Gates, Vec<u64>) {
        let (gates, words) = (self.gates(), self.words());
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
        let words = self.words();
        let mut theirs = vec![0; opened.len()];
        exchange(channel, opened, &mut theirs)?;
        for ((share, &open), &theirs) in gates.share.iter_mut().zip(&gates.open).zip(&theirs) {
            *share ^= open & theirs;
        }
        let mut delta = vec![0; words];
        let mut carry = Zeroizing::new(gates.share[..words].to_vec());
        for i in 1..self.gates() {
            let at = i * words..(i + 1) * words;
            let own: Vec<u64> = carry.iter().zip(&gates.mask[at.clone()]).map(|(c, mask)| c ^ mask).collect();
            exchange(channel, &own, &mut delta)?;
            delta.iter_mut().zip(&own).for_each(|(delta, own)| *delta ^= own);
            let gate = gates.share[at].iter().zip(inputs.plane(i)).zip(&delta);
            carry.iter_mut().zip(gate).for_each(|(c, ((share, x), delta))| *c = share ^ x & delta);
        }
        let top = inputs.plane(self.width - 1);
        Ok(carry.iter().zip(top).map(|(carry, top)| carry ^ top).collect())
    }
}

/// Both parties' words cross.
fn exchange(channel: &mut Channel, own: &[u64], theirs: &mut [u64]) -> Result<(), ProtocolError> {
    Ok(channel.exchange(bytemuck::cast_slice(own), bytemuck::cast_slice_mut(theirs))?)
}

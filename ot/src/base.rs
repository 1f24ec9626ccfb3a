//! Base OT: a few random OTs of 128-bit seeds from the Diffie–Hellman assumption.
//!
//! Functionality: the receiver brings choice bits; for each the sender gets two random seeds and the receiver
//! the chosen one.
//!
//! Chou and Orlandi, "The simplest protocol for oblivious transfer" (ePrint 2015/267), figure 1, over
//! ristretto255.
//! Deviation: the seed is the BLAKE3 hash of the position, both messages and the shared point.
//!
//! ```text
//!   sender                                   receiver (choice c_i)
//!   a random, A = a·G          --A-->
//!                              <--B_i--      b_i random, B_i = b_i·G + c_i·A
//!   k_i0 = H(i, A, B_i, a·B_i)               k_i = H(i, A, B_i, b_i·A)
//!   k_i1 = H(i, A, B_i, a·(B_i − A))
//! ```
//!
//! Security: semi-honest, CDH in the random-oracle model; the receiver's choices are perfectly hidden (B_i is
//! uniform). Points are checked: ristretto admits canonical encodings only and has prime order; the values that
//! make a shared point the identity are refused. Every session has its own A, so no hash input ever repeats.
//! Cost: 32 bytes from the sender, 32 per OT from the receiver, two messages. Constant time in all secrets.

use crate::OtError;
use channels::Channel;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use prg::{Prg, Seed};
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroize;

/// Bytes of an encoded group element.
const POINT: usize = 32;

/// What a party has after the base OTs.
pub struct BaseOts<Keys> {
    /// The sender's pairs of seeds, or the receiver's chosen seeds.
    pub keys: Vec<Keys>,
    /// A public value, equal on both sides and fresh for every session: both contributed to it.
    pub session: Seed,
}

/// Bytes that `n` base OTs take: from sender to receiver, and from receiver to sender.
pub fn bytes(n: usize) -> (usize, usize) {
    (POINT, n * POINT)
}

/// The sender's side of `n` base OTs.
pub fn send(channel: &mut Channel, n: usize, prg: &mut Prg) -> Result<BaseOts<[Seed; 2]>, OtError> {
    let mut a = random_scalar(prg);
    let big_a = RistrettoPoint::mul_base(&a);
    let sent = big_a.compress();
    channel.send(sent.as_bytes())?;
    let replies = channel.recv(n * POINT)?;
    let mut a_squared = a * big_a;
    let mut keys = Vec::with_capacity(n);
    for (index, reply) in replies.as_chunks::<POINT>().0.iter().enumerate() {
        let mut shared = a * decode(reply, index)?;
        let mut other = shared - a_squared;
        if shared.is_identity() || other.is_identity() {
            return Err(OtError::InvalidPoint { index });
        }
        keys.push([&shared, &other].map(|point| derive(index, sent.as_bytes(), reply, point)));
        shared.zeroize();
        other.zeroize();
    }
    a.zeroize();
    a_squared.zeroize();
    Ok(BaseOts { keys, session: session(sent.as_bytes(), &replies) })
}

/// The receiver's side, one OT for every bit of `choices`.
pub fn receive(channel: &mut Channel, choices: &[bool], prg: &mut Prg) -> Result<BaseOts<Seed>, OtError> {
    let mut received = [0; POINT];
    channel.recv_into(&mut received)?;
    let big_a = decode(&received, 0)?;
    if big_a.is_identity() {
        return Err(OtError::InvalidPoint { index: 0 });
    }
    let (mut keys, mut replies) =
        (Vec::with_capacity(choices.len()), Vec::with_capacity(choices.len() * POINT));
    for (index, &choice) in choices.iter().enumerate() {
        let mut b = random_scalar(prg);
        let blind = RistrettoPoint::mul_base(&b);
        let choice = Choice::from(u8::from(choice));
        let reply = RistrettoPoint::conditional_select(&blind, &(blind + big_a), choice).compress();
        let mut shared = b * big_a;
        keys.push(derive(index, &received, reply.as_bytes(), &shared));
        replies.extend_from_slice(reply.as_bytes());
        shared.zeroize();
        b.zeroize();
    }
    channel.send(&replies)?;
    channel.flush()?;
    Ok(BaseOts { keys, session: session(&received, &replies) })
}

fn random_scalar(prg: &mut Prg) -> Scalar {
    let mut wide = [0; 64];
    prg.fill(&mut wide);
    let scalar = Scalar::from_bytes_mod_order_wide(&wide);
    wide.zeroize();
    scalar
}

fn decode(bytes: &[u8; POINT], index: usize) -> Result<RistrettoPoint, OtError> {
    CompressedRistretto(*bytes).decompress().ok_or(OtError::InvalidPoint { index })
}

fn derive(index: usize, a: &[u8; POINT], b: &[u8; POINT], shared: &RistrettoPoint) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key("bunet 2026 base OT key");
    hasher.update(&(index as u64).to_le_bytes()).update(a).update(b).update(shared.compress().as_bytes());
    first_half(&hasher)
}

fn session(a: &[u8; POINT], replies: &[u8]) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key("bunet 2026 base OT session");
    hasher.update(a).update(replies);
    first_half(&hasher)
}

fn first_half(hasher: &blake3::Hasher) -> Seed {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    Seed::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::both;
    use channels::{ChannelError, memory};

    fn run(choices: &[bool]) -> (BaseOts<[Seed; 2]>, BaseOts<Seed>, [u64; 2]) {
        let mut pair = memory::pair();
        let (sender, receiver) = both(
            &mut pair,
            |a| send(a, choices.len(), &mut Prg::from_os()).unwrap(),
            |b| receive(b, choices, &mut Prg::from_os()).unwrap(),
        );
        (sender, receiver, [pair.1.traffic().received, pair.1.traffic().sent])
    }

    #[test]
    fn the_receiver_gets_the_chosen_seed_only() {
        let choices: Vec<bool> = (0..20).map(|i| i % 3 == 1).collect();
        let (sender, receiver, traffic) = run(&choices);
        for ((pair, chosen), &choice) in sender.keys.iter().zip(&receiver.keys).zip(&choices) {
            assert_eq!(pair[usize::from(choice)].as_bytes(), chosen.as_bytes());
            assert_ne!(pair[usize::from(!choice)].as_bytes(), chosen.as_bytes());
        }
        assert_eq!(sender.session.as_bytes(), receiver.session.as_bytes());
        assert_eq!(traffic, [bytes(20).0 as u64, bytes(20).1 as u64]);
        let again = run(&choices);
        assert_ne!(again.0.session.as_bytes(), sender.session.as_bytes());
    }

    #[test]
    fn bad_points_are_refused() {
        let good = RistrettoPoint::mul_base(&Scalar::from(5u8)).compress().to_bytes();
        for bad in [[0xff; POINT], [0; POINT]] {
            let (mut a, mut b) = memory::pair();
            a.send(&bad).unwrap();
            a.flush().unwrap();
            let error = receive(&mut b, &[true], &mut Prg::from_os()).err();
            assert_eq!(error, Some(OtError::InvalidPoint { index: 0 }));
            let (mut a, mut b) = memory::pair();
            b.send(&[good, bad].concat()).unwrap();
            b.flush().unwrap();
            let error = send(&mut a, 2, &mut Prg::from_os()).err();
            assert_eq!(error, Some(OtError::InvalidPoint { index: 1 }));
        }
    }

    #[test]
    fn a_reflected_point_is_refused() {
        let reflect = |b: &mut Channel| {
            let point = b.recv(POINT).unwrap();
            b.send(&point).unwrap();
            b.flush().unwrap();
        };
        let (error, ()) = both(&mut memory::pair(), |a| send(a, 1, &mut Prg::from_os()).err(), reflect);
        assert_eq!(error, Some(OtError::InvalidPoint { index: 0 }));
    }

    #[test]
    fn a_truncated_message_is_an_error() {
        let (mut a, mut b) = memory::pair();
        b.send(&[0; 40]).unwrap();
        b.flush().unwrap();
        drop(b);
        let error = send(&mut a, 2, &mut Prg::from_os()).err();
        assert_eq!(error, Some(OtError::Channel(ChannelError::Closed)));
    }
}

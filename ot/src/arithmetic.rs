//! Correlated OT over Z_m: shares of a bit times a number.
//!
//! Functionality: for the receiver's choice bits b_i and the sender's correlations d_i in Z_m, the sender gets
//! r_i and the receiver r_i + b_i·d_i mod m, with r_i uniform.
//!
//! Asharov, Lindell, Schneider, Zohner (CCS 2013), section 5.4, over any ring and on top of any source.
//!
//! ```text
//!   sender (d)                               receiver (b)
//!   h0, h1 random OT            <--COT--     h_b
//!   r = h0 mod m
//!   u = r + d − h1 mod m         --u-->      h_b mod m + b·u
//! ```
//!
//! Security: semi-honest, from [`crate::RotSender`]. Masks modulo 2^k are exactly uniform; modulo a prime of
//! at most 40 bits each is within 2^-88 of uniform, 2^-40 for 2^48 of them in a run.
//! Cost: the source's bytes, then [`reply_bytes`] = ⌈n·⌈log2 m⌉/8⌉ from sender to receiver; one round, after
//! `reserve`.
//! Memory: 8 bytes per OT for the receiver, besides the arguments. Both directions stream.
//! Constant time, except for the refusal of a malformed reply.

use crate::packing::{pack_into, packed_len};
use crate::rot::CHUNK;
use crate::{CotReceive, CotSend, OtError, Ring, RotReceiver, RotSender, bits};
use channels::Channel;
use meter::Primitive;
use zeroize::Zeroizing;

/// Bytes from sender to receiver for `n` OTs, on top of the source's.
pub fn reply_bytes(n: usize, ring: Ring) -> usize {
    packed_len(n, ring.bits())
}

/// The sender's side: `correlations` are reduced; its shares go to `out`, which is as long.
pub fn send<S: CotSend>(
    ots: &mut RotSender<S>,
    channel: &mut Channel,
    ring: Ring,
    correlations: &[u64],
    out: &mut [u64],
) -> Result<(), OtError> {
    assert_eq!(correlations.len(), out.len(), "one share per correlation");
    let _metered = meter::scope(Primitive::Transfer);
    let mut replies = vec![0; CHUNK.min(out.len())];
    let mut blocks = [(); 2].map(|()| Zeroizing::new(vec![0; CHUNK.min(out.len())]));
    let mut bytes = Vec::new();
    channel.stream(|tx, rx| {
        for (out, correlations) in out.chunks_mut(CHUNK).zip(correlations.chunks(CHUNK)) {
            tx.send(&bytes)?;
            let [zeros, ones] = blocks.each_mut().map(|blocks| &mut blocks[..out.len()]);
            ots.chosen(rx, zeros, ones)?;
            let replies = &mut replies[..out.len()];
            for (i, (r, u)) in out.iter_mut().zip(&mut *replies).enumerate() {
                *r = ring.reduce_uniform(zeros[i]);
                *u = ring.sub(ring.add(*r, correlations[i]), ring.reduce_uniform(ones[i]));
            }
            bytes.resize(reply_bytes(replies.len(), ring), 0);
            pack_into(replies, ring.bits(), &mut bytes);
        }
        Ok::<_, OtError>(())
    })?;
    // The last ones leave after the stream: what the peer answers to them is another round.
    channel.send(&bytes)?;
    Ok(channel.flush()?)
}

/// The receiver's side, with one packed choice bit per element of `out`.
pub fn receive<R: CotReceive + Send>(
    ots: &mut RotReceiver<R>,
    channel: &mut Channel,
    ring: Ring,
    choices: &[u64],
    out: &mut [u64],
) -> Result<(), OtError> {
    let mut replies = vec![0; out.len()];
    channel.stream(|tx, rx| {
        let choose = |masks: &mut [u64]| {
            let _metered = meter::scope(Primitive::Transfer);
            let mut blocks = Zeroizing::new(vec![0; CHUNK.min(masks.len())]);
            for (masks, choices) in masks.chunks_mut(CHUNK).zip(choices.chunks(CHUNK / 64)) {
                let blocks = &mut blocks[..masks.len()];
                ots.chosen(tx, choices, blocks)?;
                masks.iter_mut().zip(blocks).for_each(|(mask, block)| *mask = ring.reduce_uniform(*block));
            }
            Ok::<_, OtError>(tx.flush()?)
        };
        let take = |replies: &mut [u64]| {
            let _metered = meter::scope(Primitive::Transfer);
            replies
                .chunks_mut(CHUNK)
                .try_for_each(|replies| ring.unpack(&rx.recv(reply_bytes(replies.len(), ring))?, replies))
        };
        both(choose, take, out, &mut replies)
    })?;
    let _metered = meter::scope(Primitive::Transfer);
    for (i, (share, u)) in out.iter_mut().zip(replies).enumerate() {
        *share = ring.add(*share, u & u64::from(bits::get(choices, i)).wrapping_neg());
    }
    Ok(())
}

/// Chooses and takes replies: at the same time where they are many, since replies come while later choices leave.
fn both(
    choose: impl FnOnce(&mut [u64]) -> Result<(), OtError> + Send,
    take: impl FnOnce(&mut [u64]) -> Result<(), OtError>,
    masks: &mut [u64],
    replies: &mut [u64],
) -> Result<(), OtError> {
    if masks.len() <= CHUNK {
        choose(masks)?;
        return take(replies);
    }
    std::thread::scope(|scope| {
        let choosing = scope.spawn(|| choose(masks));
        let taken = take(replies);
        match choosing.join() {
            Ok(chosen) => chosen.and(taken),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iknp::extend_bytes;
    use crate::testing::{Sources, both, iknp, sources};
    use channels::{ChannelError, memory};
    use prg::Prg;

    fn rings() -> Vec<Ring> {
        let prime = |p| ntt::Modulus::prime(p).unwrap().into();
        vec![
            Ring::pow2(1),
            Ring::pow2(24),
            Ring::pow2(40),
            Ring::pow2(64),
            prime(40_961),
            prime(1_099_510_054_913),
        ]
    }

    fn uniform(ring: Ring, n: usize) -> Vec<u64> {
        let mut values = vec![0; n];
        match ring {
            Ring::Prime { p } => Prg::from_os().fill_below(&mut values, p),
            Ring::Pow2 { bits } => {
                Prg::from_os().fill_u64(&mut values);
                values.iter_mut().for_each(|value| *value >>= 64 - bits);
            }
        }
        values
    }

    #[test]
    fn shares_add_up_to_bit_times_correlation_at_the_stated_cost() {
        for (mut pair, send_cots, receive_cots) in sources() {
            let (mut send_ots, mut receive_ots) = (RotSender::new(send_cots), RotReceiver::new(receive_cots));
            for (n, ring) in
                [1, 100, CHUNK + 77].into_iter().flat_map(|n| rings().into_iter().map(move |ring| (n, ring)))
            {
                let d = uniform(ring, n);
                let mut choices = vec![0; bits::words(n)];
                Prg::from_os().fill_u64(&mut choices);
                let (mut r, mut shares) = (vec![0; n], vec![0; n]);
                both(&mut pair, |a| send_ots.reserve(a, n).unwrap(), |b| receive_ots.reserve(b, n).unwrap());
                let before = pair.1.traffic();
                both(
                    &mut pair,
                    |a| send(&mut send_ots, a, ring, &d, &mut r).unwrap(),
                    |b| receive(&mut receive_ots, b, ring, &choices, &mut shares).unwrap(),
                );
                let traffic = pair.1.traffic() - before;
                assert_eq!((traffic.received as usize, traffic.rounds), (reply_bytes(n, ring), 1));
                for i in 0..n {
                    let product = if bits::get(&choices, i) { d[i] } else { 0 };
                    assert_eq!(ring.sub(shares[i], r[i]), product, "{ring:?}");
                }
            }
        }
    }

    #[test]
    fn masks_are_spread_over_the_ring() {
        let (mut pair, s, r) = iknp();
        let (mut s, mut r, n) = (RotSender::new(s), RotReceiver::new(r), 30_000);
        let ring = Ring::Prime { p: 40_961 };
        let (mut masks, mut shares) = (vec![0; n], vec![0; n]);
        both(
            &mut pair,
            |a| send(&mut s, a, ring, &vec![0; n], &mut masks).unwrap(),
            |b| receive(&mut r, b, ring, &vec![0; bits::words(n)], &mut shares).unwrap(),
        );
        let mut thirds = [0i64; 3];
        masks.iter().for_each(|r| thirds[(r * 3 / 40_961) as usize] += 1);
        assert!(thirds.iter().all(|count| (count - 10_000).abs() < 6 * 82), "{thirds:?}");
    }

    #[test]
    fn a_reply_out_of_range_or_truncated_is_an_error() {
        let ring = Ring::Prime { p: 40_961 };
        for (reply, expected) in [
            (vec![0xff; 4], OtError::OutOfRange { index: 0, value: 65_535, modulus: 40_961 }),
            (vec![0; 3], OtError::Channel(ChannelError::Closed)),
        ] {
            let (mut pair, _, receiver): Sources = iknp();
            let malicious = |a: &mut Channel| {
                a.recv(extend_bytes(2)).unwrap();
                a.send(&reply).unwrap();
                a.flush().unwrap();
                *a = memory::pair().0; // the connection ends here
            };
            let mut ots = RotReceiver::new(receiver);
            let ((), result) = both(&mut pair, malicious, |b| receive(&mut ots, b, ring, &[0], &mut [0; 2]));
            assert_eq!(result, Err(expected));
        }
    }
}

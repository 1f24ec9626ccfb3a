//! 1-of-2 OT of short strings.
//!
//! Functionality: the sender brings pairs of strings of 1 to 64 bits, the receiver choice bits; the receiver
//! gets the chosen string of each pair.
//!
//! Beaver (CRYPTO 1995): random OT, then both strings under the two random blocks as one-time pads.
//! Security: semi-honest, from [`crate::RotSender`]: the pad of the other string is pseudo-random.
//! Cost: the source's bytes, then [`reply_bytes`] = 2·bits per OT from sender to receiver, packed; one round.
//! Memory: 16 bytes per OT besides the arguments. Constant time.

use crate::packing::{pack, packed_len, unpack};
use crate::rot::CHUNK;
use crate::{CotReceive, CotSend, OtError, Ring, RotReceiver, RotSender, bits};
use channels::Channel;
use zeroize::Zeroizing;

/// Bytes from sender to receiver for `n` OTs, on top of the source's.
pub fn reply_bytes(n: usize, bits: u32) -> usize {
    packed_len(2 * n, bits)
}

/// The sender's side, with strings in the low `bits` bits.
pub fn send<S: CotSend>(
    ots: &mut RotSender<S>,
    channel: &mut Channel,
    bits: u32,
    pairs: &[[u64; 2]],
) -> Result<(), OtError> {
    let ring = Ring::pow2(bits);
    let mut masked = Vec::with_capacity(2 * pairs.len());
    let mut blocks = [(); 2].map(|()| Zeroizing::new(vec![0; CHUNK.min(pairs.len())]));
    channel.stream(|_, rx| {
        for pairs in pairs.chunks(CHUNK) {
            let [zeros, ones] = blocks.each_mut().map(|blocks| &mut blocks[..pairs.len()]);
            ots.chosen(rx, zeros, ones)?;
            let pads =
                zeros.iter().zip(ones).map(|(zero, one)| [*zero, *one].map(|pad| ring.reduce_uniform(pad)));
            masked.extend(pads.zip(pairs).flat_map(|(pads, pair)| [pads[0] ^ pair[0], pads[1] ^ pair[1]]));
        }
        Ok::<_, OtError>(())
    })?;
    channel.send(&pack(&masked, bits))?;
    Ok(channel.flush()?)
}

/// The receiver's side, with one packed choice bit per element of `out`.
pub fn receive<R: CotReceive>(
    ots: &mut RotReceiver<R>,
    channel: &mut Channel,
    bits: u32,
    choices: &[u64],
    out: &mut [u64],
) -> Result<(), OtError> {
    let ring = Ring::pow2(bits);
    let mut blocks = Zeroizing::new(vec![0; CHUNK.min(out.len())]);
    channel.stream(|tx, _| {
        for (out, choices) in out.chunks_mut(CHUNK).zip(choices.chunks(CHUNK / 64)) {
            let blocks = &mut blocks[..out.len()];
            ots.chosen(tx, choices, blocks)?;
            out.iter_mut().zip(blocks).for_each(|(pad, block)| *pad = ring.reduce_uniform(*block));
        }
        Ok::<_, OtError>(())
    })?;
    let masked = unpack(&channel.recv(reply_bytes(out.len(), bits))?, bits, 2 * out.len());
    for (i, (string, pair)) in out.iter_mut().zip(masked.as_chunks::<2>().0).enumerate() {
        let keep = u64::from(bits::get(choices, i)).wrapping_neg();
        *string ^= pair[0] & !keep | pair[1] & keep;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{both, iknp, sources};
    use channels::{ChannelError, memory};
    use prg::Prg;

    #[test]
    fn the_receiver_gets_the_chosen_strings() {
        for (mut pair, s, r) in sources() {
            let (mut s, mut r) = (RotSender::new(s), RotReceiver::new(r));
            for (bits, n) in [(1, 1000), (7, CHUNK + 3), (32, 64), (64, 5)] {
                let (mut strings, mut choices) = (vec![0; 2 * n], vec![0; bits::words(n)]);
                Prg::from_os().fill_u64(&mut strings);
                Prg::from_os().fill_u64(&mut choices);
                let pairs: Vec<_> =
                    strings.as_chunks::<2>().0.iter().map(|p| p.map(|s| s >> (64 - bits))).collect();
                let mut out = vec![0; n];
                both(&mut pair, |a| s.reserve(a, n).unwrap(), |b| r.reserve(b, n).unwrap());
                let before = pair.1.traffic();
                both(
                    &mut pair,
                    |a| send(&mut s, a, bits, &pairs).unwrap(),
                    |b| receive(&mut r, b, bits, &choices, &mut out).unwrap(),
                );
                let traffic = pair.1.traffic() - before;
                assert_eq!((traffic.received as usize, traffic.rounds), (reply_bytes(n, bits), 1));
                assert!((0..n).all(|i| out[i] == pairs[i][usize::from(bits::get(&choices, i))]));
            }
        }
    }

    #[test]
    fn a_truncated_reply_is_an_error() {
        let (mut pair, _, r) = iknp();
        let malicious = |a: &mut Channel| {
            a.recv(crate::iknp::extend_bytes(8)).unwrap();
            a.send(&[0; 15]).unwrap();
            a.flush().unwrap();
            *a = memory::pair().0; // the connection ends here
        };
        let mut r = RotReceiver::new(r);
        let ((), result) = both(&mut pair, malicious, |b| receive(&mut r, b, 8, &[0], &mut [0; 8]));
        assert_eq!(result, Err(OtError::Channel(ChannelError::Closed)));
    }
}

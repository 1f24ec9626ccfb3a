//! Random OT: correlated OTs whose correlation is broken by hashing.
//!
//! Functionality: for every choice bit b the sender gets two pseudo-random blocks `r0, r1`, the receiver `r_b`;
//! b is chosen by the receiver, or random. The bit variants keep one bit of each block.
//!
//! r_b = H(q ^ b·delta, i) with the re-keyed hash of this crate (its module names the source); i is the
//! position in the source. Security: semi-honest; H is correlation robust, so the block not chosen is
//! pseudo-random to the receiver. Cost: that of the source, nothing more. Constant time.

use crate::hash::Hash;
use crate::source::{CotReceive, CotSend};
use crate::{Block, OtError, bits};
use channels::{Channel, Rx, Tx};
use meter::Primitive;
use zeroize::Zeroizing;

/// OTs worked on at a time, a whole number of words of choice bits.
pub(crate) const CHUNK: usize = 8192;

/// The sender of random OTs from the correlated ones of `S`.
pub struct RotSender<S> {
    cots: S,
    hash: Hash,
}

/// The receiver of random OTs from the correlated ones of `R`.
pub struct RotReceiver<R> {
    cots: R,
    hash: Hash,
}

impl<S: CotSend> RotSender<S> {
    /// Random OTs from this source.
    pub fn new(cots: S) -> Self {
        let hash = Hash::new(cots.session());
        Self { cots, hash }
    }

    /// The source, for callers that want correlated OTs as they are.
    pub fn cots(&mut self) -> &mut S {
        &mut self.cots
    }

    /// See [`CotSend::reserve`].
    pub fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        self.cots.reserve(channel, n)
    }

    /// Pairs of blocks, of which the receiver gets the ones that it chooses.
    pub fn chosen(&mut self, rx: &mut Rx, zeros: &mut [Block], ones: &mut [Block]) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        let first = self.cots.position();
        self.cots.chosen(rx, zeros)?;
        self.split(first, zeros, ones);
        Ok(())
    }

    /// Pairs of blocks, of which the receiver gets random ones.
    pub fn random(&mut self, rx: &mut Rx, zeros: &mut [Block], ones: &mut [Block]) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        let first = self.cots.position();
        self.cots.random(rx, zeros)?;
        self.split(first, zeros, ones);
        Ok(())
    }

    /// Pairs of `n` bits, packed, of which the receiver gets random ones; see [`CotSend::random_bits`].
    pub fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        zeros: &mut [u64],
        ones: &mut [u64],
    ) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        self.cots.random_bits(channel, n, zeros, ones)
    }

    fn split(&mut self, first: u64, zeros: &mut [Block], ones: &mut [Block]) {
        ones.copy_from_slice(zeros);
        self.hash.apply(first, 0, zeros);
        self.hash.apply(first, self.cots.delta(), ones);
    }
}

impl<R: CotReceive> RotReceiver<R> {
    /// Random OTs from this source.
    pub fn new(cots: R) -> Self {
        let hash = Hash::new(cots.session());
        Self { cots, hash }
    }

    /// The source, for callers that want correlated OTs as they are.
    pub fn cots(&mut self) -> &mut R {
        &mut self.cots
    }

    /// See [`CotReceive::reserve`].
    pub fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        self.cots.reserve(channel, n)
    }

    /// The blocks that the packed bits choose.
    pub fn chosen(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        let first = self.cots.position();
        self.cots.chosen(tx, choices, out)?;
        self.hash.apply(first, 0, out);
        Ok(())
    }

    /// Random choice bits and the blocks that they choose.
    pub fn random(&mut self, tx: &mut Tx, choices: &mut [u64], out: &mut [Block]) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        let first = self.cots.position();
        self.cots.random(tx, choices, out)?;
        self.hash.apply(first, 0, out);
        Ok(())
    }

    /// `n` random choice bits and the bits that they choose, all packed; see [`CotReceive::random_bits`].
    pub fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        choices: &mut [u64],
        out: &mut [u64],
    ) -> Result<(), OtError> {
        let _metered = meter::scope(Primitive::Transfer);
        self.cots.random_bits(channel, n, choices, out)
    }
}

/// [`CotSend::random_bits`] for sources without a faster way.
pub(crate) fn send_random_bits<S: CotSend + ?Sized>(
    cots: &mut S,
    channel: &mut Channel,
    n: usize,
    zeros: &mut [u64],
    ones: &mut [u64],
) -> Result<(), OtError> {
    cots.reserve(channel, n)?;
    let (hash, delta) = (Hash::new(cots.session()), cots.delta());
    let mut blocks = [(); 2].map(|()| Zeroizing::new(vec![0; CHUNK.min(n)]));
    channel.stream(|_, rx| {
        for start in (0..n).step_by(CHUNK) {
            let [zero, one] = blocks.each_mut().map(|blocks| &mut blocks[..CHUNK.min(n - start)]);
            let first = cots.position();
            cots.random(rx, zero)?;
            one.copy_from_slice(zero);
            hash.apply(first, 0, zero);
            hash.apply(first, delta, one);
            keep_low_bits(zero, &mut zeros[start / 64..]);
            keep_low_bits(one, &mut ones[start / 64..]);
        }
        Ok(())
    })
}

/// [`CotReceive::random_bits`] for sources without a faster way.
pub(crate) fn receive_random_bits<R: CotReceive + ?Sized>(
    cots: &mut R,
    channel: &mut Channel,
    n: usize,
    choices: &mut [u64],
    out: &mut [u64],
) -> Result<(), OtError> {
    cots.reserve(channel, n)?;
    let hash = Hash::new(cots.session());
    let mut blocks = Zeroizing::new(vec![0; CHUNK.min(n)]);
    channel.stream(|tx, _| {
        for start in (0..n).step_by(CHUNK) {
            let blocks = &mut blocks[..CHUNK.min(n - start)];
            let first = cots.position();
            cots.random(tx, &mut choices[start / 64..], blocks)?;
            hash.apply(first, 0, blocks);
            keep_low_bits(blocks, &mut out[start / 64..]);
        }
        Ok(())
    })
}

/// Packs the lowest bits of the blocks.
pub(crate) fn keep_low_bits(blocks: &[Block], out: &mut [u64]) {
    assert!(out.len() >= bits::words(blocks.len()), "one bit per block");
    for (blocks, word) in blocks.chunks(64).zip(out) {
        *word = blocks.iter().rev().fold(0, |word, block| word << 1 | (block & 1) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{both, sources};
    use prg::Prg;

    #[test]
    fn the_receiver_has_the_chosen_block_of_each_pair() {
        let n = 10_000;
        for (mut pair, send, receive) in sources() {
            let (mut send, mut receive) = (RotSender::new(send), RotReceiver::new(receive));
            let mut choices = vec![0; bits::words(n)];
            Prg::from_os().fill_u64(&mut choices);
            let mut seen = Vec::new();
            for random in [false, true] {
                let (mut zeros, mut ones, mut out) = (vec![0; n], vec![0; n], vec![0; n]);
                both(
                    &mut pair,
                    |a| {
                        send.reserve(a, n).unwrap();
                        let step = if random { RotSender::random } else { RotSender::chosen };
                        a.stream(|_, rx| step(&mut send, rx, &mut zeros, &mut ones)).unwrap();
                    },
                    |b| {
                        receive.reserve(b, n).unwrap();
                        b.stream(|tx, _| match random {
                            true => receive.random(tx, &mut choices, &mut out),
                            false => receive.chosen(tx, &choices, &mut out),
                        })
                        .unwrap();
                    },
                );
                for i in 0..n {
                    let (chosen, other) =
                        if bits::get(&choices, i) { (ones[i], zeros[i]) } else { (zeros[i], ones[i]) };
                    assert!(out[i] == chosen && out[i] != other);
                }
                seen.extend(zeros.into_iter().chain(ones));
            }
            // a tweak used twice, or a correlation left, would show as equal blocks or equal differences
            let differences = seen.chunks(2 * n).flat_map(|half| (0..n).map(|i| half[i] ^ half[n + i]));
            let mut seen: Vec<_> = seen.iter().copied().chain(differences).collect();
            seen.sort_unstable();
            assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }

    #[test]
    fn random_bits_are_transferred_and_balanced() {
        let n = 20_011;
        for (mut pair, send, receive) in sources() {
            let (mut send, mut receive) = (RotSender::new(send), RotReceiver::new(receive));
            let mut words = [(); 4].map(|()| vec![0; bits::words(n)]);
            let [zeros, ones, choices, out] = &mut words;
            both(
                &mut pair,
                |a| send.random_bits(a, n, zeros, ones).unwrap(),
                |b| receive.random_bits(b, n, choices, out).unwrap(),
            );
            let bit = |words: &[u64], i| bits::get(words, i);
            assert!((0..n).all(|i| bit(out, i) == bit(if bit(choices, i) { ones } else { zeros }, i)));
            for words in [&*zeros, ones, choices, out] {
                let weight = (0..n).filter(|&i| bit(words, i)).count();
                assert!(weight.abs_diff(n / 2) < 6 * 71, "{weight} of {n}"); // six standard deviations
            }
        }
    }
}

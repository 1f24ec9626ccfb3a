//! Where correlated OTs come from, so that what is built on them does not care.
//!
//! Two kinds of source stand behind the same two traits. An *interactive* one (IKNP) transfers chosen bits
//! natively and draws them itself where the caller wants random ones. A *silent* one makes OTs with random
//! choice bits from a short talk beforehand ([`reserve`](CotSend::reserve)) and turns a random bit into the
//! chosen one by sending their difference: one bit per OT, from receiver to sender, to which the sender
//! answers by adding `delta` or not.
//!
//! Both parties make the same calls with the same numbers. Every OT has a position in its source, from 0, that
//! never comes twice: whatever hashes a block takes it as the tweak.

use crate::{Block, CotReceiver, CotSender, OtError, bits, rot};
use channels::{Channel, Rx, Tx};
use prg::Seed;
use std::io::{self, Write};

/// The half of a source that holds the offset.
pub trait CotSend {
    /// The offset.
    fn delta(&self) -> Block;

    /// A public value that both halves share and no other source has.
    fn session(&self) -> &Seed;

    /// How many OTs were delivered so far: the position of the next one.
    fn position(&self) -> u64;

    /// Makes sure that the next `n` OTs need no talk but their own message, if any.
    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError>;

    /// The next OTs, with random choice bits.
    ///
    /// # Panics
    /// If fewer were reserved.
    fn random(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError>;

    /// The next OTs, with bits that the receiver chooses.
    ///
    /// # Panics
    /// If fewer were reserved.
    fn chosen(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError>;

    /// `n` further OTs with random choice bits, as random OTs of bits: packed pairs of them. They need no
    /// reservation and have no position.
    ///
    /// # Panics
    /// If a slice is too short.
    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        zeros: &mut [u64],
        ones: &mut [u64],
    ) -> Result<(), OtError> {
        rot::send_random_bits(self, channel, n, zeros, ones)
    }

    /// Writes the next `n` OTs, so that a run can use them that knows nothing of this one; they are gone from here. Only a
    /// silent source can be kept.
    ///
    /// # Panics
    /// If fewer were reserved.
    fn save(&mut self, _n: usize, _out: &mut dyn Write) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The half of a source that holds the choice bits.
pub trait CotReceive {
    /// A public value that both halves share and no other source has.
    fn session(&self) -> &Seed;

    /// How many OTs were delivered so far: the position of the next one.
    fn position(&self) -> u64;

    /// Makes sure that the next `n` OTs need no talk but their own message, if any.
    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError>;

    /// The next OTs, with random choice bits, packed into `choices`.
    ///
    /// # Panics
    /// If fewer were reserved, or `choices` is too short.
    fn random(&mut self, tx: &mut Tx, choices: &mut [u64], out: &mut [Block]) -> Result<(), OtError>;

    /// The next OTs, with these packed choice bits.
    ///
    /// # Panics
    /// If fewer were reserved, or `choices` is too short.
    fn chosen(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError>;

    /// `n` further OTs with random choice bits, as random OTs of bits, all packed. They need no reservation
    /// and have no position.
    ///
    /// # Panics
    /// If a slice is too short.
    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        choices: &mut [u64],
        out: &mut [u64],
    ) -> Result<(), OtError> {
        rot::receive_random_bits(self, channel, n, choices, out)
    }

    /// Writes the next `n` OTs, so that a run can use them that knows nothing of this one; they are gone from here. Only a
    /// silent source can be kept.
    ///
    /// # Panics
    /// If fewer were reserved.
    fn save(&mut self, _n: usize, _out: &mut dyn Write) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl CotSend for CotSender {
    fn delta(&self) -> Block {
        self.delta()
    }

    fn session(&self) -> &Seed {
        self.session()
    }

    fn position(&self) -> u64 {
        self.position()
    }

    fn reserve(&mut self, _channel: &mut Channel, _n: usize) -> Result<(), OtError> {
        Ok(())
    }

    fn random(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        self.extend(rx, out)
    }

    fn chosen(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        self.extend(rx, out)
    }
}

impl CotReceive for CotReceiver {
    fn session(&self) -> &Seed {
        self.session()
    }

    fn position(&self) -> u64 {
        self.position()
    }

    fn reserve(&mut self, _channel: &mut Channel, _n: usize) -> Result<(), OtError> {
        Ok(())
    }

    fn random(&mut self, tx: &mut Tx, choices: &mut [u64], out: &mut [Block]) -> Result<(), OtError> {
        let choices = &mut choices[..bits::words(out.len())];
        self.draw_choices(choices);
        self.extend(tx, choices, out)
    }

    fn chosen(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError> {
        self.extend(tx, choices, out)
    }
}

impl<T: CotSend + ?Sized> CotSend for Box<T> {
    fn delta(&self) -> Block {
        (**self).delta()
    }

    fn session(&self) -> &Seed {
        (**self).session()
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        (**self).reserve(channel, n)
    }

    fn random(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        (**self).random(rx, out)
    }

    fn chosen(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        (**self).chosen(rx, out)
    }

    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        zeros: &mut [u64],
        ones: &mut [u64],
    ) -> Result<(), OtError> {
        (**self).random_bits(channel, n, zeros, ones)
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        (**self).save(n, out)
    }
}

impl<T: CotReceive + ?Sized> CotReceive for Box<T> {
    fn session(&self) -> &Seed {
        (**self).session()
    }

    fn position(&self) -> u64 {
        (**self).position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        (**self).reserve(channel, n)
    }

    fn random(&mut self, tx: &mut Tx, choices: &mut [u64], out: &mut [Block]) -> Result<(), OtError> {
        (**self).random(tx, choices, out)
    }

    fn chosen(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError> {
        (**self).chosen(tx, choices, out)
    }

    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        choices: &mut [u64],
        out: &mut [u64],
    ) -> Result<(), OtError> {
        (**self).random_bits(channel, n, choices, out)
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        (**self).save(n, out)
    }
}

#[cfg(test)]
mod tests {
    use crate::bits;
    use crate::testing::{both, sources};

    #[test]
    fn positions_count_every_transfer_once_and_alike() {
        for (mut pair, mut send, mut receive) in sources() {
            let mut total = 0;
            for n in [1, 64, 100, 9000] {
                let (mut q, mut t, mut choices) = (vec![0; n], vec![0; n], vec![0; bits::words(n)]);
                for random in [true, false] {
                    both(
                        &mut pair,
                        |a| {
                            send.reserve(a, n).unwrap();
                            a.stream(
                                |_, rx| {
                                    if random { send.random(rx, &mut q) } else { send.chosen(rx, &mut q) }
                                },
                            )
                        },
                        |b| {
                            receive.reserve(b, n).unwrap();
                            b.stream(|tx, _| match random {
                                true => receive.random(tx, &mut choices, &mut t),
                                false => receive.chosen(tx, &choices, &mut t),
                            })
                        },
                    )
                    .0
                    .unwrap();
                    total += n as u64;
                    assert_eq!((send.position(), receive.position()), (total, total));
                }
            }
            assert_eq!(send.session().as_bytes(), receive.session().as_bytes());
        }
    }
}

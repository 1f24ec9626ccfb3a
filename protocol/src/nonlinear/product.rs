//! Products of secrets modulo a power of two, from correlated OTs.
//!
//! Functionality: [`Cross`] multiplies a number of Alice's with a number of Bob's, [`Product`] two shared numbers; both
//! yield shares mod 2^k. Gilboa (CRYPTO 1999), section 4, as correlated OTs: Alice chooses with her bits a_j,
//! and since bit j weighs 2^j, its OT works mod 2^(k−j).
//!
//! ```text
//!   Alice (a = Σ a_j·2^j)                       Bob (b)
//!   for every j: choice a_j      --OT-->        b mod 2^(k−j)
//!   Σ (r_j + a_j·b)·2^j                         −Σ r_j·2^j
//! ```
//!
//! Security: semi-honest, that of the OTs. Constant time.
//! Cost of a `Cross` with w bits of a: w OTs, Σ_{j<w} (k − j) bits from Bob per value, one round. Memory: a few words
//! per value; messages stream in blocks.

use super::rectify::low;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use channels::Rx;
use ot::packing::{pack, packed_len, unpack};
use ot::{Block, bits};
use zeroize::Zeroizing;

/// Values worked on at a time: whole words of choice bits, whole bytes of every width.
const CHUNK: usize = 8192;

/// Shares of a·b mod 2^`bits`, a being Alice's and below 2^`choices`, b being Bob's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cross {
    /// Bits of the ring.
    pub bits: u32,
    /// Bits of Alice's numbers, at most those of the ring.
    pub choices: u32,
    /// How many products.
    pub n: usize,
}

impl Cross {
    /// The OTs that it takes.
    pub fn takes(&self) -> Vec<Take> {
        vec![Take::from_bob(self.n); self.choices as usize]
    }

    /// Bytes and rounds without the OTs.
    pub fn cost(&self) -> Cost {
        let down: usize = (0..self.choices).map(|j| packed_len(self.n, self.bits - j)).sum();
        Cost::online(0, down as u64, 1)
    }

    /// Alice's shares.
    pub fn alice(&self, alice: &mut Alice, a: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        assert_eq!(a.len(), self.n, "one number per product");
        let mut masks = Zeroizing::new(vec![0; self.n]);
        let mut shares = Zeroizing::new(vec![0; self.n]);
        let (ots, channel) = alice.ot()?;
        channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let masks = &mut masks;
                let choosing = scope.spawn(move || {
                    let mut blocks = Zeroizing::new(vec![0; CHUNK.min(self.n)]);
                    for (a, masks) in a.chunks(CHUNK).zip(masks.chunks_mut(CHUNK)) {
                        for j in 0..self.choices {
                            let blocks = &mut blocks[..a.len()];
                            ots.chosen(tx, &plane(a, j), blocks)?;
                            masks.iter_mut().zip(blocks).for_each(|(sum, r)| add(sum, *r, j));
                        }
                    }
                    Ok::<_, ProtocolError>(())
                });
                let received = self.take_replies(rx, a, &mut shares);
                match choosing.join() {
                    Ok(chosen) => chosen.and(received),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        let sum = |(share, mask): (&u64, &u64)| low(self.bits, share.wrapping_add(*mask));
        Ok(shares.iter().zip(&*masks).map(sum).collect())
    }

    /// Adds up what Bob's replies contribute where Alice's bits are 1.
    fn take_replies(&self, rx: &mut Rx, a: &[u64], shares: &mut [u64]) -> Result<(), ProtocolError> {
        for (a, shares) in a.chunks(CHUNK).zip(shares.chunks_mut(CHUNK)) {
            for j in 0..self.choices {
                let width = self.bits - j;
                let replies = unpack(&rx.recv(packed_len(a.len(), width))?, width, a.len());
                for ((share, a), u) in shares.iter_mut().zip(a).zip(replies) {
                    *share = share.wrapping_add((u & (a >> j & 1).wrapping_neg()) << j);
                }
            }
        }
        Ok(())
    }

    /// Bob's shares.
    pub fn bob(&self, bob: &mut Bob, b: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        assert_eq!(b.len(), self.n, "one number per product");
        let mut shares = Zeroizing::new(vec![0; self.n]);
        let mut blocks = [(); 2].map(|()| Zeroizing::new(vec![0; CHUNK.min(self.n)]));
        let (ots, channel) = bob.ot()?;
        channel.stream(|tx, rx| {
            for (b, shares) in b.chunks(CHUNK).zip(shares.chunks_mut(CHUNK)) {
                for j in 0..self.choices {
                    let [zeros, ones] = blocks.each_mut().map(|blocks| &mut blocks[..b.len()]);
                    ots.chosen(rx, zeros, ones)?;
                    let reply = |(i, b): (usize, &u64)| {
                        (zeros[i] as u64).wrapping_add(*b).wrapping_sub(ones[i] as u64)
                    };
                    let replies: Vec<u64> = b.iter().enumerate().map(reply).collect();
                    tx.send(&pack(&replies, self.bits - j))?;
                    shares.iter_mut().zip(zeros).for_each(|(sum, r)| add(sum, *r, j));
                }
            }
            Ok::<_, ProtocolError>(())
        })?;
        Ok(shares.iter().map(|sum| low(self.bits, sum.wrapping_neg())).collect())
    }
}

/// sum + r·2^j, of which the caller keeps the low bits.
fn add(sum: &mut u64, r: Block, j: u32) {
    *sum = sum.wrapping_add((r as u64) << j);
}

/// Bit j of every value, packed.
fn plane(values: &[u64], j: u32) -> Zeroizing<Vec<u64>> {
    let mut plane = Zeroizing::new(vec![0; bits::words(values.len())]);
    for (word, values) in plane.iter_mut().zip(values.chunks(64)) {
        *word = values.iter().rev().fold(0, |word, x| word << 1 | x >> j & 1);
    }
    plane
}

/// Shares of x·y mod 2^`bits` of shared x and y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Bits of the ring.
    pub bits: u32,
    /// How many products.
    pub n: usize,
}

impl Product {
    fn cross(&self) -> Cross {
        Cross { bits: self.bits, choices: self.bits, n: 2 * self.n }
    }

    /// The OTs that it takes.
    pub fn takes(&self) -> Vec<Take> {
        self.cross().takes()
    }

    /// Bytes and rounds without the OTs.
    pub fn cost(&self) -> Cost {
        self.cross().cost()
    }

    /// Alice's shares: x_A·y_A and her parts of x_A·y_B and y_A·x_B.
    pub fn alice(&self, alice: &mut Alice, x: &[u64], y: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let both = Zeroizing::new([x, y].concat());
        let cross = Zeroizing::new(self.cross().alice(alice, &both)?);
        Ok(self.sum(x, y, &cross))
    }

    /// Bob's shares.
    pub fn bob(&self, bob: &mut Bob, x: &[u64], y: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let both = Zeroizing::new([y, x].concat());
        let cross = Zeroizing::new(self.cross().bob(bob, &both)?);
        Ok(self.sum(x, y, &cross))
    }

    fn sum(&self, x: &[u64], y: &[u64], cross: &[u64]) -> Vec<u64> {
        let (first, second) = cross.split_at(self.n);
        let own = x.iter().zip(y).map(|(x, y)| x.wrapping_mul(*y));
        let all = own.zip(first).zip(second);
        all.map(|((own, a), b)| low(self.bits, own.wrapping_add(*a).wrapping_add(*b))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ots::{Directions, Ledger, Source};
    use channels::memory;
    use prg::{Prg, Seed};

    #[test]
    fn shared_numbers_multiply_at_the_declared_cost() {
        let mut prg = Prg::new(&Seed::from_bytes([71; 16]));
        for (source, bits, n) in [(Source::Iknp, 40, 3), (Source::Silent, 24, 8300), (Source::Iknp, 1, 200)] {
            let mut random = || {
                let mut values = vec![0; n];
                prg.fill_u64(&mut values);
                values.iter_mut().for_each(|x| *x = low(bits, *x));
                values
            };
            let [xa, ya, xb, yb] = [(); 4].map(|()| random());
            let product = Product { bits, n };
            let (takes, (to_bob, to_alice)) = (product.takes(), memory::pair());
            let needs = Directions::of(&takes);
            let (mut alice, mut bob) =
                (Alice::new(to_bob, Prg::from_os()), Bob::new(to_alice, Prg::from_os()));
            let (a, b) = std::thread::scope(|scope| {
                let a = scope.spawn(|| {
                    alice.set_up_ot(source, needs).unwrap();
                    let before = alice.channel.traffic();
                    alice.reserve(&takes).unwrap();
                    let share = product.alice(&mut alice, &xa, &ya).unwrap();
                    (share, alice.channel.traffic() - before)
                });
                bob.set_up_ot(source, needs).unwrap();
                bob.reserve(&takes).unwrap();
                let b = product.bob(&mut bob, &xb, &yb).unwrap();
                (a.join().unwrap(), b)
            });
            let (a, traffic) = a;
            for i in 0..n {
                let (x, y) = (xa[i].wrapping_add(xb[i]), ya[i].wrapping_add(yb[i]));
                assert_eq!(low(bits, a[i].wrapping_add(b[i])), low(bits, x.wrapping_mul(y)));
            }
            let declared = (product.cost() + Ledger::new(source).charge(&takes)).total();
            let expected = (declared.alice_to_bob, declared.bob_to_alice, declared.rounds);
            assert_eq!((traffic.sent, traffic.received, traffic.rounds), expected);
        }
    }
}

//! Bit triples: shares of random a, b and of a·b, packed.
//!
//! Functionality: the parties get (a₁, b₁, c₁) and (a₂, b₂, c₂) of random bits with
//! c₁ ^ c₂ = (a₁ ^ a₂)·(b₁ ^ b₂). Opening d = x ^ a and e = y ^ b multiplies shared x and y (Beaver, CRYPTO
//! 1991).
//!
//! From two random OTs of bits per triple: one whose sender's difference is a₁ and whose choice is b₂, one
//! whose difference is b₁ and whose choice is a₂; each gives shares of the product of the two. (GMW's
//! construction as in Asharov, Lindell, Schneider, Zohner, CCS 2013; here all OTs go in one direction.)
//! Cost: two OTs of the source per triple, nothing more. Security: that of the OTs. Constant time.

use crate::{CotReceive, CotSend, OtError, RotReceiver, RotSender, bits};
use channels::Channel;

/// One party's shares of many bit triples.
#[derive(Clone)]
pub struct BitTriples {
    /// Shares of a.
    pub a: Vec<u64>,
    /// Shares of b.
    pub b: Vec<u64>,
    /// Shares of a·b.
    pub c: Vec<u64>,
}

impl Drop for BitTriples {
    fn drop(&mut self) {
        [&mut self.a, &mut self.b, &mut self.c].into_iter().for_each(zeroize::Zeroize::zeroize);
    }
}

/// OTs that `n` triples take from the source.
pub fn ots(n: usize) -> usize {
    2 * n
}

/// The shares of the party that sends in the OTs.
pub fn send<S: CotSend>(
    ots: &mut RotSender<S>,
    channel: &mut Channel,
    n: usize,
) -> Result<BitTriples, OtError> {
    let mut words = [(); 4].map(|()| vec![0; bits::words(n)]);
    let [a, b, c, one] = &mut words;
    ots.random_bits(channel, n, c, a)?;
    a.iter_mut().zip(&*c).for_each(|(a, c)| *a ^= c);
    ots.random_bits(channel, n, one, b)?;
    for (((a, b), c), zero) in a.iter().zip(b).zip(c).zip(one) {
        *b ^= *zero;
        *c ^= *zero ^ a & *b;
    }
    let [a, b, c, mut zero] = words;
    zeroize::Zeroize::zeroize(&mut zero);
    Ok(BitTriples { a, b, c })
}

/// The shares of the party that receives in the OTs.
pub fn receive<R: CotReceive>(
    ots: &mut RotReceiver<R>,
    channel: &mut Channel,
    n: usize,
) -> Result<BitTriples, OtError> {
    let mut words = [(); 4].map(|()| vec![0; bits::words(n)]);
    let [a, b, c, second] = &mut words;
    ots.random_bits(channel, n, b, c)?;
    ots.random_bits(channel, n, a, second)?;
    for (((a, b), c), second) in a.iter().zip(b).zip(c).zip(second) {
        *c ^= *second ^ *a & *b;
    }
    let [a, b, c, mut second] = words;
    zeroize::Zeroize::zeroize(&mut second);
    Ok(BitTriples { a, b, c })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{both, sources};

    #[test]
    fn triples_multiply_and_are_balanced() {
        let n = 9000;
        for (mut pair, s, r) in sources() {
            let (mut s, mut r) = (RotSender::new(s), RotReceiver::new(r));
            let (one, two) =
                both(&mut pair, |a| send(&mut s, a, n).unwrap(), |b| receive(&mut r, b, n).unwrap());
            let bit = |words: &[u64], i| bits::get(words, i);
            for i in 0..n {
                let (a, b) = (bit(&one.a, i) ^ bit(&two.a, i), bit(&one.b, i) ^ bit(&two.b, i));
                assert_eq!(bit(&one.c, i) ^ bit(&two.c, i), a & b);
            }
            for shares in [&one.a, &one.b, &one.c, &two.a, &two.b, &two.c] {
                let weight = (0..n).filter(|&i| bit(shares, i)).count();
                assert!(weight.abs_diff(n / 2) < 6 * 48, "{weight} of {n}"); // six standard deviations
            }
        }
    }
}

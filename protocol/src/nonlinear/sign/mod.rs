//! The sign of shared values, bit-sliced: one functionality, two forms.
//!
//! Functionality: from shares a + b = v mod 2^r to XOR shares of v's top bit: a_{r−1} ⊕ b_{r−1} ⊕ the carry into that
//! position. [`chain`] walks the carry up, with the fewest bits and a round for each; [`tree`] combines ranges of
//! positions in log r rounds for about twice the bits. Which is faster is a question of the network.

mod chain;
mod tree;

use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use chain::Chain;
use channels::Channel;
use ot::bits;
use tree::Tree;

/// How carries are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One by one: fewest bytes.
    Chain,
    /// By a prefix tree: fewest rounds.
    Tree,
}

impl Form {
    /// The name of the strategies of this form.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chain => "ot",
            Self::Tree => "ot-tree",
        }
    }
}

/// The sign of `n` values mod 2^`width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sign {
    /// Bits r of the ring, at least 2.
    pub(crate) width: usize,
    /// How many values.
    pub(crate) n: usize,
    /// How carries are computed.
    pub(crate) form: Form,
}

/// One comparison's shape, as its forms see it.
#[derive(Clone, Copy)]
struct Shape {
    /// Positions with a carry: all but the top one.
    gates: usize,
    /// Words per plane.
    words: usize,
}

impl Sign {
    fn shape(&self) -> Shape {
        Shape { gates: self.width - 1, words: bits::words(self.n) }
    }

    /// What it takes from the source.
    pub(crate) fn takes(&self) -> Vec<Take> {
        match self.form {
            Form::Chain => Chain(self.shape()).takes(),
            Form::Tree => Tree(self.shape()).takes(),
        }
    }

    /// Online bytes and rounds.
    pub(crate) fn cost(&self) -> Flow {
        match self.form {
            Form::Chain => Chain(self.shape()).cost(),
            Form::Tree => Tree(self.shape()).cost(),
        }
    }

    /// Vectors that a party prepares offline.
    pub(crate) fn vectors(&self) -> usize {
        match self.form {
            Form::Chain => chain::VECTORS,
            Form::Tree => tree::VECTORS,
        }
    }

    /// Alice's offline half.
    pub(crate) fn prepare_alice(&self, alice: &mut Alice) -> Result<Vec<Vec<u64>>, ProtocolError> {
        match self.form {
            Form::Chain => Chain(self.shape()).prepare_alice(alice),
            Form::Tree => Tree(self.shape()).prepare_alice(alice),
        }
    }

    /// Bob's offline half.
    pub(crate) fn prepare_bob(&self, bob: &mut Bob) -> Result<Vec<Vec<u64>>, ProtocolError> {
        match self.form {
            Form::Chain => Chain(self.shape()).prepare_bob(bob),
            Form::Tree => Tree(self.shape()).prepare_bob(bob),
        }
    }

    /// Alice's share of the signs, packed, of values of which she holds `shares`; higher bits of these do not matter.
    pub(crate) fn alice(
        &self,
        alice: &mut Alice,
        prepared: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        match self.form {
            Form::Chain => Chain(self.shape()).alice(alice, prepared, shares),
            Form::Tree => Tree(self.shape()).alice(alice, prepared, shares),
        }
    }

    /// Bob's share.
    pub(crate) fn bob(
        &self,
        bob: &mut Bob,
        prepared: Vec<Vec<u64>>,
        shares: &[u64],
    ) -> Result<Vec<u64>, ProtocolError> {
        match self.form {
            Form::Chain => Chain(self.shape()).bob(bob, prepared, shares),
            Form::Tree => Tree(self.shape()).bob(bob, prepared, shares),
        }
    }
}

/// The planes that were prepared, as many as there should be.
fn prepared<const N: usize>(vectors: Vec<Vec<u64>>) -> Result<[Vec<u64>; N], ProtocolError> {
    vectors.try_into().map_err(|_| ProtocolError::Disagreement("comparisons were not prepared".into()))
}

/// Both parties' words cross.
fn exchange(channel: &mut Channel, own: &[u64], theirs: &mut [u64]) -> Result<(), ProtocolError> {
    Ok(channel.exchange(bytemuck::cast_slice(own), bytemuck::cast_slice_mut(theirs))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ots::{Directions, Source};
    use channels::memory;
    use prg::Prg;

    /// Both parties' signs of these shares.
    fn run(sign: Sign, a: &[u64], b: &[u64]) -> Vec<u64> {
        let (takes, (to_bob, to_alice)) = (sign.takes(), memory::pair());
        let needs = Directions::of(&takes);
        let (mut alice, mut bob) = (Alice::new(to_bob, Prg::from_os()), Bob::new(to_alice, Prg::from_os()));
        let (left, right) = std::thread::scope(|scope| {
            let left = scope.spawn(|| {
                alice.set_up_ot(Source::Iknp, needs).unwrap();
                let prepared = sign.prepare_alice(&mut alice).unwrap();
                assert_eq!(prepared.len(), sign.vectors());
                sign.alice(&mut alice, prepared, a).unwrap()
            });
            bob.set_up_ot(Source::Iknp, needs).unwrap();
            let prepared = sign.prepare_bob(&mut bob).unwrap();
            assert_eq!(prepared.len(), sign.vectors());
            let right = sign.bob(&mut bob, prepared, b).unwrap();
            (left.join().unwrap(), right)
        });
        left.iter().zip(&right).map(|(left, right)| left ^ right).collect()
    }

    #[test]
    fn all_pairs_of_shares_have_the_right_sign() {
        for form in [Form::Chain, Form::Tree] {
            for width in 2..=6 {
                let n = 1 << (2 * width);
                let a: Vec<u64> = (0..n).map(|i| i >> width).collect();
                let b: Vec<u64> = (0..n).map(|i| i & ((1 << width) - 1)).collect();
                let signs = run(Sign { width, n: n as usize, form }, &a, &b);
                for (i, (a, b)) in a.iter().zip(&b).enumerate() {
                    let negative = (a + b) >> (width - 1) & 1 == 1;
                    assert_eq!(bits::get(&signs, i), negative, "{a} + {b} mod 2^{width} by {form:?}");
                }
            }
        }
    }
}

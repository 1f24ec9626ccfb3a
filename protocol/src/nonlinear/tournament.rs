//! Max pooling, argmax and threshold by oblivious transfer, exact.
//!
//! Functionality: max pooling from shares of the inputs to shares of the maxima, both mod 2^k; argmax and threshold
//! from shares to labels that only Alice learns. A tournament plays max(x, y) = y + max(0, x − y), all pairs of
//! a level at once (see [`super::rectify`]); nothing is truncated afterwards, so no bit is skipped.
//!
//! Argmax plays for the labels alone: the scores of label i of L become x·2^t + (2^t − 1 − i), 2^t ≥ L, which is
//! free on shares since multiplying by 2^t lifts them to the ring of t bits more. The maximum then carries the
//! lowest label with the highest score in its low t bits, and the final needs no others.
//!
//! ```text
//!   Alice                                              Bob
//!   winner, low t bits                   <--share--    winner, low t bits            argmax
//!   [at − x < 0], own half               <--share--    [at − x < 0], own half        threshold
//! ```
//!
//! Security: semi-honest; Bob's last message is his share of what Alice is to learn, and determined by that and her own
//! share. No score is opened. Ranges: differences must fit, |x| < m/4; a threshold needs |x| + |at| < m/2.
//! Cost: that of the tournament's sign tests and multiplexers at the least width that the range needs, then t bits per
//! label or one. Rounds: those of one match per level. Constant time.

use super::rectify::{Rectify, low, take_vectors};
use super::relu::width;
use super::sign::{Form, Sign};
use super::words::Words;
use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::manifest::LayerWeights;
use models::{Op, Shape};
use ntt::Modulus;
use ot::{bits, packing};

/// Max pooling by a tournament.
pub struct OtMaxPool(pub Form);

/// Argmax or threshold, to Alice only.
pub struct OtReadout(pub Form);

impl Strategy for OtMaxPool {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn operator(&self) -> Operator {
        Operator::MaxPool
    }

    fn demand(&self, _: &Op, bound: u64) -> u64 {
        1 << difference_width(bound)
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::MaxPool { window } = site.node.op else { return Err(Refusal("is no max pooling".into())) };
        let bits = share_bits(site)?;
        let width = fitting(difference_width(site.input_edges[0].bound), bits, site)?;
        let levels = levels(window.taps(), site.node.shape.len(), |_| (width, bits), self.0);
        let words = Words::Windows(window);
        Ok(Box::new(MaxPool { words, input: site.inputs[0], output: site.node.shape, bits, levels }))
    }
}

impl Strategy for OtReadout {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn operator(&self) -> Operator {
        Operator::Readout
    }

    fn demand(&self, op: &Op, bound: u64) -> u64 {
        match *op {
            Op::Threshold { at } => 1 << width(bound + at.unsigned_abs(), 0),
            _ => 1 << difference_width(bound),
        }
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let (bound, n) = (site.input_edges[0].bound, site.node.shape.len());
        match site.node.op {
            Op::ArgMax => {
                let channels = site.inputs[0].channels;
                let score = fitting(difference_width(bound), share_bits(site)?, site)?;
                let label = usize::BITS - (channels - 1).max(1).leading_zeros();
                let total = score + label;
                let form = self.0;
                let last = channels.next_power_of_two().ilog2();
                let widths = |level| (total, if level + 1 == last { label } else { total });
                let levels = levels(channels, n, widths, form);
                Ok(Box::new(ArgMax { input: site.inputs[0], n, label, total, levels }))
            }
            Op::Threshold { at } => {
                let width = fitting(width(bound + at.unsigned_abs(), 0), share_bits(site)?, site)?;
                let sign = Sign { width: width as usize, n, form: self.0 };
                Ok(Box::new(Threshold { at, sign }))
            }
            _ => Err(Refusal("is no readout".into())),
        }
    }
}

fn share_bits(site: &Site<'_>) -> Result<u32, Refusal> {
    match site.from {
        Modulus::Pow2 { bits } => Ok(bits),
        Modulus::Prime { .. } => {
            Err(Refusal("compares shares modulo powers of two, not modulo primes".into()))
        }
    }
}

/// Bits of a difference of two values up to `bound` in magnitude, with its sign.
fn difference_width(bound: u64) -> u32 {
    width(2 * bound, 0)
}

fn fitting(width: u32, bits: u32, site: &Site<'_>) -> Result<u32, Refusal> {
    if width > bits {
        let bound = site.input_edges[0].bound;
        return Err(Refusal(format!("values up to {bound} need shares of {width} bits, not {bits}")));
    }
    Ok(width)
}

/// The matches of a tournament among `words` players per instance, at each level's widths.
fn levels(words: usize, n: usize, widths: impl Fn(u32) -> (u32, u32), form: Form) -> Vec<Rectify> {
    let mut players = words;
    let mut levels = Vec::new();
    while players > 1 {
        let (from, to) = widths(levels.len() as u32);
        levels.push(Rectify { from, to, n: players / 2 * n, form });
        players = players.div_ceil(2);
    }
    levels
}

/// Own share of the winners of a level: `max` plays x − y for all pairs (x, y) of words, mod 2^to.
fn play(
    level: &Rectify,
    words: Vec<Vec<u64>>,
    max: impl FnOnce(&[u64]) -> Result<Vec<u64>, ProtocolError>,
) -> Result<Vec<Vec<u64>>, ProtocolError> {
    let difference = |pair: &[Vec<u64>]| -> Vec<u64> {
        let both = pair[0].iter().zip(&pair[1]);
        both.map(|(x, y)| low(level.from, x.wrapping_sub(*y))).collect()
    };
    let differences: Vec<u64> = words.chunks_exact(2).flat_map(difference).collect();
    let gains = max(&differences)?;
    let n = words[0].len();
    let mut winners: Vec<Vec<u64>> = words
        .chunks_exact(2)
        .zip(gains.chunks_exact(n))
        .map(|(pair, gain)| {
            gain.iter().zip(&pair[1]).map(|(gain, y)| low(level.to, gain.wrapping_add(*y))).collect()
        })
        .collect();
    if words.len() % 2 == 1 {
        winners.extend(words.into_iter().next_back());
    }
    Ok(winners)
}

fn tournament_alice(
    levels: &[Rectify],
    alice: &mut Alice,
    prepared: &mut Prepared,
    mut words: Vec<Vec<u64>>,
) -> Result<Vec<u64>, ProtocolError> {
    for level in levels {
        words = play(level, words, |differences| level.alice(alice, prepared, differences))?;
    }
    Ok(words.swap_remove(0))
}

fn tournament_bob(
    levels: &[Rectify],
    bob: &mut Bob,
    prepared: &mut Prepared,
    mut words: Vec<Vec<u64>>,
) -> Result<Vec<u64>, ProtocolError> {
    for level in levels {
        words = play(level, words, |differences| level.bob(bob, prepared, differences))?;
    }
    Ok(words.swap_remove(0))
}

fn prepare_alice(levels: &[Rectify], alice: &mut Alice) -> Result<Prepared, ProtocolError> {
    let mut prepared = Prepared::default();
    levels.iter().try_for_each(|level| level.prepare_alice(alice, &mut prepared))?;
    Ok(prepared)
}

fn prepare_bob(levels: &[Rectify], bob: &mut Bob) -> Result<Prepared, ProtocolError> {
    let mut prepared = Prepared::default();
    levels.iter().try_for_each(|level| level.prepare_bob(bob, &mut prepared))?;
    Ok(prepared)
}

struct MaxPool {
    words: Words,
    input: Shape,
    output: Shape,
    bits: u32,
    levels: Vec<Rectify>,
}

impl Step for MaxPool {
    fn describe(&self) -> String {
        let Self { words, input, output, bits, levels } = self;
        format!("ot max pooling {words:?} {input:?} {output:?} {bits} {levels:?}")
    }

    fn cost(&self) -> Cost {
        self.levels.iter().map(Rectify::cost).sum()
    }

    fn ots(&self) -> Vec<Take> {
        self.levels.iter().flat_map(Rectify::takes).collect()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        prepare_alice(&self.levels, alice)
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        prepare_bob(&self.levels, bob)
    }

    fn alice(
        &self,
        alice: &mut Alice,
        mut prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let words = self.words.gather(self.input, self.output, &inputs[0].values);
        tournament_alice(&self.levels, alice, &mut prepared, words)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        mut prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let words = self.words.gather(self.input, self.output, &inputs[0].values);
        tournament_bob(&self.levels, bob, &mut prepared, words)
    }
}

struct ArgMax {
    input: Shape,
    n: usize,
    /// Bits t of a label.
    label: u32,
    /// Bits of a score with its label.
    total: u32,
    levels: Vec<Rectify>,
}

impl ArgMax {
    /// Own share of the scores, without labels.
    fn lifted(&self, shares: &[u64]) -> Vec<Vec<u64>> {
        let lift = |x: &u64| low(self.total, x << self.label);
        shares.chunks_exact(self.input.volume()).map(|channel| channel.iter().map(lift).collect()).collect()
    }
}

impl Step for ArgMax {
    fn describe(&self) -> String {
        format!("ot argmax {:?} {} {} {:?}", self.input, self.label, self.total, self.levels)
    }

    fn cost(&self) -> Cost {
        let reveal = packing::packed_len(self.n, self.label) as u64;
        let rounds = u64::from(!self.levels.is_empty());
        self.levels.iter().map(Rectify::cost).sum::<Cost>() + Cost::online(0, reveal, rounds)
    }

    fn ots(&self) -> Vec<Take> {
        self.levels.iter().flat_map(Rectify::takes).collect()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        prepare_alice(&self.levels, alice)
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        prepare_bob(&self.levels, bob)
    }

    fn alice(
        &self,
        alice: &mut Alice,
        mut prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let mut words = self.lifted(&inputs[0].values);
        for (i, word) in words.iter_mut().enumerate() {
            let label = (1 << self.label) - 1 - i as u64;
            word.iter_mut().for_each(|x| *x = low(self.total, x.wrapping_add(label)));
        }
        let own = tournament_alice(&self.levels, alice, &mut prepared, words)?;
        let theirs = alice.channel.recv(packing::packed_len(self.n, self.label))?;
        let theirs = packing::unpack(&theirs, self.label, self.n);
        let label = |(own, theirs): (&u64, &u64)| low(self.label, !own.wrapping_add(*theirs));
        Ok(own.iter().zip(&theirs).map(label).collect())
    }

    fn bob(
        &self,
        bob: &mut Bob,
        mut prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let words = self.lifted(&inputs[0].values);
        let own = tournament_bob(&self.levels, bob, &mut prepared, words)?;
        bob.channel.send(&packing::pack(&own, self.label))?;
        bob.channel.flush()?;
        Ok(vec![0; self.n])
    }
}

struct Threshold {
    at: i64,
    sign: Sign,
}

impl Step for Threshold {
    fn describe(&self) -> String {
        format!("ot threshold {} {:?}", self.at, self.sign)
    }

    fn cost(&self) -> Cost {
        let reveal = 8 * bits::words(self.sign.n) as u64;
        let reveal = Flow { alice_to_bob: 0, bob_to_alice: reveal, rounds: 0 };
        Cost { offline: Flow::default(), online: self.sign.cost() + reveal }
    }

    fn ots(&self) -> Vec<Take> {
        self.sign.takes()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        Ok(Prepared(self.sign.prepare_alice(alice)?))
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        Ok(Prepared(self.sign.prepare_bob(bob)?))
    }

    fn alice(
        &self,
        alice: &mut Alice,
        mut prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let shares: Vec<u64> = inputs[0].values.iter().map(|x| x.wrapping_neg()).collect();
        let prepared = take_vectors(&mut prepared, self.sign.vectors())?;
        let own = self.sign.alice(alice, prepared, &shares)?;
        let mut theirs = vec![0u64; own.len()];
        alice.channel.recv_into(bytemuck::cast_slice_mut(&mut theirs))?;
        let label = |i: usize| u64::from(bits::get(&own, i) ^ bits::get(&theirs, i));
        Ok((0..self.sign.n).map(label).collect())
    }

    fn bob(
        &self,
        bob: &mut Bob,
        mut prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let shares: Vec<u64> = inputs[0].values.iter().map(|x| (self.at as u64).wrapping_sub(*x)).collect();
        let prepared = take_vectors(&mut prepared, self.sign.vectors())?;
        let mut own = self.sign.bob(bob, prepared, &shares)?;
        // The last word's unused bits hold what the comparison made of padding; they do not travel.
        if let (Some(last), used @ 1..) = (own.last_mut(), self.sign.n as u32 % 64) {
            *last = low(used, *last);
        }
        bob.channel.send(bytemuck::cast_slice(&own))?;
        bob.channel.flush()?;
        Ok(vec![0; self.sign.n])
    }
}

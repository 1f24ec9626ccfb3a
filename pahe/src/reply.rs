//! Bob's replies: sanitised so that Alice, who knows the secret key and her own randomness, learns the masked result
//! and nothing about the plaintexts it was computed with.
//!
//! Functionality: Bob has a ciphertext of y that depends on his weights. Alice gets y + r at the valid positions,
//! Bob keeps −r mod t: additive shares of y.
//!
//! Per reply, with randomness used once ([`Sanitiser`] counts):
//! 1. a fresh public-key encryption of zero (b·u + flood, a·u + e1), u ternary, is added;
//! 2. the flood is a sum of three independent uniform integers of w bits, centred, on every coefficient of c0;
//! 3. both polynomials are switched to fractions of 2^64 (the torus);
//! 4. at the valid positions a uniform r mod t is added to c0 and its leading `c0_bits` bits travel; no other
//!    coefficient of c0 leaves at all; of c1 the leading `c1_bits` bits of every coefficient travel.
//!
//! # Security
//!
//! Steps 3 and 4 are public functions of the pair after step 2 (and of r). Given that pair, c1 is determined by
//! a·u + e1, an RLWE sample under the fresh secret u that hides Σ a_i·w_i; and c0 + c1·s is the result plus noise
//! δ + flood, where δ = Σ e_i·w_i + e·u + e1·s. It remains that flood + δ is close to flood.
//!
//! Let f be the density of a sum of three uniform variables on \[0, W), W = 2^w (Irwin–Hall). For a shift by δ the
//! squared Hellinger distance is at most δ²·I/8 with the Fisher information I = ∫ f'²/f. For W = 1: on \[0, 1\] f = x²/2,
//! so ∫ = 2, and the same on \[2, 3\]; on \[1, 2\], with u = x − 3/2, f = 3/4 − u² and ∫ 4u²/(3/4 − u²) du over
//! \[−1/2, 1/2\] = 4·(−1 + (√3/2)·ln((√3 + 1)/(√3 − 1))) = 0.5622. Together I = 4.5622, and I/W² in general. (For the
//! integers used here the sums differ from the integrals by a relative O(1/W); a test sums them.) Squared Hellinger
//! distances of independent coefficients add up, and the total variation is at most √2 times the Hellinger distance:
//! TV ≤ √(2·4.5622/8)·‖δ‖₂/W = 1.0680·‖δ‖₂/W over all values of the run. δ is itself random, and part of it is known
//! to Alice; averaging over it, TV ≤ 1.0680·E‖δ‖₂/W ≤ 1.0680·√(N·V)/W for N values with E δ² ≤ V. Where layers have
//! different V, W_l ∝ √V_l with the same N, the total of the run, keeps the sum. Hence
//! W ≥ 1.0680 · 2^(statistical bits) · √(N·V); V bounds every weight of the public width, so W does not depend on
//! the weights. The support is bounded, so flooding itself never makes a result fail.
//!
//! # Correctness
//!
//! In units of q/t a value errs by at most 1.5·W·t/q (flood), t/2^(c0_bits + 1) (rounding of c0), and with probability
//! 1 − 2ε z·(σ·t/q + t/2^c1_bits·√(nonzeros of s/12)) (noise; rounding of c1, uniform because c1 is pseudorandom), with
//! ε = 2·exp(−z²/2) chosen as 2^(−failure bits − 1)/N, plus the torus rounding. [`ReplyFormat`] takes the fewest bits for
//! which the sum stays below 1/2. Typically c0_bits = log2 t + 2, c1_bits = log2 t + 9 at n = 4096.
//!
//! # Cost
//!
//! [`ReplyFormat::reply_bytes`] bytes. Transforms: 3 per limb. Constant time: yes, except that rejection sampling of a
//! mask for a prime t takes a time that is independent of the mask taken.

use crate::bits::{pack_into, packed_bytes};
use crate::ciphertext::Ciphertext;
use crate::keys::PublicKey;
use crate::noise::{Noise, nonzero_bound, tail_factor};
use crate::params::{ParamError, Params};
use crate::sampling::{error_into, ternary_into};
use crate::scaling::{message_to_torus, round_to_bits, to_torus};
use meter::Primitive;
use ntt::mac::PairSums;
use ntt::simd::{Kernel, LANES, Lanes, MASK52};
use ntt::{Modular, Ring, Words};
use prg::{Prg, Seed};
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// √(2·I/8) for the Fisher information I = 4.5622 of a sum of three uniform variables.
const DISTANCE_PER_SHIFT: f64 = 1.0680;

/// Widest flood that the sampler supports.
const MAX_FLOOD_BITS: u32 = 112;

/// Bits above the lowest 64 that one further word holds for all three summands.
const SHARED_EXCESS: u32 = 21;

/// Replies whose accumulators are read together.
const STAGED: usize = 8;

/// What a whole run may leak and how often it may fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunBudget {
    /// Reply values (positions sent) of the whole run, over all layers.
    pub values: u64,
    /// The distance over the run is at most 2^−statistical_bits.
    pub statistical_bits: u32,
    /// Any value of the run is wrong with probability at most 2^−failure_bits.
    pub failure_bits: u32,
}

impl RunBudget {
    /// The project's 40 and 40 bits for a run of `values` reply values.
    pub fn standard(values: u64) -> Self {
        Self { values, statistical_bits: 40, failure_bits: 40 }
    }
}

/// The shape of the replies of a layer, derived by both parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFormat {
    flood_bits: u32,
    c0_bits: u32,
    c1_bits: u32,
}

/// A peer's reply that is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not the length that the format implies.
    #[error("replies of {got} bytes where {expected} were expected")]
    Length {
        /// What the format implies.
        expected: usize,
        /// What came.
        got: usize,
    },
}

impl ReplyFormat {
    /// The narrowest format for accumulators with at most the given `noise` (without the zero encryption, which is
    /// added here) within `budget`.
    pub fn new(params: &Params, budget: &RunBudget, noise: Noise) -> Result<Self, ParamError> {
        let noise = noise.with_zero_encryption(params);
        let spread = (budget.values.max(1) as f64 * noise.variance()).sqrt();
        let flood = (DISTANCE_PER_SHIFT * spread).log2() + f64::from(budget.statistical_bits);
        let flood_bits = flood.ceil().max(1.0);
        // One more bit because a value has two tails: noise, and the rounding of c1.
        let z = tail_factor(f64::from(budget.failure_bits) + (budget.values.max(1) as f64).log2() + 1.0);
        let log_t = (params.plaintext().value() as f64).log2();
        let absolute = 1.5 * flood_bits.exp2() + z * noise.variance().sqrt();
        let inherent = absolute * (log_t - params.log_q()).exp2();
        let fits = |c0_bits: u32, c1_bits: u32| {
            let c0 = (log_t - f64::from(c0_bits) - 1.0).exp2();
            let c1 = z * (log_t - f64::from(c1_bits)).exp2() * (nonzero_bound(params) / 12.0).sqrt();
            inherent + c0 + c1 + torus_error(params) < 0.5
        };
        let t_bits = params.plaintext().bits();
        let pairs = (1..=8).flat_map(|k0| (4..=14).map(move |k1| (t_bits + k0, t_bits + k1)));
        let best = pairs.filter(|&(c0, c1)| fits(c0, c1)).min_by_key(|&(c0, c1)| (c0 + c1, c1));
        match best {
            Some((c0_bits, c1_bits)) if flood_bits <= f64::from(MAX_FLOOD_BITS) => {
                Ok(Self { flood_bits: flood_bits as u32, c0_bits, c1_bits })
            }
            // Below 1/16 of a plaintext step, flood and noise leave room for the rounding.
            _ => Err(ParamError::NoRoom { needed: absolute.log2() + log_t + 4.0, available: params.log_q() }),
        }
    }

    /// w: the flood is a sum of three uniform integers of w bits.
    pub fn flood_bits(self) -> u32 {
        self.flood_bits
    }

    /// Leading bits of c0 that travel at each valid position.
    pub fn c0_bits(self) -> u32 {
        self.c0_bits
    }

    /// Leading bits of c1 that travel at every coefficient.
    pub fn c1_bits(self) -> u32 {
        self.c1_bits
    }

    /// Exact bytes of one reply with `valid` positions: c1, then c0.
    pub fn reply_bytes(self, params: &Params, valid: usize) -> usize {
        packed_bytes(params.degree(), self.c1_bits) + packed_bytes(valid, self.c0_bits)
    }
}

/// Error of the torus arithmetic in units of 1/t: of c0, and of c1 through the secret.
fn torus_error(params: &Params) -> f64 {
    let per_value = 1.25 * params.limbs().len() as f64 + 2.0;
    per_value * (1.0 + nonzero_bound(params)) * ((params.plaintext().value() as f64).log2() - 64.0).exp2()
}

/// Which coefficients of a reply are valid.
#[derive(Clone, Copy, Debug)]
pub enum Positions<'a> {
    /// All n.
    All,
    /// These, in this order.
    List(&'a [u32]),
}

impl Positions<'_> {
    /// How many, for ring degree `degree`.
    pub fn count(self, degree: usize) -> usize {
        match self {
            Self::All => degree,
            Self::List(list) => list.len(),
        }
    }
}

/// A ciphertext that depends on Bob's secrets. It has no way to bytes but through [`Sanitiser`].
#[derive(Clone, Copy)]
pub struct Unsanitised<'a> {
    params: &'a Arc<Params>,
    source: Source<'a>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    Sum {
        sums: &'a PairSums,
        tile: usize,
        output: usize,
    },
    /// c0 and c1, all limbs each.
    Words(&'a [u64], &'a [u64]),
}

impl<'a> Unsanitised<'a> {
    pub(crate) fn of_sum(params: &'a Arc<Params>, sums: &'a PairSums, tile: usize, output: usize) -> Self {
        Self { params, source: Source::Sum { sums, tile, output } }
    }

    pub(crate) fn of_words(params: &'a Arc<Params>, (c0, c1): (&'a [u64], &'a [u64])) -> Self {
        Self { params, source: Source::Words(c0, c1) }
    }

    /// (c0, c1) of each source in the NTT domain, c0 with all limbs and then c1, one source after the other.
    /// Neighbouring sums are cheaper together.
    pub(crate) fn read_into(sources: &[Self], words: usize, out: &mut [u64]) {
        let same = |a: &Self, b: &Self| match (a.source, b.source) {
            (Source::Sum { sums: a, .. }, Source::Sum { sums: b, .. }) => std::ptr::eq(a, b),
            _ => false,
        };
        let mut rest = out;
        for group in sources.chunk_by(same) {
            let (head, tail) = rest.split_at_mut(2 * words * group.len());
            rest = tail;
            match group[0].source {
                Source::Sum { sums, .. } => {
                    let place = |source: &Self| match source.source {
                        Source::Sum { tile, output, .. } => (tile, output),
                        Source::Words(..) => unreachable!("groups are of one kind"),
                    };
                    sums.gather(&group.iter().map(place).collect::<Vec<_>>(), head);
                }
                Source::Words(c0, c1) => {
                    head[..words].copy_from_slice(c0);
                    head[words..].copy_from_slice(c1);
                }
            }
        }
    }
}

impl<'a> From<&'a Ciphertext> for Unsanitised<'a> {
    fn from(ciphertext: &'a Ciphertext) -> Self {
        Self::of_words(ciphertext.params(), ciphertext.words())
    }
}

/// One reply to make.
#[derive(Clone, Copy)]
pub struct ReplyJob<'a> {
    /// What was computed.
    pub source: Unsanitised<'a>,
    /// Where its results stand.
    pub positions: Positions<'a>,
}

/// Turns unsanitised ciphertexts into replies; counts, so that no randomness serves twice.
pub struct Sanitiser {
    key: Arc<PublicKey>,
    format: ReplyFormat,
    seed: Seed,
    next: u64,
}

impl Sanitiser {
    /// A sanitiser with randomness from `prg`, under Alice's public key.
    pub fn new(key: &Arc<PublicKey>, format: ReplyFormat, prg: &mut Prg) -> Self {
        Self { key: Arc::clone(key), format, seed: prg.seed(), next: 0 }
    }

    /// The format.
    pub fn format(&self) -> ReplyFormat {
        self.format
    }

    /// Appends the replies to `bytes` in order, and to `shares` Bob's share (−mask mod t) of every valid position in
    /// order. Runs on the threads of the current rayon pool.
    ///
    /// # Panics
    /// If a position is not below n, or a source belongs to another parameter set than the key.
    pub fn reply(&mut self, jobs: &[ReplyJob<'_>], bytes: &mut Vec<u8>, shares: &mut Vec<u64>) {
        let params = self.key.params();
        let first = self.next;
        self.next += jobs.len() as u64;
        let same = |job: &ReplyJob<'_>| job.source.params.matches(params);
        assert!(jobs.iter().all(same), "ciphertexts and key of one parameter set");
        let valid = |job: &ReplyJob<'_>| job.positions.count(params.degree());
        let (bytes_start, shares_start) = (bytes.len(), shares.len());
        shares.resize(shares_start + jobs.iter().map(valid).sum::<usize>(), 0);
        let total: usize = jobs.iter().map(|job| self.format.reply_bytes(params, valid(job))).sum();
        bytes.resize(bytes_start + total, 0);
        let (mut bytes, mut shares) = (&mut bytes[bytes_start..], &mut shares[shares_start..]);
        let mut tasks = Vec::with_capacity(jobs.len());
        for (k, job) in jobs.iter().enumerate() {
            let (head, tail) = bytes.split_at_mut(self.format.reply_bytes(params, valid(job)));
            let (share, rest) = shares.split_at_mut(valid(job));
            (bytes, shares) = (tail, rest);
            tasks.push(Task { index: first + k as u64, job, bytes: head, share });
        }
        let this = &*self;
        tasks.par_chunks_mut(STAGED).for_each_init(
            || (Scratch::new(params), meter::scope(Primitive::Reply)),
            |(scratch, _), tasks| this.reply_some(tasks, scratch),
        );
    }

    fn reply_some(&self, tasks: &mut [Task<'_>], s: &mut Scratch) {
        let words = self.key.params().words();
        let sources: Vec<_> = tasks.iter().map(|task| task.job.source).collect();
        let mut pairs = std::mem::take(&mut *s.pairs);
        pairs.resize(2 * words * tasks.len());
        Unsanitised::read_into(&sources, words, &mut pairs);
        for (task, pair) in tasks.iter_mut().zip(pairs.chunks_exact_mut(2 * words)) {
            self.reply_one(task, pair, s);
        }
        *s.pairs = pairs;
    }

    /// Replaces `pair`, which is left as coefficients of the re-randomised pair.
    fn reply_one(&self, task: &mut Task<'_>, pair: &mut [u64], s: &mut Scratch) {
        let params = self.key.params();
        let Task { index, job, bytes, share } = task;
        let mut prg = Prg::with_nonce(&self.seed, *index);
        self.rerandomise(&mut prg, pair, s);
        let (c0, c1) = pair.split_at(params.words());
        let t = params.plaintext();
        t.sample(&mut prg, share);
        let (c1_bytes, c0_bytes) = bytes.split_at_mut(packed_bytes(params.degree(), self.format.c1_bits));
        to_torus(params, c1, &mut s.torus);
        round_to_bits(&mut s.torus, self.format.c1_bits);
        pack_into(&s.torus, self.format.c1_bits, c1_bytes);
        to_torus(params, c0, &mut s.torus);
        let mask = &mut s.u[..share.len()];
        message_to_torus(t.value(), share, mask);
        match job.positions {
            Positions::All => mask.iter_mut().zip(&**s.torus).for_each(|(m, &c)| *m = m.wrapping_add(c)),
            Positions::List(list) => {
                mask.iter_mut().zip(list).for_each(|(m, &i)| *m = m.wrapping_add(s.torus[i as usize]));
            }
        }
        round_to_bits(mask, self.format.c0_bits);
        pack_into(mask, self.format.c0_bits, c0_bytes);
        share.iter_mut().for_each(|r| *r = t.neg(*r));
    }

    /// Steps 1 and 2: turns `pair` (NTT domain) into the coefficients of the re-randomised, flooded pair.
    fn rerandomise(&self, prg: &mut Prg, pair: &mut [u64], s: &mut Scratch) {
        let params = self.key.params();
        ternary_into(prg, &mut s.u);
        error_into(prg, &mut s.e1);
        prg.fill_u64(&mut s.flood[..flood_words(self.format.flood_bits) * params.degree()]);
        let (c0, c1) = pair.split_at_mut(params.words());
        let limbs = c0.chunks_exact_mut(params.degree()).zip(c1.chunks_exact_mut(params.degree()));
        limbs.enumerate().for_each(|(l, (c0, c1))| self.rerandomise_limb(l, c0, c1, s));
    }

    /// Adds the encryption of zero and the flood to one limb and leaves coefficients in `c0` and `c1`.
    fn rerandomise_limb(&self, limb: usize, c0: &mut [u64], c1: &mut [u64], s: &mut Scratch) {
        let ring = &self.key.params().limbs()[limb];
        let [b, a] = self.key.pair(limb);
        ring.from_signed_into(&mut s.work, &s.u);
        ring.forward(&mut s.work);
        for (c, key) in [(&mut *c0, b), (&mut *c1, a)] {
            ring.mul_fixed_into(&mut s.torus, &s.work, key);
            ring.add_assign(c, &s.torus);
            ring.inverse(c);
        }
        ring.add_signed_assign(c1, &s.e1);
        add_flood(ring, c0, &s.flood, self.format.flood_bits);
    }
}

/// Words per coefficient that a flood takes: one per summand, above 64 bits one more for all of them, and where that is
/// too narrow one more for each.
fn flood_words(bits: u32) -> usize {
    match bits.saturating_sub(64) {
        0 => 3,
        1..=SHARED_EXCESS => 4,
        _ => 6,
    }
}

/// x += Σ of three uniform `bits`-bit integers − their mean, from [`flood_words`] words per coefficient.
fn add_flood(ring: &Ring, x: &mut [u64], words: &[u64], bits: u32) {
    let p = u128::from(ring.modulus());
    let mean = (3 * ((1u128 << bits) - 1) / 2) % p;
    let minus_mean = (p - mean) as u64 % ring.modulus();
    ring.isa().run(Flood { p: ring.modulus(), minus_mean, bits, x, words });
}

struct Flood<'a> {
    p: u64,
    minus_mean: u64,
    bits: u32,
    x: &'a mut [u64],
    words: &'a [u64],
}

impl Kernel for Flood<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let n = self.x.len();
        let words: [&[[u64; LANES]]; 3] = core::array::from_fn(|k| self.words[k * n..][..n].as_chunks().0);
        let m = Modular::<L>::new(self.p);
        let (mask52, minus_mean) = (L::splat(MASK52), L::splat(self.minus_mean));
        let mask = L::splat(u64::MAX >> (64 - self.bits.min(64)));
        let excess = self.bits.saturating_sub(64);
        let top_mask = L::splat((1 << excess) - 1);
        let shift = if excess <= SHARED_EXCESS { SHARED_EXCESS } else { 0 };
        let top: [&[[u64; LANES]]; 3] = core::array::from_fn(|k| match excess {
            0 => words[k], // masked to nothing
            1..=SHARED_EXCESS => self.words[3 * n..][..n].as_chunks().0,
            _ => self.words[(3 + k) * n..][..n].as_chunks().0,
        });
        for (i, x) in self.x.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (mut low, mut high) = (minus_mean, L::splat(0));
            for (k, words) in words.iter().enumerate() {
                let word = L::load(&words[i]).and(mask);
                let above = L::load(&top[k][i]).shr(shift * k as u32).and(top_mask);
                low = low.add(word.and(mask52));
                high = high.add(word.shr(52)).add(above.shl(12));
            }
            m.add(L::load(x), m.wide(low, high)).store(x);
        }
    }
}

/// One reply under way.
struct Task<'a> {
    index: u64,
    job: &'a ReplyJob<'a>,
    bytes: &'a mut [u8],
    share: &'a mut [u64],
}

/// Buffers of some replies, wiped when dropped.
struct Scratch {
    u: Zeroizing<Words>,
    e1: Zeroizing<Words>,
    flood: Zeroizing<Words>,
    work: Zeroizing<Words>,
    torus: Zeroizing<Words>,
    pairs: Zeroizing<Words>,
}

impl Scratch {
    fn new(params: &Params) -> Self {
        let buffer = |words| Zeroizing::new(Words::zeros(words));
        let n = params.degree();
        Self {
            u: buffer(n),
            e1: buffer(n),
            flood: buffer(6 * n),
            work: buffer(n),
            torus: buffer(n),
            pairs: buffer(0),
        }
    }
}

#[cfg(test)]
mod tests;

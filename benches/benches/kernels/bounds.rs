//! What the machine can do, with the instructions that are allowed.

use crate::suite::{Bound, best};
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use ntt::simd::{Group, Isa, Kernel, LANES, Lanes};
use ntt::{Ring, ntt_primes};
use std::fmt;
use std::hint::black_box;

/// Blocks of AES in one call: no beginning and end of a call is seen in it.
const BLOCKS: usize = 1 << 11;

/// Seconds that the machine takes.
pub(crate) struct Bounds {
    /// Per 52-bit multiply-add of eight lanes, from registers.
    pub(crate) madd: f64,
    /// Per product of eight lanes that is added to a sum, from registers.
    pub(crate) product: f64,
    /// Per byte read from memory.
    pub(crate) far: f64,
    /// Per byte copied within the second-level cache.
    pub(crate) near: f64,
    /// Per block of AES-128 under one key.
    pub(crate) aes: f64,
    /// Per transform of 4096 and 8192 words.
    pub(crate) transforms: [f64; 2],
}

impl Bounds {
    pub(crate) fn measure() -> Self {
        let isa = Isa::detect();
        let large = vec![Group::default(); 4 << 20];
        let far = best(|| _ = black_box(isa.run(Stream(&large)))) / (64 * large.len()) as f64;
        drop(large);
        let (x, mut y) = (vec![1_u64; 1 << 14], vec![0_u64; 1 << 14]);
        let near = best(|| black_box(&mut y).copy_from_slice(black_box(&x))) / (16 << 14) as f64;
        let cipher = Aes128::new(&Array([7; 16]));
        let mut blocks = vec![Array([0_u8; 16]); BLOCKS];
        let aes = best(|| cipher.encrypt_blocks(black_box(&mut blocks))) / BLOCKS as f64;
        let transform = |n: usize| {
            let ring = Ring::new(n, ntt_primes(n, 50).next().unwrap()).unwrap();
            let mut x = vec![1; n];
            best(|| ring.forward(black_box(&mut x)))
        };
        Self {
            madd: best(|| _ = black_box(isa.run(Peak(20_000)))) / 160_000.0,
            product: best(|| _ = black_box(isa.run(Products(20_000)))) / 160_000.0,
            far,
            near,
            aes,
            transforms: [4096, 8192].map(transform),
        }
    }

    /// Seconds of a transform of so many words.
    pub(crate) fn transform(&self, n: usize) -> f64 {
        self.transforms[usize::from(n > 4096)]
    }

    /// Transforms alone.
    pub(crate) fn transforms(&self, n: usize, count: f64) -> Bound {
        Bound { seconds: count * self.transform(n), words: format!("its {count} transforms") }
    }

    /// Blocks of AES alone, each under a key of its own batch.
    pub(crate) fn aes(&self, blocks: f64, of: &str) -> Bound {
        let plural = if blocks == 1.0 { "" } else { "s" };
        Bound { seconds: blocks * self.aes, words: format!("{blocks} block{plural} of AES{of}") }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.3} ns per multiply-add and {:.3} ns per product summed, of {LANES} lanes; memory read at {:.1} GB/s, cache copied at {:.1} GB/s, \
             {:.0} million blocks of AES per second, transforms of 4096 and 8192 words {:.2} and {:.2} µs",
            Isa::detect().name(),
            1e9 * self.madd,
            1e9 * self.product,
            1e-9 / self.far,
            1e-9 / self.near,
            1e-6 / self.aes,
            1e6 * self.transforms[0],
            1e6 * self.transforms[1]
        )
    }
}

/// Multiply-adds from registers only, in eight independent chains: one instruction per cycle with a latency of four.
struct Peak(u64);

impl Kernel for Peak {
    type Output = u64;
    #[inline(always)]
    fn run<L: Lanes>(self) -> u64 {
        let b = L::splat(black_box(5));
        let mut sums: [L; 8] = std::array::from_fn(|k| L::splat(black_box(k as u64)));
        for _ in 0..self.0 {
            for (k, sum) in sums.iter_mut().enumerate() {
                // No product is the same as before, or it would be taken out of the loop.
                *sum = if k % 2 == 0 { sum.madd52_low(*sum, b) } else { sum.madd52_high(*sum, b) };
            }
        }
        let mut out = [0; LANES];
        sums.into_iter().reduce(L::add).unwrap().store(&mut out);
        out[0]
    }
}

/// Sums of products from registers only, eight of them. One operand is read anew, or its product would be taken out of
/// the loop; numbers stay small, so that nothing has to be carried.
struct Products(u64);

impl Kernel for Products {
    type Output = u64;
    #[inline(always)]
    fn run<L: Lanes>(self) -> u64 {
        let (words, w) = ([3; LANES], L::splat(black_box(5)));
        let first = |k: usize| L::accumulate(L::sum(), L::splat(black_box(k as u64)), w);
        let mut sums: [L::Sum; 8] = std::array::from_fn(first);
        for _ in 0..self.0 {
            let x = L::load(black_box(&words));
            sums.iter_mut().for_each(|sum| *sum = L::accumulate(*sum, x, w));
        }
        // Both halves are read: what nobody reads is not computed.
        let mut out = [0; LANES];
        let halves = sums.map(L::split);
        halves.into_iter().map(|(low, high)| low.add(high)).reduce(L::add).unwrap().store(&mut out);
        out[0]
    }
}

/// Reads a buffer and adds up its words.
struct Stream<'a>(&'a [Group]);

impl Kernel for Stream<'_> {
    type Output = u64;
    #[inline(always)]
    fn run<L: Lanes>(self) -> u64 {
        let mut sums = [L::splat(0); 8];
        for groups in self.0.as_chunks::<8>().0 {
            for (sum, group) in sums.iter_mut().zip(groups) {
                *sum = sum.add(L::load(&group.0));
            }
        }
        let mut out = [0; LANES];
        sums.into_iter().reduce(L::add).unwrap().store(&mut out);
        out[0]
    }
}

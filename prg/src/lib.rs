//! AES-128 counter-mode generator, uniform sampling by rejection, zeroised seeds.
//!
//! Every random value of the project comes from here: [`Seed::from_os`] draws entropy from the
//! operating system, [`Seed::derive`] separates purposes, and [`Prg`] stretches a seed. AES comes from the
//! `aes` crate, which picks VAES, AES-NI or a constant-time portable implementation at run time.
#![forbid(unsafe_code)]

pub mod cpu;

use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Blocks encrypted per batch: enough to keep the widest AES unit busy, small enough for L1.
const BATCH: usize = 64;

/// Blocks of a long batch. AES reads counters four at a time: they must have been written well before, or it waits.
const LONG: usize = 256;

/// A 128-bit secret seed, wiped when dropped. It has neither `Debug` nor `PartialEq`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 16]);

impl Seed {
    /// A fresh seed from the operating system's generator.
    ///
    /// # Panics
    /// If the operating system cannot deliver randomness: nothing sensible can go on without it.
    #[expect(clippy::expect_used, reason = "no randomness, no cryptography")]
    pub fn from_os() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system delivers randomness");
        Self(bytes)
    }

    /// A seed with known bytes, for seeds that travel (public-coin values) and for tests.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The seed's bytes, to send a seed that is meant to travel.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// An independent seed for another purpose: keyed BLAKE3 of `label` and `index`.
    pub fn derive(&self, label: &str, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..16].copy_from_slice(&self.0);
        let mut hasher = blake3::Hasher::new_keyed(&key);
        hasher.update(&(label.len() as u64).to_le_bytes());
        hasher.update(label.as_bytes());
        hasher.update(&index.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        key.zeroize();
        Self(bytes)
    }
}

/// AES-128 in counter mode under a [`Seed`]; equal seeds give equal streams.
///
/// One stream yields at most 2^64 blocks, far below the birthday bound that matters for a 128-bit permutation
/// only in streams of exabytes.
pub struct Prg {
    cipher: Aes128,
    counter: u64,
    nonce: u64,
    /// One batch, in words: wiping goes by elements.
    buffer: [u64; 2 * BATCH],
    /// Bytes of it that were handed out.
    used: usize,
}

impl Drop for Prg {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl Prg {
    /// The stream of `seed`.
    pub fn new(seed: &Seed) -> Self {
        Self::with_nonce(seed, 0)
    }

    /// One of 2^64 independent streams of `seed`, with random access by `nonce`.
    pub fn with_nonce(seed: &Seed, nonce: u64) -> Self {
        let cipher = Aes128::new(&Array(seed.0));
        Self { cipher, counter: 0, nonce, buffer: [0; 2 * BATCH], used: 16 * BATCH }
    }

    /// A stream from fresh operating-system entropy.
    pub fn from_os() -> Self {
        Self::new(&Seed::from_os())
    }

    /// The next 128 bits as a new seed.
    pub fn seed(&mut self) -> Seed {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Seed(bytes)
    }

    /// Fills `out` with the next bytes of the stream.
    pub fn fill(&mut self, mut out: &mut [u8]) {
        let buffered = out.len().min(16 * BATCH - self.used);
        let (head, rest) = out.split_at_mut(buffered);
        head.copy_from_slice(&bytemuck::cast_slice(&self.buffer)[self.used..self.used + buffered]);
        self.used += buffered;
        out = rest;
        let (long, rest) = out.split_at_mut(out.len() - out.len() % (16 * LONG));
        self.long_batches(long);
        out = rest;
        while out.len() >= 16 * BATCH {
            let (head, rest) = out.split_at_mut(16 * BATCH);
            self.blocks(head);
            out = rest;
        }
        if !out.is_empty() {
            let mut buffer = [0; 2 * BATCH];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
            self.blocks(bytes);
            out.copy_from_slice(&bytes[..out.len()]);
            self.used = out.len();
            self.buffer = buffer;
        }
    }

    /// Long batches of the stream into `out`, as many as it holds.
    fn long_batches(&mut self, out: &mut [u8]) {
        if out.is_empty() {
            return;
        }
        let mut counters: [[u64; 2]; LONG] =
            std::array::from_fn(|i| [(self.counter + i as u64).to_le(), self.nonce.to_le()]);
        for out in out.chunks_exact_mut(16 * LONG) {
            let blocks = Array::cast_slice_from_core(bytemuck::cast_slice(&counters));
            let out = Array::cast_slice_from_core_mut(out.as_chunks_mut::<16>().0);
            // Both have LONG blocks.
            let _ = self.cipher.encrypt_blocks_b2b(blocks, out);
            self.counter += LONG as u64;
            counters.iter_mut().for_each(|[low, _]| *low = (u64::from_le(*low) + LONG as u64).to_le());
        }
    }

    /// Exactly one batch of the stream into `out`.
    fn blocks(&mut self, out: &mut [u8]) {
        let blocks = out.as_chunks_mut::<16>().0;
        for (i, block) in blocks.iter_mut().enumerate() {
            let counter = u128::from(self.counter + i as u64);
            *block = (counter | u128::from(self.nonce) << 64).to_le_bytes();
        }
        self.counter += BATCH as u64;
        self.cipher.encrypt_blocks(Array::cast_slice_from_core_mut(blocks));
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Fills `out` with uniform 64-bit words.
    pub fn fill_u64(&mut self, out: &mut [u64]) {
        self.fill(bytemuck::cast_slice_mut(out));
        out.iter_mut().for_each(|word| *word = u64::from_le(*word));
    }

    /// Fills `out` with values uniform in `0..bound`, by masking and rejection (never `%`).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn fill_below(&mut self, out: &mut [u64], bound: u64) {
        assert!(bound > 0, "the range 0..0 is empty");
        let mask = u64::MAX.checked_shr((bound - 1).leading_zeros()).unwrap_or(0);
        self.fill_u64(out);
        // Most values are taken as they are: look at many at once whether any is not.
        for values in out.chunks_mut(64) {
            let mut below = !0;
            for value in values.iter_mut() {
                *value &= mask;
                below &= value.wrapping_sub(bound);
            }
            // A difference's top bit says that a value is below the bound, as long as both are below 2^63.
            if mask >> 63 == 0 && below >> 63 == 1 {
                continue;
            }
            for value in values {
                while *value >= bound {
                    *value = self.next_u64() & mask;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_batches_are_one_stream() {
        let seed = Seed::from_bytes([5; 16]);
        let (mut at_once, mut piecewise) = (vec![0; 3 * 16 * LONG + 16 * BATCH + 77], Vec::new());
        Prg::with_nonce(&seed, 9).fill(&mut at_once);
        let mut prg = Prg::with_nonce(&seed, 9);
        while piecewise.len() < at_once.len() {
            piecewise.extend(prg.next_u64().to_le_bytes());
        }
        assert!(at_once == piecewise[..at_once.len()]);
    }

    #[test]
    fn the_stream_is_aes_in_counter_mode() {
        // FIPS 197, appendix C.1 encrypts one block; here block 0 under that key is checked against `aes` itself.
        let seed = Seed::from_bytes(core::array::from_fn(|i| i as u8));
        let mut block = Array([0u8; 16]);
        block[8..].copy_from_slice(&7u64.to_le_bytes());
        Aes128::new(&Array(*seed.as_bytes())).encrypt_block(&mut block);
        let mut out = [0; 16];
        Prg::with_nonce(&seed, 7).fill(&mut out);
        assert_eq!(out, block.0);
    }

    #[test]
    fn pieces_of_any_size_give_one_stream() {
        let seed = Seed::from_bytes([3; 16]);
        let mut whole = vec![0; 5000];
        Prg::new(&seed).fill(&mut whole);
        let mut prg = Prg::new(&seed);
        let mut pieces = Vec::new();
        for size in [1, 15, 16, 17, 1023, 1024, 1025, 0, 1879] {
            let mut piece = vec![0; size];
            prg.fill(&mut piece);
            pieces.extend(piece);
        }
        assert_eq!(pieces, whole[..pieces.len()]);
    }

    #[test]
    fn values_below_a_bound_are_uniform() {
        let mut prg = Prg::new(&Seed::from_bytes([5; 16]));
        let bound = 3 << 20; // not a power of two: a plain mask or `%` would be visibly biased
        let mut values = vec![0; 60_000];
        prg.fill_below(&mut values, bound);
        let mut thirds = [0; 3];
        values.iter().for_each(|v| thirds[(v >> 20) as usize] += 1);
        assert!(thirds.iter().all(|&count: &i32| (count - 20_000).abs() < 800), "{thirds:?}");
        prg.fill_below(&mut values, 1);
        assert!(values.iter().all(|&v| v == 0));
    }

    #[test]
    fn derived_seeds_differ() {
        let seed = Seed::from_bytes([9; 16]);
        assert_ne!(seed.derive("a", 0).0, seed.derive("a", 1).0);
        assert_ne!(seed.derive("a", 0).0, seed.derive("b", 0).0);
    }
}

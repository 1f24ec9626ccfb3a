//! Correlation-robust hashing of blocks, re-keyed.
//!
//! H(x, i) = AES_K(y) ^ y with y = σ(x) ^ i, σ(l ‖ r) = (l ^ r) ‖ l, and K = AES_session(⌊i / 256⌋).
//!
//! Guo, Katz, Wang, Yu (ePrint 2019/074): π(σ(x)) ^ σ(x) is circular correlation robust for a random
//! permutation π and a linear orthomorphism σ. With one key for N hashes a peer that sees them all gains log2
//! N bits (Guo, Katz, Wang, Weng, Yu, ePrint 2019/1168): a key here serves 256 positions, at most two hashes
//! each, so 9 of 128 bits are lost, and the session key, to which both parties contribute, keeps sessions apart.
//! The position `i` never repeats in a session: it is the number of the OT in its source, see [`crate::source`].

use crate::Block;
use crate::kernel::{EPOCH, Kernel};
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use prg::Seed;

/// The hash function of one session.
pub(crate) struct Hash {
    session: Aes128,
    kernel: Kernel,
}

impl Hash {
    pub(crate) fn new(session: &Seed) -> Self {
        Self::with_kernel(session, Kernel::best())
    }

    pub(crate) fn with_kernel(session: &Seed, kernel: Kernel) -> Self {
        Self { session: cipher(session), kernel }
    }

    /// Replaces `blocks[j]` by H(blocks[j] ^ shift, first + j).
    pub(crate) fn apply(&self, first: u64, shift: Block, mut blocks: &mut [Block]) {
        let mut position = first;
        while !blocks.is_empty() {
            let left = EPOCH - position as usize % EPOCH;
            let (head, rest) = blocks.split_at_mut(left.min(blocks.len()));
            self.kernel.hash(self.key(position), position, shift, head);
            position += head.len() as u64;
            blocks = rest;
        }
    }

    /// Bit j of `out` becomes the lowest bit of H(blocks[j] ^ shift, first + j); whole epochs only.
    pub(crate) fn bits(&self, first: u64, shift: Block, blocks: &[Block], out: &mut [u64]) {
        let (epochs, rest) = blocks.as_chunks::<EPOCH>();
        assert!(rest.is_empty() && first.is_multiple_of(EPOCH as u64), "whole epochs");
        let words = out.as_chunks_mut::<{ EPOCH / 64 }>().0;
        assert_eq!(words.len(), epochs.len(), "one bit per block");
        for (i, (blocks, words)) in epochs.iter().zip(words).enumerate() {
            let position = first + (i * EPOCH) as u64;
            *words = self.kernel.hash_bits(self.key(position), position, shift, blocks);
        }
    }

    fn key(&self, position: u64) -> Block {
        derive(&self.session, position / EPOCH as u64)
    }
}

/// The cipher with this public key.
pub(crate) fn cipher(key: &Seed) -> Aes128 {
    Aes128::new(&Array(*key.as_bytes()))
}

/// Key number `i` under a key of keys.
pub(crate) fn derive(keys: &Aes128, i: u64) -> Block {
    let mut key = Array(Block::from(i).to_le_bytes());
    keys.encrypt_block(&mut key);
    Block::from_le_bytes(key.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schoolbook(session: [u8; 16], i: u64, x: Block) -> Block {
        let mut key = Array(u128::from(i / 256).to_le_bytes());
        Aes128::new(&Array(session)).encrypt_block(&mut key);
        let (low, high) = (x as u64, (x >> 64) as u64);
        let y = (u128::from(low ^ high) << 64 | u128::from(high)) ^ u128::from(i);
        let mut output = Array(y.to_le_bytes());
        Aes128::new(&key).encrypt_block(&mut output);
        u128::from_le_bytes(output.0) ^ y
    }

    #[test]
    fn hashes_follow_the_definition_across_epochs() {
        let (session, shift) = ([3; 16], 0x55aa << 60);
        let hash = Hash::new(&Seed::from_bytes(session));
        let xs: Vec<Block> = (0..700).map(|j| (j << 70) + 11 * j * j).collect();
        for first in [0, 1, 200, 255, 256, 1 << 40] {
            let mut out = xs.clone();
            hash.apply(first, shift, &mut out);
            for (j, (x, h)) in xs.iter().zip(out).enumerate() {
                assert_eq!(h, schoolbook(session, first + j as u64, x ^ shift));
            }
        }
    }

    #[test]
    fn equal_blocks_at_different_positions_or_sessions_hash_differently() {
        let mut out = vec![7; 100_000];
        Hash::new(&Seed::from_bytes([1; 16])).apply(0, 0, &mut out);
        let mut other = vec![7; 1000];
        Hash::new(&Seed::from_bytes([2; 16])).apply(0, 0, &mut other);
        out.extend(other);
        out.sort_unstable();
        assert!(out.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

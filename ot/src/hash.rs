//! Correlation-robust hashing of blocks, re-keyed.
//!
//! H(x, i) = AES_K(y) ^ y with y = σ(x) ^ i, σ(l ‖ r) = (l ^ r) ‖ l, and K = AES_session(⌊i / 256⌋).
//!
//! Guo, Katz, Wang, Yu (ePrint 2019/074), section 7.2: π(σ(x)) ^ σ(x) is circular correlation robust for a random
//! permutation π and a linear orthomorphism σ. With one key for N hashes a peer that sees them all gains log2 N bits
//! (Guo, Katz, Wang, Weng, Yu, ePrint 2019/1168): a key here serves 256 positions, at most two hashes each, so
//! 9 of 128 bits are lost, and the session key, to which both parties contribute, keeps sessions apart. The position
//! `i` never repeats in a session: it is the number of the OT in its source, see [`crate::source`].

use crate::Block;
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use prg::Seed;

/// Positions hashed under one key.
pub(crate) const EPOCH: u64 = 256;

/// Blocks per call of the cipher.
const WIDTH: usize = 64;

/// The hash function of one session.
pub(crate) struct Hash {
    session: Aes128,
    epoch: Option<u64>,
    key: Aes128,
}

impl Hash {
    pub(crate) fn new(session: &Seed) -> Self {
        let session = Aes128::new(&Array(*session.as_bytes()));
        Self { key: session.clone(), session, epoch: None }
    }

    /// Replaces `blocks[j]` by H(blocks[j] ^ shift, first + j).
    pub(crate) fn apply(&mut self, first: u64, shift: Block, mut blocks: &mut [Block]) {
        let mut position = first;
        while !blocks.is_empty() {
            let in_epoch = (EPOCH - position % EPOCH) as usize;
            let (head, rest) = blocks.split_at_mut(in_epoch.min(blocks.len()));
            self.rekey(position / EPOCH);
            for (k, chunk) in head.chunks_mut(WIDTH).enumerate() {
                encrypt(&self.key, position + (k * WIDTH) as u64, shift, chunk);
            }
            position += head.len() as u64;
            blocks = rest;
        }
    }

    fn rekey(&mut self, epoch: u64) {
        if self.epoch != Some(epoch) {
            self.key = Aes128::new(&Array(epoch_key(&self.session, epoch)));
            self.epoch = Some(epoch);
        }
    }
}

/// The key of an epoch: the session's cipher applied to its number.
pub(crate) fn epoch_key(session: &Aes128, epoch: u64) -> [u8; 16] {
    let mut key = Array(Block::from(epoch).to_le_bytes());
    session.encrypt_block(&mut key);
    key.0
}

/// σ, a linear orthomorphism: both it and x ↦ σ(x) ^ x are permutations.
#[inline(always)]
pub(crate) fn sigma(x: Block) -> Block {
    let (low, high) = (x as u64, (x >> 64) as u64);
    Block::from(high) | Block::from(low ^ high) << 64
}

fn encrypt(key: &Aes128, first: u64, shift: Block, blocks: &mut [Block]) {
    let mut inputs = [Array([0; 16]); WIDTH];
    let inputs = &mut inputs[..blocks.len()];
    for (j, (input, block)) in inputs.iter_mut().zip(&mut *blocks).enumerate() {
        *block = sigma(*block ^ shift) ^ Block::from(first + j as u64);
        input.0 = block.to_le_bytes();
    }
    key.encrypt_blocks(inputs);
    for (block, output) in blocks.iter_mut().zip(inputs) {
        *block ^= Block::from_le_bytes(output.0);
    }
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
        let mut hash = Hash::new(&Seed::from_bytes(session));
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

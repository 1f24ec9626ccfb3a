//! The inner loops that take the time: hashing, tree levels, sparse codes.
//!
//! One portable version on top of the `aes` crate, and one for AVX-512 with vector AES, chosen at run time.
//! Both compute the same; the tests hold them to each other.

#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::Block;
use aes::Aes128;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};

/// Rows, or quads of rows, of a code whose indices are generated together.
pub(crate) const ROWS: usize = 64;

/// Rows that share their entries in a code of quads.
pub(crate) const QUAD: usize = 4;

/// Blocks hashed under one key.
pub(crate) const EPOCH: usize = 256;

/// A sparse code: row i adds up `weight` pseudo-random entries of a table.
///
/// Index j of row i is ⌊r·k/2^32⌋, r being 32-bit word number `weight`·i + j of AES in counter mode (counter
/// in the low half of a block, `instance` in the high half), k the length of the table. With four lanes, i and
/// k count quads of rows and entries, and row m of a quad takes entry m ^ (j mod 4) of the quad.
pub(crate) struct Code {
    /// Key of the counter mode, public.
    pub(crate) key: Block,
    /// Tells the matrices under one key apart.
    pub(crate) instance: u64,
    /// Entries per row, one of those in [`crate::silent::params`].
    pub(crate) weight: usize,
    /// 1, or [`QUAD`].
    pub(crate) lanes: usize,
}

/// An implementation of the inner loops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kernel {
    /// Runs everywhere.
    Portable,
    /// AVX-512 with VAES.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The fastest one of this machine that [`prg::cpu::level`] allows.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if prg::cpu::level() == prg::cpu::Level::Avx512 && avx512::available() {
            return Self::Avx512;
        }
        Self::Portable
    }

    /// One level of a tree: `nodes[..m]` are parents p, and become the left children H(p), to which
    /// `nodes[m..2m]`, the right children H(p) ^ p, are added. Returns the sum of the left children.
    ///
    /// H(p) = AES_key(σ(p)) ^ σ(p).
    pub(crate) fn expand(self, key: Block, m: usize, nodes: &mut [Block]) -> Block {
        let (left, right) = nodes[..2 * m].split_at_mut(m);
        match self {
            Self::Portable => portable::expand(key, left, right),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::expand(key, left, right),
        }
    }

    /// Adds row `first + i` of the code, applied to `table`, to `leaves[i]`; `first` and the number of leaves
    /// are multiples of `lanes` times [`ROWS`].
    pub(crate) fn encode(self, code: &Code, first: u64, table: &[Block], leaves: &mut [Block]) {
        let group = ROWS * code.lanes;
        assert!(
            first.is_multiple_of(group as u64) && leaves.len().is_multiple_of(group),
            "whole groups of rows"
        );
        assert!(table.len().is_multiple_of(code.lanes), "whole quads of entries");
        match self {
            Self::Portable => portable::encode(code, first, table, leaves),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::encode(code, first, table, leaves),
        }
    }

    /// Replaces `blocks[i]`, of at most [`EPOCH`], by AES_key(y) ^ y, where
    /// y = σ(blocks[i] ^ shift) ^ (first + i).
    pub(crate) fn hash(self, key: Block, first: u64, shift: Block, blocks: &mut [Block]) {
        match self {
            Self::Portable => portable::hash(key, first, shift, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::hash(key, first, shift, blocks),
        }
    }

    /// The lowest bits of what [`Kernel::hash`] gives.
    pub(crate) fn hash_bits(
        self,
        key: Block,
        first: u64,
        shift: Block,
        blocks: &[Block; EPOCH],
    ) -> [u64; EPOCH / 64] {
        match self {
            Self::Portable => portable::hash_bits(key, first, shift, blocks),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::hash_bits(key, first, shift, blocks),
        }
    }
}

/// σ, a linear orthomorphism: both it and x ↦ σ(x) ^ x are permutations.
#[inline(always)]
fn sigma(x: Block) -> Block {
    let (low, high) = (x as u64, (x >> 64) as u64);
    Block::from(high) | Block::from(low ^ high) << 64
}

/// The portable version.
mod portable {
    use super::*;
    use crate::silent::params::{SETUP_WEIGHT, WEIGHT};

    /// Blocks per call of the cipher.
    const WIDTH: usize = 64;

    pub(super) fn expand(key: Block, left: &mut [Block], right: &mut [Block]) -> Block {
        let cipher = Aes128::new(&Array(key.to_le_bytes()));
        let mut sum = 0;
        for (left, right) in left.chunks_mut(WIDTH).zip(right.chunks_mut(WIDTH)) {
            let mut hashes = [Array([0; 16]); WIDTH];
            let hashes = &mut hashes[..left.len()];
            hashes.iter_mut().zip(&*left).for_each(|(hash, parent)| hash.0 = sigma(*parent).to_le_bytes());
            cipher.encrypt_blocks(hashes);
            for ((left, right), hash) in left.iter_mut().zip(right).zip(hashes) {
                let child = Block::from_le_bytes(hash.0) ^ sigma(*left);
                sum ^= child;
                *right = child ^ *left;
                *left = child;
            }
        }
        sum
    }

    pub(super) fn encode(code: &Code, first: u64, table: &[Block], leaves: &mut [Block]) {
        match (code.weight, code.lanes) {
            (WEIGHT, QUAD) => encode_rows::<WEIGHT, QUAD>(code, first, table, leaves),
            (WEIGHT, 1) => encode_rows::<WEIGHT, 1>(code, first, table, leaves),
            (SETUP_WEIGHT, 1) => encode_rows::<SETUP_WEIGHT, 1>(code, first, table, leaves),
            (weight, lanes) => unreachable!("no code has {weight} entries of {lanes}"),
        }
    }

    fn encode_rows<const WEIGHT: usize, const LANES: usize>(
        code: &Code,
        first: u64,
        table: &[Block],
        leaves: &mut [Block],
    ) {
        let cipher = Aes128::new(&Array(code.key.to_le_bytes()));
        let table = table.as_chunks::<LANES>().0;
        let mut counter = first / LANES as u64 * WEIGHT as u64 / 4;
        let mut words = vec![Array([0; 16]); ROWS * WEIGHT / 4];
        let mut indices = [[0; WEIGHT]; ROWS];
        for leaves in leaves.chunks_exact_mut(ROWS * LANES) {
            for word in &mut words {
                word.0 = (Block::from(counter) | Block::from(code.instance) << 64).to_le_bytes();
                counter += 1;
            }
            cipher.encrypt_blocks(&mut words);
            let random = words.iter().flat_map(|word| word.0.as_chunks::<4>().0);
            for (index, word) in indices.as_flattened_mut().iter_mut().zip(random) {
                *index = (u64::from(u32::from_le_bytes(*word)) * table.len() as u64) >> 32;
            }
            for (row, indices) in leaves.as_chunks_mut::<LANES>().0.iter_mut().zip(&indices) {
                let mut sums = *row;
                for (j, &index) in indices.iter().enumerate() {
                    let entries = &table[index as usize];
                    sums.iter_mut().enumerate().for_each(|(m, sum)| *sum ^= entries[m ^ (j % LANES)]);
                }
                *row = sums;
            }
        }
    }

    pub(super) fn hash(key: Block, first: u64, shift: Block, blocks: &mut [Block]) {
        let cipher = Aes128::new(&Array(key.to_le_bytes()));
        for (chunk, blocks) in blocks.chunks_mut(WIDTH).enumerate() {
            let mut inputs = [Array([0; 16]); WIDTH];
            let inputs = &mut inputs[..blocks.len()];
            for (i, (input, block)) in inputs.iter_mut().zip(&mut *blocks).enumerate() {
                *block = sigma(*block ^ shift) ^ Block::from(first + (chunk * WIDTH + i) as u64);
                input.0 = block.to_le_bytes();
            }
            cipher.encrypt_blocks(inputs);
            blocks.iter_mut().zip(inputs).for_each(|(y, image)| *y ^= Block::from_le_bytes(image.0));
        }
    }

    pub(super) fn hash_bits(
        key: Block,
        first: u64,
        shift: Block,
        blocks: &[Block; EPOCH],
    ) -> [u64; EPOCH / 64] {
        let mut hashes = *blocks;
        hash(key, first, shift, &mut hashes);
        let mut words = [0; EPOCH / 64];
        crate::rot::keep_low_bits(&hashes, &mut words);
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits;
    use crate::silent::params::{SETUP_WEIGHT, WEIGHT};
    use prg::{Prg, Seed};

    fn kernels() -> Vec<Kernel> {
        if Kernel::best() == Kernel::Portable {
            println!("skipped: this machine has no AVX-512 with VAES");
            return vec![Kernel::Portable];
        }
        vec![Kernel::Portable, Kernel::best()]
    }

    fn blocks(seed: u8, n: usize) -> Vec<Block> {
        let mut blocks = vec![0; n];
        Prg::new(&Seed::from_bytes([seed; 16])).fill(bytemuck::cast_slice_mut(&mut blocks));
        blocks
    }

    #[test]
    fn levels_have_correlated_children() {
        for m in [1, 2, 4, 8, 16, 32, 64, 256] {
            for seed in 0..3 {
                let parents = blocks(seed, m);
                let mut seen = Vec::new();
                for kernel in kernels() {
                    let mut nodes = [parents.clone(), vec![0; m + 5]].concat();
                    let sum = kernel.expand(77, m, &mut nodes);
                    assert!((0..m).all(|i| nodes[i] ^ nodes[m + i] == parents[i]));
                    assert_eq!(nodes[..m].iter().fold(0, |sum, x| sum ^ x), sum);
                    assert!(nodes[2 * m..].iter().all(|&x| x == 0));
                    let cipher = Aes128::new(&Array(77u128.to_le_bytes()));
                    let mut image = Array(sigma(parents[m - 1]).to_le_bytes());
                    cipher.encrypt_block(&mut image);
                    assert_eq!(nodes[m - 1], Block::from_le_bytes(image.0) ^ sigma(parents[m - 1]));
                    seen.push(nodes);
                }
                assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    }

    #[test]
    fn codes_agree_and_are_linear() {
        for (weight, lanes) in [(WEIGHT, QUAD), (SETUP_WEIGHT, 1), (WEIGHT, 1)] {
            let code = Code { key: 5 << 90, instance: 3, weight, lanes };
            for (k, first) in [(1000, 0), (77_776, 256 * 1000)] {
                let (x, y) = (blocks(1, k), blocks(2, k));
                let sum: Vec<_> = x.iter().zip(&y).map(|(x, y)| x ^ y).collect();
                let image = |kernel: Kernel, table: &[Block]| {
                    let mut leaves = vec![0; 256];
                    kernel.encode(&code, first, table, &mut leaves);
                    leaves
                };
                for kernel in kernels() {
                    let (x, y, sum) = (image(kernel, &x), image(kernel, &y), image(kernel, &sum));
                    assert!((0..256).all(|i| x[i] ^ y[i] == sum[i] && x[i] != 0));
                    assert_eq!(x, image(Kernel::Portable, &blocks(1, k)));
                }
                let ones: Vec<_> = image(Kernel::best(), &(0..k).map(|i| 1 << (i % 120)).collect::<Vec<_>>());
                assert!(ones.iter().all(|row| row.count_ones() as usize <= weight));
            }
        }
    }

    #[test]
    fn hashes_agree_for_every_length() {
        let shift = blocks(5, 1)[0];
        for n in [0, 1, 31, 32, 33, 100, 255, 256] {
            for first in [0, 700, (1 << 63) + 512] {
                let (mut expected, mut hashes) = (blocks(4, n), blocks(4, n));
                Kernel::Portable.hash(99, first, shift, &mut expected);
                Kernel::best().hash(99, first, shift, &mut hashes);
                assert_eq!(hashes, expected);
            }
        }
    }

    #[test]
    fn bits_are_the_lowest_of_the_hashes() {
        let leaves: [Block; EPOCH] = blocks(4, EPOCH).try_into().unwrap();
        for (first, shift) in [(0, 0), ((1 << 63) + 512, blocks(5, 1)[0])] {
            let mut expected = leaves;
            Kernel::Portable.hash(99, first, shift, &mut expected);
            for kernel in kernels() {
                let words = kernel.hash_bits(99, first, shift, &leaves);
                assert!((0..EPOCH).all(|i| bits::get(&words, i) == (expected[i] & 1 == 1)), "{kernel:?}");
            }
        }
    }
}

//! What both parties know of a batch: the keys of the hash and the labels of the garbler's inputs.

use crate::program::Program;
use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use prg::Seed;

/// The public side of a batch. Its seed serves no other batch, and positions differ by group, so that no key and no
/// label is ever used twice.
pub(crate) struct Session {
    keys: Aes128Enc,
    label_key: u128,
    keys_per_group: u64,
    labels_per_group: u64,
}

impl Session {
    /// Hashing operations of a lane group under one key.
    pub(crate) const STEPS_PER_KEY: usize = 8;

    /// The batch of a source of labels that begins with its transfer number `position`: positions never come back,
    /// hence neither do batches.
    pub(crate) fn at(source: &Seed, position: u64, program: &Program) -> Self {
        Self::new(&source.derive("garbling", position), program)
    }

    pub(crate) fn new(seed: &Seed, program: &Program) -> Self {
        let (keys, labels) =
            (seed.derive("garbling: gate keys", 0), seed.derive("garbling: input labels", 0));
        Self {
            keys: Aes128Enc::new(&Array(*keys.as_bytes())),
            label_key: u128::from_le_bytes(*labels.as_bytes()),
            keys_per_group: program.hashes().div_ceil(Self::STEPS_PER_KEY) as u64,
            labels_per_group: program.shape.garbler.iter().map(|&bits| u64::from(bits)).sum(),
        }
    }

    /// Keys of one group from its `first` on, as many as there are and as fit: AES of their position under the
    /// session's seed, hence all different.
    pub(crate) fn keys<'k>(&self, group: u64, first: usize, keys: &'k mut [u128]) -> &'k [u128] {
        let start = group * self.keys_per_group;
        let count = keys.len().min(self.keys_per_group as usize - first);
        let keys = &mut keys[..count];
        keys.iter_mut().zip(start + first as u64..).for_each(|(key, index)| *key = u128::from(index));
        self.keys.encrypt_blocks(Array::cast_slice_from_core_mut(bytemuck::cast_slice_mut(keys)));
        keys
    }

    pub(crate) fn label_key(&self) -> u128 {
        self.label_key
    }

    /// Position of the labels of one input bit of the garbler's in one group.
    pub(crate) fn label(&self, group: u64, input: u32) -> u64 {
        group * self.labels_per_group + u64::from(input)
    }
}

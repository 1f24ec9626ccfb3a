//! What both parties know of a session: the keys of the hash and the labels of the garbler's inputs.

use crate::kernel::LANES;
use crate::program::Program;
use aes::Aes128Enc;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use prg::Seed;

/// The public side of a session. Positions only grow, so that no key and no label is ever used twice.
pub(crate) struct Session {
    keys: Aes128Enc,
    label_key: u128,
    next_key: u64,
    next_label: u64,
}

/// The keys and labels that one batch uses up.
pub(crate) struct Span<'a> {
    session: &'a Session,
    first_key: u64,
    first_label: u64,
    keys_per_group: u64,
    labels_per_group: u64,
}

impl Session {
    /// Hashing operations of a lane group under one key.
    pub(crate) const STEPS_PER_KEY: usize = 8;

    pub(crate) fn new(seed: &Seed) -> Self {
        let (keys, labels) =
            (seed.derive("garbling: gate keys", 0), seed.derive("garbling: input labels", 0));
        let keys = Aes128Enc::new(&Array(*keys.as_bytes()));
        Self { keys, label_key: u128::from_le_bytes(*labels.as_bytes()), next_key: 0, next_label: 0 }
    }

    /// Takes what a batch of this many groups needs.
    pub(crate) fn take(&mut self, program: &Program, groups: u64) -> Span<'_> {
        let keys_per_group = program.hashes().div_ceil(Self::STEPS_PER_KEY) as u64;
        let labels_per_group = program.shape.garbler.iter().map(|&bits| u64::from(bits)).sum();
        let (first_key, first_label) = (self.next_key, self.next_label);
        let end = |first: u64, each: u64| groups.checked_mul(each).and_then(|count| first.checked_add(count));
        let (Some(next_key), Some(next_label)) =
            (end(first_key, keys_per_group), end(first_label, labels_per_group))
        else {
            unreachable!("a session does not outlive 2^64 keys")
        };
        (self.next_key, self.next_label) = (next_key, next_label);
        Span { session: self, first_key, first_label, keys_per_group, labels_per_group }
    }
}

impl Span<'_> {
    /// The keys of one group: AES of their position under the session's seed, hence all different.
    pub(crate) fn keys(&self, group: u64) -> Vec<u128> {
        let first = self.first_key + group * self.keys_per_group;
        let mut keys: Vec<_> = (first..first + self.keys_per_group).map(u128::from).collect();
        self.session
            .keys
            .encrypt_blocks(Array::cast_slice_from_core_mut(bytemuck::cast_slice_mut(&mut keys)));
        keys
    }

    pub(crate) fn label_key(&self) -> u128 {
        self.session.label_key
    }

    /// Position of the labels of one input bit of the garbler's in one group.
    pub(crate) fn label(&self, group: u64, input: u32) -> u64 {
        self.first_label + group * self.labels_per_group + u64::from(input)
    }
}

const _: () = assert!(LANES.is_power_of_two());

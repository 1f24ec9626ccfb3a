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
        let (first_key, first_label) = (self.next_key, self.next_label);
        let span = self.peek(program);
        let end = |first: u64, each: u64| groups.checked_mul(each).and_then(|count| first.checked_add(count));
        let next = end(first_key, span.keys_per_group).zip(end(first_label, span.labels_per_group));
        let Some((next_key, next_label)) = next else {
            unreachable!("a session does not outlive 2^64 keys");
        };
        (self.next_key, self.next_label) = (next_key, next_label);
        Span { first_key, first_label, ..self.peek(program) }
    }

    /// What the next batch would get, without taking it.
    pub(crate) fn peek(&self, program: &Program) -> Span<'_> {
        Span {
            session: self,
            first_key: self.next_key,
            first_label: self.next_label,
            keys_per_group: program.hashes().div_ceil(Self::STEPS_PER_KEY) as u64,
            labels_per_group: program.shape.garbler.iter().map(|&bits| u64::from(bits)).sum(),
        }
    }
}

impl Span<'_> {
    /// Keys of one group from its `first` on, as many as there are and as fit: AES of their position under the
    /// session's seed, hence all different.
    pub(crate) fn keys<'k>(&self, group: u64, first: usize, keys: &'k mut [u128]) -> &'k [u128] {
        let start = self.first_key + group * self.keys_per_group;
        let count = keys.len().min(self.keys_per_group as usize - first);
        let keys = &mut keys[..count];
        keys.iter_mut().zip(start + first as u64..).for_each(|(key, index)| *key = u128::from(index));
        self.session.keys.encrypt_blocks(Array::cast_slice_from_core_mut(bytemuck::cast_slice_mut(keys)));
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

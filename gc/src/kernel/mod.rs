//! The arithmetic of labels, a lane group at a time: detection, dispatch, and the portable twin.

mod portable;

use crate::group::{self, EvaluatorGroup, GarblerGroup};
use crate::program::{And, Program};
use crate::session::Span;
use portable::Portable;

/// Instances that are garbled side by side.
pub(crate) const LANES: usize = 16;

/// The labels of one wire in a lane group.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub(crate) struct Row(pub(crate) [u128; LANES]);

impl Row {
    pub(crate) const ZERO: Self = Self([0; LANES]);
}

impl zeroize::Zeroize for Row {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

/// Bytes of the two ciphertexts of an AND gate in a lane group.
pub(crate) const AND_BYTES: usize = 2 * size_of::<Row>();

/// σ of the hash: a linear orthomorphism, (hi, lo) ↦ (hi ⊕ lo, hi).
#[inline(always)]
pub(crate) fn sigma(x: u128) -> u128 {
    x >> 64 | (x ^ x << 64) & !(u64::MAX as u128)
}

/// The tweak of lane `lane` in operation `step`.
#[inline(always)]
pub(crate) fn tweak(lane: usize, step: u64) -> u128 {
    (lane as u128) << 64 | u128::from(step)
}

/// One instruction set's way to garble. All give the same bytes.
pub(crate) trait Kernel: Copy + Send + Sync {
    /// An expanded AES-128 key.
    type Key;
    /// Expands a key.
    fn key(self, key: u128) -> Self::Key;
    /// π(y) ⊕ y for each block, π being AES under `key`.
    fn hash<const N: usize>(self, key: &Self::Key, rows: &mut [Row; N]);
    /// The exclusive or of four registers.
    fn xor(self, rows: &mut [Row], to: u32, from: &[u32; 4]);
    /// Garbles an AND with tweaks `step` and `step + 1`; registers hold zero labels.
    fn garble(self, key: &Self::Key, step: u64, delta: u128, rows: &mut [Row], and: &And, table: &mut [u8]);
    /// Evaluates an AND; registers hold active labels.
    fn evaluate(self, key: &Self::Key, step: u64, rows: &mut [Row], and: &And, table: &[u8]);
}

/// The instruction sets there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Any machine; AES by the `aes` crate, which has its own detection.
    Portable,
}

impl Isa {
    /// The fastest that this machine has.
    pub fn detect() -> Self {
        Self::Portable
    }

    /// [`group::garble`] with these instructions.
    pub(crate) fn garble(
        self,
        program: &Program,
        span: &Span<'_>,
        index: u64,
        delta: u128,
        rows: &mut [Row],
        io: GarblerGroup<'_>,
    ) {
        match self {
            Self::Portable => group::garble(Portable, program, span, index, delta, rows, io),
        }
    }

    /// [`group::evaluate`] with these instructions.
    pub(crate) fn evaluate(
        self,
        program: &Program,
        span: &Span<'_>,
        index: u64,
        rows: &mut [Row],
        io: EvaluatorGroup<'_>,
    ) -> bool {
        match self {
            Self::Portable => group::evaluate(Portable, program, span, index, rows, io),
        }
    }
}

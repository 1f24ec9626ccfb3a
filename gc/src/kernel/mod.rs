//! The arithmetic of labels, a lane group at a time: detection, dispatch, and the portable twin.

mod portable;
#[cfg(target_arch = "x86_64")]
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::group::{self, EvaluatorGroup, GarblerGroup, Job, LaneBits};
use crate::program::And;
use portable::Portable;
#[cfg(target_arch = "x86_64")]
use x86::{Aes, Vaes};

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
pub(crate) const fn tweak(lane: usize, step: u64) -> u128 {
    (lane as u128) << 64 | step as u128
}

/// One instruction set's way to garble. All give the same bytes.
///
/// The hash of y with a tweak is π(y ⊕ tweak) ⊕ y, π being AES-128. A label enters it as y = σ(label).
pub(crate) trait Kernel: Copy + Send + Sync {
    /// An expanded AES-128 key.
    type Key;
    /// Expands keys.
    fn expand(self, keys: &[u128], out: &mut Vec<Self::Key>);
    /// The exclusive or of four registers.
    fn xor(self, rows: &mut [Row], to: u32, from: &[u32; 4]);
    /// Garbles an AND with tweaks `step` and `step + 1`; registers hold zero labels. First all lanes of the garbler's
    /// half gate, then all of the evaluator's.
    fn garble(
        self,
        key: &Self::Key,
        step: u64,
        delta: u128,
        rows: &mut [Row],
        and: &And,
        table: &mut [u8; AND_BYTES],
    );
    /// Evaluates an AND; registers hold active labels.
    fn evaluate(self, key: &Self::Key, step: u64, rows: &mut [Row], and: &And, table: &[u8; AND_BYTES]);
    /// Labels of an input bit of the garbler's: π of position and lane, the other label where a bit is set.
    fn input(self, key: &Self::Key, index: u64, bits: LaneBits, delta: u128, row: &mut Row);
    /// Hashes of the labels of `a` with permute bits 0 and 1, or of those of `a` and `b` with 00, 01, 10, 11, as
    /// y = σ(a) ⊕ b; registers hold zero labels.
    fn garble_term(
        self,
        key: &Self::Key,
        step: u64,
        delta: u128,
        a: &Row,
        b: Option<&Row>,
        out: &mut TermHashes,
    );
    /// The hash of active labels.
    fn evaluate_term(self, key: &Self::Key, step: u64, a: &Row, b: Option<&Row>, out: &mut TermHashes);
}

/// One number per lane.
pub(crate) type Lanes = [u64; LANES];

/// Hashes of a term's labels, in halves; labels of one wire fill the first two rows, active labels the first.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct TermHashes {
    pub(crate) low: [Lanes; 4],
    pub(crate) high: [Lanes; 4],
    /// Lower halves of the labels themselves, for their permute bits; that of `b` is old if there is no `b`.
    pub(crate) a: Lanes,
    pub(crate) b: Lanes,
}

/// The instruction sets there are kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Any machine; AES by the `aes` crate, which has its own detection.
    Portable,
    /// AES-NI, one block per instruction.
    Aes,
    /// VAES and AVX-512, four blocks per instruction.
    Vaes,
}

impl Isa {
    /// The fastest that this machine has and [`prg::cpu::level`] allows.
    pub fn detect() -> Self {
        let allowed = prg::cpu::level();
        Self::available().into_iter().rev().find(|isa| isa.level() <= allowed).unwrap_or(Self::Portable)
    }

    fn level(self) -> prg::cpu::Level {
        match self {
            Self::Portable => prg::cpu::Level::Portable,
            Self::Aes => prg::cpu::Level::Avx2,
            Self::Vaes => prg::cpu::Level::Avx512,
        }
    }

    /// All that this machine has, the fastest last.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let simd = [(Self::Aes, Aes::detect().is_some()), (Self::Vaes, Vaes::detect().is_some())];
        #[cfg(not(target_arch = "x86_64"))]
        let simd: [(Self, bool); 0] = [];
        let there = simd.into_iter().filter(|(_, there)| *there).map(|(isa, _)| isa);
        std::iter::once(Self::Portable).chain(there).collect()
    }

    /// [`group::garble`] with these instructions, or portably where the machine does not have them.
    pub(crate) fn garble(self, job: &Job<'_>, delta: u128, io: GarblerGroup<'_>) {
        #[cfg(target_arch = "x86_64")]
        match (self, Aes::detect(), Vaes::detect()) {
            (Self::Vaes, _, Some(kernel)) => return kernel.garble_group(job, delta, io),
            (Self::Aes, Some(kernel), _) => return kernel.garble_group(job, delta, io),
            _ => {}
        }
        group::garble(Portable, job, delta, io);
    }

    /// [`group::evaluate`] likewise.
    pub(crate) fn evaluate(self, job: &Job<'_>, io: EvaluatorGroup<'_>) -> bool {
        #[cfg(target_arch = "x86_64")]
        match (self, Aes::detect(), Vaes::detect()) {
            (Self::Vaes, _, Some(kernel)) => return kernel.evaluate_group(job, io),
            (Self::Aes, Some(kernel), _) => return kernel.evaluate_group(job, io),
            _ => {}
        }
        group::evaluate(Portable, job, io)
    }
}

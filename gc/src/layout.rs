//! How a batch is cut into chunks and lane groups, and how many bytes each takes.

use crate::batch::Reveal;
use crate::kernel::LANES;
use crate::program::Program;

/// Bytes of tables that a chunk aims at: a part of the L2 cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Groups whose evaluator bits fill whole granules of the OT extension, whatever the circuit.
const ALIGNED_GROUPS: usize = ot::iknp::GRANULE / LANES;

/// The cut of one batch.
pub(crate) struct Layout {
    n: usize,
    chunk_groups: usize,
    evaluator_bits: usize,
    gate_bytes: usize,
    residue_bytes: usize,
    revealed_bits: usize,
    decoding: bool,
}

/// Consecutive groups; all but the last group of the batch are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The first instance.
    pub(crate) start: usize,
    /// How many instances.
    pub(crate) len: usize,
}

impl Chunk {
    /// Index of the first group in the batch.
    pub(crate) fn first_group(&self) -> u64 {
        (self.start / LANES) as u64
    }

    /// The first instance and the number of lanes of each group.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (usize, usize)> {
        let (start, end) = (self.start, self.start + self.len);
        (start..end).step_by(LANES).map(move |first| (first, LANES.min(end - first)))
    }
}

impl Layout {
    pub(crate) fn new(program: &Program, n: usize, reveal: Reveal) -> Self {
        let (gate_bytes, residue_bytes) = (program.gate_bytes(), program.residue_bytes());
        let groups = (CHUNK_BYTES / (LANES * (gate_bytes + residue_bytes)).max(1)).clamp(1, 64);
        let chunk_groups =
            if groups >= ALIGNED_GROUPS { groups / ALIGNED_GROUPS * ALIGNED_GROUPS } else { groups };
        Self {
            n,
            chunk_groups,
            evaluator_bits: program.evaluator_bits(),
            gate_bytes,
            residue_bytes,
            revealed_bits: program.revealed_bits(),
            decoding: reveal == Reveal::ToEvaluator,
        }
    }

    /// The chunks, in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Chunk> + use<> {
        let (n, size) = (self.n, self.chunk_groups * LANES);
        (0..n).step_by(size).map(move |start| Chunk { start, len: size.min(n - start) })
    }

    /// Oblivious transfers of a chunk.
    pub(crate) fn transfers(&self, chunk: &Chunk) -> usize {
        chunk.len * self.evaluator_bits
    }

    /// Bytes of the tables of ANDs of this many instances; they come first in a chunk, and full groups first.
    pub(crate) fn gate_bytes(&self, instances: usize) -> usize {
        instances * self.gate_bytes
    }

    /// Bytes of the tables of terms and of the corrections of this many instances; they come next.
    pub(crate) fn residue_bytes(&self, instances: usize) -> usize {
        instances * self.residue_bytes
    }

    /// Bytes that carry one bit of every revealed wire of a chunk; in a chunk they come last.
    pub(crate) fn revealed_bytes(&self, chunk: &Chunk) -> usize {
        chunk.groups().map(|(_, lanes)| self.revealed_bits * lanes.div_ceil(8)).sum()
    }

    /// Bytes from garbler to evaluator for a chunk.
    pub(crate) fn chunk_bytes(&self, chunk: &Chunk) -> usize {
        let decoding = if self.decoding { self.revealed_bytes(chunk) } else { 0 };
        self.gate_bytes(chunk.len) + self.residue_bytes(chunk.len) + decoding
    }
}

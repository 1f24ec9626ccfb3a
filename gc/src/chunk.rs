//! One chunk: local work of either party, from inputs and labels to bytes and outputs.

use crate::batch::Reveal;
use crate::circuit::Circuit;
use crate::group::{EvaluatorGroup, GarblerGroup, Job, LaneBits};
use crate::kernel::{AND_BYTES, Isa, LANES, Lanes, Row};
use crate::layout::{Chunk, Layout};
use crate::packing::{self, Aligned};
use crate::program::Program;
use crate::session::Session;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What both parties need for any chunk of a batch.
pub(crate) struct Context<'a> {
    pub(crate) isa: Isa,
    pub(crate) program: &'a Program,
    pub(crate) layout: &'a Layout,
    pub(crate) session: &'a Session,
    pub(crate) reveal: Reveal,
}

/// The garbler's memory for one chunk at a time; lives as long as the batch.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub(crate) struct GarblerChunk {
    /// Zero labels of the evaluator's inputs: group, input bit, lane.
    pub(crate) labels: Vec<u128>,
    /// What goes to the evaluator: tables and corrections, decoding bits.
    #[zeroize(skip)]
    pub(crate) bytes: Aligned,
    /// Decoding bits that the garbler keeps.
    pub(crate) kept: Vec<LaneBits>,
    group: GarblerScratch,
}

/// The evaluator's memory for one chunk at a time.
#[derive(Default)]
pub(crate) struct EvaluatorChunk {
    /// Active labels of its inputs: group, input bit, lane.
    pub(crate) labels: Vec<u128>,
    /// What came from the garbler.
    pub(crate) bytes: Aligned,
    /// Lane bits of the revealed wires, group by group: decoded, or as they go to the garbler.
    pub(crate) bits: Vec<LaneBits>,
    /// Shares, group by group.
    pub(crate) shares: Vec<Lanes>,
    rows: Vec<Row>,
    padded: Vec<u128>,
    full: [Aligned; 2],
}

/// One group's inputs and registers.
#[derive(Default, Zeroize)]
struct GarblerScratch {
    rows: Vec<Row>,
    padded: Vec<u128>,
    #[zeroize(skip)]
    full: [Aligned; 2],
    numbers: Vec<u64>,
    words: Vec<u64>,
    wires: Vec<u64>,
    bits: Vec<LaneBits>,
    masks: Vec<Lanes>,
    decoding: Vec<LaneBits>,
}

impl Context<'_> {
    /// Garbles a chunk under `own.labels`.
    pub(crate) fn garble<C: Circuit>(
        &self,
        circuit: &C,
        delta: u128,
        inputs: &[&[u64]],
        chunk: &Chunk,
        own: &mut GarblerChunk,
    ) {
        let program = self.program;
        let scratch = &mut own.group;
        scratch.rows.resize(program.registers, Row::ZERO);
        scratch.decoding.resize(program.revealed_bits(), 0);
        own.bytes.resize(self.layout.chunk_bytes(chunk));
        let (mut gates, rest) = own.bytes.split_at_mut(self.layout.gate_bytes(chunk.len));
        let (mut residues, mut decoding) = rest.split_at_mut(self.layout.residue_bytes(chunk.len));
        own.kept.clear();
        let mut labels = &own.labels[..];
        for ((start, lanes), group) in chunk.groups().zip(chunk.first_group()..) {
            scratch.load(circuit, program, inputs, start, lanes);
            let mut own_labels = labels.split_off(..lanes * program.evaluator_bits()).unwrap_or_default();
            let gates = gates.split_off_mut(..self.layout.gate_bytes(lanes)).unwrap_or_default();
            let residues = residues.split_off_mut(..self.layout.residue_bytes(lanes)).unwrap_or_default();
            let full = lanes == LANES;
            if !full {
                packing::pad_labels(own_labels, lanes, &mut scratch.padded);
                own_labels = &scratch.padded;
                scratch.full[0].resize(self.layout.gate_bytes(LANES));
                scratch.full[1].resize(self.layout.residue_bytes(LANES));
            }
            let [all_gates, all_residues] = &mut scratch.full;
            let job = Job { program, session: self.session, group };
            let io = GarblerGroup {
                rows: &mut scratch.rows,
                bits: &scratch.bits,
                masks: &scratch.masks,
                labels: own_labels.as_chunks().0,
                gates: if full { &mut *gates } else { &mut *all_gates }.as_chunks_mut().0,
                residues: if full { &mut *residues } else { &mut *all_residues },
                decoding: &mut scratch.decoding,
            };
            self.isa.garble(&job, delta, io);
            if !full {
                packing::compact(all_gates, AND_BYTES / LANES / 2, lanes, gates);
                packing::compact(all_residues, 1, lanes, residues);
            }
            match self.reveal {
                Reveal::ToEvaluator => packing::put_lane_bits(&scratch.decoding, lanes, &mut decoding),
                Reveal::ToGarbler => own.kept.extend_from_slice(&scratch.decoding),
            }
        }
    }

    /// Evaluates a chunk from `own.labels` and `own.bytes`. False if the peer sent a residue that is not reduced.
    pub(crate) fn evaluate(&self, chunk: &Chunk, own: &mut EvaluatorChunk) -> bool {
        let program = self.program;
        own.rows.resize(program.registers, Row::ZERO);
        let (bit_count, share_count) = (program.revealed_bits(), program.constants.len());
        let groups = chunk.groups().count();
        own.bits.resize(groups * bit_count, 0);
        own.shares.resize(groups * share_count, [0; LANES]);
        let (mut gates, rest) = own.bytes.split_at(self.layout.gate_bytes(chunk.len));
        let (mut residues, mut decoding) = rest.split_at(self.layout.residue_bytes(chunk.len));
        let (mut labels, mut reduced) = (&own.labels[..], true);
        for (index, (_, lanes)) in chunk.groups().enumerate() {
            let mut own_labels = labels.split_off(..lanes * program.evaluator_bits()).unwrap_or_default();
            let mut gates = gates.split_off(..self.layout.gate_bytes(lanes)).unwrap_or_default();
            let mut residues = residues.split_off(..self.layout.residue_bytes(lanes)).unwrap_or_default();
            if lanes < LANES {
                packing::pad_labels(own_labels, lanes, &mut own.padded);
                let [all_gates, all_residues] = &mut own.full;
                all_gates.resize(self.layout.gate_bytes(LANES));
                packing::expand(gates, AND_BYTES / LANES / 2, lanes, all_gates);
                all_residues.resize(self.layout.residue_bytes(LANES));
                packing::expand(residues, 1, lanes, all_residues);
                (own_labels, gates, residues) = (&own.padded, all_gates, all_residues);
            }
            let permute = &mut own.bits[index * bit_count..][..bit_count];
            let job = Job { program, session: self.session, group: chunk.first_group() + index as u64 };
            let io = EvaluatorGroup {
                rows: &mut own.rows,
                labels: own_labels.as_chunks().0,
                gates: gates.as_chunks().0,
                residues,
                permute: &mut *permute,
                shares: &mut own.shares[index * share_count..][..share_count],
            };
            reduced &= self.isa.evaluate(&job, io);
            if self.reveal == Reveal::ToEvaluator {
                let flips = packing::take_lane_bits(bit_count, lanes, &mut decoding);
                permute.iter_mut().zip(flips).for_each(|(bit, flip)| *bit ^= flip);
            }
        }
        reduced
    }

    /// Packed choice bits of a chunk, in the order of its labels.
    pub(crate) fn choices(&self, inputs: &[&[u64]], chunk: &Chunk, choices: &mut Vec<u64>) {
        choices.clear();
        choices.resize(self.layout.transfers(chunk).div_ceil(64), 0);
        let (mut bits, mut count) = (Vec::new(), 0);
        for (start, lanes) in chunk.groups() {
            bits.clear();
            for (words, &width) in inputs.iter().zip(&self.program.shape.evaluator) {
                packing::push_bits(&words[start..start + lanes], width, &mut bits);
            }
            packing::put_choices(&bits, lanes, choices, count);
            count += bits.len() * lanes;
        }
        bits.zeroize();
    }
}

impl GarblerScratch {
    /// The garbler's bits and masks of one group.
    fn load<C: Circuit>(
        &mut self,
        circuit: &C,
        program: &Program,
        inputs: &[&[u64]],
        start: usize,
        lanes: usize,
    ) {
        let shape = &program.shape;
        self.numbers.resize(shape.garbler_inputs, 0);
        self.words.resize(shape.garbler.len(), 0);
        self.wires.resize(shape.garbler.len() * LANES, 0);
        let (numbers, masks) = inputs.split_at(shape.garbler_inputs);
        for lane in 0..lanes {
            self.numbers.iter_mut().zip(numbers).for_each(|(number, words)| *number = words[start + lane]);
            circuit.garbler_wires(&self.numbers, &mut self.words);
            let wires = self.wires.iter_mut().skip(lane).step_by(LANES);
            wires.zip(&self.words).for_each(|(wire, &word)| *wire = word);
        }
        self.bits.clear();
        for (words, &width) in self.wires.chunks_exact(LANES).zip(&shape.garbler) {
            packing::push_bits(words, width, &mut self.bits);
        }
        self.masks.resize(masks.len(), [0; LANES]);
        for (mask, words) in self.masks.iter_mut().zip(masks) {
            mask[..lanes].copy_from_slice(&words[start..start + lanes]);
        }
    }
}

//! One chunk: local work of either party, from inputs and labels to bytes and outputs.

use crate::batch::Reveal;
use crate::circuit::Circuit;
use crate::group::{EvaluatorGroup, GarblerGroup, LaneBits};
use crate::kernel::{Isa, LANES, Row};
use crate::layout::{Chunk, Layout};
use crate::packing;
use crate::program::Program;
use crate::session::Span;
use crate::term::Lanes;
use zeroize::{Zeroize, Zeroizing};

/// What both parties need for any chunk of a batch.
pub(crate) struct Context<'a> {
    pub(crate) isa: Isa,
    pub(crate) program: &'a Program,
    pub(crate) layout: &'a Layout,
    pub(crate) span: &'a Span<'a>,
    pub(crate) reveal: Reveal,
}

/// The evaluator's outputs of a chunk: lane bits of the revealed wires, and shares, group by group.
pub(crate) struct Evaluated {
    pub(crate) bits: Vec<LaneBits>,
    pub(crate) shares: Vec<Lanes>,
}

impl Context<'_> {
    /// Garbles a chunk under the evaluator's zero labels: the bytes for the evaluator, and the decoding bits if the
    /// garbler is to keep them.
    pub(crate) fn garble<C: Circuit>(
        &self,
        circuit: &C,
        delta: u128,
        inputs: &[&[u64]],
        chunk: &Chunk,
        labels: &[u128],
    ) -> (Vec<u8>, Vec<LaneBits>) {
        let program = self.program;
        let mut rows = Zeroizing::new(vec![Row::ZERO; program.registers]);
        let mut bytes = vec![0; chunk.len * self.layout.group_bytes(1)];
        let mut full = vec![0; self.layout.group_bytes(LANES)];
        let mut kept = Vec::new();
        let mut decoding = vec![0; program.revealed_bits()];
        let mut decoding_bytes = Vec::new();
        let mut label_rows = Zeroizing::new(Vec::new());
        let (mut rest, mut labels) = (&mut bytes[..], labels);
        for ((start, lanes), group) in chunk.groups().zip(chunk.first_group()..) {
            let bits = Zeroizing::new(garbler_bits(circuit, program, inputs, start, lanes));
            let masks = masks(program, inputs, start, lanes);
            let own = labels.split_off(..lanes * program.evaluator_bits()).unwrap_or_default();
            packing::label_rows(own, lanes, &mut label_rows);
            let table = rest.split_off_mut(..self.layout.group_bytes(lanes)).unwrap_or_default();
            let whole = if lanes == LANES { &mut *table } else { &mut full };
            let io = GarblerGroup {
                bits: &bits,
                masks: &masks,
                labels: &label_rows,
                table: whole,
                decoding: &mut decoding,
            };
            self.isa.garble(program, self.span, group, delta, &mut rows, io);
            if lanes < LANES {
                packing::compact(program, &full, lanes, table);
            }
            match self.reveal {
                Reveal::ToEvaluator => packing::push_lane_bytes(&decoding, lanes, &mut decoding_bytes),
                Reveal::ToGarbler => kept.extend_from_slice(&decoding),
            }
        }
        bytes.extend(decoding_bytes);
        (bytes, kept)
    }

    /// Evaluates a chunk under active labels. None if the peer sent a residue that is not reduced.
    pub(crate) fn evaluate(&self, chunk: &Chunk, labels: &[u128], bytes: &[u8]) -> Option<Evaluated> {
        let program = self.program;
        let mut rows = vec![Row::ZERO; program.registers];
        let mut full = vec![0; self.layout.group_bytes(LANES)];
        let (mut tables, mut decoding) = bytes.split_at(chunk.len * self.layout.group_bytes(1));
        let mut labels = labels;
        let mut label_rows = Vec::new();
        let (mut bits, mut shares) = (Vec::new(), Vec::new());
        let mut permute = vec![0; program.revealed_bits()];
        let mut group_shares = vec![[0; LANES]; program.constants.len()];
        for ((_, lanes), group) in chunk.groups().zip(chunk.first_group()..) {
            let own = labels.split_off(..lanes * program.evaluator_bits()).unwrap_or_default();
            packing::label_rows(own, lanes, &mut label_rows);
            let table = tables.split_off(..self.layout.group_bytes(lanes)).unwrap_or_default();
            if lanes < LANES {
                packing::expand(program, table, lanes, &mut full);
            }
            let table = if lanes == LANES { table } else { &full };
            let io = EvaluatorGroup {
                labels: &label_rows,
                table,
                permute: &mut permute,
                shares: &mut group_shares,
            };
            if !self.isa.evaluate(program, self.span, group, &mut rows, io) {
                return None;
            }
            if self.reveal == Reveal::ToEvaluator {
                let len = permute.len() * lanes.div_ceil(8);
                let own = decoding.split_off(..len).unwrap_or_default();
                permute.iter_mut().zip(packing::lane_bits(own, lanes)).for_each(|(bit, flip)| *bit ^= flip);
            }
            bits.extend_from_slice(&permute);
            shares.extend_from_slice(&group_shares);
        }
        Some(Evaluated { bits, shares })
    }

    /// Packed choice bits of a chunk, in the order of its labels: group, input bit, lane.
    pub(crate) fn choices(&self, inputs: &[&[u64]], chunk: &Chunk) -> Zeroizing<Vec<u64>> {
        let mut choices = Zeroizing::new(vec![0; self.layout.transfers(chunk).div_ceil(64)]);
        let (mut bits, mut count) = (Vec::new(), 0);
        for (start, lanes) in chunk.groups() {
            bits.clear();
            for (words, &width) in inputs.iter().zip(&self.program.shape.evaluator) {
                packing::push_bits(&words[start..start + lanes], width, &mut bits);
            }
            packing::push_choices(&bits, lanes, &mut choices, count);
            count += bits.len() * lanes;
        }
        bits.zeroize();
        choices
    }
}

/// The garbler's input bits of one group.
fn garbler_bits<C: Circuit>(
    circuit: &C,
    program: &Program,
    inputs: &[&[u64]],
    start: usize,
    lanes: usize,
) -> Vec<LaneBits> {
    let shape = &program.shape;
    let mut wires = Zeroizing::new(vec![0; shape.garbler.len() * LANES]);
    let mut numbers = Zeroizing::new(vec![0; shape.garbler_inputs]);
    let mut words = Zeroizing::new(vec![0; shape.garbler.len()]);
    for lane in 0..lanes {
        numbers.iter_mut().zip(inputs).for_each(|(number, words)| *number = words[start + lane]);
        circuit.garbler_wires(&numbers, &mut words);
        wires.iter_mut().skip(lane).step_by(LANES).zip(&*words).for_each(|(wire, &word)| *wire = word);
    }
    let mut bits = Vec::with_capacity(shape.garbler.iter().sum::<u32>() as usize);
    for (words, &width) in wires.chunks_exact(LANES).zip(&shape.garbler) {
        packing::push_bits(words, width, &mut bits);
    }
    bits
}

/// The garbler's masks of one group.
fn masks(program: &Program, inputs: &[&[u64]], start: usize, lanes: usize) -> Vec<Lanes> {
    let lane = |words: &[u64]| {
        let mut mask = [0; LANES];
        mask[..lanes].copy_from_slice(&words[start..start + lanes]);
        mask
    };
    inputs[program.shape.garbler_inputs..].iter().map(|words| lane(words)).collect()
}

//! Numbers to lane bits and back, labels to rows, tables of a group that is not full.

use crate::circuit::Shape;
use crate::group::LaneBits;
use crate::kernel::{LANES, Row};
use crate::program::{OutputBit, Program};
use crate::term::Lanes;

/// Bytes of a full group's lane bits.
const LANE_BYTES: usize = size_of::<LaneBits>();

/// Appends the lane bits of one word of a group, `words[lane]` being that of a lane.
pub(crate) fn push_bits(words: &[u64], bits: u32, out: &mut Vec<LaneBits>) {
    let plane = |bit: u32| {
        words
            .iter()
            .enumerate()
            .fold(0, |plane, (lane, word)| plane | ((word >> bit & 1) as LaneBits) << lane)
    };
    out.extend((0..bits).map(plane));
}

/// Choice bits of one group: for every input bit those of `lanes` lanes, after `count` bits that are there already.
pub(crate) fn push_choices(bits: &[LaneBits], lanes: usize, choices: &mut [u64], mut count: usize) {
    for &bits in bits {
        let (word, shift) = (count / 64, count % 64);
        choices[word] |= u64::from(bits) << shift;
        if shift + lanes > 64 {
            choices[word + 1] |= u64::from(bits) >> (64 - shift);
        }
        count += lanes;
    }
}

/// The labels of one group as rows; lanes that are not there get zero.
pub(crate) fn label_rows(labels: &[u128], lanes: usize, rows: &mut Vec<Row>) {
    rows.clear();
    rows.extend(labels.chunks_exact(lanes).map(|labels| {
        let mut row = Row::ZERO;
        row.0[..lanes].copy_from_slice(labels);
        row
    }));
}

/// Keeps the first `lanes` lanes of every element of a full group's tables.
pub(crate) fn compact(program: &Program, full: &[u8], lanes: usize, out: &mut [u8]) {
    let (mut full, mut out) = (full, out);
    for bytes in program.elements() {
        let (from, to) = (full.split_off(..LANES * bytes), out.split_off_mut(..lanes * bytes));
        if let (Some(from), Some(to)) = (from, to) {
            to.copy_from_slice(&from[..lanes * bytes]);
        }
    }
}

/// The inverse of [`compact`]; the other lanes keep what was there.
pub(crate) fn expand(program: &Program, compact: &[u8], lanes: usize, full: &mut [u8]) {
    let (mut compact, mut full) = (compact, full);
    for bytes in program.elements() {
        let (from, to) = (compact.split_off(..lanes * bytes), full.split_off_mut(..LANES * bytes));
        if let (Some(from), Some(to)) = (from, to) {
            to[..lanes * bytes].copy_from_slice(from);
        }
    }
}

/// Lane bits of one group as bytes, as many as the lanes need.
pub(crate) fn push_lane_bytes(bits: &[LaneBits], lanes: usize, out: &mut Vec<u8>) {
    let used = LaneBits::MAX >> (LANES - lanes);
    for bits in bits {
        out.extend_from_slice(&(bits & used).to_le_bytes()[..lanes.div_ceil(8)]);
    }
}

/// The inverse of [`push_lane_bytes`].
pub(crate) fn lane_bits(bytes: &[u8], lanes: usize) -> impl Iterator<Item = LaneBits> {
    bytes.chunks_exact(lanes.div_ceil(8)).map(|bytes| {
        let mut whole = [0; LANE_BYTES];
        whole[..bytes.len()].copy_from_slice(bytes);
        LaneBits::from_le_bytes(whole)
    })
}

/// Numbers of one group from the lane bits of the revealed wires, in the order of the outputs of kind `Bits`.
pub(crate) fn numbers(program: &Program, mut bits: impl Iterator<Item = LaneBits>) -> Vec<Lanes> {
    let mut outputs = vec![[0; LANES]; revealed(&program.shape).count()];
    let mut wires = program.bits.iter();
    for (output, width) in outputs.iter_mut().zip(revealed(&program.shape)) {
        for (position, wire) in wires.by_ref().take(width as usize).enumerate() {
            let lanes = match wire {
                OutputBit::Constant(bit) => LaneBits::from(*bit).wrapping_neg(),
                OutputBit::Register { .. } => bits.next().unwrap_or_default(),
            };
            for (lane, number) in output.iter_mut().enumerate() {
                *number |= u64::from(lanes >> lane & 1) << position;
            }
        }
    }
    outputs
}

/// Widths of the revealed outputs.
pub(crate) fn revealed(shape: &Shape) -> impl Iterator<Item = u32> {
    shape.outputs.iter().filter_map(|kind| match kind {
        crate::circuit::OutputKind::Bits(bits) => Some(*bits),
        crate::circuit::OutputKind::Share(_) => None,
    })
}

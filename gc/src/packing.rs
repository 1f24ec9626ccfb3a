//! Numbers to lane bits and back, labels to rows, tables of a group that is not full.

use crate::circuit::Shape;
use crate::group::LaneBits;
use crate::kernel::{LANES, Lanes, Row};
use crate::program::{OutputBit, Program};
use std::ops::{Deref, DerefMut};

/// Bytes of a full group's lane bits.
const LANE_BYTES: usize = size_of::<LaneBits>();

/// Appends the lane bits of one word of a group, `words[lane]` being that of a lane.
pub(crate) fn push_bits(words: &[u64], bits: u32, out: &mut Vec<LaneBits>) {
    for low in (0..bits).step_by(8) {
        let halves: [u64; LANES / 8] = core::array::from_fn(|half| {
            let lanes = words.iter().skip(8 * half).take(8).enumerate();
            let bytes = lanes.fold(0, |bytes, (lane, word)| bytes | (word >> low & 0xff) << (8 * lane));
            transpose_8x8(bytes)
        });
        let plane = |bit: u32| {
            let byte = |half: u64| (half >> (8 * bit)) as LaneBits & 0xff;
            halves.iter().rev().fold(0, |plane, &half| plane << 8 | byte(half))
        };
        out.extend((0..8.min(bits - low)).map(plane));
    }
}

/// Bit i of byte j becomes bit j of byte i (Warren, Hacker's Delight, section 7-3).
fn transpose_8x8(mut x: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let t = (x ^ x >> shift) & mask;
        x ^= t ^ t << shift;
    }
    x
}

/// Choice bits of one group: for every input bit those of `lanes` lanes, after `count` bits that are there already.
pub(crate) fn put_choices(bits: &[LaneBits], lanes: usize, choices: &mut [u64], mut count: usize) {
    for &bits in bits {
        let (word, shift) = (count / 64, count % 64);
        choices[word] |= u64::from(bits) << shift;
        if shift + lanes > 64 {
            choices[word + 1] |= u64::from(bits) >> (64 - shift);
        }
        count += lanes;
    }
}

/// The labels of a group that is not full, as if it were; the other lanes get zero.
pub(crate) fn pad_labels(labels: &[u128], lanes: usize, out: &mut Vec<u128>) {
    out.clear();
    for labels in labels.chunks_exact(lanes) {
        out.extend_from_slice(labels);
        out.resize(out.len() + LANES - lanes, 0);
    }
}

/// Keeps the first `lanes` of each [`LANES`] elements of `element` bytes.
pub(crate) fn compact(full: &[u8], element: usize, lanes: usize, out: &mut [u8]) {
    for (full, out) in full.chunks_exact(LANES * element).zip(out.chunks_exact_mut(lanes * element)) {
        out.copy_from_slice(&full[..lanes * element]);
    }
}

/// The inverse of [`compact`]; the other lanes keep what was there.
pub(crate) fn expand(compact: &[u8], element: usize, lanes: usize, full: &mut [u8]) {
    for (full, compact) in full.chunks_exact_mut(LANES * element).zip(compact.chunks_exact(lanes * element)) {
        full[..lanes * element].copy_from_slice(compact);
    }
}

/// Bytes in whole cache lines, so that tables do not straddle them.
#[derive(Default)]
pub(crate) struct Aligned {
    rows: Vec<Row>,
    len: usize,
}

impl Aligned {
    /// Makes room for `len` bytes; what they are is left open.
    pub(crate) fn resize(&mut self, len: usize) {
        self.rows.resize(len.div_ceil(size_of::<Row>()), Row::ZERO);
        self.len = len;
    }
}

impl Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.rows)[..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.rows)[..self.len]
    }
}

/// Writes lane bits of one group as bytes, as many as the lanes need, and moves `out` behind them.
pub(crate) fn put_lane_bits(bits: &[LaneBits], lanes: usize, out: &mut &mut [u8]) {
    let (used, bytes) = (LaneBits::MAX >> (LANES - lanes), lanes.div_ceil(8));
    let own = out.split_off_mut(..bits.len() * bytes).unwrap_or_default();
    for (bits, out) in bits.iter().zip(own.chunks_exact_mut(bytes)) {
        out.copy_from_slice(&(bits & used).to_le_bytes()[..bytes]);
    }
}

/// The inverse of [`put_lane_bits`] for `count` wires.
pub(crate) fn take_lane_bits<'a>(
    count: usize,
    lanes: usize,
    from: &mut &'a [u8],
) -> impl Iterator<Item = LaneBits> + use<'a> {
    let bytes = lanes.div_ceil(8);
    let own = from.split_off(..count * bytes).unwrap_or_default();
    own.chunks_exact(bytes).map(|bytes| {
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

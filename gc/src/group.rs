//! Half gates over one lane group: the garbler's and the evaluator's walk through a program.
//!
//! Zahur, Rosulek, Evans, "Two Halves Make a Whole" (EUROCRYPT 2015, ePrint 2014/756), figure 2, with free XOR and
//! point-and-permute; the garbled instance is a lane, all lanes of a group take each step together.

use crate::kernel::{AND_BYTES, Kernel, LANES, Row};
use crate::program::{Op, OutputBit, Program};
use crate::session::{Session, Span};
use crate::term::{self, Lanes, Step};

/// The bits of one wire in the lanes of a group.
pub(crate) type LaneBits = u16;

/// What the garbler puts into and gets out of one group.
pub(crate) struct GarblerGroup<'a> {
    /// Its input bits.
    pub(crate) bits: &'a [LaneBits],
    /// Its masks, one for each shared output.
    pub(crate) masks: &'a [Lanes],
    /// Zero labels of the evaluator's inputs.
    pub(crate) labels: &'a [Row],
    /// Where tables and corrections go: all lanes of the first element, then of the second, and so on.
    pub(crate) table: &'a mut [u8],
    /// Where decoding bits go.
    pub(crate) decoding: &'a mut [LaneBits],
}

/// What the evaluator puts into and gets out of one group.
pub(crate) struct EvaluatorGroup<'a> {
    /// Active labels of its inputs.
    pub(crate) labels: &'a [Row],
    /// Tables and corrections.
    pub(crate) table: &'a [u8],
    /// Where permute bits of the revealed outputs go.
    pub(crate) permute: &'a mut [LaneBits],
    /// Where its shares go.
    pub(crate) shares: &'a mut [Lanes],
}

/// Expanded keys in the order of the hashing operations, a fresh one every [`Session::STEPS_PER_KEY`].
struct Steps<'a, K: Kernel> {
    kernel: K,
    keys: &'a [u128],
    current: K::Key,
    step: usize,
}

impl<'a, K: Kernel> Steps<'a, K> {
    #[inline(always)]
    fn new(kernel: K, keys: &'a [u128]) -> Self {
        Self { kernel, keys, current: kernel.key(keys.first().copied().unwrap_or(0)), step: 0 }
    }

    /// Key and tweak of the next operation.
    #[inline(always)]
    fn next(&mut self) -> Step<'_, K> {
        let (index, within) = (self.step / Session::STEPS_PER_KEY, self.step % Session::STEPS_PER_KEY);
        if within == 0 && index > 0 {
            self.current = self.kernel.key(self.keys[index]);
        }
        self.step += 1;
        Step { kernel: self.kernel, key: &self.current, step: 2 * within as u64 }
    }
}

/// Garbles one group.
#[inline(always)]
pub(crate) fn garble<K: Kernel>(
    kernel: K,
    program: &Program,
    span: &Span<'_>,
    group: u64,
    delta: u128,
    rows: &mut [Row],
    io: GarblerGroup<'_>,
) {
    let keys = span.keys(group);
    let mut steps = Steps::new(kernel, &keys);
    let label_key = kernel.key(span.label_key());
    let mut sums = vec![[0; LANES]; program.constants.len()];
    let mut table = io.table;
    for op in &program.ops {
        match op {
            Op::Garbler { to, input } => {
                let active = active_label(kernel, &label_key, span.label(group, *input));
                let bits = io.bits[*input as usize];
                let zero = |lane| active.0[lane] ^ u128::from(bits >> lane & 1).wrapping_neg() & delta;
                rows[*to as usize] = Row(core::array::from_fn(zero));
            }
            Op::Evaluator { to, input } => rows[*to as usize] = io.labels[*input as usize],
            Op::Xor { to, from } => kernel.xor(rows, *to, from),
            Op::And(and) => {
                let Step { key, step, .. } = steps.next();
                kernel.garble(
                    key,
                    step,
                    delta,
                    rows,
                    and,
                    table.split_off_mut(..AND_BYTES).unwrap_or_default(),
                );
            }
            Op::Term(term) => {
                let len = LANES * term.rows() * term.ring.bytes;
                let table = table.split_off_mut(..len).unwrap_or_default();
                term::garble(steps.next(), delta, rows, term, &mut sums[term.share], table);
            }
        }
    }
    for (((modulus, sum), mask), constant) in
        program.shape.masks().zip(&sums).zip(io.masks).zip(&program.constants)
    {
        // The evaluator holds value + Σμ and is to hold value − mask.
        let correction = |lane: usize| modulus.sub(modulus.sub(*constant, mask[lane]), sum[lane]);
        let bytes = modulus.bits().div_ceil(8) as usize;
        let table = table.split_off_mut(..LANES * bytes).unwrap_or_default();
        term::put(&core::array::from_fn(correction), bytes, table);
    }
    permute_bits(program, rows, io.decoding);
    for (bits, bit) in io.decoding.iter_mut().zip(registers(program)) {
        *bits ^= if bit.1 { LaneBits::MAX } else { 0 };
    }
}

/// Evaluates one group. False if the peer sent a residue that is not reduced.
#[inline(always)]
pub(crate) fn evaluate<K: Kernel>(
    kernel: K,
    program: &Program,
    span: &Span<'_>,
    group: u64,
    rows: &mut [Row],
    io: EvaluatorGroup<'_>,
) -> bool {
    let keys = span.keys(group);
    let mut steps = Steps::new(kernel, &keys);
    let label_key = kernel.key(span.label_key());
    let mut table = io.table;
    let mut reduced = true;
    io.shares.fill([0; LANES]);
    for op in &program.ops {
        match op {
            Op::Garbler { to, input } => {
                rows[*to as usize] = active_label(kernel, &label_key, span.label(group, *input));
            }
            Op::Evaluator { to, input } => rows[*to as usize] = io.labels[*input as usize],
            Op::Xor { to, from } => kernel.xor(rows, *to, from),
            Op::And(and) => {
                let Step { key, step, .. } = steps.next();
                kernel.evaluate(key, step, rows, and, table.split_off(..AND_BYTES).unwrap_or_default());
            }
            Op::Term(term) => {
                let len = LANES * term.rows() * term.ring.bytes;
                let table = table.split_off(..len).unwrap_or_default();
                reduced &= term::evaluate(steps.next(), rows, term, &mut io.shares[term.share], table);
            }
        }
    }
    for (modulus, share) in program.shape.masks().zip(io.shares) {
        let bytes = modulus.bits().div_ceil(8) as usize;
        let corrections = term::get(bytes, table.split_off(..LANES * bytes).unwrap_or_default());
        for (share, correction) in share.iter_mut().zip(corrections) {
            reduced &= correction < modulus.value();
            *share = modulus.add(*share, correction);
        }
    }
    permute_bits(program, rows, io.permute);
    reduced
}

/// The label that both parties know for an input bit of the garbler's.
#[inline(always)]
fn active_label<K: Kernel>(kernel: K, key: &K::Key, index: u64) -> Row {
    let mut rows = [Row(core::array::from_fn(|lane| u128::from(index) << 64 | lane as u128))];
    kernel.hash(key, &mut rows);
    rows[0]
}

/// Registers of the revealed bits that are not public, and whether they are negated.
fn registers(program: &Program) -> impl Iterator<Item = (u32, bool)> {
    program.bits.iter().filter_map(|bit| match *bit {
        OutputBit::Register { register, negated } => Some((register, negated)),
        OutputBit::Constant(_) => None,
    })
}

#[inline(always)]
fn permute_bits(program: &Program, rows: &[Row], out: &mut [LaneBits]) {
    for (bits, (register, _)) in out.iter_mut().zip(registers(program)) {
        let labels = rows[register as usize].0.iter().enumerate();
        *bits = labels.fold(0, |bits, (lane, label)| bits | ((label & 1) as LaneBits) << lane);
    }
}

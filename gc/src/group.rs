//! Half gates over one lane group: the garbler's and the evaluator's walk through a program.
//!
//! Zahur, Rosulek, Evans, "Two Halves Make a Whole" (EUROCRYPT 2015, ePrint 2014/756), figure 2, with free XOR and
//! point-and-permute; the garbled instance is a lane, all lanes of a group take each step together.

use crate::kernel::{AND_BYTES, Kernel, LANES, Lanes, Row, TermHashes};
use crate::program::{Op, OutputBit, Program};
use crate::session::Session;
use crate::term::{self, Step};

/// The bits of one wire in the lanes of a group.
pub(crate) type LaneBits = u16;

/// One group of a batch.
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Program,
    pub(crate) session: &'a Session,
    /// Index in the batch.
    pub(crate) group: u64,
}

/// What the garbler puts into and gets out of one group.
pub(crate) struct GarblerGroup<'a> {
    /// Registers to work in.
    pub(crate) rows: &'a mut [Row],
    /// Its input bits.
    pub(crate) bits: &'a [LaneBits],
    /// Its masks, one for each shared output.
    pub(crate) masks: &'a [Lanes],
    /// Zero labels of the evaluator's inputs.
    pub(crate) labels: &'a [[u128; LANES]],
    /// Where the tables of ANDs go.
    pub(crate) gates: &'a mut [[u8; AND_BYTES]],
    /// Where the tables of terms and the corrections go: bytes of all lanes together.
    pub(crate) residues: &'a mut [u8],
    /// Where decoding bits go.
    pub(crate) decoding: &'a mut [LaneBits],
}

/// What the evaluator puts into and gets out of one group.
pub(crate) struct EvaluatorGroup<'a> {
    /// Registers to work in.
    pub(crate) rows: &'a mut [Row],
    /// Active labels of its inputs.
    pub(crate) labels: &'a [[u128; LANES]],
    /// Tables of ANDs.
    pub(crate) gates: &'a [[u8; AND_BYTES]],
    /// Tables of terms, and corrections.
    pub(crate) residues: &'a [u8],
    /// Where permute bits of the revealed outputs go.
    pub(crate) permute: &'a mut [LaneBits],
    /// Where its shares go.
    pub(crate) shares: &'a mut [Lanes],
}

/// Keys expanded together.
const KEYS_AT_ONCE: usize = 16;

/// Expanded keys in the order of the hashing operations, a fresh one every [`Session::STEPS_PER_KEY`].
struct Steps<'a, K: Kernel> {
    kernel: K,
    job: &'a Job<'a>,
    keys: Vec<K::Key>,
    /// The first key of `keys`.
    first: usize,
    step: usize,
}

impl<'a, K: Kernel> Steps<'a, K> {
    #[inline(always)]
    fn new(kernel: K, job: &'a Job<'a>) -> Self {
        Self { kernel, job, keys: Vec::with_capacity(KEYS_AT_ONCE), first: 0, step: 0 }
    }

    /// Key and tweak of the next operation.
    #[inline(always)]
    fn next(&mut self) -> Step<'_, K> {
        let (index, within) = (self.step / Session::STEPS_PER_KEY, self.step % Session::STEPS_PER_KEY);
        if index == self.first + self.keys.len() {
            let mut keys = [0; KEYS_AT_ONCE];
            self.first = index;
            let keys = self.job.session.keys(self.job.group, index, &mut keys);
            self.kernel.expand(keys, &mut self.keys);
        }
        self.step += 1;
        Step { kernel: self.kernel, key: &self.keys[index - self.first], step: 2 * within as u64 }
    }
}

/// The key of input labels, expanded.
#[inline(always)]
fn label_key<K: Kernel>(kernel: K, job: &Job<'_>) -> Vec<K::Key> {
    let mut keys = Vec::with_capacity(1);
    kernel.expand(&[job.session.label_key()], &mut keys);
    keys
}

/// Garbles one group.
#[inline(always)]
pub(crate) fn garble<K: Kernel>(kernel: K, job: &Job<'_>, delta: u128, io: GarblerGroup<'_>) {
    let program = job.program;
    let mut steps = Steps::new(kernel, job);
    let label_key = label_key(kernel, job);
    let mut sums = vec![[0; LANES]; program.constants.len()];
    let mut hashes = TermHashes::default();
    let (rows, mut gates, mut residues) = (io.rows, io.gates.iter_mut(), io.residues);
    for op in &program.ops {
        match op {
            Op::Garbler { to, input } => {
                let (index, bits) = (job.session.label(job.group, *input), io.bits[*input as usize]);
                kernel.input(&label_key[0], index, bits, delta, &mut rows[*to as usize]);
            }
            Op::Evaluator { to, input } => rows[*to as usize].0 = io.labels[*input as usize],
            Op::Xor { to, from } => kernel.xor(rows, *to, from),
            Op::And(and) => {
                let Step { key, step, .. } = steps.next();
                let Some(table) = gates.next() else { unreachable!("one table for each AND") };
                kernel.garble(key, step, delta, rows, and, table);
            }
            Op::Term(term) => {
                let (head, rest) = residues.split_at_mut(LANES * term.rows() * term.ring.bytes);
                term::garble(steps.next(), delta, rows, term, &mut hashes, &mut sums[term.share], head);
                residues = rest;
            }
        }
    }
    for (((modulus, sum), mask), constant) in
        program.shape.masks().zip(&sums).zip(io.masks).zip(&program.constants)
    {
        // The evaluator holds value + Σμ and is to hold value − mask.
        let correction = |lane: usize| modulus.sub(modulus.sub(*constant, mask[lane]), sum[lane]);
        let bytes = modulus.bits().div_ceil(8) as usize;
        let (head, rest) = residues.split_at_mut(LANES * bytes);
        term::put(&core::array::from_fn(correction), head);
        residues = rest;
    }
    permute_bits(program, rows, io.decoding);
    for (bits, bit) in io.decoding.iter_mut().zip(registers(program)) {
        *bits ^= if bit.1 { LaneBits::MAX } else { 0 };
    }
}

/// Evaluates one group. False if the peer sent a residue that is not reduced.
#[inline(always)]
pub(crate) fn evaluate<K: Kernel>(kernel: K, job: &Job<'_>, io: EvaluatorGroup<'_>) -> bool {
    let program = job.program;
    let mut steps = Steps::new(kernel, job);
    let label_key = label_key(kernel, job);
    let (rows, mut gates, mut residues) = (io.rows, io.gates.iter(), io.residues);
    let (mut reduced, mut hashes) = (true, TermHashes::default());
    io.shares.fill([0; LANES]);
    for op in &program.ops {
        match op {
            Op::Garbler { to, input } => {
                let index = job.session.label(job.group, *input);
                kernel.input(&label_key[0], index, 0, 0, &mut rows[*to as usize]);
            }
            Op::Evaluator { to, input } => rows[*to as usize].0 = io.labels[*input as usize],
            Op::Xor { to, from } => kernel.xor(rows, *to, from),
            Op::And(and) => {
                let Step { key, step, .. } = steps.next();
                let Some(table) = gates.next() else { unreachable!("one table for each AND") };
                kernel.evaluate(key, step, rows, and, table);
            }
            Op::Term(term) => {
                let (head, rest) = residues.split_at(LANES * term.rows() * term.ring.bytes);
                reduced &=
                    term::evaluate(steps.next(), rows, term, &mut hashes, &mut io.shares[term.share], head);
                residues = rest;
            }
        }
    }
    for (modulus, share) in program.shape.masks().zip(io.shares) {
        let bytes = modulus.bits().div_ceil(8) as usize;
        let (head, rest) = residues.split_at(LANES * bytes);
        let corrections = term::get(head);
        reduced &= corrections.iter().all(|&correction| correction < modulus.value());
        for (share, correction) in share.iter_mut().zip(corrections) {
            *share = modulus.add(*share, correction);
        }
        residues = rest;
    }
    permute_bits(program, rows, io.permute);
    reduced
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Circuit, Output, OutputKind, Shape, Sum, Term};
    use crate::gates::{Gates, Word};
    use crate::program::And;
    use ntt::Modulus;
    use prg::Seed;
    use std::collections::HashMap;
    use std::sync::Mutex;

    /// Notes every key and tweak instead of hashing; lanes are told apart by the tweak's other half.
    #[derive(Clone, Copy)]
    struct Tracing<'a>(&'a Mutex<HashMap<u128, Vec<u64>>>);

    impl Tracing<'_> {
        fn note(self, key: u128, step: u64) {
            self.0.lock().unwrap().entry(key).or_default().push(step);
        }
    }

    impl Kernel for Tracing<'_> {
        type Key = u128;
        fn expand(self, keys: &[u128], out: &mut Vec<u128>) {
            out.clear();
            out.extend(keys);
        }
        fn xor(self, _: &mut [Row], _: u32, _: &[u32; 4]) {}
        fn garble(self, key: &u128, step: u64, _: u128, _: &mut [Row], _: &And, _: &mut [u8; AND_BYTES]) {
            self.note(*key, step);
            self.note(*key, step + 1);
        }
        fn evaluate(self, key: &u128, step: u64, _: &mut [Row], _: &And, _: &[u8; AND_BYTES]) {
            self.note(*key, step);
            self.note(*key, step + 1);
        }
        fn input(self, key: &u128, index: u64, _: LaneBits, _: u128, _: &mut Row) {
            self.note(*key, index);
        }
        fn garble_term(self, key: &u128, step: u64, _: u128, _: &Row, _: Option<&Row>, _: &mut TermHashes) {
            self.note(*key, step);
        }
        fn evaluate_term(self, key: &u128, step: u64, _: &Row, _: Option<&Row>, _: &mut TermHashes) {
            self.note(*key, step);
        }
    }

    /// Enough gates for several windows of keys.
    struct Chain;

    impl Circuit for Chain {
        fn shape(&self) -> Shape {
            let outputs = vec![OutputKind::Share(Modulus::Pow2 { bits: 9 }), OutputKind::Bits(1)];
            Shape { garbler_inputs: 1, garbler: vec![2], evaluator: vec![1], outputs }
        }
        fn run<G: Gates>(&self, g: &mut G, a: &[Word<G>], b: &[Word<G>]) -> Vec<Output<G::Wire>> {
            let mut wires = vec![a[0][0], a[0][1], b[0][0]];
            for _ in 0..2 * KEYS_AT_ONCE * Session::STEPS_PER_KEY + 5 {
                let next = g.and(wires[wires.len() - 1], wires[wires.len() - 3]);
                wires.push(next);
            }
            let term = |weight, wire, gate| Term { weight, wire, gate };
            let terms = vec![term(1, wires[9], Some(wires[50])), term(2, wires[51], None)];
            vec![Output::Share(Sum { terms, constant: 0 }), Output::Bits(vec![wires[wires.len() - 1]])]
        }
    }

    /// Groups, and where their source stands.
    const BATCHES: [(u64, u64); 2] = [(3, 0), (2, 48)];

    fn source() -> Seed {
        Seed::from_bytes([1; 16])
    }

    /// Walks groups of two batches with either role; returns all keys and tweaks.
    fn trace(garbling: bool) -> HashMap<u128, Vec<u64>> {
        let seen = Mutex::default();
        let program = Program::new(&Chain);
        let (mut rows, mut bits) = (vec![Row::ZERO; program.registers], vec![0; 1]);
        let mut gates = vec![[0; AND_BYTES]; program.ands()];
        let mut residues = vec![0; LANES * program.residue_bytes()];
        for (groups, position) in BATCHES {
            let session = Session::at(&source(), position, &program);
            for group in 0..groups {
                let job = Job { program: &program, session: &session, group };
                let (rows, labels) = (&mut rows[..], &[[0; LANES]][..]);
                if garbling {
                    let (gates, residues, decoding) = (&mut gates[..], &mut residues[..], &mut bits[..]);
                    let (bits, masks) = (&[0; 2][..], &[[0; LANES]][..]);
                    let io = GarblerGroup { rows, bits, masks, labels, gates, residues, decoding };
                    garble(Tracing(&seen), &job, 1, io);
                } else {
                    let (gates, residues, permute) = (&gates[..], &residues[..], &mut bits[..]);
                    let shares = &mut [[0; LANES]][..];
                    let io = EvaluatorGroup { rows, labels, gates, residues, permute, shares };
                    assert!(evaluate(Tracing(&seen), &job, io));
                }
            }
        }
        seen.into_inner().unwrap()
    }

    #[test]
    fn no_key_meets_a_tweak_twice_and_keys_are_short_lived() {
        let program = Program::new(&Chain);
        let (seen, other) = (trace(true), trace(false));
        assert_eq!(seen, other, "both parties use the same keys and tweaks");
        let label_keys = BATCHES.map(|(_, position)| Session::at(&source(), position, &program).label_key());
        for (key, tweaks) in &seen {
            let mut distinct = tweaks.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), tweaks.len(), "a tweak came twice");
            assert!(label_keys.contains(key) || tweaks.len() <= 2 * Session::STEPS_PER_KEY);
        }
        let hashes = 5 * (2 * program.ands() + program.terms());
        assert_eq!(seen.values().map(Vec::len).sum::<usize>(), hashes + 5 * 2);
        assert_eq!(seen.len(), BATCHES.len() + 5 * program.hashes().div_ceil(Session::STEPS_PER_KEY));
    }
}

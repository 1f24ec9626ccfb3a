//! A recorded circuit: the gate list that garbler and evaluator walk, lane group by lane group.
//!
//! `Recorder` interprets a circuit into a graph of gates. Constants fold, equal gates are shared, negation stays a
//! flag on an edge, dead gates fall away. The graph then becomes a list of operations on registers: an AND takes
//! the exclusive or of up to two registers on either side and adds one to its result, so that a full adder is two
//! operations; registers are re-used as soon as their value is dead, and a group's wires stay in the L1 cache.

mod record;
mod schedule;

use crate::circuit::{Circuit, Shape};
use crate::kernel::{AND_BYTES, LANES};
use ntt::Modulus;
use record::{Node, Recorder};
use schedule::Scheduler;

/// The register that always holds zero labels.
pub(crate) const ZERO: u32 = 0;

/// One step of a program. Registers are indices; unused operands are [`ZERO`].
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A bit of the garbler.
    Garbler { to: u32, input: u32 },
    /// A bit of the evaluator.
    Evaluator { to: u32, input: u32 },
    /// The exclusive or of four registers.
    Xor { to: u32, from: [u32; 4] },
    /// A garbled AND.
    And(And),
    /// A garbled summand of a shared output.
    Term(TermOp),
}

/// to = (left₀ ⊕ left₁ ⊕ negated₀) ∧ (right₀ ⊕ right₁ ⊕ negated₁) ⊕ plus.
#[derive(Clone, Debug)]
pub(crate) struct And {
    pub(crate) to: u32,
    pub(crate) left: [u32; 2],
    pub(crate) right: [u32; 2],
    pub(crate) plus: u32,
    pub(crate) negated: [bool; 2],
}

/// share[output] += weight · 2^shift · (wire ⊕ negated₀) ∧ (gate ⊕ negated₁) modulo `modulus`.
#[derive(Clone, Debug)]
pub(crate) struct TermOp {
    pub(crate) share: usize,
    pub(crate) ring: Ring,
    pub(crate) weight: u64,
    pub(crate) wire: u32,
    pub(crate) gate: Option<u32>,
    pub(crate) negated: [bool; 2],
}

/// Where a term is computed: a weight that is a multiple of 2^shift needs only the ring modulo 2^(k − shift).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    /// The modulus; 0 stands for 2^64.
    pub(crate) modulus: u64,
    /// Power of two that the result is multiplied with.
    pub(crate) shift: u32,
    /// Bytes of an element on the wire.
    pub(crate) bytes: usize,
}

impl Ring {
    fn of(modulus: Modulus, weight: u64) -> Self {
        let shift = match modulus {
            Modulus::Pow2 { .. } => weight.trailing_zeros(),
            Modulus::Prime { .. } => 0,
        };
        let bits = modulus.bits() - shift;
        Self { modulus: modulus.value() >> shift, shift, bytes: bits.div_ceil(8) as usize }
    }
}

impl TermOp {
    /// Rows of the garbled table: the first row of the truth table costs nothing.
    pub(crate) fn rows(&self) -> usize {
        if self.gate.is_some() { 3 } else { 1 }
    }
}

/// A bit of a revealed output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputBit {
    /// Public.
    Constant(bool),
    /// A register, possibly negated.
    Register { register: u32, negated: bool },
}

/// A circuit made ready for garbling; the same for both parties, and for any number of instances.
pub struct Program {
    pub(crate) shape: Shape,
    pub(crate) ops: Vec<Op>,
    pub(crate) registers: usize,
    /// The bits of all revealed outputs, in order.
    pub(crate) bits: Vec<OutputBit>,
    /// Public summands of the shared outputs.
    pub(crate) constants: Vec<u64>,
    ands: usize,
    terms: usize,
    depth: usize,
}

impl Program {
    /// Records a circuit.
    pub fn new<C: Circuit>(circuit: &C) -> Self {
        let shape = circuit.shape();
        let mut recorder = Recorder::default();
        let garbler = recorder.inputs(&shape.garbler, Node::Garbler);
        let evaluator = recorder.inputs(&shape.evaluator, Node::Evaluator);
        let outputs = circuit.run(&mut recorder, &garbler, &evaluator);
        Scheduler::new(recorder.nodes, &outputs, &shape).schedule(outputs, shape)
    }

    /// Garbled AND gates of one instance.
    pub fn ands(&self) -> usize {
        self.ands
    }

    /// Garbled summands of shared outputs of one instance.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// AND gates on the longest path.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Bits that the evaluator feeds to one instance.
    pub fn evaluator_bits(&self) -> usize {
        self.shape.evaluator.iter().map(|&bits| bits as usize).sum()
    }

    /// Bits of one instance that are revealed and are not public.
    pub(crate) fn revealed_bits(&self) -> usize {
        self.bits.iter().filter(|bit| matches!(bit, OutputBit::Register { .. })).count()
    }

    /// Operations that hash, hence steps of the tweak.
    pub(crate) fn hashes(&self) -> usize {
        self.ands + self.terms
    }

    /// Bytes of one instance's tables of ANDs.
    pub(crate) fn gate_bytes(&self) -> usize {
        self.ands * AND_BYTES / LANES
    }

    /// Bytes of one instance's tables of terms, and of its corrections.
    pub(crate) fn residue_bytes(&self) -> usize {
        let of = |op: &Op| match op {
            Op::Term(term) => term.rows() * term.ring.bytes,
            Op::And(_) | Op::Garbler { .. } | Op::Evaluator { .. } | Op::Xor { .. } => 0,
        };
        let corrections = self.shape.masks().map(|modulus| modulus.bits().div_ceil(8) as usize);
        self.ops.iter().map(of).chain(corrections).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuit::{Output, OutputKind, Sum, Term};
    use crate::gates::{Gates, Word};
    use crate::word;

    /// A circuit over two words of four bits each.
    struct Nibbles<F>(F, Vec<OutputKind>);

    /// What one can do with them.
    trait Body: Sync {
        fn run<G: Gates>(&self, g: &mut G, a: &Word<G>, b: &Word<G>) -> Vec<Output<G::Wire>>;
    }

    impl<F: Body> Circuit for Nibbles<F> {
        fn shape(&self) -> Shape {
            Shape { garbler_inputs: 1, garbler: vec![4], evaluator: vec![4], outputs: self.1.clone() }
        }
        fn run<G: Gates>(&self, g: &mut G, a: &[Word<G>], b: &[Word<G>]) -> Vec<Output<G::Wire>> {
            self.0.run(g, &a[0], &b[0])
        }
    }

    struct Folding;
    impl Body for Folding {
        fn run<G: Gates>(&self, g: &mut G, a: &Word<G>, b: &Word<G>) -> Vec<Output<G::Wire>> {
            let constant = word::constant(g, 5, 4);
            let (sum, product) = (word::add(g, &constant, &constant), g.and(a[0], constant[0]));
            let zero = g.not(constant[2]);
            let (nothing, same) = (g.and(b[1], zero), g.and(b[1], b[1]));
            let not_b = g.not(b[2]);
            let contradiction = g.and(b[2], not_b);
            let dead = g.and(a[3], b[3]);
            let _ = g.xor(dead, a[2]);
            vec![Output::Bits(vec![sum[1], sum[3], product, nothing, same, contradiction])]
        }
    }

    #[test]
    fn public_and_dead_gates_cost_nothing() {
        let program = Program::new(&Nibbles(Folding, vec![OutputKind::Bits(6)]));
        assert_eq!((program.ands(), program.depth(), program.revealed_bits()), (0, 0, 2));
        assert!(program.ops.iter().all(|op| matches!(op, Op::Garbler { .. } | Op::Evaluator { .. })));
    }

    struct Adder;
    impl Body for Adder {
        fn run<G: Gates>(&self, g: &mut G, a: &Word<G>, b: &Word<G>) -> Vec<Output<G::Wire>> {
            let (twice, again) = (word::add(g, a, b), word::add(g, b, a));
            let bits = twice.iter().zip(&again).map(|(&x, &y)| g.xor(x, y)).collect();
            vec![Output::Bits(twice), Output::Bits(bits)]
        }
    }

    #[test]
    fn equal_gates_are_one_and_an_adder_is_two_operations_per_bit() {
        let program = Program::new(&Nibbles(Adder, vec![OutputKind::Bits(4); 2]));
        let xors = program.ops.iter().filter(|op| matches!(op, Op::Xor { .. })).count();
        assert_eq!((program.ands(), program.depth(), xors), (3, 3, 4));
        assert_eq!(program.revealed_bits(), 4); // the other four are x ⊕ x
    }

    struct Sums;
    impl Body for Sums {
        fn run<G: Gates>(&self, g: &mut G, a: &Word<G>, b: &Word<G>) -> Vec<Output<G::Wire>> {
            let one = g.constant(true);
            let term = |weight, wire, gate| Term { weight, wire, gate };
            let terms = vec![
                term(1 << 3, a[0], Some(b[0])),
                term(1 << 15, b[0], None),
                term(7, a[0], Some(a[0])),
                term(0, a[1], Some(b[1])),
                term(9, one, Some(one)),
            ];
            vec![Output::Share(Sum { terms, constant: 1 })]
        }
    }

    #[test]
    fn terms_are_as_narrow_as_their_weights() {
        let modulus = Modulus::Pow2 { bits: 16 };
        let program = Program::new(&Nibbles(Sums, vec![OutputKind::Share(modulus)]));
        let rows = program.ops.iter().filter_map(|op| match op {
            Op::Term(term) => Some((term.rows(), term.ring.bytes, term.ring.modulus, term.weight)),
            _ => None,
        });
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows, [(3, 2, 1 << 13, 1), (1, 1, 2, 1), (1, 2, 1 << 16, 7)]);
        assert_eq!((program.terms(), program.ands(), program.constants[0]), (3, 0, 10));
        assert_eq!(program.residue_bytes(), 3 * 2 + 1 + 2 + 2);
    }
}

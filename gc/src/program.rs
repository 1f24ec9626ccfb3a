//! A recorded circuit: the gate list that garbler and evaluator walk, lane group by lane group.
//!
//! [`Recorder`] interprets a circuit into a graph of gates. Constants fold, equal gates are shared, negation stays a
//! flag on an edge, dead gates fall away. The graph then becomes a list of operations on registers: an AND takes
//! the exclusive or of up to two registers on either side and adds one to its result, so that a full adder is two
//! operations; registers are re-used as soon as their value is dead, and a group's wires stay in the L1 cache.

use crate::circuit::{Circuit, Output, OutputKind, Shape, Sum};
use crate::gates::{Gates, Word};
use ntt::Modulus;
use std::collections::HashMap;

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

    /// Bytes of the elements of a group's tables, in order; each element occurs once for each lane.
    pub(crate) fn elements(&self) -> impl Iterator<Item = usize> {
        let of = |op: &Op| match op {
            Op::And(_) => (2, 16),
            Op::Term(term) => (term.rows(), term.ring.bytes),
            Op::Garbler { .. } | Op::Evaluator { .. } | Op::Xor { .. } => (0, 0),
        };
        let tables = self.ops.iter().map(of).flat_map(|(count, bytes)| std::iter::repeat_n(bytes, count));
        tables.chain(self.shape.masks().map(|modulus| modulus.bits().div_ceil(8) as usize))
    }

    /// Bytes of one instance's tables and corrections, without decoding bits.
    pub(crate) fn table_bytes(&self) -> usize {
        self.elements().sum()
    }
}

/// A bit while a circuit is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bit {
    Constant(bool),
    Wire(Edge),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Edge {
    node: u32,
    negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Garbler(u32),
    Evaluator(u32),
    Xor(u32, u32),
    And(Edge, Edge),
}

/// The interpreter that records.
#[derive(Default)]
struct Recorder {
    nodes: Vec<Node>,
    known: HashMap<Node, u32>,
}

impl Recorder {
    fn node(&mut self, node: Node, negated: bool) -> Bit {
        let next = self.nodes.len() as u32;
        let id = *self.known.entry(node).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        Bit::Wire(Edge { node: id, negated })
    }

    fn inputs(&mut self, widths: &[u32], kind: impl Fn(u32) -> Node) -> Vec<Word<Self>> {
        let mut next = 0..;
        let mut word = |bits: u32| {
            assert!(bits <= 64, "a word has at most 64 bits");
            next.by_ref().take(bits as usize).map(|input| self.node(kind(input), false)).collect()
        };
        widths.iter().map(|&bits| word(bits)).collect()
    }
}

impl Gates for Recorder {
    type Wire = Bit;

    fn constant(&mut self, bit: bool) -> Bit {
        Bit::Constant(bit)
    }

    fn xor(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Constant(false), x) | (x, Bit::Constant(false)) => x,
            (Bit::Constant(true), x) | (x, Bit::Constant(true)) => self.not(x),
            (Bit::Wire(a), Bit::Wire(b)) if a.node == b.node => Bit::Constant(a.negated != b.negated),
            (Bit::Wire(a), Bit::Wire(b)) => {
                let (low, high) = (a.node.min(b.node), a.node.max(b.node));
                self.node(Node::Xor(low, high), a.negated != b.negated)
            }
        }
    }

    fn and(&mut self, a: Bit, b: Bit) -> Bit {
        match (a, b) {
            (Bit::Constant(false), _) | (_, Bit::Constant(false)) => Bit::Constant(false),
            (Bit::Constant(true), x) | (x, Bit::Constant(true)) => x,
            (Bit::Wire(a), Bit::Wire(b)) if a == b => Bit::Wire(a),
            (Bit::Wire(a), Bit::Wire(b)) if a.node == b.node => Bit::Constant(false),
            (Bit::Wire(a), Bit::Wire(b)) => self.node(Node::And(a.min(b), a.max(b)), false),
        }
    }

    fn not(&mut self, a: Bit) -> Bit {
        match a {
            Bit::Constant(bit) => Bit::Constant(!bit),
            Bit::Wire(edge) => Bit::Wire(Edge { negated: !edge.negated, ..edge }),
        }
    }
}

/// Turns the graph into operations on virtual registers, then onto few real ones.
struct Scheduler {
    nodes: Vec<Node>,
    /// How often each node is used; 0 for the dead.
    uses: Vec<u32>,
    /// What each node is, as an exclusive or of registers; empty until it is met.
    values: Vec<Vec<u32>>,
    /// An AND whose only use is an exclusive or waits for it.
    waiting: Vec<bool>,
    depths: Vec<usize>,
    ops: Vec<Op>,
    next: u32,
}

impl Scheduler {
    fn new(nodes: Vec<Node>, outputs: &[Output<Bit>], shape: &Shape) -> Self {
        assert_eq!(outputs.len(), shape.outputs.len(), "the circuit has as many outputs as it says");
        let mut uses = vec![0; nodes.len()];
        // A result must lie in a register of its own: count it as many uses, so that it is no intermediate value.
        let mut need = |bit: &Bit| {
            if let Bit::Wire(edge) = bit {
                uses[edge.node as usize] += 3;
            }
        };
        for output in outputs {
            match output {
                Output::Bits(bits) => bits.iter().for_each(&mut need),
                Output::Share(sum) => sum.terms.iter().for_each(|term| {
                    need(&term.wire);
                    term.gate.iter().for_each(&mut need);
                }),
            }
        }
        for id in (0..nodes.len()).rev() {
            if uses[id] > 0 {
                for operand in operands(nodes[id]) {
                    uses[operand as usize] += 1;
                }
            }
        }
        let count = nodes.len();
        let (values, waiting, depths) = (vec![Vec::new(); count], vec![false; count], vec![0; count]);
        Self { nodes, uses, values, waiting, depths, ops: Vec::new(), next: ZERO + 1 }
    }

    fn schedule(mut self, outputs: Vec<Output<Bit>>, shape: Shape) -> Program {
        for id in 0..self.nodes.len() {
            if self.uses[id] > 0 {
                self.visit(id);
            }
        }
        let (mut bits, mut constants) = (Vec::new(), Vec::new());
        for (output, kind) in outputs.into_iter().zip(&shape.outputs) {
            match (output, kind) {
                (Output::Bits(word), OutputKind::Bits(width)) => {
                    assert_eq!(
                        word.len(),
                        *width as usize,
                        "the output has as many bits as the circuit says"
                    );
                    bits.extend(word.into_iter().map(|bit| self.output(bit)));
                }
                (Output::Share(sum), OutputKind::Share(modulus)) => {
                    let constant = self.share(sum, *modulus, constants.len());
                    constants.push(constant);
                }
                _ => unreachable!("an output is of the kind that the circuit says"),
            }
        }
        let depth = self.depths.iter().copied().max().unwrap_or(0);
        let ands = self.ops.iter().filter(|op| matches!(op, Op::And(_))).count();
        let terms = self.ops.iter().filter(|op| matches!(op, Op::Term(_))).count();
        let registers = allocate(&mut self.ops, &mut bits, self.next);
        Program { shape, ops: self.ops, registers, bits, constants, ands, terms, depth }
    }

    fn visit(&mut self, id: usize) {
        let below = operands(self.nodes[id]).into_iter().map(|node| self.depths[node as usize]).max();
        self.depths[id] = below.unwrap_or(0) + usize::from(matches!(self.nodes[id], Node::And(..)));
        match self.nodes[id] {
            Node::Garbler(_) | Node::Evaluator(_) => {} // loaded when it is first used
            Node::And(..) if self.uses[id] == 1 => self.waiting[id] = true,
            Node::And(..) => self.and(id, ZERO),
            Node::Xor(a, b) => self.xor(id, a, b),
        }
    }

    fn register(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// The registers whose exclusive or is node `id`.
    fn value(&mut self, id: u32) -> Vec<u32> {
        let index = id as usize;
        if std::mem::take(&mut self.waiting[index]) {
            self.and(index, ZERO);
        }
        if self.values[index].is_empty() {
            let to = self.register();
            self.ops.push(match self.nodes[index] {
                Node::Garbler(input) => Op::Garbler { to, input },
                Node::Evaluator(input) => Op::Evaluator { to, input },
                Node::Xor(..) | Node::And(..) => unreachable!("gates are scheduled before their uses"),
            });
            self.values[index] = vec![to];
        }
        self.values[index].clone()
    }

    fn and(&mut self, id: usize, plus: u32) {
        let Node::And(left, right) = self.nodes[id] else { unreachable!("only ANDs come here") };
        let [left_value, right_value] = [left, right].map(|edge| self.value(edge.node));
        let to = self.register();
        let pair = |value: &[u32]| [value[0], value.get(1).copied().unwrap_or(ZERO)];
        let (negated, left, right) = ([left.negated, right.negated], pair(&left_value), pair(&right_value));
        self.ops.push(Op::And(And { to, left, right, plus, negated }));
        self.values[id] = vec![to];
    }

    fn xor(&mut self, id: usize, a: u32, b: u32) {
        // (AND) ⊕ register: one operation.
        for (and, other) in [(a, b), (b, a)] {
            if self.waiting[and as usize] {
                let value = self.value(other);
                if let [plus] = value[..] {
                    self.waiting[and as usize] = false;
                    self.and(and as usize, plus);
                    self.values[id] = self.values[and as usize].clone();
                    return;
                }
            }
        }
        let mut from = self.value(a);
        for register in self.value(b) {
            match from.iter().position(|&r| r == register) {
                Some(index) => drop(from.swap_remove(index)),
                None => from.push(register),
            }
        }
        // Two registers are added up where they are used, unless that is often.
        self.values[id] = if from.len() != 1 && (from.len() != 2 || self.uses[id] > 2) {
            vec![self.add_up(&from)]
        } else {
            from
        };
    }

    fn add_up(&mut self, registers: &[u32]) -> u32 {
        let mut from = [ZERO; 4];
        from[..registers.len()].copy_from_slice(registers);
        let to = self.register();
        self.ops.push(Op::Xor { to, from });
        to
    }

    /// The one register of a result.
    fn result(&mut self, edge: Edge) -> u32 {
        match self.value(edge.node)[..] {
            [register] => register,
            ref registers => self.add_up(registers),
        }
    }

    fn output(&mut self, bit: Bit) -> OutputBit {
        match bit {
            Bit::Constant(bit) => OutputBit::Constant(bit),
            Bit::Wire(edge) => OutputBit::Register { register: self.result(edge), negated: edge.negated },
        }
    }

    /// The terms of a shared output; returns the public summand.
    fn share(&mut self, sum: Sum<Bit>, modulus: Modulus, share: usize) -> u64 {
        let mut constant = sum.constant;
        assert!(constant < modulus.value(), "a sum's constant is reduced");
        for term in sum.terms {
            let weight = term.weight;
            assert!(weight < modulus.value(), "a term's weight is reduced");
            let product = match term.gate {
                None => term.wire,
                Some(gate) => match (term.wire, gate) {
                    (Bit::Constant(true), x) | (x, Bit::Constant(true)) => x,
                    (Bit::Wire(a), Bit::Wire(b)) if weight != 0 && a.node != b.node => {
                        let (wire, gate) = (self.result(a), Some(self.result(b)));
                        let (negated, ring) = ([a.negated, b.negated], Ring::of(modulus, weight));
                        let weight = weight >> ring.shift;
                        self.ops.push(Op::Term(TermOp { share, ring, weight, wire, gate, negated }));
                        continue;
                    }
                    (a, b) if a == b => a,
                    _ => Bit::Constant(false),
                },
            };
            match product {
                Bit::Constant(true) => constant = modulus.add(constant, weight),
                Bit::Wire(a) if weight != 0 => {
                    let (wire, negated, ring) =
                        (self.result(a), [a.negated, false], Ring::of(modulus, weight));
                    let weight = weight >> ring.shift;
                    self.ops.push(Op::Term(TermOp { share, ring, weight, wire, gate: None, negated }));
                }
                _ => {}
            }
        }
        constant
    }
}

fn operands(node: Node) -> Vec<u32> {
    match node {
        Node::Garbler(_) | Node::Evaluator(_) => vec![],
        Node::Xor(a, b) => vec![a, b],
        Node::And(a, b) => vec![a.node, b.node],
    }
}

/// Maps `virtual_count` virtual registers onto as few as live at once (a linear scan); returns how many.
fn allocate(ops: &mut [Op], bits: &mut [OutputBit], virtual_count: u32) -> usize {
    let mut last = vec![0; virtual_count as usize];
    for (time, op) in ops.iter_mut().enumerate() {
        sources(op, |register| last[*register as usize] = time);
    }
    for bit in bits.iter() {
        if let OutputBit::Register { register, .. } = bit {
            last[*register as usize] = usize::MAX;
        }
    }
    let mut real = vec![ZERO; virtual_count as usize];
    let (mut free, mut count) = (Vec::new(), ZERO + 1);
    for (time, op) in ops.iter_mut().enumerate() {
        let mut dead = Vec::new();
        sources(op, |register| {
            if *register != ZERO
                && last[*register as usize] == time
                && !dead.contains(&real[*register as usize])
            {
                dead.push(real[*register as usize]);
            }
            *register = real[*register as usize];
        });
        free.extend(dead);
        if let Some(to) = target(op) {
            let register = free.pop().unwrap_or_else(|| {
                count += 1;
                count - 1
            });
            real[*to as usize] = register;
            *to = register;
        }
    }
    for bit in bits.iter_mut() {
        if let OutputBit::Register { register, .. } = bit {
            *register = real[*register as usize];
        }
    }
    count as usize
}

fn sources(op: &mut Op, mut each: impl FnMut(&mut u32)) {
    match op {
        Op::Garbler { .. } | Op::Evaluator { .. } => {}
        Op::Xor { from, .. } => from.iter_mut().for_each(each),
        Op::And(and) => {
            let And { left, right, plus, .. } = and;
            left.iter_mut().chain(right).for_each(&mut each);
            each(plus);
        }
        Op::Term(term) => {
            each(&mut term.wire);
            term.gate.iter_mut().for_each(each);
        }
    }
}

fn target(op: &mut Op) -> Option<&mut u32> {
    match op {
        Op::Garbler { to, .. } | Op::Evaluator { to, .. } | Op::Xor { to, .. } => Some(to),
        Op::And(and) => Some(&mut and.to),
        Op::Term(_) => None,
    }
}

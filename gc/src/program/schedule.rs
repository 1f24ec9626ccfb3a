//! From the graph to a list of operations on few registers.

use super::record::{Bit, Edge, Node};
use super::{And, Op, OutputBit, Program, Ring, TermOp, ZERO};
use crate::circuit::{Output, OutputKind, Shape, Sum, Term};
use ntt::Modulus;

/// Turns the graph into operations on virtual registers, then onto few real ones.
pub(super) struct Scheduler {
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
    pub(super) fn new(nodes: Vec<Node>, outputs: &[Output<Bit>], shape: &Shape) -> Self {
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

    pub(super) fn schedule(mut self, outputs: Vec<Output<Bit>>, shape: Shape) -> Program {
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
        for Term { weight, wire, gate } in sum.terms {
            assert!(weight < modulus.value(), "a term's weight is reduced");
            let (wire, gate) = match product(wire, gate) {
                _ if weight == 0 => continue,
                Product::Constant(false) => continue,
                Product::Constant(true) => {
                    constant = modulus.add(constant, weight);
                    continue;
                }
                Product::One(wire) => (wire, None),
                Product::Two(wire, gate) => (wire, Some(gate)),
            };
            let negated = [wire.negated, gate.is_some_and(|gate| gate.negated)];
            let (wire, gate) = (self.result(wire), gate.map(|gate| self.result(gate)));
            let ring = Ring::of(modulus, weight);
            let weight = weight >> ring.shift;
            self.ops.push(Op::Term(TermOp { share, ring, weight, wire, gate, negated }));
        }
        constant
    }
}

/// What a term's bit is a function of.
enum Product {
    Constant(bool),
    One(Edge),
    Two(Edge, Edge),
}

fn product(wire: Bit, gate: Option<Bit>) -> Product {
    match (wire, gate.unwrap_or(Bit::Constant(true))) {
        (Bit::Constant(a), Bit::Constant(b)) => Product::Constant(a & b),
        (Bit::Constant(true), Bit::Wire(edge)) | (Bit::Wire(edge), Bit::Constant(true)) => Product::One(edge),
        (Bit::Constant(false), _) | (_, Bit::Constant(false)) => Product::Constant(false),
        (Bit::Wire(a), Bit::Wire(b)) if a == b => Product::One(a),
        (Bit::Wire(a), Bit::Wire(b)) if a.node == b.node => Product::Constant(false),
        (Bit::Wire(a), Bit::Wire(b)) => Product::Two(a, b),
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

//! The interpreter that records a circuit as a graph.

use crate::gates::{Gates, Word};
use std::collections::HashMap;

/// A bit while a circuit is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bit {
    Constant(bool),
    Wire(Edge),
}

/// A node, or its negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) node: u32,
    pub(super) negated: bool,
}

/// An input or a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Garbler(u32),
    Evaluator(u32),
    Xor(u32, u32),
    And(Edge, Edge),
}

/// The interpreter that records.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) nodes: Vec<Node>,
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

    /// The wires of input words of these widths.
    pub(super) fn inputs(&mut self, widths: &[u32], kind: impl Fn(u32) -> Node) -> Vec<Word<Self>> {
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

//! The gates that circuits are written in, and the interpreter that computes them in the clear.

/// An interpreter of circuits: what a wire is, and how gates act on wires.
///
/// Circuits are generic functions over this trait and are written once. [`Clear`] computes them on plain bits;
/// `Program` records them for the garbler and the evaluator, and counts. Constants are wires that every
/// interpreter folds away: a gate with a public input is never garbled.
pub trait Gates {
    /// A wire of the circuit.
    type Wire: Copy;
    /// A public bit.
    fn constant(&mut self, bit: bool) -> Self::Wire;
    /// Exclusive or; free.
    fn xor(&mut self, a: Self::Wire, b: Self::Wire) -> Self::Wire;
    /// Conjunction; the gate that costs.
    fn and(&mut self, a: Self::Wire, b: Self::Wire) -> Self::Wire;
    /// Negation; free.
    fn not(&mut self, a: Self::Wire) -> Self::Wire;
}

/// A number on wires, lowest bit first.
pub type Word<G> = Vec<<G as Gates>::Wire>;

/// Plain bits, 64 instances to a word.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clear;

impl Gates for Clear {
    type Wire = u64;
    fn constant(&mut self, bit: bool) -> u64 {
        u64::from(bit).wrapping_neg()
    }
    fn xor(&mut self, a: u64, b: u64) -> u64 {
        a ^ b
    }
    fn and(&mut self, a: u64, b: u64) -> u64 {
        a & b
    }
    fn not(&mut self, a: u64) -> u64 {
        !a
    }
}

//! What a circuit is: its inputs and outputs, and its gates.

use crate::gates::{Clear, Gates, Word};
use ntt::Modulus;

/// The inputs and outputs of one instance of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers that the garbler brings to each instance, before [`Circuit::garbler_wires`] and without masks.
    pub garbler_inputs: usize,
    /// Bits of each word that the garbler feeds to wires.
    pub garbler: Vec<u32>,
    /// Bits of each word that the evaluator feeds to wires, at most 64.
    pub evaluator: Vec<u32>,
    /// The outputs, in order.
    pub outputs: Vec<OutputKind>,
}

/// What becomes of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A number of this many bits (at most 64), revealed to one party.
    Bits(u32),
    /// An additive share for the evaluator: the value minus the garbler's mask.
    Share(Modulus),
}

/// An output on wires.
#[derive(Clone, Debug)]
pub enum Output<W> {
    /// The bits of a number, lowest first.
    Bits(Vec<W>),
    /// A number as a sum of weighted bits, to be shared.
    Share(Sum<W>),
}

/// constant + Σ terms modulo the modulus of its [`OutputKind::Share`].
#[derive(Clone, Debug)]
pub struct Sum<W> {
    /// The weighted bits; an AND inside a term costs a fraction of a gate.
    pub terms: Vec<Term<W>>,
    /// A public summand, reduced.
    pub constant: u64,
}

/// weight · wire, or weight · (wire ∧ gate).
#[derive(Clone, Copy, Debug)]
pub struct Term<W> {
    /// A public factor, reduced.
    pub weight: u64,
    /// The bit.
    pub wire: W,
    /// A second bit that the first is multiplied with.
    pub gate: Option<W>,
}

/// A circuit, to be run on many instances side by side.
pub trait Circuit: Sync {
    /// Inputs and outputs.
    fn shape(&self) -> Shape;

    /// What the garbler feeds to the wires, from the numbers it brings to one instance. Local and free, so that
    /// additions of public constants to a share belong here and not into gates.
    fn garbler_wires(&self, inputs: &[u64], wires: &mut [u64]) {
        wires.copy_from_slice(inputs);
    }

    /// The gates.
    fn run<G: Gates>(
        &self,
        gates: &mut G,
        garbler: &[Word<G>],
        evaluator: &[Word<G>],
    ) -> Vec<Output<G::Wire>>;
}

impl Shape {
    /// Moduli of the shared outputs, in order: the garbler brings one mask for each.
    pub fn masks(&self) -> impl Iterator<Item = Modulus> {
        self.outputs.iter().filter_map(|kind| match kind {
            OutputKind::Share(modulus) => Some(*modulus),
            OutputKind::Bits(_) => None,
        })
    }

    /// Asserts that both parties' inputs fit: one slice of `n` words for each input, then one for each mask.
    pub(crate) fn check_garbler(&self, inputs: &[&[u64]], n: usize) {
        assert_eq!(inputs.len(), self.garbler_inputs + self.masks().count(), "garbler's inputs and masks");
        assert!(inputs.iter().all(|words| words.len() == n), "every input has {n} instances");
        for (mask, modulus) in inputs[self.garbler_inputs..].iter().zip(self.masks()) {
            assert!(mask.iter().all(|&r| r < modulus.value()), "a mask is not below its modulus");
        }
    }

    /// The same for the evaluator.
    pub(crate) fn check_evaluator(&self, inputs: &[&[u64]], n: usize) {
        assert_eq!(inputs.len(), self.evaluator.len(), "evaluator's inputs");
        assert!(inputs.iter().all(|words| words.len() == n), "every input has {n} instances");
    }
}

/// The outputs of `n` instances in the clear, as `garble` and `evaluate` deliver them together: bits as numbers,
/// shares after subtraction of the mask. Arguments as for those two.
///
/// # Panics
/// If the inputs do not have the circuit's shape.
pub fn clear<C: Circuit>(circuit: &C, garbler: &[&[u64]], evaluator: &[&[u64]], n: usize) -> Vec<Vec<u64>> {
    let shape = circuit.shape();
    shape.check_garbler(garbler, n);
    shape.check_evaluator(evaluator, n);
    let mut outputs = vec![vec![0; n]; shape.outputs.len()];
    let (inputs, masks) = garbler.split_at(shape.garbler_inputs);
    for start in (0..n).step_by(64) {
        let range = start..n.min(start + 64);
        let mut wires = vec![vec![0; range.len()]; shape.garbler.len()];
        let mut row = vec![0; shape.garbler.len()];
        for (lane, i) in range.clone().enumerate() {
            circuit.garbler_wires(&inputs.iter().map(|words| words[i]).collect::<Vec<_>>(), &mut row);
            wires.iter_mut().zip(&row).for_each(|(words, &word)| words[lane] = word);
        }
        let garbler: Vec<_> = wires.iter().zip(&shape.garbler).map(|(w, &bits)| slice(w, bits)).collect();
        let words = evaluator.iter().zip(&shape.evaluator);
        let evaluator: Vec<_> = words.map(|(w, &bits)| slice(&w[range.clone()], bits)).collect();
        let results = circuit.run(&mut Clear, &garbler, &evaluator);
        assert_eq!(results.len(), shape.outputs.len(), "the circuit has as many outputs as it says");
        let mut masks = masks.iter();
        for ((result, kind), out) in results.iter().zip(&shape.outputs).zip(&mut outputs) {
            let mask = matches!(kind, OutputKind::Share(_)).then(|| masks.next().map(|m| &m[range.clone()]));
            collect(result, *kind, mask.flatten(), &mut out[range.clone()]);
        }
    }
    outputs
}

/// Bit planes of up to 64 words.
fn slice(words: &[u64], bits: u32) -> Vec<u64> {
    let plane =
        |bit| words.iter().enumerate().fold(0, |plane, (lane, word)| plane | (word >> bit & 1) << lane);
    (0..bits).map(plane).collect()
}

/// One output of up to 64 instances.
fn collect(result: &Output<u64>, kind: OutputKind, mask: Option<&[u64]>, out: &mut [u64]) {
    for (lane, out) in out.iter_mut().enumerate() {
        let bit = |plane: u64| plane >> lane & 1;
        *out = match (result, kind, mask) {
            (Output::Bits(planes), OutputKind::Bits(bits), _) => {
                assert_eq!(planes.len(), bits as usize, "the output has as many bits as the circuit says");
                planes.iter().enumerate().fold(0, |word, (i, &plane)| word | bit(plane) << i)
            }
            (Output::Share(sum), OutputKind::Share(m), Some(mask)) => {
                let value = |t: &Term<u64>| t.weight * bit(t.wire) * t.gate.map_or(1, bit);
                let sum = sum.terms.iter().fold(sum.constant, |sum, term| m.add(sum, value(term)));
                m.sub(sum, mask[lane])
            }
            _ => unreachable!("an output is of the kind that the circuit says"),
        };
    }
}

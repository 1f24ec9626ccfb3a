//! Both parties' local work on one chunk, with neither channel nor oblivious transfer: for measuring kernels.

use crate::batch::Reveal;
use crate::chunk::{Context, EvaluatorChunk, GarblerChunk};
use crate::circuit::Circuit;
use crate::kernel::Isa;
use crate::layout::{Chunk, Layout};
use crate::program::Program;
use crate::session::Session;
use prg::Prg;

/// One chunk of instances of a circuit with random inputs, whose labels are already with both parties.
///
/// Nothing here is secret from anyone: it is for benchmarks, and for estimates of computing time.
pub struct LocalChunk<'a, C> {
    circuit: &'a C,
    program: Program,
    chunk: Chunk,
    layout: Layout,
    session: Session,
    delta: u128,
    garbler: Vec<Vec<u64>>,
    garbled: GarblerChunk,
    evaluated: EvaluatorChunk,
}

impl<'a, C: Circuit> LocalChunk<'a, C> {
    /// A full chunk as [`crate::garble`] would cut it, with inputs below `below`.
    pub fn new(circuit: &'a C, below: u64, prg: &mut Prg) -> Self {
        let program = Program::new(circuit);
        let layout = Layout::new(&program, usize::MAX >> 1, Reveal::ToEvaluator);
        let chunk = layout.chunks().next().unwrap_or(Chunk { start: 0, len: 0 });
        let session = Session::new(&prg.seed(), &program);
        let mut draw = |below| {
            let mut words = vec![0; chunk.len];
            prg.fill_below(&mut words, below);
            words
        };
        let mut garbler: Vec<_> = (0..program.shape.garbler_inputs).map(|_| draw(below)).collect();
        garbler.extend(program.shape.masks().map(|modulus| draw(modulus.value())));
        let evaluator: Vec<_> = program.shape.evaluator.iter().map(|_| draw(below)).collect();
        let mut zero_labels = vec![0u128; layout.transfers(&chunk)];
        prg.fill(bytemuck::cast_slice_mut(&mut zero_labels));
        let delta = u128::from(prg.next_u64()) << 64 | u128::from(prg.next_u64()) | 1;
        let mut local = Self {
            circuit,
            program,
            chunk,
            layout,
            session,
            delta,
            garbler,
            evaluated: EvaluatorChunk::default(),
            garbled: GarblerChunk::default(),
        };
        local.evaluated.labels.clone_from(&zero_labels);
        local.garbled.labels = zero_labels;
        let inputs: Vec<_> = evaluator.iter().map(Vec::as_slice).collect();
        let mut choices = Vec::new();
        local.with_context(Isa::Portable, |context| context.choices(&inputs, &chunk, &mut choices));
        for (i, label) in local.evaluated.labels.iter_mut().enumerate() {
            *label ^= u128::from(choices[i / 64] >> (i % 64) & 1).wrapping_neg() & delta;
        }
        local
    }

    /// Instances of the chunk.
    pub fn instances(&self) -> usize {
        self.chunk.len
    }

    /// The garbler's work: the bytes that would go to the evaluator, the same at every call.
    pub fn garble(&mut self, isa: Isa) -> &[u8] {
        let mut own = std::mem::take(&mut self.garbled);
        let inputs: Vec<_> = self.garbler.iter().map(Vec::as_slice).collect();
        self.with_context(isa, |context| {
            context.garble(self.circuit, self.delta, &inputs, &self.chunk, &mut own);
        });
        self.garbled = own;
        &self.garbled.bytes
    }

    /// The evaluator's work on what the last [`Self::garble`] gave: its shares, or the revealed lane bits.
    pub fn evaluate(&mut self, isa: Isa) -> (&[[u64; 16]], &[u16]) {
        let mut own = std::mem::take(&mut self.evaluated);
        std::mem::swap(&mut own.bytes, &mut self.garbled.bytes);
        self.with_context(isa, |context| context.evaluate(&self.chunk, &mut own));
        std::mem::swap(&mut own.bytes, &mut self.garbled.bytes);
        self.evaluated = own;
        (&self.evaluated.shares, &self.evaluated.bits)
    }

    fn with_context<T>(&self, isa: Isa, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let (program, layout) = (&self.program, &self.layout);
        work(&Context { isa, program, layout, session: &self.session, reveal: Reveal::ToEvaluator })
    }
}

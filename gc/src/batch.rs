//! Batches: one circuit on any number of instances, streamed in chunks.
//!
//! ```text
//!   garbler                                        evaluator
//!   source of COTs: Δ (lsb 1)                      both: its seed and position
//!   batch, per chunk:
//!                       <--COT message----         choice bits = input bits
//!   zero labels                                    active labels
//!   garble              --tables, corrections, decoding bits-->
//!                                                  evaluate
//!   after the last chunk, if the garbler is to learn the revealed bits:
//!                       <--permute bits---
//! ```
//!
//! The evaluator runs up to [`WINDOW`] chunks of COT ahead of the tables, so that the whole batch takes one round;
//! the garbler never needs more than [`WINDOW`] of them before it sends, so that bounded queues cannot lock up.

use crate::chunk::{Context, EvaluatorChunk, GarblerChunk};
use crate::circuit::{Circuit, OutputKind};
use crate::error::GcError;
use crate::group::LaneBits;
use crate::kernel::Isa;
use crate::layout::{Chunk, Layout};
use crate::packing;
use crate::program::Program;
use crate::session::Session;
use channels::{Channel, Rx, Tx};
use meter::Primitive;
use ot::{CotReceive, CotSend};
use prg::Seed;
use rayon::prelude::*;
use std::sync::mpsc;
use zeroize::Zeroizing;

/// Chunks whose COT may be under way before their tables are.
pub(crate) const WINDOW: usize = 16;

/// Who learns the revealed bits of a batch. Shared outputs do not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reveal {
    /// The evaluator, by one decoding bit each.
    ToEvaluator,
    /// The garbler, to whom the evaluator returns one bit each.
    ToGarbler,
}

/// Oblivious transfers that `n` instances of a circuit take, one for each bit that the evaluator feeds: call by call.
pub fn transfers<C: Circuit>(circuit: &C, n: usize) -> Vec<usize> {
    let program = Program::new(circuit);
    let layout = Layout::new(&program, n, Reveal::ToEvaluator);
    layout.chunks().map(|chunk| layout.transfers(&chunk)).collect()
}

/// Garbles `n` instances of a circuit; the peer runs [`evaluate`] with the same circuit, `n` and `reveal`.
///
/// `source` makes the labels of the evaluator's inputs, and its offset is that of the garbling. It may serve other
/// purposes beside (see the crate's notes on security).
///
/// `inputs` has one slice of `n` words for each number that the circuit wants from the garbler, then one for each
/// shared output: the mask, which is the garbler's share of that output. Returns the revealed outputs, in order,
/// with `n` numbers each; nothing if they go to the evaluator.
///
/// # Errors
/// If the channel or the oblivious transfer fails.
///
/// # Panics
/// If the inputs do not have the circuit's shape, fewer silent transfers are reserved than [`transfers`] says, the
/// evaluator feeds no bits, or the offset is even: its lowest bit tells the permute bits of a wire's labels apart.
pub fn garble<C: Circuit>(
    source: &mut (dyn CotSend + Send),
    channel: &mut Channel,
    circuit: &C,
    inputs: &[&[u64]],
    n: usize,
    reveal: Reveal,
) -> Result<Vec<Vec<u64>>, GcError> {
    let _metered = meter::scope(Primitive::Garble);
    let program = Program::new(circuit);
    program.shape.check_garbler(inputs, n);
    let layout = Layout::new(&program, n, reveal);
    if n == 0 {
        let revealed =
            if reveal == Reveal::ToGarbler { packing::revealed(&program.shape).count() } else { 0 };
        return Ok(vec![Vec::new(); revealed]);
    }
    let delta = Zeroizing::new(source.delta());
    assert!(*delta & 1 == 1, "the offset of garbling is odd");
    let session = batch_session(source.session(), source.position(), &program);
    let context =
        Context { isa: Isa::detect(), program: &program, layout: &layout, session: &session, reveal };
    channel.stream(|tx, rx| {
        let mut decoding = Vec::new();
        let chunks: Vec<_> = layout.chunks().collect();
        let mut memory: Vec<_> = std::iter::repeat_with(GarblerChunk::default).take(wave_size()).collect();
        for wave in chunks.chunks(wave_size()) {
            for (chunk, own) in wave.iter().zip(&mut memory) {
                own.labels.resize(layout.transfers(chunk), 0);
                let _metered = meter::scope(Primitive::Transfer);
                source.chosen(rx, &mut own.labels)?;
            }
            let work = wave.par_iter().zip(&mut memory);
            work.for_each_init(
                || meter::scope(Primitive::Garble),
                |_, (chunk, own)| context.garble(circuit, *delta, inputs, chunk, own),
            );
            for (_, own) in wave.iter().zip(&memory) {
                tx.send(&own.bytes)?;
                tx.flush()?;
                decoding.extend_from_slice(&own.kept);
            }
        }
        match reveal {
            Reveal::ToEvaluator => Ok(Vec::new()),
            Reveal::ToGarbler => receive_revealed(rx, &context, &decoding),
        }
    })
}

/// Evaluates `n` instances of a circuit; the peer runs [`garble`].
///
/// `inputs` has one slice of `n` words for each word that the circuit wants from the evaluator. Returns the outputs
/// in order, `n` numbers each: the revealed ones (empty if they go to the garbler) and the evaluator's shares.
///
/// # Errors
/// If the channel or the oblivious transfer fails, or the peer sends a residue that is not reduced. Wrong tables are
/// not noticed: they give wrong outputs.
///
/// # Panics
/// If the inputs do not have the circuit's shape, fewer silent transfers are reserved than [`transfers`] says, or the
/// evaluator feeds no bits.
pub fn evaluate<C: Circuit>(
    source: &mut (dyn CotReceive + Send),
    channel: &mut Channel,
    circuit: &C,
    inputs: &[&[u64]],
    n: usize,
    reveal: Reveal,
) -> Result<Vec<Vec<u64>>, GcError> {
    let _metered = meter::scope(Primitive::Evaluate);
    let program = Program::new(circuit);
    program.shape.check_evaluator(inputs, n);
    let layout = Layout::new(&program, n, reveal);
    let mut outputs = vec![Vec::with_capacity(n); program.shape.outputs.len()];
    if n == 0 {
        return Ok(outputs);
    }
    let session = batch_session(source.session(), source.position(), &program);
    let context =
        Context { isa: Isa::detect(), program: &program, layout: &layout, session: &session, reveal };
    channel.stream(|tx, rx| {
        let bits = std::thread::scope(|scope| {
            let (queue, labels) = mpsc::sync_channel(WINDOW);
            let transfers = scope.spawn(|| run_ahead(source, tx, &context, inputs, queue));
            let bits = evaluate_chunks(rx, &context, labels, &mut outputs);
            match transfers.join() {
                Ok(result) => result.and(bits),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        if reveal == Reveal::ToGarbler {
            tx.send(&bits)?;
        }
        Ok(outputs)
    })
}

/// What is public of a batch: the transfers that it takes tell it from all others of its source.
fn batch_session(source: &Seed, position: u64, program: &Program) -> Session {
    assert!(program.evaluator_bits() > 0, "a batch without transfers has no number of its own");
    Session::at(source, position, program)
}

/// Chunks worked on at once.
fn wave_size() -> usize {
    rayon::current_num_threads().clamp(1, WINDOW)
}

/// The evaluator's transfers, a thread of their own.
fn run_ahead(
    cot: &mut (dyn CotReceive + Send),
    tx: &mut Tx,
    context: &Context<'_>,
    inputs: &[&[u64]],
    queue: mpsc::SyncSender<(Chunk, Vec<u128>)>,
) -> Result<(), GcError> {
    let _metered = meter::scope(Primitive::Transfer);
    let mut choices = Zeroizing::new(Vec::new());
    for chunk in context.layout.chunks() {
        let mut labels = vec![0; context.layout.transfers(&chunk)];
        context.choices(inputs, &chunk, &mut choices);
        cot.chosen(tx, &choices, &mut labels)?;
        if queue.send((chunk, labels)).is_err() {
            break; // the other thread has met an error and reports it
        }
    }
    Ok(())
}

/// Evaluates all chunks into `outputs`; returns the bits for the garbler if it is to have them.
fn evaluate_chunks(
    rx: &mut Rx,
    context: &Context<'_>,
    queue: mpsc::Receiver<(Chunk, Vec<u128>)>,
    outputs: &mut [Vec<u64>],
) -> Result<Vec<u8>, GcError> {
    let mut returned = Vec::new();
    let mut memory: Vec<_> = std::iter::repeat_with(EvaluatorChunk::default).take(wave_size()).collect();
    loop {
        let mut wave = Vec::new();
        for own in &mut memory {
            let Ok((chunk, labels)) = queue.recv() else { break };
            own.labels = labels;
            own.bytes.resize(context.layout.chunk_bytes(&chunk));
            rx.recv_into(&mut own.bytes)?;
            wave.push(chunk);
        }
        if wave.is_empty() {
            return Ok(returned);
        }
        let work = wave.par_iter().zip(&mut memory);
        let evaluated = work
            .map_init(|| meter::scope(Primitive::Evaluate), |_, (chunk, own)| context.evaluate(chunk, own));
        if !evaluated.reduce(|| true, |a, b| a & b) {
            return Err(GcError::OutOfRange);
        }
        for (chunk, own) in wave.iter().zip(&memory) {
            deliver(context, chunk, own, outputs, &mut returned);
        }
    }
}

/// Turns a chunk's results into numbers, and into bytes for the garbler.
fn deliver(
    context: &Context<'_>,
    chunk: &Chunk,
    evaluated: &EvaluatorChunk,
    outputs: &mut [Vec<u64>],
    returned: &mut Vec<u8>,
) {
    let program = context.program;
    let (bit_count, share_count) = (program.revealed_bits(), program.constants.len());
    for (group, (_, lanes)) in chunk.groups().enumerate() {
        let bits = &evaluated.bits[group * bit_count..][..bit_count];
        let mut shares = evaluated.shares[group * share_count..][..share_count].iter();
        let mut numbers = match context.reveal {
            Reveal::ToEvaluator => packing::numbers(program, bits.iter().copied()),
            Reveal::ToGarbler => {
                let end = returned.len();
                returned.resize(end + bit_count * lanes.div_ceil(8), 0);
                packing::put_lane_bits(bits, lanes, &mut &mut returned[end..]);
                Vec::new()
            }
        }
        .into_iter();
        for (output, kind) in outputs.iter_mut().zip(&program.shape.outputs) {
            let words = match kind {
                OutputKind::Bits(_) => numbers.next(),
                OutputKind::Share(_) => shares.next().copied(),
            };
            output.extend(words.iter().flat_map(|words| &words[..lanes]));
        }
    }
}

/// The revealed outputs, from the bits that the evaluator returns and those that the garbler kept.
fn receive_revealed(
    rx: &mut Rx,
    context: &Context<'_>,
    decoding: &[LaneBits],
) -> Result<Vec<Vec<u64>>, GcError> {
    let program = context.program;
    let mut outputs = vec![Vec::new(); packing::revealed(&program.shape).count()];
    let mut decoding = decoding.iter();
    for chunk in context.layout.chunks() {
        let bytes = rx.recv(context.layout.revealed_bytes(&chunk))?;
        let mut bytes = &bytes[..];
        for (_, lanes) in chunk.groups() {
            let own = packing::take_lane_bits(program.revealed_bits(), lanes, &mut bytes);
            let bits = own.zip(decoding.by_ref()).map(|(bit, flip)| bit ^ flip);
            for (output, words) in outputs.iter_mut().zip(packing::numbers(program, bits)) {
                output.extend_from_slice(&words[..lanes]);
            }
        }
    }
    Ok(outputs)
}

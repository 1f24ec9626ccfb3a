//! Two parties in one process, and what circuits should compute.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(dead_code, reason = "every test file uses its part")]

use channels::{Channel, Traffic, memory};
use gc::{Circuit, OutputKind, Reveal};
use ot::{CotReceive, CotReceiver, CotSend, CotSender, SilentReceiver, SilentSender, iknp, silent};
use prg::{Prg, Seed};
use std::thread;

/// A session over memory.
pub(crate) struct Session {
    pub(crate) garbler: (Box<dyn CotSend + Send>, Channel),
    pub(crate) evaluator: (Box<dyn CotReceive + Send>, Channel),
    pub(crate) silent: bool,
}

/// One batch as both parties saw it.
pub(crate) struct Batch {
    pub(crate) garbler: Vec<Vec<u64>>,
    pub(crate) evaluator: Vec<Vec<u64>>,
    pub(crate) garbler_traffic: Traffic,
    pub(crate) evaluator_traffic: Traffic,
}

pub(crate) fn session(seed: u8) -> Session {
    set_up(seed, false)
}

pub(crate) fn silent_session(seed: u8) -> Session {
    set_up(seed, true)
}

fn set_up(seed: u8, silent: bool) -> Session {
    let (mut a, mut b) = memory::pair();
    let mut garbler_prg = Prg::new(&Seed::from_bytes([seed; 16]));
    let mut evaluator_prg = Prg::new(&Seed::from_bytes([!seed; 16]));
    thread::scope(|scope| {
        let garbler = scope.spawn(move || {
            let offset = u128::from_le_bytes(*garbler_prg.seed().as_bytes()) | 1;
            let source: Box<dyn CotSend + Send> = if silent {
                Box::new(SilentSender::setup(&mut a, offset, &mut garbler_prg).unwrap())
            } else {
                Box::new(CotSender::setup(&mut a, offset, &mut garbler_prg).unwrap())
            };
            (source, a)
        });
        let source: Box<dyn CotReceive + Send> = if silent {
            Box::new(SilentReceiver::setup(&mut b, &mut evaluator_prg).unwrap())
        } else {
            Box::new(CotReceiver::setup(&mut b, &mut evaluator_prg).unwrap())
        };
        Session { garbler: garbler.join().unwrap(), evaluator: (source, b), silent }
    })
}

impl Session {
    /// Bytes from evaluator to garbler for the transfers of a batch.
    pub(crate) fn transfer_bytes<C: Circuit>(&self, circuit: &C, n: usize) -> u64 {
        let bytes = if self.silent { silent::correction_bytes } else { iknp::extend_bytes };
        gc::transfers(circuit, n).into_iter().map(|count| bytes(count) as u64).sum()
    }
}

impl Session {
    pub(crate) fn run<C: Circuit>(
        &mut self,
        circuit: &C,
        garbler: &[Vec<u64>],
        evaluator: &[Vec<u64>],
        n: usize,
        reveal: Reveal,
    ) -> Batch {
        let (g, a) = &mut self.garbler;
        let (e, b) = &mut self.evaluator;
        let transfers = gc::transfers(circuit, n).into_iter().sum();
        thread::scope(|scope| {
            scope.spawn(|| g.reserve(a, transfers).unwrap());
            e.reserve(b, transfers).unwrap();
        });
        let (before_a, before_b) = (a.traffic(), b.traffic());
        let (garbled, evaluated) = thread::scope(|scope| {
            let garbled =
                scope.spawn(|| gc::garble(&mut **g, a, circuit, &slices(garbler), n, reveal).unwrap());
            let evaluated = gc::evaluate(&mut **e, b, circuit, &slices(evaluator), n, reveal).unwrap();
            (garbled.join().unwrap(), evaluated)
        });
        Batch {
            garbler: garbled,
            evaluator: evaluated,
            garbler_traffic: a.traffic() - before_a,
            evaluator_traffic: b.traffic() - before_b,
        }
    }
}

pub(crate) fn slices(words: &[Vec<u64>]) -> Vec<&[u64]> {
    words.iter().map(Vec::as_slice).collect()
}

/// Random inputs of both parties for `n` instances, below `below` each; masks below their moduli.
pub(crate) fn inputs<C: Circuit>(
    circuit: &C,
    below: u64,
    n: usize,
    prg: &mut Prg,
) -> (Vec<Vec<u64>>, Vec<Vec<u64>>) {
    let shape = circuit.shape();
    let mut draw = |bound| {
        let mut words = vec![0; n];
        prg.fill_below(&mut words, bound);
        words
    };
    let mut garbler: Vec<_> = (0..shape.garbler_inputs).map(|_| draw(below)).collect();
    for kind in &shape.outputs {
        if let OutputKind::Share(modulus) = kind {
            garbler.push(draw(modulus.value()));
        }
    }
    (garbler, shape.evaluator.iter().map(|_| draw(below)).collect())
}

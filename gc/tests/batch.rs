//! Whole batches: garbled equals clear, bytes equal the cost formula, bad peers give errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Session, inputs, session, slices};
use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate};
use gc::{Circuit, OutputKind, Reveal};
use ntt::Modulus;
use prg::{Prg, Seed};

fn check<C: Circuit>(session: &mut Session, circuit: &C, below: u64, n: usize, reveal: Reveal) {
    let mut prg = Prg::new(&Seed::from_bytes([n as u8; 16]));
    let (garbler, evaluator) = inputs(circuit, below, n, &mut prg);
    let clear = gc::clear(circuit, &slices(&garbler), &slices(&evaluator), n);
    let batch = session.run(circuit, &garbler, &evaluator, n, reveal);
    let (mut revealed, mut expected_garbler, mut expected_evaluator) = (Vec::new(), Vec::new(), Vec::new());
    for (words, kind) in clear.into_iter().zip(circuit.shape().outputs) {
        match (kind, reveal) {
            (OutputKind::Share(_), _) => expected_evaluator.push(words),
            (OutputKind::Bits(_), Reveal::ToEvaluator) => expected_evaluator.push(words),
            (OutputKind::Bits(_), Reveal::ToGarbler) => {
                expected_evaluator.push(Vec::new());
                revealed.push(words);
            }
        }
    }
    expected_garbler.append(&mut revealed);
    assert_eq!(batch.evaluator, expected_evaluator, "n = {n}, {reveal:?}");
    assert_eq!(batch.garbler, expected_garbler, "n = {n}, {reveal:?}");
    let cost = gc::cost(circuit, n, reveal);
    let (g, e) = (batch.garbler_traffic, batch.evaluator_traffic);
    assert_eq!((g.sent, e.received), (cost.garbler_to_evaluator, cost.garbler_to_evaluator), "n = {n}");
    assert_eq!((e.sent, g.received), (cost.evaluator_to_garbler, cost.evaluator_to_garbler), "n = {n}");
    assert_eq!((g.rounds, e.rounds), (cost.rounds, cost.rounds), "n = {n}");
}

fn moduli() -> [Modulus; 3] {
    [Modulus::pow2(20).unwrap(), Modulus::prime(737_281).unwrap(), Modulus::pow2(32).unwrap()]
}

#[test]
fn batches_of_any_size_equal_the_clear_circuit() {
    let mut session = session(1);
    for m in moduli() {
        let relu = Relu { m_in: m, m_out: m, shift: 8 };
        for n in [0, 1, 15, 16, 17, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025, 5000] {
            check(&mut session, &relu, m.value(), n, Reveal::ToEvaluator);
        }
        let pool = MaxPool { m_in: m, m_out: m, window: 4, relu: false, shift: 3 };
        check(&mut session, &pool, m.value(), 777, Reveal::ToEvaluator);
        check(&mut session, &Truncate { m_in: m, m_out: m, shift: 5 }, m.value(), 300, Reveal::ToGarbler);
        for reveal in [Reveal::ToEvaluator, Reveal::ToGarbler] {
            for n in [1, 9, 100, 2000] {
                check(&mut session, &ArgMax { m_in: m, classes: 3 }, m.value(), n, reveal);
                check(&mut session, &Threshold { m_in: m, at: 0 }, m.value(), n, reveal);
            }
        }
    }
}

#[test]
fn a_large_circuit_streams() {
    let m = Modulus::pow2(16).unwrap();
    check(&mut session(2), &ArgMax { m_in: m, classes: 256 }, m.value(), 70, Reveal::ToGarbler);
}

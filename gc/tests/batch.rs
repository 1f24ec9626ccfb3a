//! Whole batches: garbled equals clear, bytes equal the cost formula, bad peers give errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Session, inputs, session, slices};
use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate};
use gc::{Circuit, Gates, Output, OutputKind, Reveal, Shape, Sum, Term, Word};
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
    let mut cost = gc::cost(circuit, n, reveal);
    cost.evaluator_to_garbler += session.transfer_bytes(circuit, n);
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

/// Gates, outputs and terms drawn from a seed: what no author of circuits would write.
struct Random {
    seed: u8,
    m: Modulus,
}

impl Circuit for Random {
    fn shape(&self) -> Shape {
        let outputs = vec![
            OutputKind::Bits(9),
            OutputKind::Share(self.m),
            OutputKind::Bits(1),
            OutputKind::Share(self.m),
        ];
        Shape { garbler_inputs: 2, garbler: vec![5, 3], evaluator: vec![4, 6], outputs }
    }

    fn run<G: Gates>(&self, g: &mut G, a: &[Word<G>], b: &[Word<G>]) -> Vec<Output<G::Wire>> {
        let mut prg = Prg::new(&Seed::from_bytes([self.seed; 16]));
        let mut wires: Vec<_> = a.iter().chain(b).flatten().copied().collect();
        wires.extend([g.constant(false), g.constant(true)]);
        for _ in 0..90 {
            // Mostly recent wires: chains as well as wide sharing.
            let mut pick = || wires[wires.len() - 1 - (prg.next_u64() % wires.len().min(20) as u64) as usize];
            let (x, y) = (pick(), pick());
            let next = match prg.next_u64() % 8 {
                0..4 => g.xor(x, y),
                4..7 => g.and(x, y),
                _ => g.not(x),
            };
            wires.push(next);
        }
        let mut pick = || wires[(prg.next_u64() % wires.len() as u64) as usize];
        let mut bits = |n: usize| Output::Bits((0..n).map(|_| pick()).collect());
        let (nine, one) = (bits(9), bits(1));
        let mut sum = |n: usize| {
            let mut term = || {
                let weight = (prg.next_u64() % self.m.value()) & (u64::MAX << (prg.next_u64() % 20));
                let mut pick = || wires[(prg.next_u64() % wires.len() as u64) as usize];
                let (wire, gate) = (pick(), pick());
                Term { weight, wire, gate: prg.next_u64().is_multiple_of(2).then_some(gate) }
            };
            Output::Share(Sum { terms: (0..n).map(|_| term()).collect(), constant: self.m.value() - 1 })
        };
        vec![nine, sum(12), one, sum(1)]
    }
}

#[test]
fn random_circuits_equal_the_clear_circuit() {
    let mut session = session(3);
    for seed in 0..60 {
        let m = moduli()[usize::from(seed % 3)];
        let reveal = if seed % 2 == 0 { Reveal::ToEvaluator } else { Reveal::ToGarbler };
        check(&mut session, &Random { seed, m }, 8, 40, reveal);
    }
}

#[test]
fn silent_transfers_give_the_same_for_fewer_bytes() {
    let mut silent = common::silent_session(4);
    for m in moduli() {
        for (n, reveal) in [(1, Reveal::ToEvaluator), (300, Reveal::ToGarbler), (1000, Reveal::ToEvaluator)] {
            check(&mut silent, &Relu { m_in: m, m_out: m, shift: 8 }, m.value(), n, reveal);
            check(&mut silent, &ArgMax { m_in: m, classes: 3 }, m.value(), n, reveal);
        }
    }
    let relu = Relu { m_in: moduli()[0], m_out: moduli()[0], shift: 8 };
    assert_eq!(silent.transfer_bytes(&relu, 4096), 4096 * 20 / 8);
    assert_eq!(session(4).transfer_bytes(&relu, 4096), 4096 * 20 * 16);
}

//! A peer that leaves or sends garbage: a typed error or wrong numbers in range, never a panic or a hang.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use channels::ChannelError;
use common::{inputs, session, slices};
use gc::circuits::{ArgMax, Relu};
use gc::{Circuit, GcError, Reveal};
use ntt::Modulus;
use prg::{Prg, Seed};
use std::thread;

fn prg(seed: u8) -> Prg {
    Prg::new(&Seed::from_bytes([seed; 16]))
}

#[test]
fn a_peer_that_leaves_is_an_error() {
    let m = Modulus::pow2(16).unwrap();
    let relu = Relu { m_in: m, m_out: m, shift: 4 };
    let (own, other) = inputs(&relu, m.value(), 20_000, &mut prg(2));
    let common::Session { garbler: (mut garbler, mut a), evaluator, .. } = session(3);
    drop(evaluator);
    let result = gc::garble(&mut *garbler, &mut a, &relu, &slices(&own), 20_000, Reveal::ToEvaluator);
    assert!(matches!(result, Err(GcError::Channel(ChannelError::Closed) | GcError::Transfer(_))));
    let common::Session { garbler, evaluator: (mut evaluator, mut b), .. } = session(4);
    drop(garbler);
    let result = gc::evaluate(&mut *evaluator, &mut b, &relu, &slices(&other), 20_000, Reveal::ToEvaluator);
    assert!(matches!(result, Err(GcError::Channel(ChannelError::Closed) | GcError::Transfer(_))));
}

#[test]
fn a_peer_that_leaves_in_the_middle_is_an_error() {
    let m = Modulus::pow2(16).unwrap();
    let relu = Relu { m_in: m, m_out: m, shift: 4 };
    let n = 20_000;
    let (_, other) = inputs(&relu, m.value(), n, &mut prg(2));
    let common::Session { garbler: (garbler, mut a), evaluator: (mut evaluator, mut b), .. } = session(5);
    thread::scope(|scope| {
        scope.spawn(move || {
            // One chunk's worth of bytes, then gone.
            a.recv(4096).unwrap();
            a.send(&[0; 1 << 18]).unwrap();
            a.flush().unwrap();
            drop((garbler, a));
        });
        let result = gc::evaluate(&mut *evaluator, &mut b, &relu, &slices(&other), n, Reveal::ToEvaluator);
        assert!(result.is_err());
    });
}

/// An evaluator against a garbler that sends garbage.
fn evaluate_garbage<C: Circuit>(circuit: &C, below: u64, n: usize) -> Result<Vec<Vec<u64>>, GcError> {
    let (_, other) = inputs(circuit, below, n, &mut prg(6));
    let common::Session { garbler: (_garbler, mut a), evaluator: (mut evaluator, mut b), .. } = session(7);
    let cost = gc::cost(circuit, n, Reveal::ToEvaluator);
    let mut garbage = vec![0; cost.garbler_to_evaluator as usize];
    prg(8).fill(&mut garbage);
    a.send(&garbage).unwrap();
    a.flush().unwrap();
    gc::evaluate(&mut *evaluator, &mut b, circuit, &slices(&other), n, Reveal::ToEvaluator)
}

#[test]
fn garbage_for_tables_gives_wrong_numbers_in_range_or_an_error() {
    for m in [Modulus::pow2(16).unwrap(), Modulus::prime(737_281).unwrap()] {
        let relu = Relu { m_in: m, m_out: m, shift: 4 };
        assert_eq!(evaluate_garbage(&relu, m.value(), 200), Err(GcError::OutOfRange));
        let argmax = ArgMax { m_in: m, classes: 4 };
        let labels = evaluate_garbage(&argmax, m.value(), 200).unwrap();
        assert!(labels[0].len() == 200 && labels[0].iter().all(|&label| label < 4));
    }
}

#[test]
fn garbage_from_the_evaluator_gives_the_garbler_numbers_in_range() {
    let m = Modulus::pow2(16).unwrap();
    let argmax = ArgMax { m_in: m, classes: 4 };
    let n = 300;
    let (own, _) = inputs(&argmax, m.value(), n, &mut prg(9));
    let common::Session { garbler: (mut garbler, mut a), evaluator: (_evaluator, mut b), .. } = session(10);
    let transfers: usize = gc::transfers(&argmax, n).into_iter().map(ot::iknp::extend_bytes).sum();
    let returned = gc::cost(&argmax, n, Reveal::ToGarbler).evaluator_to_garbler as usize;
    let mut garbage = vec![0; transfers + returned];
    prg(11).fill(&mut garbage);
    b.send(&garbage).unwrap();
    b.flush().unwrap();
    let labels = gc::garble(&mut *garbler, &mut a, &argmax, &slices(&own), n, Reveal::ToGarbler).unwrap();
    assert!(labels[0].len() == n && labels[0].iter().all(|&label| label < 4));
}

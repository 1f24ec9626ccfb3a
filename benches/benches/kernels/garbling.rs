//! Garbled circuits, local work only: AND gates per second of either party, with re-keying.
//!
//! Garbling an AND takes four blocks of AES-128, evaluating two, and its table is 32 bytes, written or read. Labels of
//! the garbler's inputs (a block each) and weighted bits of shared outputs (two or four, and one) come on top.

use crate::bounds::Bounds;
use crate::suite::{Bound, Kernel, Show, Suite};
use gc::circuits::{ArgMax, MaxPool, Relu, Truncate};
use gc::{Circuit, Isa, LocalChunk, Program};
use ntt::Modulus;
use prg::{Prg, Seed};
use std::hint::black_box;

/// All circuits.
pub(crate) fn all(suite: &mut Suite, bounds: &Bounds) {
    let m = Modulus::pow2(24).unwrap();
    let aims = ["≥ 250", "≥ 350"];
    circuit(suite, bounds, "argmax of 16", &ArgMax { m_in: m, classes: 16 }, m, aims);
    circuit(suite, bounds, "ReLU", &Relu { m_in: m, m_out: m, shift: 8 }, m, aims);
    circuit(suite, bounds, "truncation", &Truncate { m_in: m, m_out: m, shift: 8 }, m, [""; 2]);
    let pool = MaxPool { m_in: m, m_out: m, window: 8, relu: true, shift: 8 };
    circuit(suite, bounds, "max pooling of 8", &pool, m, [""; 2]);
    let p = Modulus::prime(737_281).unwrap();
    circuit(suite, bounds, "ReLU, prime", &Relu { m_in: p, m_out: p, shift: 8 }, p, [""; 2]);
}

fn circuit<C: Circuit>(
    suite: &mut Suite,
    bounds: &Bounds,
    name: &str,
    circuit: &C,
    m: Modulus,
    aims: [&'static str; 2],
) {
    let program = Program::new(circuit);
    let mut local = LocalChunk::new(circuit, m.value(), &mut Prg::new(&Seed::from_bytes([1; 16])));
    let (isa, ands) = (Isa::detect(), (program.ands() * local.instances()) as f64);
    let kernel = |name, blocks: f64, goal: &'static str| {
        let (aes, table) = (blocks * bounds.aes, 32.0 * bounds.near);
        let words = if aes > table { format!("{blocks} blocks of AES") } else { "its table in cache".into() };
        let bound = Bound { seconds: aes.max(table), words };
        Kernel { group: "AND", name, show: Show::Rate, units: ands, bound, goal }
    };
    suite.run(kernel(format!("garble {name}"), 4.0, aims[0]), || _ = black_box(local.garble(isa)).len());
    local.garble(isa);
    suite
        .run(kernel(format!("evaluate {name}"), 2.0, aims[1]), || _ = black_box(local.evaluate(isa)).0.len());
}

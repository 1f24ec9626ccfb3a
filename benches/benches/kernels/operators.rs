//! Squares in slots and truncation by transfers, as whole layers: both parties, over a channel in memory.

use crate::bounds::Bounds;
use crate::suite::{Bound, Kernel, Show, Suite};
use channels::memory;
use models::{Op, Shape};
use ntt::{Modulus, ntt_primes};
use prg::{Prg, Seed};
use protocol::Operator;
use protocol::ots::Source;
use protocol::strategy::find;
use protocol::trial::{self, Layer, Outcome};

/// Values of a layer: whole ciphertexts.
const VALUES: usize = 1 << 20;

/// Both operators; a silent transfer takes both parties so many CPU seconds.
pub(crate) fn all(suite: &mut Suite, bounds: &Bounds, transfer: Option<f64>) {
    squares(suite, bounds);
    if let Some(seconds) = transfer {
        let bound = Bound { seconds, words: "a transfer of bits".into() };
        let modulus = Modulus::pow2(24).unwrap();
        let layer = layer(Op::Truncate { shift: 8 }, modulus, 1 << 20);
        run(suite, "truncation by 8, transfers", bound, &|| outcome(Operator::Truncation, "ot", &layer));
    }
}

fn layer(op: Op, modulus: Modulus, bound: i64) -> Layer {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let shape = Shape { channels: 1, dims: [1, VALUES / 1024, 1024] };
    let values = (0..VALUES).map(|_| (prg.next_u64() % (2 * bound as u64)) as i64 - bound).collect();
    Layer { op, inputs: vec![(shape, values)], weights: None, from: modulus, to: modulus, engine: "" }
}

/// One run, whose result is checked.
fn outcome(operator: Operator, strategy: &str, layer: &Layer) -> Outcome {
    let strategy = find(operator, strategy).unwrap();
    let outcome = trial::run(Source::Silent, strategy, layer, memory::pair(), &mut Prg::from_os()).unwrap();
    assert!(outcome.values == outcome.expected, "a wrong result is no measurement");
    outcome
}

/// Pairs made in slots, and one opening.
fn squares(suite: &mut Suite, bounds: &Bounds) {
    let modulus = Modulus::prime(ntt_primes(8192, 20).next().unwrap()).unwrap();
    let layer = layer(Op::Square, modulus, 256);
    let square = || outcome(Operator::Square, "beaver", &layer);
    // Which parameters the plan took follows from the bytes of an upload: limbs of 50 bits per value.
    let limbs = (square().declared.offline.alice_to_bob as f64 * 8.0 / VALUES as f64 / 50.0).round();
    let n = if limbs > 2.0 { 8192 } else { 4096 };
    // Encrypted, taken in and multiplied in every limb; three for a reply; two to decrypt; in and out of slots.
    let transforms = 6.0 * limbs + 2.0 + 4.0;
    let bound = Bound {
        seconds: transforms * bounds.transform(n) / n as f64,
        words: format!("{transforms} transforms per {n} values"),
    };
    run(suite, "square, pairs in slots", bound, &square);
}

fn run(suite: &mut Suite, name: &str, bound: Bound, outcome: &dyn Fn() -> Outcome) {
    let (show, units) = (Show::Nanoseconds, VALUES as f64);
    let kernel = Kernel { group: "value", name: name.to_owned(), show, units, bound, goal: "" };
    suite.run_timed(kernel, || {
        // Set-up is no part; CPU time is the process's, and Alice sees the whole.
        let [_, offline, online] = outcome().phases[0];
        offline.cpu_seconds + online.cpu_seconds
    });
}

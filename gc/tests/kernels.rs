//! All instruction sets give the same bytes on the same seeds; different seeds give unrelated ones.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate};
use gc::{Circuit, Isa, LocalChunk};
use ntt::Modulus;
use prg::{Prg, Seed};

fn prg(seed: u8) -> Prg {
    Prg::new(&Seed::from_bytes([seed; 16]))
}

fn same<C: Circuit>(circuit: &C, m: Modulus) {
    for seed in 0..3 {
        let mut local = LocalChunk::new(circuit, m.value(), &mut prg(seed));
        let bytes = local.garble(Isa::Portable).to_vec();
        let (shares, bits) = local.evaluate(Isa::Portable);
        let (shares, bits) = (shares.to_vec(), bits.to_vec());
        for isa in Isa::available() {
            assert!(local.garble(isa) == bytes, "{isa:?} garbles as the portable kernel does");
            assert_eq!(local.evaluate(isa), (&shares[..], &bits[..]), "{isa:?} evaluates as it does");
        }
    }
}

#[test]
fn instruction_sets_agree() {
    for isa in [Isa::Aes, Isa::Vaes] {
        if !Isa::available().contains(&isa) {
            println!("skipped: this machine has no {isa:?}");
        }
    }
    let primes = [40_961, 737_281, 1_099_510_054_913].map(|p| Modulus::prime(p).unwrap());
    for m in primes.into_iter().chain([8, 16, 24, 40].map(|bits| Modulus::pow2(bits).unwrap())) {
        same(&Relu { m_in: m, m_out: m, shift: 3 }, m);
        same(&Truncate { m_in: m, m_out: Modulus::prime(737_281).unwrap(), shift: 2 }, m);
        same(&MaxPool { m_in: m, m_out: m, window: 3, relu: false, shift: 0 }, m);
        same(&ArgMax { m_in: m, classes: 5 }, m);
        same(&Threshold { m_in: m, at: 3 }, m);
    }
}

#[test]
fn sessions_are_unrelated() {
    let m = Modulus::pow2(16).unwrap();
    let argmax = ArgMax { m_in: m, classes: 3 };
    let [a, b] =
        [1, 2].map(|seed| LocalChunk::new(&argmax, 1, &mut prg(seed)).garble(Isa::detect()).to_vec());
    // Equal inputs (all zero), fresh offset, seed and labels: half of all bits differ, within ten deviations.
    let (bits, different) =
        (8 * a.len() as i64, a.iter().zip(&b).map(|(a, b)| i64::from((a ^ b).count_ones())).sum::<i64>());
    assert!((2 * different - bits).pow(2) < 100 * bits, "{different} of {bits} bits differ");
}

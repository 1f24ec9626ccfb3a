//! Circuits in the clear against integer arithmetic: exhaustive at 8 and 9 bits, random at real widths.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate, range};
use gc::{Circuit, Program, Reveal, clear};
use ntt::Modulus;
use proptest::prelude::*;

/// floor((x + 2^(s−1)) / 2^s), by division.
fn rounded(x: i64, shift: u32) -> i64 {
    if shift == 0 { x } else { (2 * x + (1 << shift)).div_euclid(2 << shift) }
}

fn small() -> Vec<Modulus> {
    let primes = [131, 193, 251, 257].map(|p| Modulus::prime(p).unwrap());
    primes.into_iter().chain([8, 9].map(|bits| Modulus::pow2(bits).unwrap())).collect()
}

fn real() -> Vec<Modulus> {
    let primes = [40_961, 737_281, 1_073_479_681].map(|p| Modulus::prime(p).unwrap());
    primes.into_iter().chain([16, 20, 24, 32, 40].map(|bits| Modulus::pow2(bits).unwrap())).collect()
}

/// All pairs of shares whose number is in the circuit's range.
fn pairs(m: Modulus, shift: u32) -> (Vec<u64>, Vec<u64>, Vec<i64>) {
    let range = range(m, shift);
    let all = (0..m.value()).flat_map(|a| (0..m.value()).map(move |b| (a, b)));
    let inside = all.map(|(a, b)| (a, b, m.lift(m.add(a, b)))).filter(|(_, _, x)| range.contains(x));
    let (mut a, mut b, mut x) = (vec![], vec![], vec![]);
    inside.for_each(|(a1, b1, x1)| {
        a.push(a1);
        b.push(b1);
        x.push(x1);
    });
    (a, b, x)
}

/// The number that the evaluator's output share and the mask stand for.
fn opened<C: Circuit>(circuit: &C, m: Modulus, garbler: &[&[u64]], evaluator: &[&[u64]]) -> Vec<i64> {
    let n = evaluator[0].len();
    let mask: Vec<_> = (0..n as u64).map(|i| i * 0x9e37_79b9 % m.value()).collect();
    let garbler: Vec<_> = garbler.iter().copied().chain([&mask[..]]).collect();
    let shares = &clear(circuit, &garbler, evaluator, n)[0];
    shares.iter().zip(&mask).map(|(&share, &mask)| m.lift(m.add(share, mask))).collect()
}

#[test]
fn truncation_and_relu_are_right_for_all_shares() {
    let m_out = Modulus::pow2(12).unwrap();
    for m_in in small() {
        for shift in 0..=6 {
            let (a, b, x) = pairs(m_in, shift);
            for m_out in [m_in, m_out] {
                let y = opened(&Truncate { m_in, m_out, shift }, m_out, &[&a], &[&b]);
                assert!(x.iter().zip(&y).all(|(&x, &y)| y == rounded(x, shift)), "{m_in} {m_out} {shift}");
                let y = opened(&Relu { m_in, m_out, shift }, m_out, &[&a], &[&b]);
                assert!(
                    x.iter().zip(&y).all(|(&x, &y)| y == rounded(x, shift).max(0)),
                    "{m_in} {m_out} {shift}"
                );
            }
        }
    }
}

#[test]
fn the_range_leaves_out_only_what_rounds_over_the_end() {
    for m in small() {
        for shift in 0..=6 {
            let range = range(m, shift);
            let half = (1 << shift) >> 1;
            let (low, high) =
                (m.lift(m.value() / 2 + 1).min(m.lift(m.value() / 2)), (m.value() as i64 + 1) / 2);
            assert!(
                range.start == low && range.end <= high && range.end >= high - 2 * half - 1,
                "{m} {shift} {range:?}"
            );
        }
    }
}

#[test]
fn thresholds_are_right_for_all_shares() {
    for m_in in small() {
        let (a, b, x) = pairs(m_in, 0);
        for at in [i64::MIN, -128, -127, -64, -2, -1, 0, 1, 5, 64, 126, 127, 128, 300, i64::MAX] {
            let above = &clear(&Threshold { m_in, at }, &[&a], &[&b], a.len())[0];
            assert!(x.iter().zip(above).all(|(&x, &above)| above == u64::from(x > at)), "{m_in} {at}");
        }
    }
}

#[test]
fn the_lowest_index_wins_a_tie() {
    let m_in = Modulus::pow2(8).unwrap();
    for classes in 2..=9 {
        // All subsets of classes that share the largest value.
        let n = 1 << classes;
        let score = |class: usize, set: usize| if set >> class & 1 == 1 { 3 } else { m_in.reduce(-100) };
        let scores: Vec<Vec<_>> =
            (0..classes).map(|class| (0..n).map(|set| score(class, set)).collect()).collect();
        let zero = vec![0; n];
        let scores: Vec<_> = scores.iter().map(Vec::as_slice).collect();
        let best = &clear(&ArgMax { m_in, classes }, &scores, &vec![&zero[..]; classes], n)[0];
        let expected = (0..n).map(|set: usize| if set == 0 { 0 } else { u64::from(set.trailing_zeros()) });
        assert!(best.iter().copied().eq(expected), "{classes} classes: {best:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn circuits_compute_the_integers(
        which in 0..real().len(),
        other in 0..real().len(),
        shift in 0u32..13,
        seeds in prop::collection::vec(any::<(u64, i64)>(), 6),
    ) {
        let (m_in, m_out) = (real()[which], real()[other]);
        let range = range(m_in, shift);
        let fits = |x: i64| 2 * rounded(x, shift).unsigned_abs() + 2 < m_out.value();
        // Numbers in range whose result fits the output modulus, near zero now and then.
        let number = |seed: i64| {
            let x = if seed % 5 == 0 { seed % (3 << shift) } else { seed };
            let x = range.start + (x.wrapping_sub(range.start)).rem_euclid(range.end - range.start);
            if fits(x) { x } else { x % (m_out.value() as i64 / 3) }
        };
        let x: Vec<_> = seeds.iter().map(|&(_, x)| number(x)).collect();
        let a: Vec<_> = seeds.iter().map(|&(a, _)| a % m_in.value()).collect();
        let b: Vec<_> = x.iter().zip(&a).map(|(&x, &a)| m_in.sub(m_in.reduce(x), a)).collect();
        let truncated = opened(&Truncate { m_in, m_out, shift }, m_out, &[&a], &[&b]);
        let relu = opened(&Relu { m_in, m_out, shift }, m_out, &[&a], &[&b]);
        for i in 0..x.len() {
            prop_assert_eq!(truncated[i], rounded(x[i], shift));
            prop_assert_eq!(relu[i], rounded(x[i], shift).max(0));
        }
        let (a1, b1): (Vec<_>, Vec<_>) = (a.iter().map(std::slice::from_ref).collect(), b.iter().map(std::slice::from_ref).collect());
        let largest = rounded(x.iter().copied().max().unwrap(), shift);
        for relu in [false, true] {
            let pool = MaxPool { m_in, m_out, window: x.len(), relu, shift };
            let expected = if relu { largest.max(0) } else { largest };
            prop_assert_eq!(opened(&pool, m_out, &a1, &b1), vec![expected]);
        }
        let exact = gc::circuits::range(m_in, 0);
        if x.iter().all(|x| exact.contains(x)) {
            let best = clear(&ArgMax { m_in, classes: x.len() }, &a1, &b1, 1)[0][0] as usize;
            let first = (0..x.len()).rev().max_by_key(|&i| x[i]).unwrap();
            prop_assert_eq!(best, first);
            for at in [x[1], 0, x[2] - 1] {
                let above = clear(&Threshold { m_in, at }, &a1[..1], &b1[..1], 1)[0][0];
                prop_assert_eq!(above, u64::from(x[0] > at));
            }
        }
    }
}

#[test]
fn gate_counts_are_the_documented_ones() {
    let counts = |m_in: Modulus| {
        let (m_out, shift) = (m_in, 8);
        let relu = Program::new(&Relu { m_in, m_out, shift });
        let truncate = Program::new(&Truncate { m_in, m_out, shift });
        let pool = Program::new(&MaxPool { m_in, m_out, window: 8, relu: true, shift });
        let argmax = |classes| Program::new(&ArgMax { m_in, classes }).ands();
        let threshold = Program::new(&Threshold { m_in, at: 0 }).ands();
        let sums = [&truncate, &relu, &pool].map(|program| (program.ands(), program.terms()));
        let bytes = |cost: gc::Cost| cost.garbler_to_evaluator / 1024;
        let truncate = bytes(gc::cost(&Truncate { m_in, m_out, shift }, 1024, Reveal::ToEvaluator));
        let relu = bytes(gc::cost(&Relu { m_in, m_out, shift }, 1024, Reveal::ToEvaluator));
        (sums, argmax(3), argmax(256), threshold, [truncate, relu])
    };
    let of = |bits| counts(Modulus::pow2(bits).unwrap());
    assert_eq!(of(16), ([(15, 8), (15, 7), (232, 7)], 94, 12_231, 30, [498, 524]));
    assert_eq!(of(20), ([(19, 12), (19, 11), (320, 11)], 118, 15_291, 38, [639, 689]));
    assert_eq!(of(24), ([(23, 16), (23, 15), (408, 15)], 142, 18_351, 46, [779, 853]));
    assert_eq!(of(32), ([(31, 24), (31, 23), (584, 23)], 190, 24_471, 62, [1068, 1206]));
    assert_eq!(
        counts(Modulus::prime(737_281).unwrap()),
        ([(33, 15), (51, 13), (534, 13)], 196, 21_947, 64, [1110, 1746])
    );
}

//! The common suite: every strategy in the table, on layers that fit its operator, without a line of test code of its own.
//!
//! Each is run over both kinds of moduli and both sources of OTs, at shapes with ragged ends, on values that include both ends
//! of the range that it declares. It must yield the integer reference, or what the shares imply if it says so and then
//! within one unit of the reference (two over a prime), at the cost that it declares. What it does not fit it must refuse.

use crate::config::{Operator, Preset};
use crate::linear::stencil::tests as linear;
use crate::ots::Source;
use crate::strategy::{Needs, STRATEGIES, Strategy, find, operator};
use crate::testing::{Layer, moduli, try_run_layer, values_below};
use models::{Op, Resample, Shape, Window};
use ntt::Modulus;
use prg::{Prg, Seed};

/// The largest magnitude that a strategy reads from these shares and whose result fits the others.
fn largest(strategy: &dyn Strategy, op: &Op, from: Modulus, to: Modulus) -> i64 {
    let result = |bound: u64| match *op {
        Op::Relu { shift } | Op::Truncate { shift } => (bound >> shift) + 2,
        Op::Square | Op::Mul => bound * bound,
        Op::Scale { factor, .. } => bound * factor.unsigned_abs(),
        Op::AvgPool { window } => bound * window.taps() as u64,
        Op::Resample(ref map) => bound * map.growth(),
        Op::Raise { shift } => bound << shift,
        Op::Add => 2 * bound,
        _ => bound,
    };
    let fits = |bound: u64| {
        strategy.demand(op, bound) <= from.value() && (op.is_readout() || 2 * result(bound) + 2 <= to.value())
    };
    (0..20).rev().fold(0, |known, bit| if fits(known + (1 << bit)) { known + (1 << bit) } else { known })
        as i64
}

/// Operators of one kind with the shapes they are run on.
fn cases(kind: Operator) -> Vec<(Op, Shape)> {
    let shape = |channels, dims| Shape { channels, dims };
    let line = shape(1, [1, 1, 130]);
    let overlapping = Window {
        kernel: [1, 3, 3],
        stride: [1, 2, 2],
        dilation: [1; 3],
        pad_before: [0, 1, 1],
        pad_after: [0, 1, 1],
    };
    let windows = [
        (Window::tiling([2, 2, 2]), shape(2, [4, 6, 2])),
        (overlapping, shape(2, [1, 7, 5])),
        (Window::tiling([1, 1, 3]), shape(3, [1, 1, 9])),
    ];
    match kind {
        Operator::Convolution | Operator::TransposedConvolution => {
            linear::layers().into_iter().filter(|(op, _)| operator(op) == Some(kind)).collect()
        }
        Operator::Truncation => [1, 7].map(|shift| (Op::Truncate { shift }, line)).into(),
        Operator::Relu => [0, 1, 7].map(|shift| (Op::Relu { shift }, line)).into(),
        Operator::Square => vec![(Op::Square, line), (Op::Square, shape(1, [1, 1, 1]))],
        Operator::Product => vec![(Op::Mul, line), (Op::Mul, shape(2, [1, 3, 5]))],
        Operator::Quadratic => vec![(Op::Quadratic, line), (Op::Quadratic, shape(3, [1, 4, 11]))],
        Operator::AveragePool => windows.map(|(window, shape)| (Op::AvgPool { window }, shape)).into(),
        Operator::MaxPool => windows.map(|(window, shape)| (Op::MaxPool { window }, shape)).into(),
        Operator::Readout => {
            let argmax = [2, 3, 5].map(|channels| (Op::ArgMax, shape(channels, [1, 7, 10])));
            argmax.into_iter().chain([-9, 11].map(|at| (Op::Threshold { at }, line))).collect()
        }
        Operator::Local => {
            let moved = Resample::pick(0, [Some(1), None, Some(0)]);
            let taps = vec![vec![(0, 3), (3, -1)], vec![], vec![(2, 2)]];
            let weighed = Resample { axis: 2, taps, denominator: 6 };
            [Op::Raise { shift: 3 }, Op::Scale { factor: -5, shift: 2 }, Op::Add, Op::Concat]
                .into_iter()
                .chain([moved, weighed].map(Op::Resample))
                .map(|op| (op, shape(2, [3, 4, 5])))
                .collect()
        }
    }
}

/// One case as layers, with random values that include the ends of the range; ties where they matter.
fn layer(
    strategy: &dyn Strategy,
    case: &(Op, Shape),
    from: Modulus,
    to: Modulus,
    prg: &mut Prg,
) -> Vec<Layer> {
    let (op, shape) = (&case.0, case.1);
    let limit = largest(strategy, op, from, to);
    let mut values = values_below(limit.max(1), shape.len(), prg);
    match op {
        Op::Conv { .. } | Op::Quadratic => vec![Layer::linear(op.clone(), shape, from, strategy.name(), prg)],
        Op::ConvTranspose { .. } => {
            let engines: &[_] = if matches!(from, Modulus::Prime { .. }) {
                &["coefficient", "ensei"]
            } else {
                &["coefficient"]
            };
            let layer = |engine| Layer::linear(op.clone(), shape, from, engine, prg);
            engines.iter().copied().map(layer).collect()
        }
        Op::Add | Op::Mul | Op::Concat => {
            let other = values_below(limit, shape.len(), prg);
            vec![Layer::shaped(op.clone(), shape, &values, from, to).with(shape, &other)]
        }
        Op::ArgMax => {
            let (volume, ends) = (shape.volume(), [limit, -limit]);
            for pixel in 0..volume / 2 {
                let tie = ends[pixel % 2];
                (pixel % 3..shape.channels).for_each(|channel| values[channel * volume + pixel] = tie);
            }
            vec![Layer::shaped(op.clone(), shape, &values, from, to)]
        }
        _ => vec![Layer::shaped(op.clone(), shape, &values, from, to)],
    }
}

#[test]
fn every_registered_strategy_computes_what_it_declares() {
    let mut prg = Prg::new(&Seed::from_bytes([11; 16]));
    let mut turn = 0;
    for strategy in STRATEGIES {
        let name = format!("{} `{}`", strategy.operator().name(), strategy.name());
        let mut ran = 0;
        for from in moduli() {
            for to in moduli().into_iter().filter(|&to| strategy.converts() || to == from) {
                for case in cases(strategy.operator()) {
                    for layer in layer(*strategy, &case, from, to, &mut prg) {
                        // Setting up silent OT takes longer than the layer; a few of them tell.
                        turn += 1;
                        let source = if turn % 7 == 0 { Source::Silent } else { Source::Iknp };
                        match try_run_layer(source, *strategy, layer, &mut prg) {
                            Ok(run) => {
                                run.assert_exact();
                                let tolerance = if matches!(from, Modulus::Prime { .. }) { 2 } else { 1 };
                                assert!(run.error() <= tolerance, "{name} is off by {}", run.error());
                                ran += 1;
                            }
                            Err(reason) => {
                                assert!(!reason.is_empty(), "{name} refuses {from} without a reason")
                            }
                        }
                    }
                }
            }
            if strategy.needs() == Needs::Any {
                assert!(ran > 0, "{name} fits no layer modulo {from}, which it does not exclude");
            }
        }
        assert!(ran > 0, "{name} fits no layer at all");
    }
}

#[test]
fn names_are_unique_and_presets_name_strategies_that_exist() {
    for (i, strategy) in STRATEGIES.iter().enumerate() {
        let same = |other: &&&dyn Strategy| {
            other.operator() == strategy.operator() && other.name() == strategy.name()
        };
        assert!(!STRATEGIES[..i].iter().any(|other| same(&other)), "{} twice", strategy.name());
    }
    for preset in Preset::ALL {
        for kind in Operator::ALL {
            assert!(find(kind, preset.strategy(kind)).is_some(), "{} {}", preset.name(), kind.name());
        }
    }
}

//! `bunet bench activations`: all registered strategies of every activation on the same values.
//!
//! Both parties are threads of this process over TLS, so that CPU time is that of both, sockets and TLS included. Every
//! result is compared: with the integer reference, and with what the shares imply where a strategy says so.

use super::link;
use clap::Args;
use cli::{Align, Failure, Kind, Table};
use models::manifest::LayerWeights;
use models::{Op, Shape, Window};
use ndarray::{Array1, ArrayD};
use ntt::{Modulus, ntt_primes};
use prg::Prg;
use protocol::config::Operator;
use protocol::ots::Source;
use protocol::strategy::{Needs, Strategy, compared};
use protocol::trial::{self, Layer, Outcome, TrialError};
use serde::Serialize;
use std::path::PathBuf;

/// Flags of `bunet bench activations`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Activations {
    /// How many values
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(1024..=1 << 26))]
    values: u64,
    /// Bits of the shares
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u8).range(16..=40))]
    bits: u8,
    /// Bits that ReLU and truncation take off
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(0..=12))]
    shift: u8,
    /// Where oblivious transfers come from
    #[arg(long, value_name = "NAME", default_value = "silent", value_parser = ["silent", "iknp"])]
    ot: String,
    /// Only rows whose name contains this, e.g. `relu ot`
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Slow both parties down to a named network (see `bunet plan --help`)
    #[arg(long, value_name = "NAME", default_value = "loopback", value_parser = cli::profile)]
    profile: net::Profile,
    /// Write the rows
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

/// One strategy on one operator, per value.
#[derive(Clone, Debug, Serialize)]
struct Row {
    operator: String,
    strategy: String,
    modulus: String,
    values: u64,
    bytes_alice_to_bob: f64,
    bytes_bob_to_alice: f64,
    rounds: u64,
    cpu_microseconds: f64,
    cpu_microseconds_offline: f64,
    seconds: f64,
    /// Largest distance from the integer reference, in units of the last place.
    largest_error: u64,
    mean_error: f64,
}

pub(crate) fn activations(flags: &Activations) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (title, op) in operators(flags) {
        for strategy in compared().into_iter().filter(|strategy| Some(strategy.operator()) == operator(&op)) {
            let name = format!("{title} {}", strategy.name());
            if !name.contains(&flags.only) {
                continue;
            }
            rows.extend(measure(flags, title, &op, strategy)?);
        }
    }
    print(&rows);
    if let Some(path) = &flags.json {
        cli::write_json(path, &rows)?;
    }
    Ok(())
}

fn operator(op: &Op) -> Option<Operator> {
    protocol::strategy::operator(op)
}

fn operators(flags: &Activations) -> Vec<(&'static str, Op)> {
    let shift = u32::from(flags.shift);
    let mut all = vec![("relu", Op::Relu { shift })];
    if shift > 0 {
        all.push(("truncation", Op::Truncate { shift }));
    }
    all.extend([
        ("square", Op::Square),
        ("product", Op::Mul),
        ("quadratic", Op::Quadratic),
        ("max-pool", Op::MaxPool { window: Window::tiling([1, 2, 2]) }),
        ("threshold", Op::Threshold { at: 0 }),
        ("argmax", Op::ArgMax),
    ]);
    all
}

/// The modulus that a strategy works with: 2^bits, or the first prime of as many bits with slots.
fn modulus(strategy: &dyn Strategy, bits: u32) -> Result<Modulus, Failure> {
    match strategy.needs() {
        Needs::Any => Modulus::pow2(bits).map_err(|error| Failure::new(Kind::Plan, error)),
        Needs::Prime => {
            let prime = ntt_primes(8192, bits).next();
            let prime = prime
                .ok_or_else(|| Failure::new(Kind::Plan, format!("no prime of {bits} bits has slots")))?;
            Modulus::prime(prime).map_err(|error| Failure::new(Kind::Plan, error))
        }
    }
}

/// The largest magnitude that fits with all that the operator makes of it.
fn bound(op: &Op, modulus: Modulus, strategy: &dyn Strategy) -> i64 {
    let half = modulus.value() as i64 / 2 - 1;
    let fits = |bound: i64| {
        let result = match op {
            Op::Square | Op::Mul => bound.saturating_mul(bound),
            Op::Quadratic => bound.saturating_mul(bound).saturating_mul(2 * 127) + 1000,
            _ => bound,
        };
        result <= half && strategy.demand(op, bound as u64) <= modulus.value()
    };
    (0..40)
        .rev()
        .map(|bit| 1 << bit)
        .fold(0, |known, bit| if fits(known + bit) { known + bit } else { known })
}

fn measure(
    flags: &Activations,
    title: &str,
    op: &Op,
    strategy: &dyn Strategy,
) -> Result<Option<Row>, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(Kind::Internal, format!("{title}: {error}"));
    let mut prg = Prg::from_os();
    let modulus = modulus(strategy, u32::from(flags.bits))?;
    let channels = if *op == Op::ArgMax { 4 } else { 1 };
    let volume = (flags.values as usize).min(strategy.most_values()) / channels;
    let rows = volume.div_ceil(1024);
    let shape = Shape { channels, dims: [1, rows, if rows == 1 { volume } else { 1024 }] };
    let bound = bound(op, modulus, strategy);
    let mut random = || {
        let values = (0..shape.len()).map(|_| (prg.next_u64() % (2 * bound as u64 + 1)) as i64 - bound);
        (shape, values.collect())
    };
    let inputs = (0..if *op == Op::Mul { 2 } else { 1 }).map(|_| random()).collect();
    let weights = (*op == Op::Quadratic).then(|| LayerWeights {
        weights: ArrayD::from_shape_fn(vec![channels, 2, 1, 1, 1], |index| [101, -77][index[1]]),
        bias: Array1::from_elem(channels, 999),
    });
    let layer = Layer { op: op.clone(), inputs, weights, from: modulus, to: modulus, engine: "" };
    let source = if flags.ot == "iknp" { Source::Iknp } else { Source::Silent };
    let ends = link::pair(&flags.profile)?;
    match trial::run(source, strategy, &layer, ends, &mut prg) {
        Ok(outcome) => check(title, strategy, &outcome)
            .map(|()| Some(row(title, strategy, modulus, shape.len() as u64, &outcome))),
        Err(TrialError::Refused(reason)) => {
            eprintln!("{title} {}: refused: {reason}", strategy.name());
            Ok(None)
        }
        Err(error) => Err(internal(&error)),
    }
}

/// A result that is not what the strategy declares is no measurement.
fn check(title: &str, strategy: &dyn Strategy, outcome: &Outcome) -> Result<(), Failure> {
    let wrong = outcome.values.iter().zip(&outcome.expected).filter(|(a, b)| a != b).count();
    if wrong > 0 {
        let message =
            format!("{title} {}: {wrong} of {} values are wrong", strategy.name(), outcome.values.len());
        return Err(Failure::new(Kind::Internal, message));
    }
    Ok(())
}

fn row(title: &str, strategy: &dyn Strategy, modulus: Modulus, values: u64, outcome: &Outcome) -> Row {
    let per = |total: f64| total / values as f64;
    let [_, offline, online] = outcome.phases[0];
    let distance: u64 = outcome.values.iter().zip(&outcome.reference).map(|(a, b)| a.abs_diff(*b)).sum();
    Row {
        operator: title.into(),
        strategy: strategy.name().into(),
        modulus: modulus.to_string(),
        values,
        bytes_alice_to_bob: per((offline.traffic.sent + online.traffic.sent) as f64),
        bytes_bob_to_alice: per((offline.traffic.received + online.traffic.received) as f64),
        rounds: online.traffic.rounds,
        cpu_microseconds: per(1e6 * (offline.cpu_seconds + online.cpu_seconds)),
        cpu_microseconds_offline: per(1e6 * offline.cpu_seconds),
        seconds: offline.seconds + online.seconds,
        largest_error: outcome.error(),
        mean_error: distance as f64 / outcome.values.len() as f64,
    }
}

fn print(rows: &[Row]) {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("operator", Align::Left),
        ("strategy", Align::Left),
        ("modulus", Align::Left),
        right("values"),
        right("B up"),
        right("B down"),
        right("rounds"),
        right("µs CPU"),
        right("offline"),
        right("error"),
        right("mean"),
    ]);
    for row in rows {
        table.row([
            row.operator.clone(),
            row.strategy.clone(),
            row.modulus.clone(),
            row.values.to_string(),
            format!("{:.2}", row.bytes_alice_to_bob),
            format!("{:.2}", row.bytes_bob_to_alice),
            row.rounds.to_string(),
            format!("{:.3}", row.cpu_microseconds),
            format!("{:.3}", row.cpu_microseconds_offline),
            row.largest_error.to_string(),
            format!("{:.3}", row.mean_error),
        ]);
    }
    print!("{}", table.render());
    println!(
        "\nPer value of the input; CPU of both parties, keys and base OTs apart; errors in units of the last place."
    );
}

//! Runs criterion on CPU time and keeps what the closing table needs.

use criterion::{Criterion, SamplingMode};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Duration;

/// Samples of a kernel.
const SAMPLES: usize = 11;

/// In what a kernel's speed is told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Show {
    Nanoseconds,
    Microseconds,
    /// Millions per second.
    Rate,
}

/// What a kernel is held against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// Seconds per unit.
    pub(crate) seconds: f64,
    /// What takes them.
    pub(crate) words: String,
}

impl Bound {
    /// No bound is known.
    pub(crate) fn none() -> Self {
        Self { seconds: 0.0, words: String::new() }
    }
}

/// A kernel's figures at one level.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) show: Show,
    /// Median CPU seconds per unit.
    pub(crate) seconds: f64,
    /// The least of the samples, which others on the machine disturb least. Bounds are measured so.
    pub(crate) least: f64,
    pub(crate) bound: Bound,
    /// What is aimed at with the fastest instructions, in words.
    pub(crate) goal: String,
}

/// A kernel to measure.
pub(crate) struct Kernel {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) show: Show,
    /// Units of work per call.
    pub(crate) units: f64,
    pub(crate) bound: Bound,
    pub(crate) goal: &'static str,
}

/// Everything measured so far.
pub(crate) struct Suite {
    criterion: Criterion,
    rows: Vec<Row>,
}

impl Default for Suite {
    fn default() -> Self {
        let criterion = Criterion::default()
            .sample_size(SAMPLES)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(600))
            .nresamples(2000)
            .configure_from_args();
        Self { criterion, rows: Vec::new() }
    }
}

impl Suite {
    /// Measures calls of `work` and returns the median of CPU seconds per unit; nothing if a filter leaves it out.
    pub(crate) fn run(&mut self, kernel: Kernel, mut work: impl FnMut()) -> Option<f64> {
        self.sample(kernel, |calls| {
            let start = meter::process_seconds();
            (0..calls).for_each(|_| work());
            meter::process_seconds() - start
        })
    }

    /// The same of work that measures itself: a call tells the CPU seconds that count.
    pub(crate) fn run_timed(&mut self, kernel: Kernel, mut work: impl FnMut() -> f64) -> Option<f64> {
        self.sample(kernel, |calls| (0..calls).map(|_| work()).sum())
    }

    /// `work` makes so many calls and tells what they took.
    fn sample(&mut self, kernel: Kernel, mut work: impl FnMut(u64) -> f64) -> Option<f64> {
        let mut samples = Vec::new();
        let mut group = self.criterion.benchmark_group(kernel.group);
        group.sampling_mode(SamplingMode::Flat); // equally many calls per sample: some kernels take seconds
        group.bench_function(&kernel.name, |bencher| {
            bencher.iter_custom(|calls| {
                let spent = work(calls);
                samples.push(spent / calls as f64 / kernel.units);
                Duration::from_secs_f64(spent)
            });
        });
        group.finish();
        // Warming up comes first.
        let mut last = samples.split_off(samples.len().saturating_sub(SAMPLES));
        last.sort_by(f64::total_cmp);
        let (least, seconds) = (*last.first()?, last[last.len() / 2]);
        let Kernel { group, name, show, bound, goal, .. } = kernel;
        self.rows.push(Row {
            name: format!("{group}: {name}"),
            show,
            seconds,
            least,
            bound,
            goal: goal.to_owned(),
        });
        Some(seconds)
    }

    /// All rows, in order.
    pub(crate) fn finish(self) -> Vec<Row> {
        self.criterion.final_summary();
        self.rows
    }
}

/// Best of several repetitions, in CPU seconds of the process per call: what the machine can do.
pub(crate) fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..10 {
        let (start, mut calls) = (meter::process_seconds(), 0.0);
        while calls == 0.0 || meter::process_seconds() - start < 0.02 {
            black_box(&mut work)();
            calls += 1.0;
        }
        best = best.min((meter::process_seconds() - start) / calls);
    }
    best
}

//! Criterion benchmarks of the kernels and operators.

/// Best of several repetitions, in CPU seconds of the process per call: others may use the machine too.
pub fn cpu_time(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..8 {
        let (start, mut calls) = (meter::process_seconds(), 0.0);
        while calls == 0.0 || meter::process_seconds() - start < 0.02 {
            work();
            calls += 1.0;
        }
        best = best.min((meter::process_seconds() - start) / calls);
    }
    best
}

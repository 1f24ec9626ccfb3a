//! Criterion benchmarks of the kernels and operators.

//! Criterion benchmarks of the kernels (`kernels`), and strategies of operators side by side (`operators`).

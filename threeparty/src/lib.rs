//! Three-party backend: 2-of-3 replicated secret sharing, inference and training.

//! Share moduli, number-theoretic transforms and lazy modular multiply-accumulate kernels.

mod modulus;

pub use modulus::{Modulus, ModulusError, is_prime};

//! Share moduli, number-theoretic transforms and lazy modular multiply-accumulate kernels.
//!
//! * [`Modulus`]: the modulus of additive shares, 2^k or a prime.
//! * [`Ring`]: Z_p\[X\]/(X^n + 1) for one limb p < 2^50, with Shoup multiplication by fixed operands.
//! * [`Slots`]: n values mod a prime p as one polynomial whose Galois automorphisms rotate them.
//! * [`CyclicNtt`]: cyclic transforms mod a share prime in several dimensions, and the choice of the prime.
//! * [`mac`]: sums of products of ciphertext pairs with plaintexts, in a tiled layout.
//! * [`products`]: the same for a few operands in cache.
//! * [`simd`]: eight 64-bit lanes, portable or AVX-512, chosen at run time; kernels are written once over them.
#![deny(unsafe_code)]

mod cyclic;
pub mod mac;
mod modulus;
mod pages;
mod primes;
pub mod products;
mod residues;
mod ring;
pub mod simd;
mod slots;

pub use cyclic::{CyclicError, CyclicNtt, CyclicPlan, best_prime};
pub use modulus::{Modulus, ModulusError, is_prime};
pub use pages::Words;
pub use primes::{NttPrimes, ntt_primes};
pub use ring::{Factor, Fixed, Modular, Ring, RingError};
pub use slots::Slots;

//! Primes p ≡ 1 mod 2n, found deterministically so that both parties derive the same ones.

use crate::modulus::{is_prime, pow_mod};

/// The primes p ≡ 1 mod `step` below 2^`bits`, from the largest down to the smallest of exactly `bits` bits.
#[derive(Clone, Debug)]
pub struct NttPrimes {
    next: u64,
    floor: u64,
    step: u64,
}

/// The primes of exactly `bits` bits that are 1 mod 2·`degree`, in falling order.
///
/// # Panics
/// If `degree` is zero or `bits` is not in 2..=62.
pub fn ntt_primes(degree: usize, bits: u32) -> NttPrimes {
    assert!(degree > 0 && (2..=62).contains(&bits), "primes of 2 to 62 bits for a positive degree");
    let step = 2 * degree as u64;
    let top = (1u64 << bits) - 1;
    NttPrimes { next: (top - 1) / step * step + 1, floor: 1 << (bits - 1), step }
}

impl Iterator for NttPrimes {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        while self.next > self.floor && self.next > 1 {
            let candidate = self.next;
            self.next = candidate.saturating_sub(self.step);
            if is_prime(candidate) {
                return Some(candidate);
            }
        }
        None
    }
}

/// The distinct prime factors of `n`, by trial division (n has small factors or is below 2^41).
pub(crate) fn prime_factors(mut n: u64) -> Vec<u64> {
    let mut factors = Vec::new();
    let mut d = 2;
    while d * d <= n {
        if n.is_multiple_of(d) {
            factors.push(d);
            while n.is_multiple_of(d) {
                n /= d;
            }
        }
        d += 1;
    }
    if n > 1 {
        factors.push(n);
    }
    factors
}

/// The element of order `order` that is g^((p−1)/order) for the smallest generator g of Z_p^*.
///
/// # Panics
/// If `order` does not divide p − 1.
pub(crate) fn root_of_unity(order: u64, p: u64) -> u64 {
    assert!((p - 1).is_multiple_of(order), "the order divides p - 1");
    let factors = prime_factors(p - 1);
    let generates = |g: u64| factors.iter().all(|f| pow_mod(g, (p - 1) / f, p) != 1);
    let generator = (2..p).find(|&g| generates(g)).unwrap_or(1); // p = 2 has the trivial group
    pow_mod(generator, (p - 1) / order, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_primes_come_first() {
        let limbs: Vec<u64> = ntt_primes(4096, 50).take(2).collect();
        assert_eq!(limbs, [1_125_899_906_826_241, 1_125_899_906_629_633]);
        assert_eq!(ntt_primes(4096, 16).collect::<Vec<_>>(), [40_961]);
        assert_eq!(ntt_primes(8192, 15).count(), 0);
        let all: Vec<u64> = ntt_primes(64, 12).collect();
        let slow: Vec<u64> = (2048..4096).rev().filter(|&p| p % 128 == 1 && is_prime(p)).collect();
        assert_eq!(all, slow);
    }

    #[test]
    fn roots_have_the_order_asked_for() {
        for (order, p) in [(8192, 40_961), (72, 737_281), (36, 737_281), (5, 40_961), (1, 17)] {
            let root = root_of_unity(order, p);
            assert_eq!(pow_mod(root, order, p), 1);
            assert!(prime_factors(order).iter().all(|f| pow_mod(root, order / f, p) != 1));
        }
    }
}

//! Slots: n values mod p as one polynomial of Z_p\[X\]/(X^n + 1), p ≡ 1 mod 2n.
//!
//! Products of polynomials are products of slots. The n slots form two rows of n/2. With ω the root of order 2n that
//! comes from the smallest generator of Z_p^*, slot j of the first row is the value at ω^(3^j), of the second row the
//! value at ω^(−3^j) (Smart and Vercauteren, "Fully homomorphic SIMD operations", 2014; the order is that of Gentry,
//! Halevi and Smart, 2012). Hence X → X^(3^k) rotates both rows left by k, and X → X^(−1) swaps them.
//!
//! Constant time: values never decide an address or a branch.

use crate::modulus::pow_mod;
use crate::primes::root_of_unity;
use crate::ring::{Ring, RingError};

/// The slot encoding of one degree and prime.
pub struct Slots {
    ring: Ring,
    /// Where slot j stands in the order of the transform.
    words: Vec<u32>,
}

impl Slots {
    /// Slots mod `p` for degree `degree`.
    pub fn new(degree: usize, p: u64) -> Result<Self, RingError> {
        let ring = Ring::new(degree, p)?;
        let order = 2 * degree;
        // ω = ζ^e for the transform's own root ζ; the search takes a few multiplications per candidate.
        let (omega, zeta) = (root_of_unity(order as u64, p), ring.root());
        let mut power = 1;
        let e = (0..order).find(|_| {
            let found = power == omega;
            power = if found { power } else { ring.mul_scalar(power, zeta) };
            found
        });
        let e = e.unwrap_or_else(|| unreachable!("both roots generate the same group"));
        let bits = degree.trailing_zeros();
        let word = |exponent: usize| ((exponent - 1) / 2).reverse_bits() >> (usize::BITS - bits);
        let mut words = vec![0; degree];
        let (first, second) = words.split_at_mut(degree / 2);
        let mut exponent = e;
        for (a, b) in first.iter_mut().zip(second) {
            (*a, *b) = (word(exponent) as u32, word(order - exponent) as u32);
            exponent = exponent * 3 % order;
        }
        Ok(Self { ring, words })
    }

    /// n.
    pub fn degree(&self) -> usize {
        self.words.len()
    }

    /// p.
    pub fn modulus(&self) -> u64 {
        self.ring.modulus()
    }

    /// The polynomial whose slots are `values`: first row, then second row.
    ///
    /// # Panics
    /// If a length is not n.
    pub fn encode_into(&self, values: &[u64], polynomial: &mut [u64]) {
        assert!(values.len() == self.words.len() && polynomial.len() == self.words.len(), "n slots");
        for (&word, &value) in self.words.iter().zip(values) {
            polynomial[word as usize] = value;
        }
        self.ring.inverse(polynomial);
    }

    /// The slots of `polynomial`, which is overwritten.
    ///
    /// # Panics
    /// If a length is not n.
    pub fn decode_into(&self, polynomial: &mut [u64], values: &mut [u64]) {
        assert!(values.len() == self.words.len() && polynomial.len() == self.words.len(), "n slots");
        self.ring.forward(polynomial);
        for (&word, value) in self.words.iter().zip(values) {
            *value = polynomial[word as usize];
        }
    }

    /// The exponent g for which X → X^g rotates both rows left by `step` (right if negative).
    pub fn rotation_exponent(degree: usize, step: isize) -> usize {
        let power = step.rem_euclid((degree / 2) as isize) as u64;
        pow_mod(3, power, 2 * degree as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::ntt_primes;
    use prg::{Prg, Seed};

    const N: usize = 64;

    fn values(p: u64, seed: u8) -> Vec<u64> {
        let mut x = vec![0; N];
        Prg::new(&Seed::from_bytes([seed; 16])).fill_below(&mut x, p);
        x
    }

    #[test]
    fn products_of_polynomials_are_products_of_slots() {
        for bits in [12, 20, 32, 40] {
            let p = ntt_primes(N, bits).next().unwrap();
            let slots = Slots::new(N, p).unwrap();
            let (a, b) = (values(p, 1), values(p, 2));
            let (mut x, mut y) = (vec![0; N], vec![0; N]);
            slots.encode_into(&a, &mut x);
            slots.encode_into(&b, &mut y);
            let mut product = vec![0; N];
            for (i, j) in (0..N).flat_map(|i| (0..N).map(move |j| (i, j))) {
                let term = slots.ring.mul_scalar(x[i], y[j]);
                let k = (i + j) % N;
                product[k] = (product[k] + if i + j < N { term } else { p - term }) % p;
            }
            let mut out = vec![0; N];
            slots.decode_into(&mut product, &mut out);
            assert!(out.iter().zip(a.iter().zip(&b)).all(|(&o, (&a, &b))| o == slots.ring.mul_scalar(a, b)));
        }
    }

    #[test]
    fn automorphisms_rotate_the_rows() {
        let p = ntt_primes(N, 20).next().unwrap();
        let slots = Slots::new(N, p).unwrap();
        let a = values(p, 3);
        let mut x = vec![0; N];
        slots.encode_into(&a, &mut x);
        let automorphism = |g: usize| {
            let mut y = vec![0; N];
            for (i, &c) in x.iter().enumerate() {
                let k = i * g % (2 * N);
                y[k % N] = if k < N { c } else { (p - c) % p };
            }
            let mut out = vec![0; N];
            slots.decode_into(&mut y, &mut out);
            out
        };
        for step in [0, 1, 5, 31, -1] {
            let out = automorphism(Slots::rotation_exponent(N, step));
            for (row, rotated) in a.chunks(N / 2).zip(out.chunks(N / 2)) {
                let mut expected = row.to_vec();
                expected.rotate_left(step.rem_euclid(N as isize / 2) as usize);
                assert_eq!(rotated, expected);
            }
        }
        let swapped = automorphism(2 * N - 1);
        assert_eq!((&swapped[..N / 2], &swapped[N / 2..]), (&a[N / 2..], &a[..N / 2]));
    }
}

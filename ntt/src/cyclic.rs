//! Cyclic number-theoretic transforms over Z_p in one or more dimensions, p a share modulus.
//!
//! Y\[k\] = Σ_i x\[i\]·ω^(i·k) in every dimension, with ω of the dimension's length N, which divides p − 1; the product of
//! transforms is the transform of the cyclic convolution. With zero padding this is the frequency domain of ENSEI
//! (arXiv 2003.05328). Lengths are products of small primes, transformed by the self-sorting mixed-radix algorithm of
//! Stockham (Cochran et al., "What is the fast Fourier transform?", 1967): no digit reversal, one pass per factor.
//!
//! Layout: row-major, last dimension fastest. Eight lines run side by side in the lanes. A pass transforms the first
//! axis and rotates the axes, \[i\]\[rest\] → \[rest\]\[i\], so that each task writes a contiguous part; after as many passes as
//! dimensions the axes stand as before. Cost: one product per word and per factor of each length, and for every
//! factor r > 2 another (r−1)²/r. Constant time: yes.

use crate::modulus::is_prime;
use crate::primes::{ntt_primes, prime_factors, root_of_unity};
use crate::ring::{Factor, Modular, factor, splat};
use crate::simd::{Group, Isa, Kernel, LANES, Lanes};
use rayon::prelude::*;

/// Largest prime factor of a length that [`best_prime`] proposes.
const SMOOTH: u64 = 13;

/// Primes that [`best_prime`] tries.
const CANDIDATES: usize = 2048;

/// A transform that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CyclicError {
    /// The modulus is not a prime below 2^50.
    #[error("{0} is not a prime below 2^50")]
    Modulus(u64),
    /// A length that is zero or does not divide p − 1.
    #[error("length {length} does not divide {p} - 1")]
    Length {
        /// The length.
        length: usize,
        /// The modulus.
        p: u64,
    },
    /// No prime of the wanted size has the lengths.
    #[error("no prime of {bits} bits that is 1 mod {step} has transforms of the wanted lengths")]
    NoPrime {
        /// The wanted bits.
        bits: u32,
        /// 2n.
        step: usize,
    },
}

/// The transform of one shape.
pub struct CyclicNtt {
    p: u64,
    isa: Isa,
    dims: Vec<usize>,
    axes: Vec<Axis>,
}

/// One length.
struct Axis {
    radices: Vec<usize>,
    /// ω^k and ω^−k for k < N.
    roots: [Vec<Factor>; 2],
    inverse_length: Factor,
}

impl CyclicNtt {
    /// The transform mod `p` with lengths `dims`, outermost first.
    pub fn new(p: u64, dims: &[usize]) -> Result<Self, CyclicError> {
        Self::with_isa(p, dims, Isa::detect())
    }

    /// The same with a chosen instruction set.
    pub fn with_isa(p: u64, dims: &[usize], isa: Isa) -> Result<Self, CyclicError> {
        if p >= 1 << 50 || !is_prime(p) {
            return Err(CyclicError::Modulus(p));
        }
        let divides = |length: usize| length > 0 && (p - 1).is_multiple_of(length as u64);
        if let Some(&length) = dims.iter().find(|&&length| !divides(length)) {
            return Err(CyclicError::Length { length, p });
        }
        let axes = dims.iter().map(|&length| Axis::new(length, p)).collect();
        Ok(Self { p, isa, dims: dims.to_vec(), axes })
    }

    /// The lengths, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Words of an array: the product of the lengths.
    pub fn volume(&self) -> usize {
        self.dims.iter().product()
    }

    /// To the frequency domain, in place.
    ///
    /// # Panics
    /// If `x` has another length than [`CyclicNtt::volume`].
    pub fn forward(&self, x: &mut [u64]) {
        self.transform(x, false);
    }

    /// Back, in place.
    ///
    /// # Panics
    /// If `x` has another length than [`CyclicNtt::volume`].
    pub fn inverse(&self, x: &mut [u64]) {
        self.transform(x, true);
    }

    fn transform(&self, x: &mut [u64], inverse: bool) {
        assert_eq!(x.len(), self.volume(), "an array of the transform's shape");
        let mut rotated = vec![0; x.len()];
        for axis in &self.axes {
            self.pass(axis, inverse, x, &mut rotated);
            x.copy_from_slice(&rotated);
        }
    }

    /// Transforms the first axis of `x`, seen as \[length\]\[rest\], into `out` as \[rest\]\[length\].
    fn pass(&self, axis: &Axis, inverse: bool, x: &[u64], out: &mut [u64]) {
        let length = axis.length();
        let rest = x.len() / length;
        out.par_chunks_mut(LANES * length).enumerate().for_each_init(
            || [vec![Group::default(); length], vec![Group::default(); length]],
            |buffers, (block, out)| {
                let lines = out.len() / length;
                for (i, group) in buffers[0].iter_mut().enumerate() {
                    let start = i * rest + block * LANES;
                    group.0[..lines].copy_from_slice(&x[start..start + lines]);
                }
                let [a, b] = buffers;
                self.isa.run(Lines { p: self.p, axis, inverse, a, b });
                for (line, out) in out.chunks_exact_mut(length).enumerate() {
                    out.iter_mut().zip(&*a).for_each(|(out, group)| *out = group.0[line]);
                }
            },
        );
    }
}

impl Axis {
    fn new(length: usize, p: u64) -> Self {
        let root = root_of_unity(length as u64, p);
        let mut radices = Vec::new();
        let mut rest = length;
        for prime in prime_factors(length as u64) {
            while rest.is_multiple_of(prime as usize) {
                rest /= prime as usize;
                radices.push(prime as usize);
            }
        }
        let times = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(p)) as u64;
        let powers: Vec<u64> =
            std::iter::successors(Some(1), |&w| Some(times(w, root))).take(length).collect();
        let forward: Vec<Factor> = powers.iter().map(|&w| factor(w, p)).collect();
        let backward = (0..length).map(|k| forward[(length - k) % length]).collect();
        // 1/N = −(p − 1)/N, because N divides p − 1.
        let inverse_length = factor((p - (p - 1) / length as u64) % p, p);
        Self { radices, roots: [forward, backward], inverse_length }
    }

    fn length(&self) -> usize {
        self.roots[0].len()
    }
}

/// Eight lines of one axis: transforms `a` in place with `b` as the other buffer.
struct Lines<'a> {
    p: u64,
    axis: &'a Axis,
    inverse: bool,
    a: &'a mut Vec<Group>,
    b: &'a mut Vec<Group>,
}

impl Kernel for Lines<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { p, axis, inverse, a, b } = self;
        let m = Modular::<L>::new(p);
        let roots = &axis.roots[usize::from(inverse)];
        let mut stride = 1;
        for &radix in &axis.radices {
            if radix == 2 {
                radix2(&m, roots, stride, a, b);
            } else {
                radix_any(&m, roots, stride, radix, a, b);
            }
            std::mem::swap(a, b);
            stride *= radix;
        }
        if inverse {
            let scale = splat(axis.inverse_length);
            for x in a.iter_mut() {
                m.mul_fixed(L::load(&x.0), scale).store(&mut x.0);
            }
        }
    }
}

/// One pass with radix 2: y\[q + s(2k + t)\] = ω^(k·t·s)·Σ_u x\[q + s(k + u·m)\]·(−1)^(u·t), m = N/2s.
#[inline(always)]
fn radix2<L: Lanes>(m: &Modular<L>, roots: &[Factor], s: usize, x: &[Group], y: &mut [Group]) {
    let half = x.len() / 2;
    for (k, y) in y.chunks_exact_mut(2 * s).enumerate() {
        let w = splat::<L>(roots[k * s]);
        let (sums, differences) = y.split_at_mut(s);
        for (q, (sum, difference)) in sums.iter_mut().zip(differences).enumerate() {
            let (a, b) = (L::load(&x[q + s * k].0), L::load(&x[q + s * k + half].0));
            m.add(a, b).store(&mut sum.0);
            m.mul_fixed(m.sub(a, b), w).store(&mut difference.0);
        }
    }
}

/// One pass with any radix r: y\[q + s(r·k + t)\] = ω^(k·t·s)·Σ_u x\[q + s(k + u·m)\]·ω_r^(u·t), m = N/(r·s).
#[inline(always)]
fn radix_any<L: Lanes>(m: &Modular<L>, roots: &[Factor], s: usize, r: usize, x: &[Group], y: &mut [Group]) {
    let part = x.len() / r;
    for (k, y) in y.chunks_exact_mut(r * s).enumerate() {
        for t in 0..r {
            let w = splat::<L>(roots[k * t * s]);
            for q in 0..s {
                let mut sum = L::load(&x[q + s * k].0);
                for u in 1..r {
                    let term = L::load(&x[q + s * k + u * part].0);
                    sum = m.add(sum, m.mul_fixed(term, splat(roots[u * t % r * part])));
                }
                m.mul_fixed(sum, w).store(&mut y[q + s * t].0);
            }
        }
    }
}

/// A prime and the lengths that each layer is padded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CyclicPlan {
    /// The prime.
    pub p: u64,
    /// Padded lengths per layer.
    pub lengths: Vec<[usize; 3]>,
}

impl CyclicPlan {
    /// The sum of the padded volumes.
    pub fn volume(&self) -> usize {
        self.lengths.iter().map(|dims| dims.iter().product::<usize>()).sum()
    }
}

/// The prime p ≡ 1 mod 2n of exactly `bits` bits that needs the least padding in total: each length of `layers` grows
/// to the next divisor of p − 1 whose prime factors are at most 13. Of equal primes the largest wins. At most the
/// 2048 largest primes are tried.
pub fn best_prime(degree: usize, layers: &[[usize; 3]], bits: u32) -> Result<CyclicPlan, CyclicError> {
    let padded = |p: u64| {
        let divisors = smooth_divisors(p - 1);
        let pad = |length: usize| divisors.iter().copied().find(|&d| d >= length);
        let layer = |&[a, b, c]: &[usize; 3]| Some([pad(a)?, pad(b)?, pad(c)?]);
        Some(CyclicPlan { p, lengths: layers.iter().map(layer).collect::<Option<_>>()? })
    };
    let plans = ntt_primes(degree, bits).take(CANDIDATES).filter_map(padded);
    plans.min_by_key(CyclicPlan::volume).ok_or(CyclicError::NoPrime { bits, step: 2 * degree })
}

/// The divisors of `n` with prime factors up to [`SMOOTH`], rising, up to 2^16.
fn smooth_divisors(n: u64) -> Vec<usize> {
    let mut divisors = vec![1usize];
    let mut rest = n;
    for prime in 2..=SMOOTH {
        let known = divisors.clone();
        let mut power = 1;
        while rest.is_multiple_of(prime) {
            rest /= prime;
            power *= prime as usize;
            divisors.extend(known.iter().map(|d| d * power).filter(|&d| d <= 1 << 16));
            if power > 1 << 16 {
                break;
            }
        }
    }
    divisors.sort_unstable();
    divisors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modulus::{Modulus, pow_mod};
    use prg::{Prg, Seed};

    fn random(p: u64, len: usize, seed: u8) -> Vec<u64> {
        let mut x = vec![0; len];
        Prg::new(&Seed::from_bytes([seed; 16])).fill_below(&mut x, p);
        x[0] = p - 1;
        x
    }

    #[test]
    fn one_dimension_is_the_defining_sum() {
        for (p, lengths) in [(737_281, &[1, 2, 3, 5, 9, 16, 18, 36, 45, 72][..]), (40_961, &[1, 5, 40, 64])] {
            for (&length, isa) in
                lengths.iter().flat_map(|l| Isa::available().into_iter().map(move |i| (l, i)))
            {
                let (ntt, root) =
                    (CyclicNtt::with_isa(p, &[length], isa).unwrap(), root_of_unity(length as u64, p));
                let x = random(p, length, 1);
                let mut y = x.clone();
                ntt.forward(&mut y);
                for (k, &y) in y.iter().enumerate() {
                    let term = |(i, &x): (usize, &u64)| x * pow_mod(root, (i * k) as u64, p) % p;
                    assert_eq!(y, x.iter().enumerate().map(term).sum::<u64>() % p, "{p} length {length}");
                }
                ntt.inverse(&mut y);
                assert_eq!(y, x);
            }
        }
    }

    #[test]
    fn products_are_cyclic_convolutions() {
        let large = ntt_primes(4096, 40).find(|p| p % 9 == 1).unwrap();
        let cases = [(737_281, [6, 9, 4]), (737_281, [1, 10, 18]), (40_961, [5, 8, 1]), (large, [3, 4, 9])];
        for (p, dims) in cases {
            let (m, ntt) = (Modulus::prime(p).unwrap(), CyclicNtt::new(p, &dims).unwrap());
            let volume = ntt.volume();
            let (x, y) = (random(p, volume, 2), random(p, volume, 3));
            let position = |i: usize| [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
            let mut expected = vec![0; volume];
            for (i, j) in (0..volume).flat_map(|i| (0..volume).map(move |j| (i, j))) {
                let (a, b) = (position(i), position(j));
                let at = (0..3).fold(0, |at, d| at * dims[d] + (a[d] + b[d]) % dims[d]);
                expected[at] = m.add(expected[at], m.mul(x[i], y[j]));
            }
            let (mut a, mut b) = (x, y);
            ntt.forward(&mut a);
            ntt.forward(&mut b);
            a.iter_mut().zip(&b).for_each(|(a, &b)| *a = m.mul(*a, b));
            ntt.inverse(&mut a);
            assert_eq!(a, expected, "{p} {dims:?}");
        }
    }

    #[test]
    fn the_best_prime_pads_least() {
        // The paper's network at 64³ with 3×3×3 kernels, cyclic lengths of at least side + 2.
        let layers = [66, 34, 18, 10].map(|side| [side; 3]);
        let plan = best_prime(4096, &layers, 20).unwrap();
        let smooth = |d: usize| prime_factors(d as u64).iter().all(|&f| f <= SMOOTH);
        let slow = |p: u64| {
            let pad = |side: usize| (side..1 << 16).find(|&d| (p - 1).is_multiple_of(d as u64) && smooth(d));
            [66, 34, 18, 10].iter().map(|&side| pad(side).map(|d| d.pow(3))).sum::<Option<usize>>()
        };
        assert_eq!(ntt_primes(4096, 20).filter_map(slow).min(), Some(plan.volume()));
        assert!(plan.lengths.iter().flatten().all(|&d| (plan.p - 1).is_multiple_of(d as u64)));
        assert_eq!(best_prime(4096, &[[1, 60, 60]], 16).unwrap().p, 40_961);
        assert!(matches!(best_prime(8192, &[[1, 1, 1]], 15), Err(CyclicError::NoPrime { bits: 15, .. })));
        assert!(best_prime(8192, &layers, 32).is_ok());
    }

    #[test]
    fn lengths_that_do_not_divide_are_refused() {
        assert!(matches!(CyclicNtt::new(40_961, &[4, 3]), Err(CyclicError::Length { length: 3, .. })));
        assert!(matches!(CyclicNtt::new(40_961, &[0]), Err(CyclicError::Length { length: 0, .. })));
        assert!(matches!(CyclicNtt::new(40_963, &[2]), Err(CyclicError::Modulus(_))));
    }
}

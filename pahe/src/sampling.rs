//! Secrets and errors: ternary polynomials and the centred binomial distribution, as two's-complement words.
//!
//! Constant time: yes (no rejection).

use ntt::simd::{Isa, Kernel, LANES, Lanes, MASK52};
use prg::Prg;

/// Variance of a coefficient of the error: the centred binomial distribution of 2·21 bits, σ = 3.24.
pub(crate) const ERROR_VARIANCE: f64 = 10.5;

/// Fills `out` with uniform values of {−1, 0, 1}; the bias, of a 52-bit word taken times three, is below 2^-50.
pub(crate) fn ternary_into(prg: &mut Prg, out: &mut [u64]) {
    prg.fill_u64(out);
    Isa::detect().run(Map { out, f: Ternary });
}

/// Fills `out` with errors of variance [`ERROR_VARIANCE`], at most 21 in absolute value.
pub(crate) fn error_into(prg: &mut Prg, out: &mut [u64]) {
    prg.fill_u64(out);
    Isa::detect().run(Map { out, f: Binomial });
}

trait Transform {
    fn apply<L: Lanes>(x: L) -> L;
}

struct Map<'a, F> {
    out: &'a mut [u64],
    f: F,
}

impl<F: Transform> Kernel for Map<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let _: F = self.f;
        let (chunks, rest) = self.out.as_chunks_mut::<LANES>();
        assert!(rest.is_empty(), "polynomials have a multiple of eight coefficients");
        for x in chunks {
            F::apply(L::load(x)).store(x);
        }
    }
}

struct Ternary;

impl Transform for Ternary {
    #[inline(always)]
    fn apply<L: Lanes>(x: L) -> L {
        L::splat(0).madd52_high(x.and(L::splat(MASK52)), L::splat(3)).sub(L::splat(1))
    }
}

struct Binomial;

impl Transform for Binomial {
    #[inline(always)]
    fn apply<L: Lanes>(x: L) -> L {
        let mask = L::splat((1 << 21) - 1);
        x.and(mask).popcount().sub(x.shr(21).and(mask).popcount())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::Seed;

    /// Mean and variance of the words as signed numbers.
    fn moments(words: &[u64]) -> (f64, f64) {
        let n = words.len() as f64;
        let mean = words.iter().map(|&w| w as i64 as f64).sum::<f64>() / n;
        (mean, words.iter().map(|&w| (w as i64 as f64 - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut prg = Prg::new(&Seed::from_bytes([3; 16]));
        let mut out = vec![0; 1 << 17];
        ternary_into(&mut prg, &mut out);
        assert!(out.iter().all(|&x| x.wrapping_add(1) <= 2));
        let (mean, variance) = moments(&out);
        assert!(mean.abs() < 0.01 && (variance - 2.0 / 3.0).abs() < 0.01, "{mean} {variance}");
        error_into(&mut prg, &mut out);
        assert!(out.iter().all(|&x| x.wrapping_add(21) <= 42));
        let (mean, variance) = moments(&out);
        assert!(mean.abs() < 0.04 && (variance - ERROR_VARIANCE).abs() < 0.2, "{mean} {variance}");
    }
}

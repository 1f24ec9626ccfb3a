//! Arithmetic of share moduli on slices, value by value, eight lanes at a time.
//!
//! Constant time: yes, but for the rejections of [`Modulus::sample`], whose number says nothing about what is taken.

use crate::modulus::Modulus;
use crate::products::Reduce;
use crate::ring::Modular;
use crate::simd::{Isa, Kernel, LANES, Lanes};
use prg::Prg;
use std::marker::PhantomData;

impl Modulus {
    /// x += y, for reduced values.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_assign(self, x: &mut [u64], y: &[u64]) {
        each::<Add>(Isa::detect(), self, x, y, y);
    }

    /// x −= y, for reduced values.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sub_assign(self, x: &mut [u64], y: &[u64]) {
        each::<Sub>(Isa::detect(), self, x, y, y);
    }

    /// sum += a∘b, for reduced values.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn multiply_add(self, sum: &mut [u64], a: &[u64], b: &[u64]) {
        each::<MultiplyAdd>(Isa::detect(), self, sum, a, b);
    }

    /// out = Σ_t weights\[t\] · rows\[t\], for reduced rows.
    ///
    /// # Panics
    /// If a length differs, or the sum of all |weights| · m may pass 2^62.
    pub fn combine(self, out: &mut [u64], rows: &[&[u64]], weights: &[i32]) {
        let total: u128 = weights.iter().map(|weight| u128::from(weight.unsigned_abs())).sum();
        assert!(total * u128::from(self.value()) <= 1 << 62, "room for {total} · {self}");
        assert!(
            rows.len() == weights.len() && rows.iter().all(|row| row.len() == out.len()),
            "one row per weight"
        );
        Isa::detect().run(Combine { modulus: self, out, rows, weights });
    }

    /// Fills `out` with uniform residues: over a prime from 52 random bits each, which are almost never rejected.
    pub fn sample(self, prg: &mut Prg, out: &mut [u64]) {
        let Self::Prime { p } = self else { return prg.fill_below(out, self.value()) };
        prg.fill_below(out, (1 << 52) / p * p);
        let whole = out.len() / LANES * LANES;
        let (words, tail) = out.split_at_mut(whole);
        Isa::detect().run(Reduce { p, words });
        tail.iter_mut().for_each(|x| *x %= p);
    }
}

/// What becomes of a value and two operands, modulo a prime, and modulo 2^64 for powers of two.
trait Pointwise {
    fn prime<L: Lanes>(m: &Modular<L>, x: L, y: L, z: L) -> L;
    fn wrapping<L: Lanes>(x: L, y: L, z: L) -> L;
}

struct Add;
struct Sub;
struct MultiplyAdd;

impl Pointwise for Add {
    #[inline(always)]
    fn prime<L: Lanes>(m: &Modular<L>, x: L, y: L, _: L) -> L {
        m.add(x, y)
    }
    #[inline(always)]
    fn wrapping<L: Lanes>(x: L, y: L, _: L) -> L {
        x.add(y)
    }
}

impl Pointwise for Sub {
    #[inline(always)]
    fn prime<L: Lanes>(m: &Modular<L>, x: L, y: L, _: L) -> L {
        m.sub(x, y)
    }
    #[inline(always)]
    fn wrapping<L: Lanes>(x: L, y: L, _: L) -> L {
        x.sub(y)
    }
}

impl Pointwise for MultiplyAdd {
    #[inline(always)]
    fn prime<L: Lanes>(m: &Modular<L>, x: L, y: L, z: L) -> L {
        m.wide(x.madd52_low(y, z), L::splat(0).madd52_high(y, z))
    }
    #[inline(always)]
    fn wrapping<L: Lanes>(x: L, y: L, z: L) -> L {
        x.add(y.mul(z))
    }
}

/// x = F(x, y, z), any number of values; a last vector that is not whole is padded.
fn each<F: Pointwise>(isa: Isa, modulus: Modulus, x: &mut [u64], y: &[u64], z: &[u64]) {
    assert!(x.len() == y.len() && x.len() == z.len(), "operands of one length");
    let ((whole, tail), (y, y_tail), (z, z_tail)) = (x.as_chunks_mut(), y.as_chunks(), z.as_chunks());
    isa.run(Each { modulus, x: whole, y, z, operation: PhantomData::<F> });
    if !tail.is_empty() {
        let padded = |tail: &[u64]| std::array::from_fn(|i| tail.get(i).copied().unwrap_or(0));
        let mut x = [padded(tail)];
        let (y, z) = ([padded(y_tail)], [padded(z_tail)]);
        isa.run(Each { modulus, x: &mut x, y: &y, z: &z, operation: PhantomData::<F> });
        tail.copy_from_slice(&x[0][..tail.len()]);
    }
}

struct Each<'a, F> {
    modulus: Modulus,
    x: &'a mut [[u64; LANES]],
    y: &'a [[u64; LANES]],
    z: &'a [[u64; LANES]],
    operation: PhantomData<F>,
}

impl<F: Pointwise> Kernel for Each<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let operands = self.x.iter_mut().zip(self.y).zip(self.z);
        match self.modulus {
            Modulus::Pow2 { bits } => {
                let mask = L::splat((1 << bits) - 1);
                for ((x, y), z) in operands {
                    F::wrapping(L::load(x), L::load(y), L::load(z)).and(mask).store(x);
                }
            }
            Modulus::Prime { p } => {
                let m = Modular::<L>::new(p);
                for ((x, y), z) in operands {
                    F::prime(&m, L::load(x), L::load(y), L::load(z)).store(x);
                }
            }
        }
    }
}

struct Combine<'a> {
    modulus: Modulus,
    out: &'a mut [u64],
    rows: &'a [&'a [u64]],
    weights: &'a [i32],
}

impl Kernel for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { modulus, out, rows, weights } = self;
        let (whole, tail) = out.as_chunks_mut::<LANES>();
        let done = whole.len() * LANES;
        // Signed sums of at most 2^62 wrap, and a multiple of m that is as large makes them positive.
        let m = modulus.value();
        let multiple = (1 << 62) / m * m + m;
        let lanes = Modular::<L>::new(m);
        for (i, out) in whole.iter_mut().enumerate() {
            let mut sum = L::splat(multiple);
            for (row, &weight) in rows.iter().zip(weights) {
                let x = L::load(&row.as_chunks().0[i]);
                sum = sum.add(x.mul(L::splat(i64::from(weight) as u64)));
            }
            match modulus {
                Modulus::Pow2 { .. } => sum.and(L::splat(m - 1)),
                Modulus::Prime { .. } => lanes.wide(sum, L::splat(0)),
            }
            .store(out);
        }
        for (i, out) in tail.iter_mut().enumerate() {
            let terms =
                rows.iter().zip(weights).map(|(row, &weight)| i64::from(weight) * row[done + i] as i64);
            *out = modulus.reduce(terms.sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::Seed;

    #[test]
    fn slices_are_values_one_by_one() {
        let prime = |p| Modulus::prime(p).unwrap();
        let pow2 = |bits| Modulus::pow2(bits).unwrap();
        for m in [prime(251), prime(40_961), prime(1_099_510_054_913), pow2(8), pow2(40)] {
            let mut prg = Prg::new(&Seed::from_bytes([3; 16]));
            for len in [0, 1, 7, 8, 29] {
                let mut random = || {
                    let mut values = vec![0; len];
                    m.sample(&mut prg, &mut values);
                    values.iter_mut().take(1).for_each(|value| *value = m.value() - 1);
                    values
                };
                let (x, y, z) = (random(), random(), random());
                let one_by_one = |f: &dyn Fn(u64, u64, u64) -> u64| -> Vec<u64> {
                    (0..len).map(|i| f(x[i], y[i], z[i])).collect()
                };
                for isa in Isa::available() {
                    let run = |f: fn(Isa, Modulus, &mut [u64], &[u64], &[u64])| {
                        let mut out = x.clone();
                        f(isa, m, &mut out, &y, &z);
                        out
                    };
                    assert_eq!(run(each::<Add>), one_by_one(&|x, y, _| m.add(x, y)), "{m} {}", isa.name());
                    assert_eq!(run(each::<Sub>), one_by_one(&|x, y, _| m.sub(x, y)), "{m} {}", isa.name());
                    let expected = one_by_one(&|x, y, z| m.add(x, m.mul(y, z)));
                    assert_eq!(run(each::<MultiplyAdd>), expected, "{m} {}", isa.name());
                    let (rows, weights) = ([&x[..], &y[..], &z[..]], [-32_767, 5, 32_767]);
                    let mut out = vec![0; len];
                    isa.run(Combine { modulus: m, out: &mut out, rows: &rows, weights: &weights });
                    let [a, b, c] = weights.map(|weight| m.reduce(weight.into()));
                    let sum = |x, y, z| m.add(m.add(m.mul(a, x), m.mul(b, y)), m.mul(c, z));
                    assert_eq!(out, one_by_one(&sum), "{m} {}", isa.name());
                }
            }
        }
    }
}

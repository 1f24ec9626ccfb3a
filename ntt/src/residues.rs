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
                }
            }
        }
    }
}

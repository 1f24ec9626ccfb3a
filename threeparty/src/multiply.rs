//! Products of two secrets: value-wise, matrices, and everything bilinear.
//!
//! Functionality: from shares of x and y, shares of f(x, y) for a bilinear f. Araki et al. (CCS 2016): with
//! components xᵢ, yᵢ, party i computes zᵢ = f(xᵢ, yᵢ + yᵢ₊₁) + f(xᵢ₊₁, yᵢ); the zᵢ add up to f(x, y).
//!
//! ```text
//! Pᵢ → Pᵢ₋₁ : zᵢ + αᵢ        one element per *output*, however long its inner product
//! ```
//!
//! So a whole convolution costs one message of its output's size. Fixed-point products are truncated in the same
//! exchange, see [`truncate`](crate::truncate).
//! Cost: `R::BITS/8` bytes per party and output, one round. Constant time: yes.

use crate::error::Error;
use crate::kernels::{Gather, gemm};
use crate::party::Party;
use crate::ring::Ring;
use crate::ring::sealed::Element;
use crate::share::Shares;

impl Party {
    /// Value-wise product modulo 2^BITS.
    pub fn mul<R: Ring>(&mut self, x: &Shares<R>, y: &Shares<R>) -> Result<Shares<R>, Error> {
        self.reshare(local_product(x, y))
    }

    /// Value-wise product of fixed-point numbers, then [`Party::truncate`] by `shift` bits.
    pub fn mul_fixed<R: Ring>(
        &mut self,
        x: &Shares<R>,
        y: &Shares<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        self.reshare_truncated(local_product(x, y), shift)
    }

    /// Square of every value, then truncation.
    pub fn square_fixed<R: Ring>(&mut self, x: &Shares<R>, shift: u32) -> Result<Shares<R>, Error> {
        self.reshare_truncated(local_product(x, x), shift)
    }

    /// Row-major matrix product `[m, k]·[k, n]`, then truncation by `shift` bits (none if 0).
    ///
    /// # Panics
    /// If the lengths do not fit the dimensions.
    pub fn matmul<R: Ring>(
        &mut self,
        x: &Shares<R>,
        y: &Shares<R>,
        [m, k, n]: [usize; 3],
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        assert!(x.len() == m * k && y.len() == k * n, "matrices of other sizes");
        let steps = |count: usize, stride: usize| (0..count).map(|i| i * stride).collect::<Vec<_>>();
        let layout = Layout {
            out: (steps(m, n), steps(n, 1)),
            a: (steps(m, k), steps(k, 1)),
            b: (steps(k, n), steps(n, 1)),
        };
        let mut z = vec![R::default(); m * n];
        layout.accumulate(&mut z, x, y);
        self.reshare_truncated(z, shift)
    }
}

/// Additive shares of the value-wise product.
fn local_product<R: Ring>(x: &Shares<R>, y: &Shares<R>) -> Vec<R> {
    assert_eq!(x.len(), y.len(), "vectors of different lengths");
    let x = x.own.iter().zip(&x.next);
    let y = y.own.iter().zip(&y.next);
    x.zip(y).map(|((x0, x1), (y0, &y1))| x0.mul(y0.add(y1)).add(x1.mul(*y0))).collect()
}

/// Where the elements of a matrix product stand: row and column offsets of output, left and right operand.
#[derive(Clone, Default)]
pub(crate) struct Layout {
    pub(crate) out: (Vec<usize>, Vec<usize>),
    pub(crate) a: (Vec<usize>, Vec<usize>),
    pub(crate) b: (Vec<usize>, Vec<usize>),
}

impl Layout {
    /// Adds this party's additive share of a·b to `z`.
    pub(crate) fn accumulate<R: Ring>(&self, z: &mut [R], a: &Shares<R>, b: &Shares<R>) {
        // The smaller operand is the one worth summing: f(a₀, b₀) + f(a₁, b₀) + f(a₀, b₁).
        let (left, right);
        let sum = |x: &Shares<R>| x.own.iter().zip(&x.next).map(|(&p, &q)| p.add(q)).collect::<Vec<R>>();
        if a.len() <= b.len() {
            left = [sum(a), a.own.clone()];
            right = [&b.own, &b.next];
            (0..2).for_each(|i| self.product(z, &left[i], right[i]));
        } else {
            left = [sum(b), b.own.clone()];
            right = [&a.own, &a.next];
            (0..2).for_each(|i| self.product(z, right[i], &left[i]));
        }
    }

    /// Adds the plain product a·b to `z`.
    pub(crate) fn product<T: Element>(&self, z: &mut [T], a: &[T], b: &[T]) {
        let a = Gather { data: a, rows: &self.a.0, cols: &self.a.1 };
        gemm(z, &self.out.0, &self.out.1, a, Gather { data: b, rows: &self.b.0, cols: &self.b.1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use prg::Seed;

    #[test]
    fn products_of_random_elements() {
        fn check<R: Ring>() {
            let x: Vec<R> = (0..1000).map(|i| R::from_u64(i * 0x9e37_79b9_7f4a_7c15)).collect();
            let y: Vec<R> = (0..1000).map(|i| R::from_u64(i * i * 0x2545_f491_4f6c_dd1d)).collect();
            let (xs, ys) = (deal(&x, &Seed::from_os()), deal(&y, &Seed::from_os()));
            let [opened, ..] = run(|party| {
                let z = party.mul(&xs[party.id()], &ys[party.id()])?;
                party.open(&z)
            })
            .unwrap();
            let expected: Vec<R> = x.iter().zip(&y).map(|(&x, &y)| x.mul(y)).collect();
            assert_eq!(opened, expected);
        }
        check::<u32>();
        check::<u64>();
    }

    #[test]
    fn a_matrix_product_costs_its_output() {
        let [m, k, n] = [3, 50, 7];
        let x: Vec<u64> = (0..m * k).map(|i| i as u64 * 77).collect();
        let y: Vec<u64> = (0..k * n).map(|i| (i as u64).wrapping_sub(90)).collect();
        let (xs, ys) = (deal(&x, &Seed::from_os()), deal(&y, &Seed::from_os()));
        let results = run(|party| {
            let before = party.traffic();
            let z = party.matmul(&xs[party.id()], &ys[party.id()], [m, k, n], 0)?;
            let cost = party.traffic() - before;
            Ok((party.open(&z)?, cost.sent, cost.rounds))
        })
        .unwrap();
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let dot = (0..k).fold(0u64, |sum, l| sum.wrapping_add(x[i * k + l].wrapping_mul(y[l * n + j])));
            assert_eq!(results[1].0[i * n + j], dot);
        }
        assert!(results.iter().all(|result| (result.1, result.2) == (8 * (m * n) as u64, 1)));
    }
}

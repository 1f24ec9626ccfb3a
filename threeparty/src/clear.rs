//! The integer twin: the same arithmetic in the clear, for comparison with what the servers compute.
//!
//! Every operation has the integer semantics of the secure one; roundings are drawn with the probabilities that the
//! shares' carries have (module `truncate`), so that secure and clear training agree in distribution,
//! and exactly where nothing rounds.

use crate::arithmetic::{Arithmetic, Table, Vector};
use crate::conv::Conv;
use crate::pool::MaxPool;
use prg::{Prg, Seed};
use std::convert::Infallible;

/// Fixed-point arithmetic in the clear, with stochastic rounding from a seed.
pub struct Clear {
    prg: Prg,
}

impl Clear {
    /// A machine whose roundings follow from `seed`.
    pub fn new(seed: &Seed) -> Self {
        Self { prg: Prg::new(seed) }
    }

    /// ⌊x/2^s⌋ or one more, with expectation x/2^s.
    fn round(&mut self, mut x: Vec<u64>, shift: u32) -> Vec<u64> {
        let mut noise = vec![0u64; if shift == 0 { 0 } else { x.len() }];
        self.prg.fill_u64(&mut noise);
        let low = (1u64 << shift) - 1;
        x.iter_mut()
            .zip(&noise)
            .for_each(|(x, noise)| *x = ((*x as i64 + (noise & low) as i64) >> shift) as u64);
        x
    }
}

impl Vector for Vec<u64> {
    fn zeros(len: usize) -> Self {
        vec![0; len]
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn add(&self, other: &Self) -> Self {
        assert_eq!(self.len(), other.len(), "vectors of different lengths");
        self.iter().zip(other).map(|(a, b)| a.wrapping_add(*b)).collect()
    }
    fn sub(&self, other: &Self) -> Self {
        assert_eq!(self.len(), other.len(), "vectors of different lengths");
        self.iter().zip(other).map(|(a, b)| a.wrapping_sub(*b)).collect()
    }
    fn scale(&self, factor: u64) -> Self {
        self.iter().map(|a| a.wrapping_mul(factor)).collect()
    }
    fn gather(&self, index: &[usize]) -> Self {
        index.iter().map(|&i| self[i]).collect()
    }
    fn slice(&self, start: usize, len: usize) -> Self {
        self[start..start + len].to_vec()
    }
    fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        parts.into_iter().flatten().copied().collect()
    }
}

impl Arithmetic for Clear {
    type Vector = Vec<u64>;
    type Mask = Vec<bool>;
    type Route = Vec<usize>;
    type Error = Infallible;

    fn add_public(&self, x: &Vec<u64>, constant: u64) -> Vec<u64> {
        x.iter().map(|x| x.wrapping_add(constant)).collect()
    }

    fn public(&self, values: &[u64]) -> Vec<u64> {
        values.to_vec()
    }

    fn mul_fixed(&mut self, x: &Vec<u64>, y: &Vec<u64>, shift: u32) -> Result<Vec<u64>, Infallible> {
        assert_eq!(x.len(), y.len(), "vectors of different lengths");
        let product = x.iter().zip(y).map(|(x, y)| x.wrapping_mul(*y)).collect();
        Ok(self.round(product, shift))
    }

    fn truncate(&mut self, x: &Vec<u64>, shift: u32) -> Result<Vec<u64>, Infallible> {
        Ok(self.round(x.clone(), shift))
    }

    fn rectify(&mut self, x: &Vec<u64>, _bits: u32) -> Result<(Vec<u64>, Vec<bool>), Infallible> {
        let mask: Vec<bool> = x.iter().map(|&x| x as i64 >= 0).collect();
        Ok((self.masked(&mask, x)?, mask))
    }

    fn masked(&mut self, mask: &Vec<bool>, x: &Vec<u64>) -> Result<Vec<u64>, Infallible> {
        Ok(x.iter().zip(mask).map(|(&x, &set)| if set { x } else { 0 }).collect())
    }

    fn largest(&mut self, candidates: &[Vec<u64>], _bits: u32) -> Result<Vec<u64>, Infallible> {
        Ok((0..candidates[0].len()).map(|i| candidates[winner(candidates, i)][i]).collect())
    }

    fn argmax(&mut self, candidates: &[Vec<u64>], _bits: u32) -> Result<Vec<u64>, Infallible> {
        let winners: Vec<usize> = (0..candidates[0].len()).map(|i| winner(candidates, i)).collect();
        Ok((0..candidates.len()).flat_map(|j| winners.iter().map(move |&w| u64::from(w == j))).collect())
    }

    fn pool(
        &mut self,
        pool: &MaxPool,
        x: &Vec<u64>,
        _bits: u32,
    ) -> Result<(Vec<u64>, Vec<usize>), Infallible> {
        let taps = pool.taps();
        let best = |i: usize| {
            let key = |tap: &&Vec<usize>| x[tap[i]] as i64;
            // max_by_key keeps the last of equals: go backwards, so that the first tap wins.
            taps.iter().rev().max_by_key(key).map_or(0, |tap| tap[i])
        };
        let route: Vec<usize> = (0..taps[0].len()).map(best).collect();
        Ok((x.gather(&route), route))
    }

    fn unpool(
        &mut self,
        pool: &MaxPool,
        route: &Vec<usize>,
        gradient: &Vec<u64>,
    ) -> Result<Vec<u64>, Infallible> {
        let mut sum = vec![0u64; pool.input_len()];
        route.iter().zip(gradient).for_each(|(&i, g)| sum[i] = sum[i].wrapping_add(*g));
        Ok(sum)
    }

    fn by_leading_bit(
        &mut self,
        x: &Vec<u64>,
        bits: u32,
        tables: [Table<'_>; 2],
    ) -> Result<[Vec<u64>; 2], Infallible> {
        let low = u64::MAX >> (64 - bits);
        let look_up = |x: &u64, table: Table<'_>| (x & low).checked_ilog2().map_or(0, table);
        Ok(tables.map(|table| x.iter().map(|x| look_up(x, table)).collect()))
    }

    fn convolve(
        &mut self,
        plan: &Conv,
        x: &Vec<u64>,
        weights: &Vec<u64>,
        bias: &Vec<u64>,
        shift: u32,
    ) -> Result<Vec<u64>, Infallible> {
        let mut z = plan.spread_bias(bias);
        plan.add_forward(&mut z, x, weights);
        Ok(self.round(z, shift))
    }

    fn convolve_back(
        &mut self,
        plan: &Conv,
        gradient: &Vec<u64>,
        weights: &Vec<u64>,
        shift: u32,
    ) -> Result<Vec<u64>, Infallible> {
        let mut z = vec![0; plan.batch * plan.input.len()];
        plan.add_backward(&mut z, gradient, weights);
        Ok(self.round(z, shift))
    }

    fn weight_gradients(
        &mut self,
        layers: &[(&Conv, &Vec<u64>, &Vec<u64>)],
        bias_shift: u32,
        shift: u32,
    ) -> Result<Vec<u64>, Infallible> {
        let mut z = Vec::new();
        for (plan, x, gradient) in layers {
            let start = z.len();
            z.resize(start + plan.weights(), 0);
            plan.add_weight_gradient(&mut z[start..], x, gradient);
            z.extend(plan.sum_channels(gradient).map(|sum| sum << bias_shift));
        }
        Ok(self.round(z, shift))
    }

    fn reveal(&mut self, x: &Vec<u64>) -> Result<Vec<u64>, Infallible> {
        Ok(x.clone())
    }
}

/// The first of the largest candidates at position `i`.
fn winner(candidates: &[Vec<u64>], i: usize) -> usize {
    (1..candidates.len())
        .fold(0, |best, j| if candidates[j][i] as i64 > candidates[best][i] as i64 { j } else { best })
}

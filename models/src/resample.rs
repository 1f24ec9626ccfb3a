//! A public linear map along one axis: what padding, cropping, interpolation and choosing of channels have in common.

use crate::graph::Shape;
use serde::{Deserialize, Serialize};

/// Most taps in all.
const MAX_TAPS: usize = 1 << 20;

/// Largest denominator and magnitude of a numerator.
pub(crate) const MAX_RATIO: u32 = 1 << 16;

/// y\[i\] = Σ n·x\[j\] / denominator along one axis, the same for every line of the tensor.
///
/// Sharing is linear and the coefficients are public, so that shares are mapped without communication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resample {
    /// 0 for channels, 1 to 3 for depth, height and width.
    pub axis: usize,
    /// Per position of the value, positions of the input and their numerators; a position without any is zero.
    pub taps: Vec<Vec<(usize, i32)>>,
    /// What the sums are divided by: on integers folded into the scale, as for average pooling.
    pub denominator: u32,
}

impl Resample {
    /// Takes values from positions of the input, `None` for zero.
    pub fn pick(axis: usize, positions: impl IntoIterator<Item = Option<usize>>) -> Self {
        let taps = positions.into_iter().map(|from| from.into_iter().map(|from| (from, 1)).collect());
        Self { axis, taps: taps.collect(), denominator: 1 }
    }

    /// The map with these real coefficients, exact where a denominator up to 2^16 makes it so.
    pub(crate) fn from_coefficients(axis: usize, coefficients: &[Vec<(usize, f64)>]) -> Self {
        let exact = |&denominator: &u32| {
            let mut scaled = coefficients.iter().flatten().map(|&(_, c)| c * f64::from(denominator));
            scaled.all(|c| (c - c.round()).abs() < 1e-6)
        };
        let denominator = (1..=MAX_RATIO).find(exact).unwrap_or(MAX_RATIO);
        let row = |row: &Vec<(usize, f64)>| apportion(row, f64::from(denominator));
        Self { axis, taps: coefficients.iter().map(row).collect(), denominator }
    }

    /// The same map with a power of two as the denominator: coefficients are rounded, their sum per value is not.
    pub(crate) fn rounded(&self, bits: u32) -> Self {
        let ratio = f64::from(bits).exp2() / f64::from(self.denominator);
        let row = |row: &Vec<(usize, i32)>| {
            let exact: Vec<_> = row.iter().map(|&(from, n)| (from, f64::from(n))).collect();
            apportion(&exact, ratio)
        };
        Self { taps: self.taps.iter().map(row).collect(), denominator: 1 << bits, ..self.clone() }
    }

    /// Whether values are only moved, or replaced by zero.
    pub fn only_moves(&self) -> bool {
        self.denominator == 1 && self.taps.iter().all(|row| row.is_empty() || matches!(row[..], [(_, 1)]))
    }

    /// Zeros before and after, where the map does nothing but add these to an axis of `extent`.
    pub(crate) fn zero_padding(&self, extent: usize) -> Option<[usize; 2]> {
        let before = self.taps.iter().position(|row| !row.is_empty())?;
        let after = self.taps.len().checked_sub(before + extent)?;
        let expected = |i: usize| i.checked_sub(before).filter(|&from| from < extent);
        let same = |(i, row): (usize, &Vec<(usize, i32)>)| match expected(i) {
            Some(from) => row[..] == [(from, 1)],
            None => row.is_empty(),
        };
        (self.denominator == 1 && self.taps.iter().enumerate().all(same)).then_some([before, after])
    }

    /// How many times the input's largest magnitude a sum can reach.
    pub fn growth(&self) -> u64 {
        let row = |row: &Vec<(usize, i32)>| row.iter().map(|&(_, n)| u64::from(n.unsigned_abs())).sum();
        self.taps.iter().map(row).max().unwrap_or(0)
    }

    /// The shape of the value, or why there is none.
    pub(crate) fn infer(&self, input: Shape) -> Result<Shape, String> {
        let mut extents = input.to_array();
        let Some(extent) = extents.get(self.axis).copied() else {
            return Err(format!("it resamples along axis {}; 0 to 3 are possible", self.axis));
        };
        if !(1..=MAX_RATIO).contains(&self.denominator) {
            return Err(format!("its denominator is {}; 1 to {MAX_RATIO} are possible", self.denominator));
        }
        if self.taps.len() > MAX_TAPS || self.taps.iter().map(Vec::len).sum::<usize>() > MAX_TAPS {
            return Err(format!("it has more than {MAX_TAPS} taps"));
        }
        let fits = |&(from, n): &(usize, i32)| from < extent && n.unsigned_abs() <= MAX_RATIO;
        if !self.taps.iter().flatten().all(fits) {
            return Err(format!("a tap lies outside of {extent} positions, or weighs more than {MAX_RATIO}"));
        }
        extents[self.axis] = self.taps.len();
        let [channels, depth, height, width] = extents;
        Ok(Shape { channels, dims: [depth, height, width] })
    }

    /// The sums, without the division, of values `[channel, depth, height, width]`; `add` is given a sum, a numerator and a
    /// value.
    pub fn apply<T: Copy>(
        &self,
        values: &[T],
        shape: Shape,
        zero: T,
        add: impl Fn(T, i32, T) -> T,
    ) -> Vec<T> {
        let extents = shape.to_array();
        let inner: usize = extents[self.axis + 1..].iter().product();
        let slabs = values.chunks(inner * extents[self.axis]);
        let mut sums = Vec::with_capacity(values.len() / extents[self.axis] * self.taps.len());
        for slab in slabs {
            for row in &self.taps {
                let start = sums.len();
                sums.resize(start + inner, zero);
                for &(from, n) in row {
                    let line = &slab[from * inner..][..inner];
                    sums[start..].iter_mut().zip(line).for_each(|(sum, &x)| *sum = add(*sum, n, x));
                }
            }
        }
        sums
    }
}

/// Coefficients times `ratio` as integers with the rounded sum: what rounding leaves over goes to the largest remainders.
fn apportion(row: &[(usize, f64)], ratio: f64) -> Vec<(usize, i32)> {
    let exact = row.iter().map(|&(_, c)| c * ratio);
    let mut whole: Vec<i32> = exact.clone().map(|c| (c + 1e-6).floor() as i32).collect();
    let missing = exact.clone().sum::<f64>().round() as i32 - whole.iter().sum::<i32>();
    let mut order: Vec<usize> = (0..row.len()).collect();
    let remainder = |i: usize| row[i].1 * ratio - f64::from(whole[i]);
    order.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
    order.iter().take(missing.max(0).unsigned_abs() as usize).for_each(|&i| whole[i] += 1);
    row.iter().zip(whole).filter(|&(_, n)| n != 0).map(|(&(from, _), n)| (from, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn along(map: &Resample, values: &[i64]) -> Vec<i64> {
        let shape = Shape { channels: 1, dims: [1, 1, values.len()] };
        map.infer(shape).unwrap();
        map.apply(values, shape, 0, |sum, n, x| sum + i64::from(n) * x)
    }

    #[test]
    fn values_are_picked_and_weighed() {
        let padded = Resample::pick(3, [None, Some(0), Some(1), Some(2), None]);
        assert_eq!(along(&padded, &[5, 6, 7]), [0, 5, 6, 7, 0]);
        assert_eq!(padded.zero_padding(3), Some([1, 1]));
        assert!(padded.only_moves() && padded.zero_padding(2).is_none());
        let thirds = [vec![(0, 1.0)], vec![(0, 2.0 / 3.0), (1, 1.0 / 3.0)], vec![(1, 1.0)]];
        let thirds = Resample::from_coefficients(3, &thirds);
        assert_eq!((thirds.denominator, thirds.growth()), (3, 3));
        assert_eq!(along(&thirds, &[3, 9]), [9, 15, 27]);
        let eighths = thirds.rounded(3);
        assert_eq!(eighths.taps, [vec![(0, 8)], vec![(0, 5), (1, 3)], vec![(1, 8)]]);
    }

    #[test]
    fn an_axis_between_others_moves_whole_lines() {
        let shape = Shape { channels: 2, dims: [1, 3, 2] };
        let values: Vec<i64> = (0..12).collect();
        let turned = Resample::pick(2, [Some(2), Some(0)]);
        let found = turned.apply(&values, shape, 0, |sum, n, x| sum + i64::from(n) * x);
        assert_eq!(found, [4, 5, 0, 1, 10, 11, 6, 7]);
        let channel = Resample::pick(0, [Some(1)]);
        assert_eq!(channel.apply(&values, shape, 0, |_, _, x| x), (6..12).collect::<Vec<i64>>());
    }

    #[test]
    fn maps_that_cannot_be_are_refused() {
        let shape = Shape { channels: 1, dims: [1, 1, 3] };
        let map = Resample::pick(3, [Some(3)]);
        assert!(map.infer(shape).unwrap_err().contains("outside"));
        assert!(Resample { axis: 4, ..map.clone() }.infer(shape).is_err());
        assert!(Resample { denominator: 0, ..map.clone() }.infer(shape).is_err());
        assert!(Resample { taps: vec![vec![(0, i32::MIN)]], ..map }.infer(shape).is_err());
    }
}

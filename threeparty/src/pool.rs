//! The largest of many: maximum by tournament, max pooling with routes for training, argmax.
//!
//! Functionality: from t candidate vectors, their value-wise maximum, and as Boolean shares which candidate it was
//! ([`Route`]); ties go to the lowest candidate. Max pooling is the tournament of a window's taps; taps in the padding
//! never win, as they repeat the window's first voxel. Backward, a gradient flows to the winner alone.
//! Method: ⌈log₂ t⌉ levels of [`Party::max`], all pairs of a level in the same messages; the paper's max pooling
//! compares in the same manner. Argmax turns the route into an index with one gate per level, pair and index bit.
//! Cost: t − 1 maxima per value in ⌈log₂ t⌉·7 rounds (31 bits); backward t − 1 selections in ⌈log₂ t⌉ rounds.
//! Security and constant time: as [`compare`](crate::compare).

use crate::error::Error;
use crate::party::Party;
use crate::ring::Ring;
use crate::share::{Bits, Shares, words};
use models::{Dims, Shape, Window};

/// Which candidate won, level by level: one bit per pair, set where the second of the pair won.
#[derive(Clone)]
pub struct Route {
    candidates: usize,
    len: usize,
    levels: Vec<Bits>,
}

impl Party {
    /// The value-wise maximum of all candidates; differences of two fit `bits` bits.
    ///
    /// # Panics
    /// If there is no candidate or their lengths differ.
    pub fn maximum<R: Ring>(
        &mut self,
        candidates: &[Shares<R>],
        bits: u32,
    ) -> Result<(Shares<R>, Route), Error> {
        let len = candidates[0].len();
        let mut route = Route { candidates: candidates.len(), len, levels: Vec::new() };
        let padded = words(len) * 64;
        let mut field: Vec<Shares<R>> = candidates.iter().map(|x| resize(x, padded)).collect();
        while field.len() > 1 {
            let left_over = if field.len() % 2 == 1 { field.pop() } else { None };
            let x = Shares::concat(field.iter().step_by(2));
            let y = Shares::concat(field.iter().skip(1).step_by(2));
            let (winners, second) = self.max(&x, &y, bits)?;
            field = (0..field.len() / 2).map(|j| winners.slice(j * padded, padded)).collect();
            field.extend(left_over);
            route.levels.push(second);
        }
        Ok((resize(&field[0], len), route))
    }

    /// Sends a gradient of the maximum back to the candidates: all but the winner get zero.
    pub fn distribute<R: Ring>(
        &mut self,
        route: &Route,
        gradient: &Shares<R>,
    ) -> Result<Vec<Shares<R>>, Error> {
        let padded = words(route.len) * 64;
        let mut sizes = vec![route.candidates];
        (1..route.levels.len()).for_each(|i| sizes.push(sizes[i - 1].div_ceil(2)));
        let mut gradients = vec![resize(gradient, padded)];
        for (second, size) in route.levels.iter().zip(sizes).rev() {
            let pairs = size / 2;
            let to_second = self.select(second, &Shares::concat(&gradients[..pairs]))?;
            let left_over = gradients.split_off(pairs);
            gradients = (gradients.iter().enumerate())
                .flat_map(|(j, sum)| {
                    let second = to_second.slice(j * padded, padded);
                    [sum.sub(&second), second]
                })
                .chain(left_over)
                .collect();
        }
        Ok(gradients.iter().map(|x| resize(x, route.len)).collect())
    }

    /// The winner's index as ⌈log₂ t⌉ planes, lowest bit first.
    pub fn winner(&mut self, route: &Route) -> Result<Bits, Error> {
        let planes = route.candidates.next_power_of_two().trailing_zeros().max(1) as usize;
        let padded = words(route.len) * 64;
        let constant = |party: &Self, value: usize| party.public_bits(value as u64, planes, padded);
        let mut field: Vec<Bits> = (0..route.candidates).map(|i| constant(self, i)).collect();
        for second in &route.levels {
            let left_over = if field.len() % 2 == 1 { field.pop() } else { None };
            let differences: Vec<Bits> = field.chunks(2).map(|pair| pair[0].xor(&pair[1])).collect();
            let chosen: Vec<Bits> = (0..differences.len()).map(|j| slice_words(second, j, padded)).collect();
            let gates: Vec<_> = (differences.iter().zip(&chosen))
                .flat_map(|(difference, bit)| (0..planes).map(|b| (difference.plane(b), bit.plane(0))))
                .collect();
            let moved = self.and_planes(padded, &gates)?;
            field = (0..differences.len())
                .map(|j| field[2 * j].xor(&slice_planes(&moved, j * planes, planes)))
                .chain(left_over)
                .collect();
        }
        let mut index = field.swap_remove(0);
        index.len = route.len;
        Ok(index)
    }

    /// Boolean shares of one public integer at every value.
    fn public_bits(&self, value: u64, planes: usize, len: usize) -> Bits {
        let plane = |j: usize| if value >> j & 1 == 1 { u64::MAX } else { 0 };
        let set: Vec<u64> = (0..planes).flat_map(|j| std::iter::repeat_n(plane(j), words(len))).collect();
        let clear = vec![0; set.len()];
        let (own, next) = match self.id() {
            0 => (set, clear),
            2 => (clear, set),
            _ => (clear.clone(), clear),
        };
        Bits { planes, len, own, next }
    }
}

/// Max pooling of a batch of images `[image, channel, voxel]`.
#[derive(Clone)]
pub struct MaxPool {
    taps: Vec<Vec<usize>>,
    input_len: usize,
}

impl MaxPool {
    /// Pooling of `batch` images of `shape`, or `None` where the window does not fit.
    pub fn new(window: Window, shape: Shape, batch: usize) -> Option<Self> {
        let output = window.slide(shape.dims)?;
        let inside = |position: Dims, tap: usize| voxel(&window, shape.dims, position, tap);
        let positions: Vec<Dims> = coordinates(output).collect();
        let taps = (0..window.taps()).map(|tap| {
            let first = |position| (0..window.taps()).find_map(|tap| inside(position, tap));
            let of_channel = |at: &Dims| inside(*at, tap).or_else(|| first(*at));
            positions.iter().map(of_channel).collect::<Option<Vec<usize>>>()
        });
        let taps: Vec<Vec<usize>> = taps.collect::<Option<_>>()?;
        let channels = 0..batch * shape.channels;
        let spread = |tap: &Vec<usize>| {
            channels.clone().flat_map(|c| tap.iter().map(move |i| c * shape.volume() + i)).collect()
        };
        Some(Self { taps: taps.iter().map(spread).collect(), input_len: batch * shape.len() })
    }

    /// Per tap of the window, which input voxel it reads for every output voxel.
    pub fn taps(&self) -> &[Vec<usize>] {
        &self.taps
    }

    /// Number of input values.
    pub fn input_len(&self) -> usize {
        self.input_len
    }
}

impl Party {
    /// The largest value of each window, and which it was.
    pub fn max_pool<R: Ring>(
        &mut self,
        pool: &MaxPool,
        x: &Shares<R>,
        bits: u32,
    ) -> Result<(Shares<R>, Route), Error> {
        assert_eq!(x.len(), pool.input_len, "an image of another size");
        let candidates: Vec<_> = pool.taps.iter().map(|tap| x.gather(tap)).collect();
        self.maximum(&candidates, bits)
    }

    /// The gradient of the input from the gradient of the maxima.
    pub fn max_pool_backward<R: Ring>(
        &mut self,
        pool: &MaxPool,
        route: &Route,
        gradient: &Shares<R>,
    ) -> Result<Shares<R>, Error> {
        let parts = self.distribute(route, gradient)?;
        let mut sum = Shares::<R>::zeros(pool.input_len);
        for (part, tap) in parts.iter().zip(&pool.taps) {
            for ((&i, &own), &next) in tap.iter().zip(&part.own).zip(&part.next) {
                sum.own[i] = sum.own[i].add(own);
                sum.next[i] = sum.next[i].add(next);
            }
        }
        Ok(sum)
    }
}

/// All positions of a grid, row-major.
pub(crate) fn coordinates(dims: Dims) -> impl Iterator<Item = Dims> + Clone {
    let [depth, height, width] = dims;
    (0..depth * height * width).map(move |i| [i / width / height, i / width % height, i % width])
}

/// Index of the voxel under a tap of a window, or `None` in the padding.
pub(crate) fn voxel(window: &Window, dims: Dims, position: Dims, tap: usize) -> Option<usize> {
    let [_, kh, kw] = window.kernel;
    let tap = [tap / kw / kh, tap / kw % kh, tap % kw];
    (0..3).try_fold(0, |index, axis| {
        let padded = position[axis] * window.stride[axis] + tap[axis] * window.dilation[axis];
        let at = padded.checked_sub(window.pad_before[axis])?;
        (at < dims[axis]).then_some(index * dims[axis] + at)
    })
}

fn resize<R: Ring>(x: &Shares<R>, len: usize) -> Shares<R> {
    let mut x = x.clone();
    x.own.resize(len, R::default());
    x.next.resize(len, R::default());
    x
}

/// Values `j·len..(j+1)·len` of one plane, `len` a multiple of 64.
fn slice_words(bits: &Bits, j: usize, len: usize) -> Bits {
    let range = j * len / 64..(j + 1) * len / 64;
    Bits { planes: 1, len, own: bits.own[range.clone()].to_vec(), next: bits.next[range].to_vec() }
}

fn slice_planes(bits: &Bits, start: usize, planes: usize) -> Bits {
    let range = start * words(bits.len)..(start + planes) * words(bits.len);
    Bits { planes, own: bits.own[range.clone()].to_vec(), next: bits.next[range].to_vec(), ..*bits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use prg::{Prg, Seed};

    #[test]
    fn argmax_and_its_gradient_with_ties() {
        for candidates in [1, 2, 3, 5, 8] {
            let len = 70;
            let mut x = vec![0; candidates * len];
            Prg::new(&Seed::from_bytes([candidates as u8; 16])).fill_below(&mut x, 4); // many ties
            let shares = deal(&x, &Seed::from_os());
            let [(largest, winner, gradient), ..] = run(|party| {
                let all = &shares[party.id()];
                let parts: Vec<_> = (0..candidates).map(|j| all.slice(j * len, len)).collect();
                let (largest, route) = party.maximum(&parts, 5)?;
                let winner = party.winner(&route)?;
                let ones = party.public(&vec![1u64; len]);
                let gradient = Shares::concat(&party.distribute(&route, &ones)?);
                Ok((party.open(&largest)?, party.open_bits(&winner)?, party.open(&gradient)?))
            })
            .unwrap();
            for i in 0..len {
                let column: Vec<u64> = (0..candidates).map(|j| x[j * len + i]).collect();
                let best = *column.iter().max().unwrap();
                let first = column.iter().position(|&value| value == best).unwrap();
                assert_eq!((largest[i], winner[i]), (best, first as u64));
                assert!((0..candidates).all(|j| gradient[j * len + i] == u64::from(j == first)));
            }
        }
    }

    #[test]
    fn pooling_with_padding_and_overlap() {
        let window = Window { stride: [1, 2, 2], ..Window::dense([1, 3, 3], [0, 1, 1]) };
        let shape = Shape { channels: 2, dims: [1, 5, 4] };
        let pool = MaxPool::new(window, shape, 2).unwrap();
        let x: Vec<u64> = (0..80).map(|i: i64| (i * 37 % 101 - 80) as u64).collect();
        let shares = deal(&x, &Seed::from_os());
        let [(y, dx), ..] = run(|party| {
            let (y, route) = party.max_pool(&pool, &shares[party.id()], 10)?;
            let dx = party.max_pool_backward(&pool, &route, &y)?;
            Ok((party.open(&y)?, party.open(&dx)?))
        })
        .unwrap();
        let mut expected_dx = vec![0i64; 80];
        for (c, (i, at)) in (0..4).flat_map(|c| coordinates([1, 3, 2]).enumerate().map(move |at| (c, at))) {
            let taps = (0..9).filter_map(|tap| voxel(&window, shape.dims, at, tap)).map(|v| c * 20 + v);
            let best = taps.rev().max_by_key(|&v| x[v] as i64).unwrap();
            assert_eq!(y[c * 6 + i], x[best]);
            expected_dx[best] += x[best] as i64;
        }
        assert!(dx.iter().zip(&expected_dx).all(|(&a, &b)| a as i64 == b));
    }
}

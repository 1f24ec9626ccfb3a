//! Another order and shape of the values of an image, as `Reshape` and `Transpose` make them: written down first, and made of
//! linear maps per axis once an image stands there again.
//!
//! An index along each axis of the source is a number of mixed radix; reshaping splits and joins digits, transposing permutes
//! them. A pixel shuffle, say, is [channels, 2, 2, height, width] with the digits of extent 2 moved behind height and width.

use crate::graph::NodeId;
use crate::resample::Resample;

/// A digit of an index along an axis of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    /// 0 for channels, 1 to 3 for depth, height and width.
    axis: usize,
    extent: usize,
    /// By how much the index along the axis grows with the digit.
    stride: usize,
}

/// The values of an image in some order and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// Whose values.
    pub(super) source: NodeId,
    /// The digits of each axis, most significant first.
    axes: Vec<Vec<Digit>>,
}

impl Arrangement {
    /// An image of `extents` as it is, batch first, with `rank` spatial axes.
    pub(super) fn image(source: NodeId, extents: [usize; 4], rank: usize) -> Self {
        let digit = |axis: usize| Digit { axis, extent: extents[axis], stride: 1 };
        let digits = |axis: usize| Vec::from_iter((extents[axis] > 1).then(|| digit(axis)));
        let axes = [0].into_iter().chain(4 - rank..4).map(digits);
        Self { source, axes: std::iter::once(Vec::new()).chain(axes).collect() }
    }

    /// The shape.
    pub(super) fn dims(&self) -> Vec<usize> {
        self.axes.iter().map(|digits| product(digits)).collect()
    }

    /// Whether values stand in the source's order.
    pub(super) fn in_order(&self) -> bool {
        let key = |digit: &Digit| (digit.axis, std::cmp::Reverse(digit.stride));
        self.axes.iter().flatten().is_sorted_by_key(key)
    }

    /// Whether an axis holds the channels, all of them, and nothing else.
    pub(super) fn is_channels(&self, at: usize) -> bool {
        let holds = |digits: &Vec<Digit>| digits.iter().any(|digit| digit.axis == 0);
        self.axes.iter().enumerate().all(|(axis, digits)| holds(digits) == (axis == at))
            && self.axes.get(at).is_some_and(|digits| digits.iter().all(|digit| digit.axis == 0))
    }

    /// Whether voxels stand in the source's order, and channels in one axis of their own: a label per voxel can be read off.
    pub(super) fn keeps_voxels(&self) -> bool {
        let key = |digit: &&Digit| (digit.axis, std::cmp::Reverse(digit.stride));
        let (channels, voxels): (Vec<&Digit>, Vec<&Digit>) =
            self.axes.iter().flatten().partition(|digit| digit.axis == 0);
        let apart = channels.is_empty() || (0..self.axes.len()).any(|at| self.is_channels(at));
        apart && channels.is_sorted_by_key(key) && voxels.is_sorted_by_key(key)
    }

    /// The axes in another order; `None` where `order` is none.
    pub(super) fn transposed(&self, order: &[usize]) -> Option<Self> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        let axes = || order.iter().map(|&axis| self.axes[axis].clone()).collect();
        sorted.into_iter().eq(0..self.axes.len()).then(|| Self { axes: axes(), ..self.clone() })
    }

    /// Another shape for the same order; `None` where it cuts through a digit that it does not divide.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        let mut digits = self.axes.iter().flatten().copied();
        let mut rest: Option<Digit> = None;
        let mut take = |mut wanted: usize| -> Option<Vec<Digit>> {
            let mut taken = Vec::new();
            while wanted > 1 {
                let digit = rest.take().or_else(|| digits.next())?;
                let extent = if wanted.is_multiple_of(digit.extent) { digit.extent } else { wanted };
                let below = digit.extent / extent;
                if below * extent != digit.extent {
                    return None;
                }
                taken.push(Digit { extent, stride: digit.stride * below, ..digit });
                rest = (below > 1).then_some(Digit { extent: below, ..digit });
                wanted /= extent;
            }
            Some(taken)
        };
        let axes = dims.iter().map(|&dim| take(dim)).collect::<Option<Vec<_>>>()?;
        (rest.is_none() && digits.next().is_none()).then(|| Self { axes, ..self.clone() })
    }

    /// The steps that make an image of it; `None` where it is no batch of one image of `rank` spatial axes, or where a spatial axis
    /// would become part of another one.
    pub(super) fn steps(&self, rank: usize) -> Option<Vec<Step>> {
        if self.axes.len() != rank + 2 || !self.axes[0].is_empty() {
            return None;
        }
        let mut wanted: [Vec<Digit>; 4] = Default::default();
        wanted[0].clone_from(&self.axes[1]);
        wanted[4 - rank..].clone_from_slice(&self.axes[2..]);
        // Both sides in the same digits.
        let mut now: [Vec<Digit>; 4] = Default::default();
        for (axis, now) in now.iter_mut().enumerate() {
            *now = wanted.iter().flatten().filter(|digit| digit.axis == axis).copied().collect();
            now.sort_by_key(|digit| std::cmp::Reverse(digit.stride));
        }
        let foreign = |axis: usize| wanted[axis].iter().any(|digit| digit.axis != axis && digit.axis != 0);
        if (1..4).any(foreign) {
            return None;
        }
        let mut steps = Vec::new();
        // From space to channels, most significant there.
        for axis in 1..4 {
            for digit in now[axis].clone().into_iter().filter(|digit| wanted[0].contains(digit)) {
                let parts = (0..digit.extent).map(|value| vec![without(&now[axis], digit, value, axis)]);
                steps.push(Step::Join(parts.collect()));
                now[axis].retain(|other| *other != digit);
                now[0].insert(0, digit);
            }
        }
        // From channels to space, least significant there.
        for axis in 1..4 {
            for digit in now[0].clone().into_iter().filter(|digit| wanted[axis].contains(digit)) {
                let extent = product(&now[axis]) * digit.extent;
                let parts = (0..digit.extent).map(|value| {
                    let between = |at: usize| (at % digit.extent == value).then_some(at / digit.extent);
                    let spread = Resample::pick(axis, (0..extent).map(between));
                    vec![without(&now[0], digit, value, 0), spread]
                });
                steps.push(Step::Sum(parts.collect()));
                now[0].retain(|other| *other != digit);
                now[axis].push(digit);
            }
        }
        for axis in 0..4 {
            if now[axis] != wanted[axis] {
                let order = positions(&now[axis], &wanted[axis]);
                steps.push(Step::Join(vec![vec![Resample::pick(axis, order.into_iter().map(Some))]]));
            }
        }
        Some(steps)
    }
}

/// One step towards an image: maps one after the other, in parts that are put together.
pub(super) enum Step {
    /// The channels of all parts, one part after the other.
    Join(Vec<Vec<Resample>>),
    /// The sum of all parts.
    Sum(Vec<Vec<Resample>>),
}

fn product(digits: &[Digit]) -> usize {
    digits.iter().map(|digit| digit.extent).product()
}

/// Along `axis`, whose index has these digits, the positions where `digit` has this value.
fn without(digits: &[Digit], digit: Digit, value: usize, axis: usize) -> Resample {
    let at = digits.iter().position(|other| *other == digit).unwrap_or(0);
    let below = product(&digits[at + 1..]);
    let all = 0..product(digits);
    Resample::pick(axis, all.filter(|index| index / below % digit.extent == value).map(Some))
}

/// For each index with digits `to` the index with the same digits in the order `from`.
fn positions(from: &[Digit], to: &[Digit]) -> Vec<usize> {
    let weight = |digit: &Digit| {
        let at = from.iter().position(|other| other == digit).unwrap_or(0);
        product(&from[at + 1..])
    };
    let mut found = vec![0];
    for digit in to {
        let weight = weight(digit);
        found = found
            .into_iter()
            .flat_map(|at| (0..digit.extent).map(move |value| at + value * weight))
            .collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Shape;

    /// The values of an image 0, 1, 2, … after the steps, and their shape.
    fn run(steps: Vec<Step>, extents: [usize; 4]) -> (Vec<i64>, [usize; 4]) {
        let shape = |[channels, d, h, w]: [usize; 4]| Shape { channels, dims: [d, h, w] };
        let start = ((0..extents.iter().product::<usize>() as i64).collect::<Vec<_>>(), shape(extents));
        let part = |(values, shape): &(Vec<i64>, Shape), maps: Vec<Resample>| {
            maps.into_iter().fold((values.clone(), *shape), |(values, shape), map| {
                (map.apply(&values, shape, 0, |sum, n, x| sum + i64::from(n) * x), map.infer(shape).unwrap())
            })
        };
        let (values, shape) = steps.into_iter().fold(start, |now, step| match step {
            Step::Join(parts) => {
                let parts: Vec<_> = parts.into_iter().map(|maps| part(&now, maps)).collect();
                let channels = parts.iter().map(|part| part.1.channels).sum();
                (parts.iter().flat_map(|part| part.0.clone()).collect(), Shape { channels, ..parts[0].1 })
            }
            Step::Sum(parts) => {
                let parts: Vec<_> = parts.into_iter().map(|maps| part(&now, maps)).collect();
                let sum = |i: usize| parts.iter().map(|part| part.0[i]).sum();
                ((0..parts[0].0.len()).map(sum).collect(), parts[0].1)
            }
        });
        (values, shape.to_array())
    }

    /// What a reshape to `dims` and a transposition by `order` make of 0, 1, 2, …, index by index.
    fn by_hand(dims: &[usize], order: &[usize]) -> Vec<i64> {
        let stride = |axis: usize| dims[axis + 1..].iter().product::<usize>();
        order.iter().fold(vec![0], |found, &axis| {
            let next = |at: i64| (0..dims[axis]).map(move |i| at + (i * stride(axis)) as i64);
            found.into_iter().flat_map(next).collect()
        })
    }

    #[test]
    fn shuffles_of_every_rank_become_maps_per_axis() {
        /// Extents of the source; the shape between; the order; the image after.
        type Case = ([usize; 4], &'static [usize], &'static [usize], [usize; 4]);
        let cases: [Case; 8] = [
            ([6, 1, 1, 5], &[1, 3, 2, 5], &[0, 1, 3, 2], [3, 1, 1, 10]),
            ([12, 1, 3, 4], &[1, 3, 2, 2, 3, 4], &[0, 1, 4, 2, 5, 3], [3, 1, 6, 8]),
            ([12, 1, 3, 4], &[1, 2, 2, 3, 3, 4], &[0, 3, 4, 1, 5, 2], [3, 1, 6, 8]),
            ([16, 2, 1, 3], &[1, 2, 2, 2, 2, 2, 1, 3], &[0, 1, 5, 2, 6, 3, 7, 4], [2, 4, 2, 6]),
            ([2, 1, 4, 6], &[1, 2, 2, 2, 2, 3], &[0, 1, 3, 5, 2, 4], [12, 1, 2, 2]),
            ([2, 1, 4, 6], &[1, 2, 2, 2, 2, 3], &[0, 3, 5, 1, 2, 4], [12, 1, 2, 2]),
            ([6, 1, 2, 2], &[1, 3, 2, 2, 2], &[0, 2, 1, 3, 4], [6, 1, 2, 2]),
            ([2, 1, 4, 6], &[1, 2, 2, 2, 6], &[0, 1, 3, 2, 4], [2, 1, 4, 6]),
        ];
        for (extents, between, order, image) in cases {
            let rank = (1..4).find(|&axis| extents[axis] > 1).map_or(1, |axis| 4 - axis);
            let arranged = Arrangement::image(0, extents, rank).reshaped(between).unwrap();
            assert!(arranged.in_order());
            let arranged = arranged.transposed(order).unwrap();
            let mut dims = vec![1, image[0]];
            dims.extend(&image[4 - rank..]);
            let arranged = arranged.reshaped(&dims).unwrap();
            assert!(!arranged.in_order() && arranged.dims() == dims);
            let (found, shape) = run(arranged.steps(rank).unwrap(), extents);
            assert_eq!((found, shape), (by_hand(between, order), image), "{between:?} by {order:?}");
        }
    }

    #[test]
    fn what_comes_back_is_as_it_was_and_what_turns_an_image_has_no_steps() {
        let image = Arrangement::image(0, [4, 1, 6, 8], 2);
        let turned = image.transposed(&[0, 2, 3, 1]).unwrap();
        assert!(turned.steps(2).is_none() && turned.dims() == [1, 6, 8, 4]);
        assert!(turned.keeps_voxels() && turned.is_channels(3) && !turned.is_channels(0));
        let mirrored = image.transposed(&[0, 3, 2, 1]).unwrap();
        assert!(mirrored.is_channels(3) && !mirrored.is_channels(9) && !mirrored.keeps_voxels());
        assert!(!image.reshaped(&[1, 192]).unwrap().keeps_voxels());
        assert_eq!(turned.transposed(&[0, 3, 1, 2]).unwrap(), image);
        let flat = image.reshaped(&[1, 4, 48]).unwrap().reshaped(&[1, 4, 6, 8]).unwrap();
        assert!(flat.in_order() && flat.steps(2).unwrap().is_empty());
        assert!(image.reshaped(&[1, 192]).unwrap().reshaped(&[1, 4, 48]).is_some());
        assert!(image.reshaped(&[1, 3, 64]).is_none() && image.reshaped(&[1, 4, 6]).is_none());
        assert!(image.transposed(&[0, 1, 1, 2]).is_none() && image.transposed(&[0, 1]).is_none());
    }
}

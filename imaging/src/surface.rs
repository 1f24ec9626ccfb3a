//! Distance between the surfaces of two segmentations.
//!
//! The surface of a label are its voxels with a neighbour along an axis that does not have it; beyond the scan nothing
//! has it. Axes of one voxel do not count, so that the surface of a picture's label is its outline. From each surface the
//! distances to the nearest voxel of the other are taken, between centres, and of both directions the larger 95th
//! percentile (interpolated linearly): HD95 as in *Metrics Reloaded* (Maier-Hein et al., Nature Methods 2024). Tools that
//! pool the distances of both directions before the percentile report less or the same.
//!
//! Distances come from the exact Euclidean transform by lower envelopes of parabolas (Felzenszwalb and Huttenlocher, Theory of
//! Computing 2012), one axis after the other, in time linear in the voxels of the box around both.

use ndarray::{Array3, ArrayView3, ArrayViewMut1, Axis, Slice};

/// HD95 of `label` in two segmentations `[d, h, w]`, in the unit of `spacing` (x, y, z); `None` unless both have it.
///
/// # Panics
/// If the shapes differ.
pub fn hausdorff_95(
    result: ArrayView3<'_, u8>,
    reference: ArrayView3<'_, u8>,
    label: u8,
    spacing: [f64; 3],
) -> Option<f64> {
    assert_eq!(result.dim(), reference.dim(), "segmentations on one grid");
    let extents = result.shape().to_vec();
    let boxed = bounds([&result, &reference], label)?;
    let cut = |labels: &ArrayView3<'_, u8>| {
        let part = labels.slice_each_axis(|axis| Slice::from(boxed[axis.axis.index()].clone()));
        surface(&part.mapv(|l| l == label), &extents)
    };
    let (ours, theirs) = (cut(&result), cut(&reference));
    // Spacing along d, h, w.
    let steps = [spacing[2], spacing[1], spacing[0]];
    let there = percentile_95(distances(&ours, &theirs, steps))?;
    let back = percentile_95(distances(&theirs, &ours, steps))?;
    Some(there.max(back))
}

/// The box around the label in both.
fn bounds(both: [&ArrayView3<'_, u8>; 2], label: u8) -> Option<[std::ops::Range<usize>; 3]> {
    let mut bounds: [Option<(usize, usize)>; 3] = [None; 3];
    for labels in both {
        for (at, _) in labels.indexed_iter().filter(|(_, l)| **l == label) {
            for (bound, i) in bounds.iter_mut().zip([at.0, at.1, at.2]) {
                let (low, high) = bound.unwrap_or((i, i));
                *bound = Some((low.min(i), high.max(i)));
            }
        }
    }
    let [d, h, w] = bounds.map(|bound| bound.map(|(low, high)| low..high + 1));
    Some([d?, h?, w?])
}

/// Voxels of a mask that have a neighbour outside it; `extents` are the whole scan's.
fn surface(mask: &Array3<bool>, extents: &[usize]) -> Array3<bool> {
    let inner = |(d, h, w): (usize, usize, usize)| {
        (0..3).filter(|&axis| extents[axis] > 1).all(|axis| {
            let at = |step: isize| {
                let mut at = [d, h, w];
                at[axis] = at[axis].checked_add_signed(step)?;
                mask.get(at).copied()
            };
            at(-1) == Some(true) && at(1) == Some(true)
        })
    };
    Array3::from_shape_fn(mask.raw_dim(), |at| mask[at] && !inner(at))
}

/// From each voxel of `from` to the nearest of `to`; nothing if either is empty.
fn distances(from: &Array3<bool>, to: &Array3<bool>, steps: [f64; 3]) -> Vec<f64> {
    if !to.iter().any(|&here| here) {
        return Vec::new();
    }
    let mut squares = to.mapv(|here| if here { 0.0 } else { f64::INFINITY });
    let mut envelope = Envelope::default();
    for (axis, step) in steps.into_iter().enumerate() {
        squares.lanes_mut(Axis(axis)).into_iter().for_each(|line| envelope.lower(line, step));
    }
    let pairs = squares.iter().zip(from);
    pairs.filter(|(_, here)| **here).map(|(square, _)| square.sqrt()).collect()
}

/// The lower envelope of parabolas over a line: where each becomes the lowest, from left to right.
#[derive(Default)]
struct Envelope {
    parabolas: Vec<(usize, f64)>,
    heights: Vec<f64>,
}

impl Envelope {
    /// Replaces heights by min over j of height(j) + ((i − j)·step)².
    fn lower(&mut self, mut line: ArrayViewMut1<'_, f64>, step: f64) {
        self.parabolas.clear();
        self.heights.clear();
        self.heights.extend(line.iter());
        let place = |i: usize| i as f64 * step;
        for (i, height) in self.heights.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let raised = |i: usize, height: f64| height + place(i).powi(2);
            let mut from = f64::NEG_INFINITY;
            while let Some(&(j, start)) = self.parabolas.last() {
                from = (raised(i, *height) - raised(j, self.heights[j])) / (2.0 * (place(i) - place(j)));
                if from > start {
                    break;
                }
                self.parabolas.pop();
                from = f64::NEG_INFINITY;
            }
            self.parabolas.push((i, from));
        }
        let mut rest = self.parabolas.as_slice();
        for (i, value) in line.iter_mut().enumerate() {
            while let [_, next, ..] = rest
                && next.1 < place(i)
            {
                rest = &rest[1..];
            }
            if let [(j, _), ..] = rest {
                *value = self.heights[*j] + (place(i) - place(*j)).powi(2);
            }
        }
    }
}

/// The 95th percentile, interpolated linearly between neighbours.
fn percentile_95(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = 0.95 * values.len().checked_sub(1)? as f64;
    let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    Some(low + (high - low) * rank.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(dims: (usize, usize, usize), from: [usize; 3], to: [usize; 3]) -> Array3<u8> {
        let inside = |i: usize, axis: usize| (from[axis]..to[axis]).contains(&i);
        Array3::from_shape_fn(dims, |(d, h, w)| u8::from(inside(d, 0) && inside(h, 1) && inside(w, 2)))
    }

    #[test]
    fn shifted_blocks_are_as_far_apart_as_their_shift() {
        // Two plates of one voxel along x: every distance is the shift.
        let (a, b) = (block((4, 4, 9), [0, 0, 1], [4, 4, 2]), block((4, 4, 9), [0, 0, 6], [4, 4, 7]));
        assert_eq!(hausdorff_95(a.view(), b.view(), 1, [0.5, 2.0, 3.0]), Some(2.5));
        assert_eq!(hausdorff_95(a.view(), a.view(), 1, [0.5, 2.0, 3.0]), Some(0.0));
        // A label that one does not have.
        assert_eq!(hausdorff_95(a.view(), b.view(), 2, [1.0; 3]), None);
        assert_eq!(hausdorff_95(a.view(), Array3::zeros((4, 4, 9)).view(), 1, [1.0; 3]), None);
    }

    /// Figures by scipy 1.17.1: `binary_erosion`, `distance_transform_edt` with sampling, `percentile`.
    #[test]
    fn ellipsoids_are_as_far_apart_as_scipy_says() {
        let square = |i: usize, centre: i64| (i as i64 - centre).pow(2);
        let volume = |inside: &dyn Fn(usize, usize, usize) -> bool| {
            Array3::from_shape_fn((12, 15, 18), |(d, h, w)| u8::from(inside(d, h, w)))
        };
        let a = volume(&|d, h, w| 3 * square(d, 5) + 2 * square(h, 6) + square(w, 7) < 60);
        let b = volume(&|d, h, w| {
            let corner = d == 0 && h < 2 && w < 3;
            corner || 2 * square(d, 6) + 2 * square(h, 8) + 3 * square(w, 9) < 70
        });
        let close = |found: Option<f64>, wanted: f64| (found.unwrap_or(0.0) - wanted).abs() < 1e-12;
        assert!(close(hausdorff_95(a.view(), b.view(), 1, [0.5, 0.75, 2.0]), 4.040_772_942_868_188));
        // One slice of them, as pictures.
        let slice = |volume: &Array3<u8>| volume.slice_axis(Axis(0), Slice::from(5..6)).to_owned();
        assert!(close(hausdorff_95(slice(&a).view(), slice(&b).view(), 1, [1.0; 3]), 5.0));
    }

    #[test]
    fn the_transform_is_the_schoolbook_minimum() {
        let heights = [f64::INFINITY, 4.0, f64::INFINITY, 0.0, 9.0, f64::INFINITY, f64::INFINITY, 1.0];
        for step in [0.25, 1.0, 3.5] {
            let mut line = ndarray::Array1::from(heights.to_vec());
            Envelope::default().lower(line.view_mut(), step);
            for (i, &found) in line.iter().enumerate() {
                let at = |j: usize| heights[j] + ((i as f64 - j as f64) * step).powi(2);
                let wanted = (0..heights.len()).map(at).fold(f64::INFINITY, f64::min);
                assert!((found - wanted).abs() < 1e-12, "{i}: {found} for {wanted}");
            }
        }
    }

    #[test]
    fn percentiles_interpolate() {
        let found = percentile_95((0..11).map(f64::from).collect());
        assert!((found.unwrap_or(0.0) - 9.5).abs() < 1e-12);
        assert_eq!((percentile_95(vec![7.0]), percentile_95(vec![])), (Some(7.0), None));
    }
}

//! Scores of overlapping patches averaged voxel by voxel, where the data holder knows scores.
//!
//! A voxel's score is Σ w·s / Σ w over the patches that see it. The weight w is a product of Gaussians along the axes with
//! σ = size/8 around the patch's centre, where the network sees most context, as nnU-Net (Isensee et al., 2021) and
//! MONAI's sliding windows weigh them.

use ndarray::{Array3, Array4, ArrayView1, Axis};

use super::patches::Span;
use super::{Prepared, grid_of, resample};
use crate::error::{ImagingError, Result};

/// Collects the scores of one patch after the other.
pub struct Blend<'a> {
    prepared: &'a Prepared,
    /// `[channel, z, y, x]`, as far as patches have come.
    sums: Array4<f32>,
    /// Per axis z, y, x and voxel along it, the sum of all patches' weights.
    totals: [Vec<f64>; 3],
    /// Patches that have come.
    count: usize,
}

impl<'a> Blend<'a> {
    pub(super) fn new(prepared: &'a Prepared, channels: usize) -> Self {
        let dims = grid_of(prepared.volume.view());
        // Patches are all combinations of spans along the axes: so weights and their sums are products too.
        let total = |axis: usize| {
            let mut spans: Vec<&Span> = prepared.patches.iter().map(|patch| &patch[axis]).collect();
            spans.dedup();
            spans.sort_by_key(|span| span.seen(dims[axis]).0.start);
            spans.dedup();
            let mut total = vec![0.0; dims[axis]];
            for span in spans {
                let (seen, first) = span.seen(dims[axis]);
                total[seen].iter_mut().zip(&span.weights()[first..]).for_each(|(sum, w)| *sum += w);
            }
            total
        };
        let [z, y, x] = dims;
        Self {
            prepared,
            sums: Array4::zeros((channels, z, y, x)),
            totals: std::array::from_fn(total),
            count: 0,
        }
    }

    /// The scores `[channel, D, H, W]` of the next patch, in the order of [`Prepared::input`].
    ///
    /// # Errors
    /// If there is no further patch, or the scores do not have its size.
    pub fn add(&mut self, scores: &Array4<f32>) -> Result<()> {
        let [d, h, w] = self.prepared.network;
        let wanted = (self.sums.dim().0, d, h, w);
        let Some(patch) = self.prepared.patches.get(self.count).filter(|_| scores.dim() == wanted) else {
            let problem = format!("scores of {:?} for patch {} of {wanted:?}", scores.dim(), self.count);
            return Err(ImagingError::manifest("size", problem, "return scores of the input's size"));
        };
        self.count += 1;
        let dims = grid_of(self.sums.view());
        // Shares of the voxel's score along each axis: exactly 1 where no other patch sees it.
        let part = |axis: usize| -> Vec<f64> {
            let (seen, first) = patch[axis].seen(dims[axis]);
            let weights = patch[axis].weights();
            seen.clone().map(|at| weights[first + at - seen.start] / self.totals[axis][at]).collect()
        };
        let parts: [Vec<f64>; 3] = std::array::from_fn(part);
        let [z, y, x]: [_; 3] = std::array::from_fn(|axis| patch[axis].seen(dims[axis]));
        let [i, j, k] = self.prepared.inverse();
        let scores = scores.view().permuted_axes([0, i + 1, j + 1, k + 1]);
        for (mut sums, scores) in self.sums.outer_iter_mut().zip(scores.outer_iter()) {
            for (a, wz) in z.0.clone().zip(&parts[0]) {
                for (b, wy) in y.0.clone().zip(&parts[1]) {
                    let line = &parts[2];
                    for (c, wx) in x.0.clone().zip(line) {
                        let at = [z.1 + a - z.0.start, y.1 + b - y.0.start, x.1 + c - x.0.start];
                        sums[[a, b, c]] += (wz * wy * wx) as f32 * scores[at];
                    }
                }
            }
        }
        Ok(())
    }

    /// The scores `[channel, d, h, w]` on the scan's own grid, by linear interpolation where the network worked on another
    /// one; 0 where it did not look.
    ///
    /// # Errors
    /// If patches are missing.
    pub fn finish(self) -> Result<Array4<f32>> {
        let patches = self.prepared.patch_count();
        if self.count != patches {
            let problem = format!("scores of {} patches where there are {patches}", self.count);
            return Err(ImagingError::manifest("size", problem, "run the network on every patch"));
        }
        Ok(self.prepared.on_scan(resample::to_grid(self.sums, self.prepared.oriented_dims)))
    }
}

/// The label of every voxel of scores `[channel, d, h, w]`: the lowest with the highest score; of one channel, whether it
/// is positive.
pub fn labels_of_scores(scores: &Array4<f32>) -> Array3<u8> {
    let highest = |scores: ArrayView1<'_, f32>| {
        let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
        (1..scores.len()).fold(0, better) as u8
    };
    match scores.dim().0 {
        1 => scores.index_axis(Axis(0), 0).mapv(|score| u8::from(score > 0.0)),
        _ => scores.map_axis(Axis(0), highest),
    }
}

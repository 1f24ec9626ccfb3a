//! Resampling on voxel-centred grids: output voxel o of n' lies at (o + 1/2)·n/n' − 1/2 of the source's n.
//!
//! Images by (tri)linear interpolation with the border repeated, labels by nearest neighbour.

use ndarray::{Array3, Array4, Axis};

use super::grid_of;
use crate::error::{ImagingError, Result};
use crate::scan::{Limits, Scan};

/// Largest factor by which resampling may multiply the number of voxels.
const LARGEST_GROWTH: f64 = 64.0;

/// `volume` as `[channel, z, y, x]`; spacings along x, y, z.
pub(super) fn to_spacing(
    scan: &Scan,
    volume: Array4<f32>,
    spacing: [f64; 3],
    target: [f64; 3],
) -> Result<Array4<f32>> {
    if target.iter().any(|t| !(*t > 0.0 && t.is_finite())) {
        return Err(ImagingError::manifest("spacing", format!("{target:?}"), "spacings must be positive"));
    }
    if !scan.geometry().known {
        return Err(ImagingError::unfit(
            scan.path(),
            "spacing",
            format!("the model wants {target:?} mm, and this format states none"),
            "give the scan as NIfTI",
        ));
    }
    let dims = grid_of(volume.view());
    let sizes: [f64; 3] =
        std::array::from_fn(|i| (dims[i] as f64 * spacing[2 - i] / target[2 - i]).round().max(1.0));
    let growth = sizes.iter().zip(dims).map(|(new, old)| new / old as f64).product::<f64>();
    let most = Limits::default().samples as f64;
    if growth.is_nan() || growth > LARGEST_GROWTH || growth * volume.len() as f64 > most {
        return Err(ImagingError::unfit(
            scan.path(),
            "spacing",
            format!("{spacing:?} mm resampled to {target:?} mm gives {growth:.0} times the voxels"),
            "check pixdim in the header: its unit may be wrong",
        ));
    }
    Ok(to_grid(volume, sizes.map(|size| size as usize)))
}

/// `[channel, z, y, x]` to another grid `[z, y, x]` over the same box.
pub(super) fn to_grid(volume: Array4<f32>, sizes: [usize; 3]) -> Array4<f32> {
    let dims = grid_of(volume.view());
    // Shrinking axes first, so that no intermediate volume is larger than both ends.
    let mut axes = [0, 1, 2];
    let growth = |axis: usize| sizes[axis] as f64 / dims[axis] as f64;
    axes.sort_by(|a, b| growth(*a).total_cmp(&growth(*b)));
    axes.into_iter().fold(volume, |volume, axis| linear(volume, axis + 1, sizes[axis]))
}

fn linear(volume: Array4<f32>, axis: usize, size: usize) -> Array4<f32> {
    let old = volume.shape()[axis];
    if size == old {
        return volume;
    }
    let mut shape = volume.raw_dim();
    shape[axis] = size;
    let mut out = Array4::zeros(shape);
    for (o, mut plane) in out.axis_iter_mut(Axis(axis)).enumerate() {
        let at = (centre(o, old, size)).clamp(0.0, (old - 1) as f64);
        let low = at.floor() as usize;
        let weight = (at - low as f64) as f32;
        plane.scaled_add(1.0 - weight, &volume.index_axis(Axis(axis), low));
        if weight > 0.0 {
            plane.scaled_add(weight, &volume.index_axis(Axis(axis), low + 1));
        }
    }
    out
}

/// Labels to another grid over the same box.
pub(super) fn nearest(labels: Array3<u8>, dims: [usize; 3]) -> Array3<u8> {
    let (z, y, x) = labels.dim();
    if [z, y, x] == dims {
        return labels;
    }
    let pick = |o: usize, old: usize, new: usize| (centre(o, old, new) + 0.5).floor().max(0.0) as usize;
    Array3::from_shape_fn(dims, |(k, j, i)| {
        labels
            [[pick(k, z, dims[0]).min(z - 1), pick(j, y, dims[1]).min(y - 1), pick(i, x, dims[2]).min(x - 1)]]
    })
}

fn centre(o: usize, old: usize, new: usize) -> f64 {
    (o as f64 + 0.5) * old as f64 / new as f64 - 0.5
}

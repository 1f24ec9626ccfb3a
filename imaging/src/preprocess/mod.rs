//! From a scan to what a network takes, and from its labels back to the scan's own grid.
//!
//! Steps of [`prepare`], in this order: colour → orientation → resampling → intensity → patches of the network's
//! size → axes. [`Prepared::restore`] undoes the geometric ones for labels. All of it is described by
//! [`Preprocessing`], a public part of the model's manifest.
//!
//! Axes: `x`, `y`, `z` are the file's index axes with x fastest (a picture's columns and rows with z = 1), after
//! [`Preprocessing::orientation`]. Arrays are `[channel, D, H, W]`; [`Axes`] says which of x, y, z is D, H, W.

mod blend;
mod intensity;
mod orient;
mod patches;
mod resample;

use ndarray::{Array3, Array4, ArrayView4, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{ImagingError, Result};
use crate::scan::Scan;

pub use blend::{Blend, labels_of_scores};
pub use intensity::{Divisor, Intensity};
pub use orient::AxisCodes;
pub use patches::Size;

pub(crate) use orient::Reorientation;
use patches::Span;

/// What a network's author did to scans before training; public, part of the model's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Channels that the network takes.
    #[serde(default)]
    pub colour: Colour,
    /// Directions that x, y, z point to, e.g. `"RAS"`; absent: as stored in the file.
    #[serde(default)]
    pub orientation: Option<AxisCodes>,
    /// Voxel spacing in mm along x, y, z (after reorientation) to resample to; absent: as stored.
    #[serde(default)]
    pub spacing: Option<[f64; 3]>,
    /// What is done to the grey values.
    pub intensity: Intensity,
    /// What happens when scan and network differ in size.
    pub size: Size,
    /// Order of axes in the network's input.
    #[serde(default)]
    pub axes: Axes,
}

/// Channels that the network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// One: see [`Scan::grey`].
    #[default]
    Grey,
    /// Three; a grey scan is repeated.
    Rgb,
}

/// Which axes of the scan are the network's D, H, W.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axes {
    /// (z, y, x): pages, rows, columns; the order of pictures, stacks and SimpleITK arrays.
    #[default]
    Zyx,
    /// (x, y, z): the order of nibabel's arrays; for a planar network (D = 1): (z, x, y).
    Xyz,
}

impl Axes {
    /// Position in `[z, y, x]` of each of D, H, W.
    fn order(self, planar: bool) -> [usize; 3] {
        match (self, planar) {
            (Self::Zyx, _) => [0, 1, 2],
            (Self::Xyz, false) => [2, 1, 0],
            (Self::Xyz, true) => [0, 2, 1],
        }
    }
}

/// A scan made ready: one or more inputs of the network's size, and the way back.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// `[channel, z, y, x]` after all steps but the last two.
    volume: Array4<f32>,
    /// `[d, h, w]` of the scan.
    scan_dims: [usize; 3],
    reorientation: Reorientation,
    /// `[z, y, x]` of the reoriented scan before resampling.
    oriented_dims: [usize; 3],
    /// Patches as (z, y, x) spans.
    patches: Vec<[Span; 3]>,
    order: [usize; 3],
    /// `[D, H, W]`.
    network: [usize; 3],
}

/// Makes `scan` ready for a network that takes `dims = [D, H, W]` (D = 1 for pictures).
///
/// # Errors
/// If the manifest makes no sense, or the scan does not fit it.
pub fn prepare(scan: &Scan, preprocessing: &Preprocessing, dims: [usize; 3]) -> Result<Prepared> {
    if dims.contains(&0) {
        return Err(ImagingError::manifest("size", "the network takes no voxels", "give a positive size"));
    }
    let planar = dims[0] == 1;
    let order = preprocessing.axes.order(planar);
    let mut wanted = [0; 3];
    for (position, size) in order.into_iter().zip(dims) {
        wanted[position] = size;
    }
    intensity::check_finite(scan)?;
    let voxels = match preprocessing.colour {
        Colour::Grey => scan.grey().insert_axis(Axis(0)),
        Colour::Rgb => in_colour(scan),
    };
    let reorientation = match &preprocessing.orientation {
        Some(codes) => Reorientation::towards(scan, codes)?,
        None => Reorientation::none(),
    };
    let oriented = reorientation.apply(voxels);
    let oriented_dims = grid_of(oriented.view());
    let mut volume = match preprocessing.spacing {
        Some(target) => {
            resample::to_spacing(scan, oriented, reorientation.spacing(scan.geometry().spacing), target)?
        }
        None => oriented,
    };
    preprocessing.intensity.apply(scan, &mut volume)?;
    let patches = patches::place(scan, preprocessing.size, grid_of(volume.view()), wanted)?;
    Ok(Prepared {
        volume,
        scan_dims: scan.dims(),
        reorientation,
        oriented_dims,
        patches,
        order,
        network: dims,
    })
}

/// Labels of the only patch back on the scan's grid; see [`Prepared::restore`].
///
/// # Errors
/// As [`Prepared::restore`].
pub fn restore(labels: &Array3<u8>, prepared: &Prepared) -> Result<Array3<u8>> {
    prepared.restore(std::slice::from_ref(labels))
}

impl Prepared {
    /// How many inputs the network is to be run on.
    pub fn patch_count(&self) -> usize {
        self.patches.len()
    }

    /// Input `index` as `[channel, D, H, W]`, contiguous; zero outside the scan.
    ///
    /// # Panics
    /// If `index` is not below [`Prepared::patch_count`].
    pub fn input(&self, index: usize) -> Array4<f32> {
        let patch = patches::cut(&self.volume, &self.patches[index]);
        let [d, h, w] = self.order;
        patch.permuted_axes([0, d + 1, h + 1, w + 1]).as_standard_layout().into_owned()
    }

    /// `[channels, D, H, W]` of every input.
    pub fn input_shape(&self) -> [usize; 4] {
        let [d, h, w] = self.network;
        [self.volume.dim().0, d, h, w]
    }

    /// One label array `[D, H, W]` per patch to labels `[d, h, w]` on the scan's own grid; 0 where the network
    /// did not look. Where patches overlap, the one whose border is farther away decides. Resampled labels
    /// come back by nearest neighbour.
    ///
    /// # Errors
    /// If number or shape of the label arrays is not that of the inputs.
    pub fn restore(&self, labels: &[Array3<u8>]) -> Result<Array3<u8>> {
        if labels.len() != self.patches.len() {
            let problem = format!("{} label arrays for {} patches", labels.len(), self.patches.len());
            return Err(ImagingError::manifest("size", problem, "run the network on every patch"));
        }
        let (_, z, y, x) = self.volume.dim();
        let mut volume = Array3::zeros((z, y, x));
        let inverse = self.inverse();
        for (patch, labels) in self.patches.iter().zip(labels) {
            let (d, h, w) = labels.dim();
            if [d, h, w] != self.network {
                let problem = format!("labels of {d}×{h}×{w}, network of {:?}", self.network);
                return Err(ImagingError::manifest("size", problem, "return labels of the input's size"));
            }
            patches::paste(&mut volume, patch, &labels.view().permuted_axes(inverse));
        }
        let oriented = resample::nearest(volume, self.oriented_dims);
        Ok(self.on_scan(oriented.insert_axis(Axis(0))).remove_axis(Axis(0)))
    }

    /// Collects scores of `channels` channels; see [`Blend`].
    pub fn blend(&self, channels: usize) -> Blend<'_> {
        Blend::new(self, channels)
    }

    /// `[channel, z, y, x]` of the oriented scan on the scan's own axes.
    fn on_scan<T: Clone>(&self, oriented: Array4<T>) -> Array4<T> {
        let restored = self.reorientation.undo(oriented);
        assert_eq!(grid_of(restored.view()), self.scan_dims, "the way back ends on the scan's grid");
        restored
    }

    /// Position in `[D, H, W]` of each of z, y, x.
    fn inverse(&self) -> [usize; 3] {
        let mut inverse = [0; 3];
        self.order.into_iter().enumerate().for_each(|(axis, position)| inverse[position] = axis);
        inverse
    }
}

fn in_colour(scan: &Scan) -> Array4<f32> {
    if scan.channels() == 3 {
        return scan.voxels().to_owned();
    }
    let (_, d, h, w) = scan.voxels().dim();
    let repeated = scan.voxels().broadcast((3, d, h, w)).map(|v| v.to_owned());
    repeated.unwrap_or_else(|| scan.voxels().to_owned())
}

fn grid_of<T>(volume: ArrayView4<'_, T>) -> [usize; 3] {
    let (_, z, y, x) = volume.dim();
    [z, y, x]
}

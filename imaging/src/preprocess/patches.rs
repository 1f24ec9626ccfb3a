//! The network's window on the volume: one centred patch, or overlapping ones.

use ndarray::{Array3, Array4, ArrayView3, Slice};
use serde::{Deserialize, Serialize};

use crate::error::{ImagingError, Result};
use crate::scan::Scan;

/// Largest number of patches: beyond it the private run would take days.
const MOST_PATCHES: usize = 1 << 16;

/// What happens when scan and network differ in size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Size {
    /// Refused.
    Exact,
    /// Around the centre, per axis: ⌊(network − scan)/2⌋ zeros before the scan when it is smaller (the rest
    /// after), ⌊(scan − network)/2⌋ voxels cut off before when it is larger. Zeros are put in after the
    /// intensity step. The labels of what is cut off come back as 0.
    CentrePadCrop,
    /// As `CentrePadCrop` where the scan is smaller; a larger one is refused rather than cut.
    CentrePad,
    /// As `CentrePad` where the scan is smaller; otherwise patches that cover it evenly and overlap by at least
    /// `overlap` voxels (D, H, W smaller than the network's), each voxel labelled by the patch whose border is
    /// farther away.
    Patches {
        /// Least overlap along every axis on which there is more than one patch.
        overlap: usize,
    },
}

/// One axis of a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// First voxel of the patch in the volume; negative when padded before.
    start: isize,
    /// Size of the patch.
    size: usize,
    /// Voxels `own.0..own.1` of the volume get their labels here.
    own: (usize, usize),
}

impl Span {
    /// How much the patch has to say about each of its voxels: a Gaussian around its centre, σ an eighth of its size.
    pub(super) fn weights(&self) -> Vec<f64> {
        let (centre, sigma) = ((self.size - 1) as f64 / 2.0, self.size as f64 / 8.0);
        (0..self.size).map(|i| (-((i as f64 - centre) / sigma).powi(2) / 2.0).exp()).collect()
    }

    /// The voxels of the volume that the patch sees, and the first of them in its own coordinates.
    pub(super) fn seen(&self, volume: usize) -> (std::ops::Range<usize>, usize) {
        let inside = self.inside(volume);
        (inside.0..inside.1, self.local(inside).0)
    }

    /// Overlap of patch and volume, in the volume's coordinates.
    fn inside(&self, volume: usize) -> (usize, usize) {
        let from = self.start.max(0) as usize;
        let to = (self.start + self.size as isize).clamp(0, volume as isize) as usize;
        (from, to)
    }

    /// A range of the volume in the patch's coordinates.
    fn local(&self, (from, to): (usize, usize)) -> (usize, usize) {
        ((from as isize - self.start) as usize, (to as isize - self.start) as usize)
    }
}

/// Patches of `wanted` voxels over `found`, both `[z, y, x]`.
pub(super) fn place(
    scan: &Scan,
    policy: Size,
    found: [usize; 3],
    wanted: [usize; 3],
) -> Result<Vec<[Span; 3]>> {
    let larger = (0..3).any(|i| found[i] > wanted[i]);
    match policy {
        Size::Exact if found != wanted => {
            return Err(unfit(scan, found, wanted, "crop or pad the scan to that size before"));
        }
        Size::CentrePad if larger => {
            return Err(unfit(scan, found, wanted, "the model only pads: crop the scan to the organ before"));
        }
        Size::CentrePadCrop if wanted[0] == 1 && found[0] > 1 => {
            return Err(unfit(scan, found, wanted, "the model takes single slices: extract one"));
        }
        _ => {}
    }
    let mut axes: [Vec<Span>; 3] = Default::default();
    for i in 0..3 {
        axes[i] = match policy {
            Size::Patches { overlap } => covering(found[i], wanted[i], overlap)?,
            _ => vec![centred(found[i], wanted[i])],
        };
    }
    let count = axes.iter().map(Vec::len).product::<usize>();
    if count > MOST_PATCHES {
        return Err(unfit(
            scan,
            found,
            wanted,
            &format!("that is {count} patches: resample or crop the scan"),
        ));
    }
    let [z, y, x] = &axes;
    Ok(z.iter().flat_map(|a| y.iter().flat_map(move |b| x.iter().map(move |c| [*a, *b, *c]))).collect())
}

fn unfit(scan: &Scan, found: [usize; 3], wanted: [usize; 3], remedy: &str) -> ImagingError {
    let name =
        |[z, y, x]: [usize; 3]| if z == 1 { format!("{x} × {y}") } else { format!("{x} × {y} × {z}") };
    let problem =
        format!("the scan has {} voxels (x, y, z), the network takes {}", name(found), name(wanted));
    ImagingError::unfit(scan.path(), "size", problem, remedy)
}

fn centred(found: usize, wanted: usize) -> Span {
    let start =
        if found >= wanted { ((found - wanted) / 2) as isize } else { -(((wanted - found) / 2) as isize) };
    let mut span = Span { start, size: wanted, own: (0, 0) };
    span.own = span.inside(found);
    span
}

fn covering(found: usize, wanted: usize, overlap: usize) -> Result<Vec<Span>> {
    if found <= wanted {
        return Ok(vec![centred(found, wanted)]);
    }
    // A planar network has nothing to overlap across slices.
    let overlap = if wanted == 1 { 0 } else { overlap };
    if overlap >= wanted {
        let problem = format!("overlap {overlap} with patches of {wanted}");
        return Err(ImagingError::manifest("size", problem, "the overlap must be smaller than the patch"));
    }
    let count = (found - overlap).div_ceil(wanted - overlap);
    let start = |k: usize| k * (found - wanted) / (count - 1);
    // Two neighbours share the voxels between the later one's start and the earlier one's end: half each.
    let border = |k: usize| (start(k) + start(k - 1) + wanted) / 2;
    Ok((0..count)
        .map(|k| Span {
            start: start(k) as isize,
            size: wanted,
            own: (if k == 0 { 0 } else { border(k) }, if k + 1 == count { found } else { border(k + 1) }),
        })
        .collect())
}

/// One patch `[channel, z, y, x]`, zero outside the volume.
pub(super) fn cut(volume: &Array4<f32>, patch: &[Span; 3]) -> Array4<f32> {
    let (channels, z, y, x) = volume.dim();
    let mut out = Array4::zeros((channels, patch[0].size, patch[1].size, patch[2].size));
    let inside = [patch[0].inside(z), patch[1].inside(y), patch[2].inside(x)];
    let local = |axis: usize| patch[axis].local(inside[axis]);
    // Axis 0 is the channel and taken whole.
    let spatial = |axis: usize, of: &dyn Fn(usize) -> (usize, usize)| match axis {
        0 => Slice::from(..),
        axis => slice(of(axis - 1)),
    };
    out.slice_each_axis_mut(|a| spatial(a.axis.index(), &local))
        .assign(&volume.slice_each_axis(|a| spatial(a.axis.index(), &|axis| inside[axis])));
    out
}

/// The patch's own voxels into `volume`.
pub(super) fn paste(volume: &mut Array3<u8>, patch: &[Span; 3], labels: &ArrayView3<'_, u8>) {
    volume.slice_each_axis_mut(|a| slice(patch[a.axis.index()].own)).assign(&labels.slice_each_axis(|a| {
        let span = &patch[a.axis.index()];
        slice(span.local(span.own))
    }));
}

fn slice((from, to): (usize, usize)) -> Slice {
    Slice::from(from..to)
}

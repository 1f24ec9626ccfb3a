//! Closest axis-aligned reorientation: a permutation and flips, no interpolation.

use ndarray::{Array4, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{ImagingError, Result};
use crate::scan::Scan;

/// Where x, y and z point: three letters, one each of R/L, A/P and S/I, e.g. `RAS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AxisCodes {
    /// World axis (0 right, 1 front, 2 up) of each of x, y, z.
    world: [usize; 3],
    /// Whether it points the other way.
    reversed: [bool; 3],
}

impl TryFrom<String> for AxisCodes {
    type Error = ImagingError;

    fn try_from(text: String) -> Result<Self> {
        let wrong = || {
            let problem = format!("{text:?} is not three letters, one each of R/L, A/P, S/I");
            ImagingError::manifest("orientation", problem, "use e.g. \"RAS\"")
        };
        let letters: Vec<char> = text.chars().collect();
        let [mut world, mut reversed] = [[0; 3], [0; 3]];
        if letters.len() != 3 {
            return Err(wrong());
        }
        for (i, letter) in letters.iter().enumerate() {
            let place =
                ["RL", "AP", "SI"].iter().position(|pair| pair.contains(*letter)).ok_or_else(wrong)?;
            world[i] = place;
            reversed[i] = usize::from("LPI".contains(*letter));
        }
        let mut sorted = world;
        sorted.sort_unstable();
        if sorted != [0, 1, 2] {
            return Err(wrong());
        }
        Ok(Self { world, reversed: reversed.map(|r| r == 1) })
    }
}

impl From<AxisCodes> for String {
    fn from(codes: AxisCodes) -> Self {
        (0..3)
            .map(|i| ["RL", "AP", "SI"][codes.world[i]].as_bytes()[usize::from(codes.reversed[i])] as char)
            .collect()
    }
}

/// Which source axis each new axis comes from, and whether it is read backwards; axes counted x, y, z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reorientation {
    source: [usize; 3],
    flip: [bool; 3],
}

impl Reorientation {
    pub(crate) fn none() -> Self {
        Self { source: [0, 1, 2], flip: [false; 3] }
    }

    pub(crate) fn towards(scan: &Scan, codes: &AxisCodes) -> Result<Self> {
        if !scan.geometry().known {
            return Err(ImagingError::unfit(
                scan.path(),
                "orientation",
                "the model wants a known orientation, and this format states none",
                "give the scan as NIfTI",
            ));
        }
        let (nearest, negative) = nearest_axes(scan)?;
        let mut result = Self::none();
        for i in 0..3 {
            let source = nearest.iter().position(|w| *w == codes.world[i]).unwrap_or(i);
            result.source[i] = source;
            result.flip[i] = negative[source] != codes.reversed[i];
        }
        Ok(result)
    }

    /// `[channel, z, y, x]` in, the same order out.
    pub(crate) fn apply<T: Clone>(&self, voxels: Array4<T>) -> Array4<T> {
        if *self == Self::none() {
            return voxels;
        }
        let [x, y, z] = self.source.map(|s| 3 - s);
        let mut turned = voxels.permuted_axes([0, z, y, x]);
        for (i, _) in self.flip.iter().enumerate().filter(|(_, f)| **f) {
            turned.invert_axis(Axis(3 - i));
        }
        turned.as_standard_layout().into_owned()
    }

    /// Spacing along the new axes.
    pub(crate) fn spacing(&self, spacing: [f64; 3]) -> [f64; 3] {
        self.source.map(|s| spacing[s])
    }

    /// `[channel, z, y, x]` back to the source's axes.
    pub(super) fn undo<T: Clone>(&self, mut voxels: Array4<T>) -> Array4<T> {
        for (i, _) in self.flip.iter().enumerate().filter(|(_, f)| **f) {
            voxels.invert_axis(Axis(3 - i));
        }
        let mut back = [0; 4];
        for (i, source) in self.source.iter().enumerate() {
            back[3 - source] = 3 - i;
        }
        voxels.permuted_axes(back).as_standard_layout().into_owned()
    }
}

/// For each of x, y, z the world axis it is closest to (each once, best fit first) and whether it runs against it.
fn nearest_axes(scan: &Scan) -> Result<([usize; 3], [bool; 3])> {
    let affine = scan.geometry().affine;
    let length = |j: usize| (0..3).map(|i| affine[i][j].powi(2)).sum::<f64>().sqrt();
    if (0..3).any(|j| !length(j).is_normal()) {
        return Err(ImagingError::unfit(
            scan.path(),
            "affine",
            "an axis has no direction",
            "repair the header's sform or qform",
        ));
    }
    let mut pairs: Vec<(usize, usize)> = (0..3).flat_map(|i| (0..3).map(move |j| (i, j))).collect();
    let cosine = |(i, j): (usize, usize)| (affine[i][j] / length(j)).abs();
    pairs.sort_by(|a, b| cosine(*b).total_cmp(&cosine(*a)));
    let [mut nearest, mut taken] = [[usize::MAX; 3]; 2];
    for (world, axis) in pairs {
        if nearest[axis] == usize::MAX && taken[world] == usize::MAX {
            nearest[axis] = world;
            taken[world] = axis;
        }
    }
    let negative = std::array::from_fn(|j| affine[nearest[j]][j] < 0.0);
    Ok((nearest, negative))
}

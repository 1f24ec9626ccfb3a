//! A scan in memory: samples, grid, and what is needed to write an answer on the same grid.
//!
//! Layout: `[channel, d, h, w]` with `w` fastest. For NIfTI `w`, `h`, `d` are the file's x, y, z (the reverse of
//! the index order of nibabel's arrays); for pictures columns and rows with `d = 1`; for stacks `d` is the page.
//! The affine follows NIfTI: it takes `(x, y, z, 1)` voxel indices to millimetres, x to the right, y to the
//! front, z up (RAS+).

use std::path::{Path, PathBuf};

use ndarray::{Array3, Array4, ArrayView4, Axis, Slice};

use crate::error::{ImagingError, Result};
use crate::nifti::NiftiHeader;

/// How much a reader may allocate on the word of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of samples (voxels times channels); each takes four bytes.
    pub samples: u64,
}

impl Default for Limits {
    /// 2^28 samples, one GiB: a 645 × 645 × 645 volume.
    fn default() -> Self {
        Self { samples: 1 << 28 }
    }
}

/// Number format of the samples in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum SampleType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl SampleType {
    /// Largest value of an integer type; `None` for floating point.
    pub fn max_value(self) -> Option<f64> {
        Some(match self {
            Self::U8 => f64::from(u8::MAX),
            Self::I8 => f64::from(i8::MAX),
            Self::U16 => f64::from(u16::MAX),
            Self::I16 => f64::from(i16::MAX),
            Self::U32 => f64::from(u32::MAX),
            Self::I32 => f64::from(i32::MAX),
            Self::U64 => u64::MAX as f64,
            Self::I64 => i64::MAX as f64,
            Self::F32 | Self::F64 => return None,
        })
    }
}

/// Where the grid lies in space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Voxel indices `(x, y, z, 1)` to millimetres, RAS+.
    pub affine: [[f64; 4]; 4],
    /// Distance between voxel centres along x, y, z.
    pub spacing: [f64; 3],
    /// Whether the file states it; pictures get an identity grid.
    pub known: bool,
}

impl Geometry {
    /// Unit spacing, origin at the first voxel.
    pub fn unknown() -> Self {
        let mut affine = [[0.0; 4]; 4];
        for (i, row) in affine.iter_mut().enumerate() {
            row[i] = 1.0;
        }
        Self { affine, spacing: [1.0; 3], known: false }
    }
}

/// What the source file said beyond its samples; kept so that the answer can say the same about its grid.
#[derive(Clone, Debug)]
pub struct SourceHeader(pub(crate) HeaderKind);

#[derive(Clone, Debug)]
pub(crate) enum HeaderKind {
    Picture,
    Nifti(Box<NiftiHeader>),
}

impl SourceHeader {
    /// The header of a scan that did not come from a file with one.
    pub fn none() -> Self {
        Self(HeaderKind::Picture)
    }
}

/// A picture or volume with its grid.
#[derive(Clone, Debug)]
pub struct Scan {
    pub(crate) path: PathBuf,
    pub(crate) voxels: Array4<f32>,
    pub(crate) sample_type: SampleType,
    pub(crate) geometry: Geometry,
    pub(crate) header: SourceHeader,
}

impl Scan {
    /// A scan from memory: `voxels` as `[channel, d, h, w]`; `path` only names it in messages.
    pub fn from_voxels(path: impl Into<PathBuf>, voxels: Array4<f32>, geometry: Geometry) -> Self {
        Self {
            path: path.into(),
            voxels: voxels.as_standard_layout().into_owned(),
            sample_type: SampleType::F32,
            geometry,
            header: SourceHeader::none(),
        }
    }

    /// Reads PNG, TIFF, NIfTI or DICOM, told apart by content; a folder is a DICOM series.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        crate::read::read(path.as_ref(), Limits::default())
    }

    /// As [`Scan::read`], with other limits.
    pub fn read_with(path: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        crate::read::read(path.as_ref(), limits)
    }

    /// File it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Samples as `[channel, d, h, w]`, slope and intercept applied, in the file's own units.
    pub fn voxels(&self) -> ArrayView4<'_, f32> {
        self.voxels.view()
    }

    /// 1 for grey, 3 for colour.
    pub fn channels(&self) -> usize {
        self.voxels.dim().0
    }

    /// `[d, h, w]`; `d = 1` for pictures.
    pub fn dims(&self) -> [usize; 3] {
        let (_, d, h, w) = self.voxels.dim();
        [d, h, w]
    }

    /// 2 for one slice, 3 for a volume.
    pub fn rank(&self) -> usize {
        if self.voxels.dim().1 == 1 { 2 } else { 3 }
    }

    /// Number format in the file.
    pub fn sample_type(&self) -> SampleType {
        self.sample_type
    }

    /// Where the grid lies in space.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// One slice of a volume, as a picture.
    ///
    /// # Errors
    /// If there is no such slice.
    pub fn slice(&self, index: usize) -> Result<Self> {
        if index >= self.dims()[0] {
            return Err(ImagingError::unfit(
                &self.path,
                "slice",
                format!("slice {index} was asked for, the file has {}", self.dims()[0]),
                "slices count from 0",
            ));
        }
        let mut geometry = self.geometry;
        for row in &mut geometry.affine {
            row[3] += row[2] * index as f64;
        }
        Ok(Self {
            path: self.path.clone(),
            voxels: self.voxels.slice_axis(Axis(1), Slice::from(index..=index)).to_owned(),
            sample_type: self.sample_type,
            geometry,
            header: SourceHeader::none(),
        })
    }

    /// One grey channel: the samples themselves, or 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, unrounded).
    pub fn grey(&self) -> Array3<f32> {
        let channel = |c: usize| self.voxels.index_axis(Axis(0), c);
        if self.channels() == 3 {
            let mut grey = &channel(0) * 0.299f32;
            grey.scaled_add(0.587, &channel(1));
            grey.scaled_add(0.114, &channel(2));
            grey
        } else {
            channel(0).to_owned()
        }
    }
}

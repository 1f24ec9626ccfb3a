//! The header of NIfTI-1 (348 bytes, <https://nifti.nimh.nih.gov/nifti-1>) and NIfTI-2 (540 bytes).

use std::path::Path;

use super::{AGAIN, Source};
use crate::error::{ImagingError, Result};
use crate::scan::Geometry;

pub(super) const LENGTH_1: usize = 348;
pub(super) const LENGTH_2: usize = 540;

/// The fields that matter for reading, and those that place the grid and are written back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NiftiHeader {
    pub(super) version: u8,
    pub(super) big_endian: bool,
    pub(super) single_file: bool,
    pub(super) dim: [i64; 8],
    pub(super) datatype: i16,
    pub(super) vox_offset: f64,
    pub(super) slope: f64,
    pub(super) inter: f64,
    pub(super) pixdim: [f64; 8],
    pub(super) xyzt_units: u8,
    pub(super) dim_info: u8,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    /// quatern_b, c, d, then qoffset_x, y, z.
    pub(super) quatern: [f64; 6],
    pub(super) srow: [[f64; 4]; 3],
}

/// Whether the first bytes of a plain file are a NIfTI or Analyze header's length.
pub(crate) fn looks_like_header(start: &[u8]) -> bool {
    start.len() >= 4 && header_length(start).is_some()
}

/// Length that the header gives itself, and whether it is in big-endian order.
fn header_length(start: &[u8]) -> Option<(usize, bool)> {
    let raw = [start[0], start[1], start[2], start[3]];
    match (u32::from_le_bytes(raw), u32::from_be_bytes(raw)) {
        (348, _) => Some((LENGTH_1, false)),
        (_, 348) => Some((LENGTH_1, true)),
        (540, _) => Some((LENGTH_2, false)),
        (_, 540) => Some((LENGTH_2, true)),
        _ => None,
    }
}

pub(super) fn read(source: &mut Source, path: &Path) -> Result<NiftiHeader> {
    let mut bytes = vec![0; LENGTH_2];
    source.fill(path, "header", &mut bytes[..4])?;
    let Some((length, big_endian)) = header_length(&bytes) else {
        let found = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let problem = format!("{found} is neither 348 (NIfTI-1) nor 540 (NIfTI-2)");
        return Err(ImagingError::malformed(path, "sizeof_hdr", problem, "give a NIfTI file"));
    };
    source.fill(path, "header", &mut bytes[4..length])?;
    let fields = Fields { bytes: &bytes[..length], big_endian };
    if length == LENGTH_1 { parse_1(&fields, path) } else { parse_2(&fields, path) }
}

struct Fields<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

macro_rules! field {
    ($name:ident, $type:ty, $width:literal) => {
        fn $name(&self, at: usize) -> $type {
            let mut raw = [0; $width];
            raw.copy_from_slice(&self.bytes[at..at + $width]);
            if self.big_endian { <$type>::from_be_bytes(raw) } else { <$type>::from_le_bytes(raw) }
        }
    };
}

impl Fields<'_> {
    field!(i16, i16, 2);
    field!(i32, i32, 4);
    field!(i64, i64, 8);
    field!(f32, f32, 4);
    field!(f64, f64, 8);

    fn wide(&self, at: usize) -> f64 {
        f64::from(self.f32(at))
    }
}

fn parse_1(f: &Fields<'_>, path: &Path) -> Result<NiftiHeader> {
    let single_file = match &f.bytes[344..348] {
        b"n+1\0" => true,
        b"ni1\0" => false,
        _ => return Err(no_magic(path)),
    };
    Ok(NiftiHeader {
        version: 1,
        big_endian: f.big_endian,
        single_file,
        dim: std::array::from_fn(|i| i64::from(f.i16(40 + 2 * i))),
        datatype: f.i16(70),
        vox_offset: f.wide(108),
        slope: f.wide(112),
        inter: f.wide(116),
        pixdim: std::array::from_fn(|i| f.wide(76 + 4 * i)),
        xyzt_units: f.bytes[123],
        dim_info: f.bytes[39],
        qform_code: i32::from(f.i16(252)),
        sform_code: i32::from(f.i16(254)),
        quatern: std::array::from_fn(|i| f.wide(256 + 4 * i)),
        srow: std::array::from_fn(|i| std::array::from_fn(|j| f.wide(280 + 16 * i + 4 * j))),
    })
}

fn parse_2(f: &Fields<'_>, path: &Path) -> Result<NiftiHeader> {
    let single_file = match &f.bytes[4..12] {
        b"n+2\0\r\n\x1a\n" => true,
        b"ni2\0\r\n\x1a\n" => false,
        _ => return Err(no_magic(path)),
    };
    Ok(NiftiHeader {
        version: 2,
        big_endian: f.big_endian,
        single_file,
        dim: std::array::from_fn(|i| f.i64(16 + 8 * i)),
        datatype: f.i16(12),
        vox_offset: f.i64(168) as f64,
        slope: f.f64(176),
        inter: f.f64(184),
        pixdim: std::array::from_fn(|i| f.f64(104 + 8 * i)),
        xyzt_units: f.i32(500) as u8,
        dim_info: f.bytes[524],
        qform_code: f.i32(344),
        sform_code: f.i32(348),
        quatern: std::array::from_fn(|i| f.f64(352 + 8 * i)),
        srow: std::array::from_fn(|i| std::array::from_fn(|j| f.f64(400 + 32 * i + 8 * j))),
    })
}

fn no_magic(path: &Path) -> ImagingError {
    ImagingError::unsupported(
        path,
        "magic",
        "no NIfTI signature (an Analyze 7.5 header, or a damaged one)",
        "convert it to NIfTI: Analyze does not say where left and right are",
    )
}

impl NiftiHeader {
    /// Number of voxels along x, y, z.
    pub(super) fn grid(&self, path: &Path) -> Result<[u64; 3]> {
        let rank = self.dim[0];
        if !(1..=7).contains(&rank) {
            return Err(ImagingError::malformed(path, "dim[0]", format!("{rank} is not 1 to 7"), AGAIN));
        }
        for (i, &n) in self.dim.iter().enumerate().take(rank as usize + 1).skip(1) {
            let field = format!("dim[{i}]");
            if n < 1 {
                return Err(ImagingError::malformed(path, field, format!("{n} is not positive"), AGAIN));
            }
            if i > 3 && n != 1 {
                let problem = format!("{n} volumes (time points or components) in one file");
                let remedy = "extract one three-dimensional volume, e.g. with fslroi or nibabel";
                return Err(ImagingError::unsupported(path, field, problem, remedy));
            }
        }
        Ok(std::array::from_fn(|i| if i < rank as usize { self.dim[i + 1] as u64 } else { 1 }))
    }

    /// First byte of the image in its file.
    pub(super) fn data_offset(&self, path: &Path) -> Result<u64> {
        let least = match (self.single_file, self.version) {
            (false, _) => 0.0,
            (true, 1) => LENGTH_1 as f64 + 4.0,
            (true, _) => LENGTH_2 as f64 + 4.0,
        };
        let offset = self.vox_offset;
        if offset == 0.0 {
            return Ok(least as u64);
        }
        if !offset.is_finite() || offset.fract() != 0.0 || offset < least || offset > (1u64 << 52) as f64 {
            let problem = format!("{offset} is not a whole number of at least {least}");
            return Err(ImagingError::malformed(path, "vox_offset", problem, AGAIN));
        }
        Ok(offset as u64)
    }

    /// Slope and intercept, if the samples are scaled at all.
    pub(super) fn scaling(&self, path: &Path) -> Result<Option<(f64, f64)>> {
        if self.slope == 0.0 || !self.slope.is_finite() {
            return Ok(None);
        }
        if !self.inter.is_finite() {
            let problem = format!("{} with scl_slope {}", self.inter, self.slope);
            return Err(ImagingError::malformed(path, "scl_inter", problem, AGAIN));
        }
        Ok((self.slope != 1.0 || self.inter != 0.0).then_some((self.slope, self.inter)))
    }

    /// sform if there is one, else qform, else the spacing alone (methods 3, 2, 1 of the format).
    pub(super) fn geometry(&self, path: &Path) -> Result<Geometry> {
        let spacing = self.spacing(path)?;
        let rows = if self.sform_code > 0 {
            self.srow
        } else if self.qform_code > 0 {
            self.quaternion_rows(spacing)
        } else {
            let mut rows = [[0.0; 4]; 3];
            for i in 0..3 {
                rows[i][i] = spacing[i];
            }
            rows
        };
        let field = if self.sform_code > 0 { "srow_x, srow_y, srow_z" } else { "quatern, qoffset" };
        if rows.iter().flatten().any(|v| !v.is_finite()) {
            return Err(ImagingError::malformed(path, field, "not a finite number", AGAIN));
        }
        let affine = [rows[0], rows[1], rows[2], [0.0, 0.0, 0.0, 1.0]];
        Ok(Geometry { affine, spacing, known: true })
    }

    fn spacing(&self, path: &Path) -> Result<[f64; 3]> {
        let mut spacing = [1.0; 3];
        for (i, s) in spacing.iter_mut().enumerate() {
            let given = self.pixdim[i + 1];
            if !given.is_finite() {
                let field = format!("pixdim[{}]", i + 1);
                return Err(ImagingError::malformed(path, field, format!("{given} is not finite"), AGAIN));
            }
            if given != 0.0 {
                *s = given.abs();
            }
        }
        Ok(spacing)
    }

    fn quaternion_rows(&self, spacing: [f64; 3]) -> [[f64; 4]; 3] {
        let [b, c, d, ..] = self.quatern;
        let a2 = 1.0 - (b * b + c * c + d * d);
        // Rounding may take b² + c² + d² above 1; the format then normalises (b, c, d) and sets a = 0.
        let (a, b, c, d) = if a2 < 1e-7 {
            let norm = (b * b + c * c + d * d).sqrt();
            (0.0, b / norm, c / norm, d / norm)
        } else {
            (a2.sqrt(), b, c, d)
        };
        let rotation = [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ];
        let qfac = if self.pixdim[0] < 0.0 { -1.0 } else { 1.0 };
        let scale = [spacing[0], spacing[1], spacing[2] * qfac];
        std::array::from_fn(|i| {
            std::array::from_fn(|j| if j < 3 { rotation[i][j] * scale[j] } else { self.quatern[3 + i] })
        })
    }
}

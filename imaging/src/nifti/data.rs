//! Voxels of every numeric type to `f32`.

use std::path::Path;

use super::header::NiftiHeader;
use super::{AGAIN, Source};
use crate::error::{ImagingError, Result};
use crate::scan::SampleType;

/// Bytes converted per step; memory grows as data arrives, not on the header's word.
const CHUNK: usize = 1 << 16;

/// What one voxel holds.
pub(super) struct Cells {
    pub(super) sample_type: SampleType,
    /// 1, or 3 for colour.
    pub(super) samples: usize,
    /// Bytes per voxel, alpha included.
    pub(super) bytes: usize,
}

impl Cells {
    pub(super) fn of(datatype: i16, path: &Path) -> Result<Self> {
        let (sample_type, samples, bytes) = match datatype {
            2 => (SampleType::U8, 1, 1),
            4 => (SampleType::I16, 1, 2),
            8 => (SampleType::I32, 1, 4),
            16 => (SampleType::F32, 1, 4),
            64 => (SampleType::F64, 1, 8),
            128 => (SampleType::U8, 3, 3),
            256 => (SampleType::I8, 1, 1),
            512 => (SampleType::U16, 1, 2),
            768 => (SampleType::U32, 1, 4),
            1024 => (SampleType::I64, 1, 8),
            1280 => (SampleType::U64, 1, 8),
            2304 => (SampleType::U8, 3, 4),
            other => {
                let name = match other {
                    1 => "one bit per voxel",
                    32 | 1792 | 2048 => "complex numbers",
                    1536 => "128-bit floating point",
                    _ => "no numeric type of the format",
                };
                return Err(ImagingError::unsupported(
                    path,
                    "datatype",
                    format!("{other} ({name})"),
                    "convert the voxels to 16-bit integers or 32-bit floating point (for complex data: the magnitude)",
                ));
            }
        };
        Ok(Self { sample_type, samples, bytes })
    }
}

/// Reads `voxels` voxels; colour comes out plane by plane.
pub(super) fn decode(
    source: &mut Source,
    path: &Path,
    header: &NiftiHeader,
    cells: &Cells,
    voxels: usize,
) -> Result<Vec<f32>> {
    // Colour is never scaled; see the format's description of scl_slope.
    let scaling = if cells.samples == 1 { header.scaling(path)? } else { None };
    let mut planes = vec![Vec::new(); cells.samples];
    let mut buffer = vec![0; CHUNK / cells.bytes * cells.bytes];
    let mut left = voxels;
    while left > 0 {
        let now = left.min(buffer.len() / cells.bytes);
        let raw = &mut buffer[..now * cells.bytes];
        source.fill(path, "voxels", raw)?;
        if cells.samples == 1 {
            convert(raw, cells.sample_type, header.big_endian, scaling, &mut planes[0]);
        } else {
            for (c, plane) in planes.iter_mut().enumerate() {
                plane.extend(raw.chunks_exact(cells.bytes).map(|v| f32::from(v[c])));
            }
        }
        left -= now;
    }
    let mut planes = planes.into_iter();
    let mut all = planes
        .next()
        .ok_or_else(|| ImagingError::malformed(path, "datatype", "no samples per voxel", AGAIN))?;
    planes.for_each(|p| all.extend(p));
    Ok(all)
}

fn convert(raw: &[u8], kind: SampleType, big: bool, scaling: Option<(f64, f64)>, out: &mut Vec<f32>) {
    macro_rules! samples {
        ($type:ty, $width:literal) => {{
            let values = raw.chunks_exact($width).map(|chunk| {
                let mut bytes = [0u8; $width];
                bytes.copy_from_slice(chunk);
                if big { <$type>::from_be_bytes(bytes) } else { <$type>::from_le_bytes(bytes) }
            });
            match scaling {
                None => out.extend(values.map(|v| v as f32)),
                Some((slope, inter)) => out.extend(values.map(|v| (v as f64 * slope + inter) as f32)),
            }
        }};
    }
    match kind {
        SampleType::U8 => samples!(u8, 1),
        SampleType::I8 => samples!(i8, 1),
        SampleType::U16 => samples!(u16, 2),
        SampleType::I16 => samples!(i16, 2),
        SampleType::U32 => samples!(u32, 4),
        SampleType::I32 => samples!(i32, 4),
        SampleType::U64 => samples!(u64, 8),
        SampleType::I64 => samples!(i64, 8),
        SampleType::F32 => samples!(f32, 4),
        SampleType::F64 => samples!(f64, 8),
    }
}

//! Labels and scores as NIfTI on the grid of the scan they belong to.
//!
//! Written anew, little-endian, single file: dimensions, spacing, units, qform and sform as in the source (the
//! same numbers), datatype u8 (of scores f32, one volume per channel), slope 1, intercept 0. Description, auxiliary file, display range, intent and
//! extensions stay empty, because they may name the patient or the site. A source without a header gets an
//! identity grid.

use std::io::{self, Write};

use super::header::{LENGTH_1, LENGTH_2, NiftiHeader};
use crate::scan::{HeaderKind, Scan};

const DT_UINT8: i16 = 2;
const DT_FLOAT32: i16 = 16;

/// Writes header and labels; `labels` in the scan's order, x fastest.
pub(crate) fn write_labels(out: &mut dyn Write, scan: &Scan, labels: &[u8]) -> io::Result<()> {
    out.write_all(&header(scan, DT_UINT8, 1))?;
    out.write_all(labels)
}

/// Writes header and scores, `channels` volumes one after the other.
pub(crate) fn write_scores(
    out: &mut dyn Write,
    scan: &Scan,
    channels: usize,
    scores: &[f32],
) -> io::Result<()> {
    out.write_all(&header(scan, DT_FLOAT32, channels))?;
    scores.chunks(1 << 16).try_for_each(|scores| {
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
}

/// The bytes before the voxels: header, and that no extensions follow.
fn header(scan: &Scan, datatype: i16, channels: usize) -> Vec<u8> {
    let mut header = match &scan.header.0 {
        HeaderKind::Nifti(header) => (**header).clone(),
        HeaderKind::Picture => placed_by_affine(scan),
    };
    header.datatype = datatype;
    if channels > 1 {
        let [d, h, w] = scan.dims();
        header.dim = [4, w, h, d, channels, 1, 1, 1].map(|extent| extent as i64);
        // The fourth axis counts labels: no unit of time.
        header.xyzt_units &= 7;
        header.pixdim[4] = 1.0;
    }
    let mut bytes = if header.version == 1 { header_1(&header) } else { header_2(&header) };
    bytes.extend([0; 4]);
    bytes
}

/// A header for a scan of another format: its affine as sform.
fn placed_by_affine(scan: &Scan) -> NiftiHeader {
    let [d, h, w] = scan.dims();
    let geometry = scan.geometry();
    let fits = [d, h, w].iter().all(|n| i16::try_from(*n).is_ok());
    let mut pixdim = [1.0; 8];
    pixdim[1..4].copy_from_slice(&geometry.spacing);
    NiftiHeader {
        version: if fits { 1 } else { 2 },
        big_endian: false,
        single_file: true,
        dim: [3, w as i64, h as i64, d as i64, 1, 1, 1, 1],
        datatype: DT_UINT8,
        vox_offset: 0.0,
        slope: 1.0,
        inter: 0.0,
        pixdim,
        // Millimetres, if known.
        xyzt_units: if geometry.known { 2 } else { 0 },
        dim_info: 0,
        qform_code: 0,
        sform_code: 1,
        quatern: [0.0; 6],
        srow: [geometry.affine[0], geometry.affine[1], geometry.affine[2]],
    }
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Bits of a voxel.
fn bits(datatype: i16) -> i16 {
    if datatype == DT_UINT8 { 8 } else { 32 }
}

fn header_1(h: &NiftiHeader) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH_1];
    let b = &mut bytes;
    let put_f32 = |b: &mut [u8], at, v: f64| put(b, at, (v as f32).to_le_bytes());
    put(b, 0, (LENGTH_1 as i32).to_le_bytes());
    b[38] = b'r';
    b[39] = h.dim_info;
    for (i, &n) in h.dim.iter().enumerate() {
        put(b, 40 + 2 * i, (n as i16).to_le_bytes());
        put_f32(b, 76 + 4 * i, h.pixdim[i]);
    }
    put(b, 70, h.datatype.to_le_bytes());
    put(b, 72, bits(h.datatype).to_le_bytes());
    put_f32(b, 108, LENGTH_1 as f64 + 4.0);
    put_f32(b, 112, 1.0);
    b[123] = h.xyzt_units;
    put(b, 252, (h.qform_code as i16).to_le_bytes());
    put(b, 254, (h.sform_code as i16).to_le_bytes());
    for (i, &v) in h.quatern.iter().enumerate() {
        put_f32(b, 256 + 4 * i, v);
    }
    for (i, &v) in h.srow.iter().flatten().enumerate() {
        put_f32(b, 280 + 4 * i, v);
    }
    put(b, 344, *b"n+1\0");
    bytes
}

fn header_2(h: &NiftiHeader) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH_2];
    let b = &mut bytes;
    put(b, 0, (LENGTH_2 as i32).to_le_bytes());
    put(b, 4, *b"n+2\0\r\n\x1a\n");
    put(b, 12, h.datatype.to_le_bytes());
    put(b, 14, bits(h.datatype).to_le_bytes());
    for (i, &n) in h.dim.iter().enumerate() {
        put(b, 16 + 8 * i, n.to_le_bytes());
        put(b, 104 + 8 * i, h.pixdim[i].to_le_bytes());
    }
    put(b, 168, (LENGTH_2 as i64 + 4).to_le_bytes());
    put(b, 176, 1f64.to_le_bytes());
    put(b, 344, h.qform_code.to_le_bytes());
    put(b, 348, h.sform_code.to_le_bytes());
    for (i, &v) in h.quatern.iter().enumerate() {
        put(b, 352 + 8 * i, v.to_le_bytes());
    }
    for (i, &v) in h.srow.iter().flatten().enumerate() {
        put(b, 400 + 8 * i, v.to_le_bytes());
    }
    put(b, 500, i32::from(h.xyzt_units).to_le_bytes());
    b[524] = h.dim_info;
    bytes
}

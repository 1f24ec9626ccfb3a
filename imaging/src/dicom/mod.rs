//! DICOM images and series: uncompressed (either byte order, explicit or implicit), deflated,
//! RLE, grey JPEG (lossless, and with losses of 8 or 12 bits) and grey JPEG 2000.
//!
//! A folder is one series: its slices are sorted by where they lie along their common normal, never by name or
//! instance number, and must stand at even distances. Values are the modality's (rescale slope and intercept
//! applied). Of the header only the grid is kept, so no patient data can reach an answer.
//!
//! Read here rather than by a library because lengths are not trusted (see `dataset`): the libraries at hand
//! take memory on the file's word.

mod dataset;
mod jpeg;
mod jpeg2000;
mod slice;

use std::path::{Path, PathBuf};

use ndarray::{Array4, Axis, Slice as Range};

pub(crate) use dataset::looks_like;

use crate::error::{ImagingError, Result};
use crate::picture::check_samples;
use crate::scan::{Geometry, Limits, Scan, SourceHeader};
use slice::{Placement, Slice};

const AGAIN: &str = "the file is damaged or incomplete: export it again";
/// Largest departure from even slice distances, as a part of the distance.
const UNEVEN: f64 = 0.02;

/// Reads one DICOM file as a picture.
pub(crate) fn read_file(path: &Path, limits: Limits) -> Result<Scan> {
    assemble(path, vec![read_slice(path, limits)?], limits)
}

/// Reads the one series of a folder; files that are not DICOM are passed over.
pub(crate) fn read_series(folder: &Path, limits: Limits) -> Result<Scan> {
    let mut slices = Vec::new();
    let mut samples = 0;
    for path in dicom_files(folder)? {
        let slice = read_slice(&path, limits)?;
        samples += slice.samples.len() as u64;
        check_samples(folder, samples, limits)?;
        slices.push(slice);
    }
    if slices.is_empty() {
        return Err(ImagingError::unsupported(
            folder,
            "folder",
            "there are no DICOM files in it",
            "give the folder that holds the slices of one series, or a file",
        ));
    }
    one_series(folder, &slices)?;
    assemble(folder, slices, limits)
}

/// Whether this is a DICOM file and not the table of contents of a medium.
pub(crate) fn is_image(path: &Path) -> bool {
    !is_directory(path)
        && path.is_file()
        && crate::read::first_bytes(path).is_ok_and(|start| looks_like(&start))
}

/// Whether this is the table of contents of a medium, which has this name by PS3.10.
pub(crate) fn is_directory(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("DICOMDIR"))
}

fn dicom_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| ImagingError::io(folder, "read", e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if is_image(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_slice(path: &Path, limits: Limits) -> Result<Slice> {
    let io = |e| ImagingError::io(path, "read", e);
    let length = std::fs::metadata(path).map_err(io)?.len();
    // A sample takes four bytes, so this is the limit in bytes.
    check_samples(path, length / 4, limits)?;
    Slice::read(path, std::fs::read(path).map_err(io)?, limits)
}

fn one_series(folder: &Path, slices: &[Slice]) -> Result<()> {
    let mut counts = std::collections::BTreeMap::new();
    for slice in slices {
        *counts.entry(slice.series.as_str()).or_insert(0) += 1;
    }
    if counts.len() > 1 {
        let list: Vec<String> = counts.iter().map(|(uid, n)| format!("{n} of {uid}")).collect();
        return Err(ImagingError::unfit(
            folder,
            "SeriesInstanceUID (0020,000e)",
            format!("the folder holds {} series: {}", counts.len(), list.join(", ")),
            "put the series to be segmented into a folder of its own",
        ));
    }
    let first = &slices[0];
    let kind = |s: &Slice| (s.rows, s.columns, s.channels, s.sample_type);
    if let Some(other) = slices.iter().find(|s| kind(s) != kind(first)) {
        return Err(ImagingError::unfit(
            &other.path,
            "Rows, Columns, BitsAllocated",
            format!("differ from those of {}", first.path.display()),
            "leave localisers and other images out of the folder",
        ));
    }
    Ok(())
}

/// Slices of one kind to a volume.
fn assemble(path: &Path, mut slices: Vec<Slice>, limits: Limits) -> Result<Scan> {
    let geometry = if slices.len() > 1 {
        sort_by_position(&mut slices)?
    } else {
        slices[0]
            .placement
            .map_or_else(Geometry::unknown, |p| geometry(&p, normal(&p).map(|n| n * p.thickness)))
    };
    let first = &slices[0];
    let (channels, rows, columns, sample_type) =
        (first.channels, first.rows, first.columns, first.sample_type);
    check_samples(path, (slices.len() * channels * rows * columns) as u64, limits)?;
    let mut voxels = Array4::zeros((channels, slices.len(), rows, columns));
    for (d, slice) in slices.into_iter().enumerate() {
        let plane = Array4::from_shape_vec((channels, 1, rows, columns), slice.samples)
            .map_err(|e| ImagingError::malformed(&slice.path, "PixelData", e.to_string(), AGAIN))?;
        voxels.slice_axis_mut(Axis(1), Range::from(d..=d)).assign(&plane);
    }
    Ok(Scan { path: path.into(), voxels, sample_type, geometry, header: SourceHeader::none() })
}

/// Sorts along the common normal, checks the distances and places the volume.
fn sort_by_position(slices: &mut Vec<Slice>) -> Result<Geometry> {
    let mut placed = Vec::with_capacity(slices.len());
    for slice in slices.drain(..) {
        let Some(placement) = slice.placement else {
            let field = "ImagePositionPatient, ImageOrientationPatient, PixelSpacing";
            let remedy = "leave it out of the folder, or convert the series to NIfTI";
            return Err(ImagingError::unfit(
                &slice.path,
                field,
                "the slice does not say where it lies",
                remedy,
            ));
        };
        placed.push((placement, slice));
    }
    let first = placed[0].0;
    let axis = normal(&first);
    let depth = |p: &Placement| dot(p.position, axis);
    for (placement, slice) in &placed {
        let near = |a: &[f64], b: &[f64], by: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() < by);
        if !near(&placement.along_row, &first.along_row, 1e-3)
            || !near(&placement.along_column, &first.along_column, 1e-3)
            || !near(&placement.spacing, &first.spacing, 1e-4)
        {
            let problem = "differs from that of the other slices";
            let remedy = "leave localisers and other images out of the folder";
            return Err(ImagingError::unfit(
                &slice.path,
                "ImageOrientationPatient, PixelSpacing",
                problem,
                remedy,
            ));
        }
    }
    placed.sort_by(|a, b| depth(&a.0).total_cmp(&depth(&b.0)));
    let (low, high) = (placed[0].0, placed[placed.len() - 1].0);
    let steps = (placed.len() - 1) as f64;
    let gap = (depth(&high) - depth(&low)) / steps;
    for pair in placed.windows(2) {
        let found = depth(&pair[1].0) - depth(&pair[0].0);
        if !((found - gap).abs() <= UNEVEN * gap && found > 0.0) {
            return Err(ImagingError::unfit(
                &pair[1].1.path,
                "ImagePositionPatient (0020,0032)",
                format!(
                    "{found:.3} mm from the slice before, {gap:.3} mm on average: a slice is missing or double"
                ),
                "export the complete series, one image per position",
            ));
        }
    }
    // The true step, which for a tilted gantry is not along the normal.
    let step = std::array::from_fn(|i| (high.position[i] - low.position[i]) / steps);
    slices.extend(placed.into_iter().map(|(_, slice)| slice));
    Ok(geometry(&low, step))
}

/// DICOM's LPS to RAS: the first two rows change sign.
fn geometry(first: &Placement, step: [f64; 3]) -> Geometry {
    let mut affine = [[0.0, 0.0, 0.0, 0.0], [0.0; 4], [0.0; 4], [0.0, 0.0, 0.0, 1.0]];
    for i in 0..3 {
        let sign = if i < 2 { -1.0 } else { 1.0 };
        let row = [
            first.along_row[i] * first.spacing[0],
            first.along_column[i] * first.spacing[1],
            step[i],
            first.position[i],
        ];
        // Adding 0 turns −0 into 0.
        affine[i] = row.map(|v| sign * v + 0.0);
    }
    Geometry { affine, spacing: [first.spacing[0], first.spacing[1], dot(step, step).sqrt()], known: true }
}

fn normal(p: &Placement) -> [f64; 3] {
    let ([a, b, c], [d, e, f]) = (p.along_row, p.along_column);
    [b * f - c * e, c * d - a * f, a * e - b * d]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

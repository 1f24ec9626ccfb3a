//! Reading reference segmentations.

use std::path::Path;

use ndarray::Array3;

use crate::error::{ImagingError, Result};
use crate::scan::Scan;
use crate::write::LabelGreys;

/// Reads labels: whole numbers from 0 to 255 in NIfTI, grey values of `greys` in pictures.
///
/// # Errors
/// If the file is no scan, or a value is no label.
pub fn read_labels(path: impl AsRef<Path>, greys: &LabelGreys) -> Result<Array3<u8>> {
    labels_of(&Scan::read(path)?, greys)
}

/// As [`read_labels`], for a scan that has been read.
///
/// # Errors
/// If a value is no label.
pub fn labels_of(scan: &Scan, greys: &LabelGreys) -> Result<Array3<u8>> {
    let identity = LabelGreys::identity();
    let greys = if scan.geometry().known { &identity } else { greys };
    let mut wrong = None;
    let labels = scan.grey().mapv(|v| {
        let whole = (v.fract() == 0.0 && (0.0..=255.0).contains(&v)).then_some(v as u8);
        whole.and_then(|grey| greys.label(grey)).unwrap_or_else(|| {
            wrong.get_or_insert(v);
            0
        })
    });
    match wrong {
        None => Ok(labels),
        Some(v) => Err(ImagingError::unfit(
            scan.path(),
            "labels",
            format!("the value {v} stands for no label"),
            "give a segmentation with the model's labels (for pictures: its grey values)",
        )),
    }
}

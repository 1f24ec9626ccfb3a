//! Scans and pictures: read, resample, normalise, write, overlay.
//!
//! The way of a scan: [`Scan::read`] → [`prepare`] by the model's [`Preprocessing`] → the network, elsewhere →
//! [`restore`] → [`write_labels`] on the scan's own grid, [`score`] against a reference, an [`Overlay`] for the eye.
//! No cryptography, no network, no other crate of the project.
//!
//! Files come from anywhere and are not trusted: no header takes memory that the file cannot fill, every
//! refusal is an [`ImagingError`] that names file, field and remedy.
#![forbid(unsafe_code)]

mod dicom;
mod error;
mod folder;
mod labels;
mod metrics;
mod nifti;
mod overlay;
mod picture;
mod preprocess;
mod read;
mod scan;
mod surface;
mod tiff_stack;
mod write;

pub use error::{ImagingError, Result};
pub use folder::{Found, find_scans, is_series, scan_stem};
pub use labels::{labels_of, read_labels};
pub use metrics::{LabelScore, different, majority_label, score, score_all, trivial_baseline};
pub use overlay::{LabelStyle, Overlay};
pub use preprocess::{
    Axes, AxisCodes, Blend, Colour, Divisor, Intensity, Prepared, Preprocessing, Size, labels_of_scores,
    prepare, restore,
};
pub use scan::{Geometry, Limits, SampleType, Scan, SourceHeader};
pub use surface::hausdorff_95;
pub use write::{
    LabelGreys, OutputFormat, Overwrite, check_output, check_scores_output, check_writable, write_atomically,
    write_labels, write_scores,
};

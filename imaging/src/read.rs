//! Opens a file and finds out what it is.
//!
//! Content decides; the name only helps to word the error. A file's own claims about its size are checked
//! against [`Limits`] and against its length before memory is taken.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{ImagingError, Result};
use crate::scan::{Limits, Scan};

const KINDS: &str =
    "give PNG, TIFF, NIfTI (.nii, .nii.gz, .hdr with .img) or DICOM (a file or the folder of a series)";

/// Reads a scan of any supported format.
///
/// # Errors
/// If the file cannot be opened, is of another kind, or contradicts itself.
pub(crate) fn read(path: &Path, limits: Limits) -> Result<Scan> {
    let meta = std::fs::metadata(path).map_err(|e| ImagingError::io(path, "read", e))?;
    if meta.is_dir() {
        return crate::dicom::read_series(path, limits);
    }
    let start = first_bytes(path).map_err(|e| ImagingError::io(path, "read", e))?;
    match sniff(&start, path) {
        Kind::Png => crate::picture::read_png(path, limits),
        Kind::Tiff => crate::tiff_stack::read(path, limits),
        Kind::Nifti => crate::nifti::read(path, limits),
        Kind::Dicom => crate::dicom::read_file(path, limits),
        Kind::Empty => {
            Err(ImagingError::malformed(path, "length", "the file is empty", "copy it again from its source"))
        }
        Kind::Known(name) => Err(ImagingError::unsupported(
            path,
            "format",
            format!("{name} is not read here"),
            format!("convert it: {KINDS}"),
        )),
        Kind::Unknown => {
            Err(ImagingError::unsupported(path, "format", "the content is of no known kind", KINDS))
        }
    }
}

/// Enough of a file to tell what it is.
pub(crate) fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(348).read_to_end(&mut start)?;
    Ok(start)
}

#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    Dicom,
    Png,
    Tiff,
    Nifti,
    Empty,
    Known(&'static str),
    Unknown,
}

pub(crate) fn sniff(start: &[u8], path: &Path) -> Kind {
    let at = |offset: usize, magic: &[u8]| start.get(offset..offset + magic.len()) == Some(magic);
    if start.is_empty() {
        Kind::Empty
    } else if crate::dicom::looks_like(start) {
        // First, because the 128 bytes before its signature may be anything.
        Kind::Dicom
    } else if at(0, b"\x89PNG\r\n\x1a\n") {
        Kind::Png
    } else if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"].iter().any(|m| at(0, *m)) {
        Kind::Tiff
    } else if at(0, b"\x1f\x8b") || crate::nifti::looks_like_header(start) {
        Kind::Nifti
    } else if at(0, b"\xff\xd8\xff") {
        Kind::Known("JPEG")
    } else if at(0, b"GIF8") {
        Kind::Known("GIF")
    } else if at(0, b"BM") {
        Kind::Known("BMP")
    } else if at(0, b"NRRD") {
        Kind::Known("NRRD")
    } else if at(0, b"ObjectType") || at(0, b"NDims") {
        Kind::Known("MetaImage")
    } else if at(0, b"\x89HDF") {
        Kind::Known("HDF5 (MINC, MATLAB)")
    } else if nifti_name(path) {
        Kind::Nifti
    } else {
        Kind::Unknown
    }
}

/// Whether the name promises NIfTI, so that its reader may say which field is broken.
fn nifti_name(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".nii", ".hdr", ".img"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_the_name_only_breaks_ties() {
        let sniffed = |bytes: &[u8], name: &str| sniff(bytes, Path::new(name));
        assert_eq!(sniffed(b"\x89PNG\r\n\x1a\nrest", "a.nii"), Kind::Png);
        assert_eq!(sniffed(b"II*\0", "a.png"), Kind::Tiff);
        assert_eq!(sniffed(b"\x1f\x8b\x08", "a"), Kind::Nifti);
        assert_eq!(sniffed(b"garbage", "A.NII.GZ"), Kind::Nifti);
        assert_eq!(sniffed(b"garbage", "a.png"), Kind::Unknown);
        assert_eq!(sniffed(b"\xff\xd8\xff\xe0", "a.png"), Kind::Known("JPEG"));
        assert_eq!(sniffed(b"", "a.png"), Kind::Empty);
    }
}

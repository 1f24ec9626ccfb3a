//! The scans of a folder, and what their answers are called.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::dicom;
use crate::error::{ImagingError, Result};
use crate::read::{Kind, first_bytes, sniff};

/// Endings of the formats, the longer of two that end alike first.
const ENDINGS: [&str; 12] = [
    ".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img", ".png", ".tiff", ".tif", ".dcm", ".jpeg", ".jpg",
];

/// One scan of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file (of a NIfTI pair the header), or the folder of its DICOM series.
    pub path: PathBuf,
    /// Its name without the ending of its format.
    pub stem: String,
    /// The ending that its labels take: its own, `.nii` or `.nii.gz` for a pair, `.nii.gz` for DICOM.
    pub ending: &'static str,
}

/// The scans of a folder by name, and how many other entries it has. A scan is a file of a format that is read, or whose
/// name promises one, or a folder that is a DICOM series; hidden entries do not count.
///
/// # Errors
/// If the folder cannot be read.
pub fn find_scans(folder: &Path) -> Result<(Vec<Found>, usize)> {
    let mut scans = Vec::new();
    let mut others = 0;
    for path in entries(folder)? {
        if is_second_half(&path) {
            continue;
        }
        match ending_of_answer(&path)? {
            Some(ending) => scans.push(Found { stem: scan_stem(&path), path, ending }),
            None => others += 1,
        }
    }
    Ok((scans, others))
}

/// Whether a folder holds DICOM files itself, and so is one scan.
///
/// # Errors
/// If the folder cannot be read.
pub fn is_series(folder: &Path) -> Result<bool> {
    Ok(entries(folder)?.iter().any(|path| dicom::is_image(path)))
}

/// The name of a file or folder without the ending of its format: what scan, labels and reference have in common.
pub fn scan_stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ending = ending_of(&name).filter(|ending| ending.len() < name.len() && !path.is_dir());
    name[..name.len() - ending.map_or(0, str::len)].to_owned()
}

fn ending_of(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    ENDINGS.into_iter().find(|ending| name.ends_with(ending))
}

/// What is in a folder and not hidden, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| ImagingError::io(folder, "read", e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether this is the image of a NIfTI pair whose header lies beside it.
fn is_second_half(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let stem = [".img", ".img.gz"].iter().find_map(|ending| name.strip_suffix(ending));
    stem.is_some_and(|stem| {
        [".hdr", ".hdr.gz"].iter().any(|ending| path.with_file_name(format!("{stem}{ending}")).is_file())
    })
}

/// The ending that labels of this scan take; `None` if it is no scan.
fn ending_of_answer(path: &Path) -> Result<Option<&'static str>> {
    if path.is_dir() {
        return Ok(is_series(path)?.then_some(".nii.gz"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let promised = ending_of(&name);
    if dicom::is_directory(path) {
        return Ok(None);
    }
    // A file that cannot be read is found out about, and complained of, when its turn comes.
    let start = first_bytes(path).unwrap_or_default();
    Ok(match sniff(&start, path) {
        Kind::Png => Some(".png"),
        Kind::Tiff => Some(if promised == Some(".tiff") { ".tiff" } else { ".tif" }),
        Kind::Nifti if name.ends_with(".gz") => Some(".nii.gz"),
        Kind::Nifti => Some(".nii"),
        Kind::Dicom | Kind::Known(_) => Some(".nii.gz"),
        // Read in vain, and then named in the error.
        Kind::Empty | Kind::Unknown => promised.map(|ending| match ending {
            ".hdr" | ".img" => ".nii",
            ".png" | ".tif" | ".tiff" | ".nii" => ending,
            _ => ".nii.gz",
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_found_and_named() {
        let dir = tempfile::tempdir().expect("folder");
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        put("b.png", b"\x89PNG\r\n\x1a\n");
        put("a.b.nii.gz", b"\x1f\x8b");
        put("pair.hdr", &348u32.to_le_bytes());
        put("pair.img", b"voxels");
        put("broken.nii", b"");
        put("README.txt", b"words");
        put(".hidden.png", b"\x89PNG\r\n\x1a\n");
        std::fs::create_dir(dir.path().join("series.1")).expect("made");
        put("series.1/IM1", &[&[0; 128][..], b"DICM"].concat());
        // The table of contents of a medium is no image.
        put("DICOMDIR", &[&[0; 128][..], b"DICM"].concat());
        std::fs::create_dir(dir.path().join("out")).expect("made");
        let (scans, others) = find_scans(dir.path()).expect("readable");
        let named: Vec<(&str, &str)> = scans.iter().map(|scan| (scan.stem.as_str(), scan.ending)).collect();
        let wanted = [
            ("a.b", ".nii.gz"),
            ("b", ".png"),
            ("broken", ".nii"),
            ("pair", ".nii"),
            ("series.1", ".nii.gz"),
        ];
        assert_eq!((named.as_slice(), others), (&wanted[..], 3));
        assert!(is_series(&dir.path().join("series.1")).expect("readable"));
        assert!(!is_series(dir.path()).expect("readable"));
        assert!(find_scans(&dir.path().join("none")).is_err());
    }
}

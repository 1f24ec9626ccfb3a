//! Writing answers: never over another file unasked, never half a file.
//!
//! A file is written under a temporary name in its own folder, flushed to the disk and renamed, so that a reader
//! sees the old state or the whole answer.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use ndarray::{Array3, Array4};
use tempfile::{Builder, NamedTempFile};

use crate::error::{ImagingError, Result};
use crate::scan::Scan;

/// Whether an existing file may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// An existing file is an error.
    Refuse,
    /// An existing file is replaced, in one step.
    Replace,
}

/// Grey value of each label in pictures; NIfTI always holds the labels themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelGreys(Vec<u8>);

impl LabelGreys {
    /// `greys[label]` is the grey value of `label`; the values must differ.
    ///
    /// # Errors
    /// If there are no labels, more than 256, or two with one grey value.
    pub fn new(greys: Vec<u8>) -> Result<Self> {
        let mut sorted = greys.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != greys.len() || greys.is_empty() {
            let problem = format!("grey values {greys:?} do not tell the labels apart");
            return Err(ImagingError::manifest("label_greys", problem, "give one value per label"));
        }
        Ok(Self(greys))
    }

    /// Evenly spaced from 0 to 255: `[0, 255]` for two labels, `[0, 127, 255]` for three.
    pub fn spread(labels: u8) -> Self {
        let last = u16::from(labels.max(2)) - 1;
        Self((0..=last).map(|l| (l * 255 / last) as u8).collect())
    }

    /// Label values as grey values.
    pub fn identity() -> Self {
        Self((0..=255).collect())
    }

    /// Grey value of `label`.
    pub fn grey(&self, label: u8) -> Option<u8> {
        self.0.get(usize::from(label)).copied()
    }

    /// Label of a grey value.
    pub fn label(&self, grey: u8) -> Option<u8> {
        self.0.iter().position(|g| *g == grey).map(|l| l as u8)
    }
}

/// Kinds of file that labels can be written to, told by the name's ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// `.png`: one slice.
    Png,
    /// `.tif`, `.tiff`: every slice a page.
    Tiff,
    /// `.nii`.
    Nifti,
    /// `.nii.gz`.
    NiftiGz,
}

impl OutputFormat {
    /// The format that the ending of `path` asks for.
    ///
    /// # Errors
    /// If the ending is none of those above.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let endings = [
            (".png", Self::Png),
            (".tif", Self::Tiff),
            (".tiff", Self::Tiff),
            (".nii", Self::Nifti),
            (".nii.gz", Self::NiftiGz),
        ];
        endings.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, f)| f).ok_or_else(|| {
            let remedy = "end the name in .png, .tif, .nii or .nii.gz";
            ImagingError::output(path, "the name does not say which format to write", remedy)
        })
    }
}

/// Finds out, before any long work, whether `path` can be written: folder there and writable, nothing in the way.
///
/// # Errors
/// If it cannot.
pub fn check_writable(path: &Path, overwrite: Overwrite) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(ImagingError::output(path, "this is a folder", "give a file name in it"));
        }
        Ok(_) if overwrite == Overwrite::Refuse => return Err(exists(path)),
        _ => {}
    }
    temporary(path).map(drop)
}

/// As [`check_writable`], and whether the format that the name asks for can hold labels of `scan`.
///
/// # Errors
/// If it cannot be written there or not in that format.
pub fn check_output(path: &Path, scan: &Scan, overwrite: Overwrite) -> Result<()> {
    if OutputFormat::of(path)? == OutputFormat::Png && scan.rank() != 2 {
        let problem = format!("PNG holds one slice, the scan has {}", scan.dims()[0]);
        return Err(ImagingError::output(path, problem, "end the name in .tif, .nii or .nii.gz"));
    }
    let same = path.canonicalize().ok().zip(scan.path().canonicalize().ok()).is_some_and(|(a, b)| a == b);
    if same {
        return Err(ImagingError::output(path, "this is the scan itself", "give another name"));
    }
    check_writable(path, overwrite)
}

/// Writes `labels` (`[d, h, w]`, the grid of `scan`) in the format that the ending of `path` asks for.
///
/// # Errors
/// If the labels are not on the scan's grid or the file cannot be written.
pub fn write_labels(
    path: &Path,
    labels: &Array3<u8>,
    scan: &Scan,
    greys: &LabelGreys,
    overwrite: Overwrite,
) -> Result<()> {
    let (d, h, w) = labels.dim();
    if [d, h, w] != scan.dims() {
        let problem = format!("labels of {d}×{h}×{w} for a scan of {:?}", scan.dims());
        return Err(ImagingError::output(path, problem, "restore the labels to the scan's grid"));
    }
    check_output(path, scan, overwrite)?;
    let flat: Vec<u8> = labels.iter().copied().collect();
    match OutputFormat::of(path)? {
        OutputFormat::Png => {
            let grey = in_grey(path, &flat, greys)?;
            write_atomically(path, overwrite, |out| encode_png(out, &grey, w, h, ExtendedColorType::L8))
        }
        OutputFormat::Tiff => {
            let grey = in_grey(path, &flat, greys)?;
            write_atomically(path, overwrite, |out| encode_tiff(out, &grey, w, h))
        }
        OutputFormat::Nifti => {
            write_atomically(path, overwrite, |out| crate::nifti::write_labels(out, scan, &flat))
        }
        OutputFormat::NiftiGz => write_atomically(path, overwrite, |out| {
            zipped(out, |out| crate::nifti::write_labels(out, scan, &flat))
        }),
    }
}

/// As [`check_writable`], and whether the name is that of a NIfTI file: pictures hold no scores.
///
/// # Errors
/// If it cannot be written there or not in that format.
pub fn check_scores_output(path: &Path, overwrite: Overwrite) -> Result<()> {
    match OutputFormat::of(path) {
        Ok(OutputFormat::Nifti | OutputFormat::NiftiGz) => check_writable(path, overwrite),
        _ => {
            Err(ImagingError::output(path, "scores are written as NIfTI", "end the name in .nii or .nii.gz"))
        }
    }
}

/// Writes `scores` (`[channel, d, h, w]`, the grid of `scan`) as NIfTI, one volume per channel.
///
/// # Errors
/// If the scores are not on the scan's grid or the file cannot be written.
pub fn write_scores(path: &Path, scores: &Array4<f32>, scan: &Scan, overwrite: Overwrite) -> Result<()> {
    let (channels, d, h, w) = scores.dim();
    if [d, h, w] != scan.dims() {
        let problem = format!("scores of {d}×{h}×{w} for a scan of {:?}", scan.dims());
        return Err(ImagingError::output(path, problem, "restore the scores to the scan's grid"));
    }
    check_scores_output(path, overwrite)?;
    let scores = scores.as_standard_layout();
    let flat = scores.as_slice().unwrap_or_default();
    let fill = |out: &mut dyn Write| crate::nifti::write_scores(out, scan, channels, flat);
    write_atomically(path, overwrite, |out| match OutputFormat::of(path) {
        Ok(OutputFormat::NiftiGz) => zipped(out, fill),
        _ => fill(out),
    })
}

fn zipped(out: &mut dyn Write, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut gz = GzEncoder::new(out, Compression::default());
    fill(&mut gz)?;
    gz.finish().map(drop)
}

/// Runs `fill` on a temporary file beside `path` and renames it to `path` when all is on the disk.
///
/// # Errors
/// If writing fails (nothing is left behind), or `path` exists and may not be replaced.
pub fn write_atomically(
    path: &Path,
    overwrite: Overwrite,
    fill: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<()> {
    let io = |e| ImagingError::io(path, "write", e);
    let temporary = temporary(path)?;
    let mut out = BufWriter::new(temporary.as_file());
    fill(&mut out).map_err(io)?;
    out.flush().map_err(io)?;
    drop(out);
    temporary.as_file().sync_all().map_err(io)?;
    let moved = match overwrite {
        Overwrite::Refuse => temporary.persist_noclobber(path),
        Overwrite::Replace => temporary.persist(path),
    };
    match moved {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(e) => Err(io(e.error)),
    }
}

/// Encodes 8-bit pixels, grey or RGB.
pub(crate) fn encode_png(
    out: &mut dyn Write,
    pixels: &[u8],
    width: usize,
    height: usize,
    kind: ExtendedColorType,
) -> io::Result<()> {
    PngEncoder::new_with_quality(out, CompressionType::Default, FilterType::Adaptive)
        .write_image(pixels, width as u32, height as u32, kind)
        .map_err(io::Error::other)
}

fn encode_tiff(out: &mut BufWriter<&File>, grey: &[u8], width: usize, height: usize) -> io::Result<()> {
    let mut encoder = tiff::encoder::TiffEncoder::new(out).map_err(io::Error::other)?;
    for page in grey.chunks_exact(width * height) {
        encoder
            .write_image::<tiff::encoder::colortype::Gray8>(width as u32, height as u32, page)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

fn in_grey(path: &Path, labels: &[u8], greys: &LabelGreys) -> Result<Vec<u8>> {
    labels
        .iter()
        .map(|&label| {
            greys.grey(label).ok_or_else(|| {
                let problem = format!("label {label} has no grey value");
                ImagingError::output(path, problem, "give the model's manifest a grey value for every label")
            })
        })
        .collect()
}

fn exists(path: &Path) -> ImagingError {
    ImagingError::output(path, "the file exists already", "give another name, or allow replacing it")
}

fn temporary(path: &Path) -> Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if path.file_name().is_none() {
        return Err(ImagingError::output(path, "this is no file name", "give a file name"));
    }
    let mut builder = Builder::new();
    builder.prefix(".writing-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the user's umask applies, not the private mode of temporary files.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(&folder).map_err(|e| {
        let problem = format!("cannot write in folder {}: {e}", folder.display());
        ImagingError::output(path, problem, "create the folder, or choose one that you may write to")
    })
}

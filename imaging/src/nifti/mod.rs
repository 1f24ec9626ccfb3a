//! NIfTI-1 and NIfTI-2, single files and `.hdr`/`.img` pairs, plain or gzipped, both byte orders.
//!
//! Read here rather than by a library because headers are not trusted: sizes are checked against the file's
//! length (a gzip stream expands at most 1032 times) and against [`Limits`] before memory is taken, the
//! checksum of a gzip stream is verified to its end, and each refusal names the header field.

mod data;
mod header;
mod write;

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use ndarray::Array4;

pub(crate) use header::{NiftiHeader, looks_like_header};
pub(crate) use write::{write_labels, write_scores};

use crate::error::{ImagingError, Result};
use crate::picture::check_samples;
use crate::scan::{HeaderKind, Limits, Scan, SourceHeader};
use data::{Cells, decode};

const AGAIN: &str = "the file is damaged or incomplete: copy or export it again";
/// A deflate stream cannot expand further than this.
const GZIP_RATIO: u64 = 1032;
/// Bytes after the image that are read over to reach the checksum.
const TRAILING: u64 = 1 << 20;

/// Reads a scan; `path` may name either half of a pair.
pub(crate) fn read(path: &Path, limits: Limits) -> Result<Scan> {
    let header_path = header_half(path);
    let mut source = Source::open(&header_path)?;
    let header = header::read(&mut source, &header_path)?;
    let dims = header.grid(&header_path)?;
    let cells = Cells::of(header.datatype, &header_path)?;
    let voxels = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).unwrap_or(u64::MAX);
    check_samples(&header_path, voxels.saturating_mul(cells.samples as u64), limits)?;
    let offset = header.data_offset(&header_path)?;
    let (data_path, mut source) = if header.single_file {
        (header_path.clone(), source)
    } else {
        let data_path = data_half(&header_path)?;
        (data_path.clone(), Source::open(&data_path)?)
    };
    let bytes = voxels * cells.bytes as u64;
    source.check_length(&data_path, offset.saturating_add(bytes), &dims)?;
    source.skip_to(&data_path, offset)?;
    let samples = decode(&mut source, &data_path, &header, &cells, voxels as usize)?;
    source.finish(&data_path)?;
    let [x, y, z] = dims.map(|d| d as usize);
    let voxels = Array4::from_shape_vec((cells.samples, z, y, x), samples)
        .map_err(|e| ImagingError::malformed(path, "dim", e.to_string(), AGAIN))?;
    let geometry = header.geometry(&header_path)?;
    let sample_type = cells.sample_type;
    let header = SourceHeader(HeaderKind::Nifti(Box::new(header)));
    Ok(Scan { path: path.into(), voxels, sample_type, geometry, header })
}

/// A plain or gzipped file, read forwards.
pub(crate) struct Source {
    reader: Box<dyn Read>,
    gzip: bool,
    file_length: u64,
    position: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let io = |e| ImagingError::io(path, "read", e);
        let mut magic = Vec::new();
        File::open(path).and_then(|f| f.take(2).read_to_end(&mut magic)).map_err(io)?;
        let file = File::open(path).map_err(io)?;
        let file_length = file.metadata().map_err(io)?.len();
        let gzip = magic == [0x1f, 0x8b];
        let file = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Self { reader, gzip, file_length, position: 0 })
    }

    /// Fills `buffer`; `field` names what it holds.
    pub(crate) fn fill(&mut self, path: &Path, field: &str, buffer: &mut [u8]) -> Result<()> {
        self.reader.read_exact(buffer).map_err(|e| stream_error(path, field, e))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn check_length(&self, path: &Path, wanted: u64, dims: &[u64; 3]) -> Result<()> {
        let most = if self.gzip { self.file_length.saturating_mul(GZIP_RATIO) } else { self.file_length };
        if wanted <= most {
            return Ok(());
        }
        let [x, y, z] = dims;
        let holds = if self.gzip { "can hold at most" } else { "has" };
        let problem = format!("{x} × {y} × {z} voxels need {wanted} bytes, the file {holds} {most}");
        Err(ImagingError::malformed(path, "dim, datatype, vox_offset", problem, AGAIN))
    }

    fn skip_to(&mut self, path: &Path, offset: u64) -> Result<()> {
        let gap = offset.saturating_sub(self.position);
        let skipped = std::io::copy(&mut self.reader.by_ref().take(gap), &mut std::io::sink())
            .map_err(|e| stream_error(path, "vox_offset", e))?;
        self.position += skipped;
        if skipped < gap {
            return Err(ImagingError::malformed(
                path,
                "vox_offset",
                "lies beyond the end of the file",
                AGAIN,
            ));
        }
        Ok(())
    }

    /// Reads a gzip stream to its end, where its checksum is.
    fn finish(&mut self, path: &Path) -> Result<()> {
        if !self.gzip {
            return Ok(());
        }
        let rest = std::io::copy(&mut self.reader.by_ref().take(TRAILING), &mut std::io::sink())
            .map_err(|e| stream_error(path, "voxels", e))?;
        if rest == TRAILING {
            let problem = format!("more than {TRAILING} bytes follow the image");
            return Err(ImagingError::malformed(path, "dim", problem, AGAIN));
        }
        Ok(())
    }
}

fn stream_error(path: &Path, field: &str, e: std::io::Error) -> ImagingError {
    match e.kind() {
        ErrorKind::UnexpectedEof => ImagingError::malformed(path, field, "the file ends too early", AGAIN),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            ImagingError::malformed(path, field, format!("broken gzip stream ({e})"), AGAIN)
        }
        _ => ImagingError::io(path, "read", e),
    }
}

/// The header's file for either half of a pair; the path itself otherwise.
fn header_half(path: &Path) -> PathBuf {
    swap_ending(path, ".img", ".hdr").unwrap_or_else(|| path.to_path_buf())
}

/// The existing data file beside a pair's header.
fn data_half(header: &Path) -> Result<PathBuf> {
    swap_ending(header, ".hdr", ".img").ok_or_else(|| {
        ImagingError::malformed(
            header,
            "magic",
            "the header says that the image lies in a second file, and there is no .img beside it",
            "put both files of the pair (name.hdr and name.img) into one folder",
        )
    })
}

/// `name{from}[.gz]` to whichever of `name{to}` and `name{to}.gz` exists, the same kind first.
fn swap_ending(path: &Path, from: &str, to: &str) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let gzipped = name.ends_with(".gz");
    let stem = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(from)?;
    let endings = if gzipped { [".gz", ""] } else { ["", ".gz"] };
    endings.iter().map(|gz| path.with_file_name(format!("{stem}{to}{gz}"))).find(|p| p.exists())
}

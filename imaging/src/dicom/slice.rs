//! One DICOM image: its samples in the modality's units, and where it lies.

use std::path::{Path, PathBuf};

use super::AGAIN;
use super::dataset::{Dataset, PIXEL_DATA, Packing, Tag, name};
use super::jpeg::{self, Wrong};
use super::jpeg2000;
use crate::error::{ImagingError, Result};
use crate::picture::check_samples;
use crate::scan::{Limits, SampleType};

const SAMPLES_PER_PIXEL: Tag = (0x0028, 0x0002);
const PHOTOMETRIC: Tag = (0x0028, 0x0004);
const PLANAR: Tag = (0x0028, 0x0006);
const FRAMES: Tag = (0x0028, 0x0008);
const ROWS: Tag = (0x0028, 0x0010);
const COLUMNS: Tag = (0x0028, 0x0011);
const PIXEL_SPACING: Tag = (0x0028, 0x0030);
const BITS_ALLOCATED: Tag = (0x0028, 0x0100);
const BITS_STORED: Tag = (0x0028, 0x0101);
const HIGH_BIT: Tag = (0x0028, 0x0102);
const SIGNED: Tag = (0x0028, 0x0103);
const INTERCEPT: Tag = (0x0028, 0x1052);
const SLOPE: Tag = (0x0028, 0x1053);
const MODALITY_LUT: Tag = (0x0028, 0x3000);
const POSITION: Tag = (0x0020, 0x0032);
const ORIENTATION: Tag = (0x0020, 0x0037);
const SERIES: Tag = (0x0020, 0x000e);
const THICKNESS: Tag = (0x0018, 0x0050);

/// One image of a series.
pub(super) struct Slice {
    pub(super) path: PathBuf,
    pub(super) series: String,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// 1 or 3.
    pub(super) channels: usize,
    pub(super) sample_type: SampleType,
    /// Channel by channel, row by row.
    pub(super) samples: Vec<f32>,
    pub(super) placement: Option<Placement>,
}

/// Where an image lies, in DICOM's coordinates (LPS, millimetres).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placement {
    /// Centre of the first pixel.
    pub(super) position: [f64; 3],
    /// Direction in which the column index grows.
    pub(super) along_row: [f64; 3],
    /// Direction in which the row index grows.
    pub(super) along_column: [f64; 3],
    /// Between columns, between rows.
    pub(super) spacing: [f64; 2],
    pub(super) thickness: f64,
}

impl Slice {
    pub(super) fn read(path: &Path, bytes: Vec<u8>, limits: Limits) -> Result<Self> {
        let set = Dataset::parse(path, bytes, limits)?;
        let shape = Shape::of(&set, path)?;
        check_samples(path, (shape.pixels() * shape.channels) as u64, limits)?;
        let raw = match set.syntax.packing {
            Packing::Plain => native(&set, path, &shape)?,
            Packing::Rle => unpack_rle(&set, path, &shape)?,
            Packing::Jpeg => unpack_jpeg(&set, path, &shape, jpeg::decode)?,
            Packing::Jpeg2000 => unpack_jpeg(&set, path, &shape, jpeg2000::decode)?,
        };
        let rescale = rescale(&set, path)?;
        let samples = decode(&raw, &shape, set.syntax.big, rescale);
        let sample_type = match (shape.bytes, shape.signed) {
            (1, false) => SampleType::U8,
            (1, true) => SampleType::I8,
            (_, false) => SampleType::U16,
            (_, true) => SampleType::I16,
        };
        Ok(Self {
            path: path.into(),
            series: set.text(SERIES).unwrap_or_default(),
            rows: shape.rows,
            columns: shape.columns,
            channels: shape.channels,
            sample_type,
            samples,
            placement: placement(&set, path)?,
        })
    }
}

/// What the pixel data hold.
struct Shape {
    rows: usize,
    columns: usize,
    channels: usize,
    /// Per sample: 1 or 2.
    bytes: usize,
    stored: u32,
    shift: u32,
    signed: bool,
    /// Colours in separate planes.
    planar: bool,
}

impl Shape {
    fn of(set: &Dataset, path: &Path) -> Result<Self> {
        let refuse = |tag, problem: String, remedy: &str| {
            Err(ImagingError::unsupported(path, name(tag), problem, remedy.to_owned()))
        };
        let need = |tag| {
            let problem = "is missing: this DICOM file holds no image";
            let missing = || ImagingError::unsupported(path, name(tag), problem, "give image files only");
            set.short(tag).ok_or_else(missing)
        };
        let (rows, columns) = (usize::from(need(ROWS)?), usize::from(need(COLUMNS)?));
        if rows == 0 || columns == 0 {
            return Err(ImagingError::malformed(path, name(ROWS), "no pixels", AGAIN));
        }
        if let Some(frames) = set.numbers(FRAMES).filter(|f| f != &[1.0]) {
            let problem = format!("{frames:?} frames in one file");
            return refuse(FRAMES, problem, "convert the multi-frame file to NIfTI, e.g. with dcm2niix");
        }
        if set.raw(MODALITY_LUT).is_some() {
            return refuse(MODALITY_LUT, "a modality look-up table".into(), "convert it to NIfTI");
        }
        let channels = usize::from(set.short(SAMPLES_PER_PIXEL).unwrap_or(1));
        let photometric = set.text(PHOTOMETRIC).unwrap_or_default();
        if !matches!((channels, photometric.as_str()), (1, "MONOCHROME2") | (3, "RGB")) {
            let problem = format!("{photometric} with {channels} samples per pixel");
            return refuse(PHOTOMETRIC, problem, "convert it to MONOCHROME2 or RGB");
        }
        let allocated = need(BITS_ALLOCATED)?;
        let bytes = match (allocated, channels) {
            (8, _) => 1,
            (16, 1) => 2,
            _ => return refuse(BITS_ALLOCATED, format!("{allocated} bits"), "give 8 or 16 bit images"),
        };
        let stored = u32::from(set.short(BITS_STORED).unwrap_or(allocated));
        let high = set.short(HIGH_BIT).map_or(stored.saturating_sub(1), u32::from);
        if stored == 0 || high + 1 < stored || high >= u32::from(allocated) {
            let problem = format!("{stored} bits up to bit {high} of {allocated}");
            return Err(ImagingError::malformed(path, name(BITS_STORED), problem, AGAIN));
        }
        let signed = set.short(SIGNED) == Some(1);
        let planar = set.short(PLANAR) == Some(1);
        Ok(Self { rows, columns, channels, bytes, stored, shift: high + 1 - stored, signed, planar })
    }

    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    fn length(&self) -> usize {
        self.pixels() * self.channels * self.bytes
    }
}

fn native(set: &Dataset, path: &Path, shape: &Shape) -> Result<Vec<u8>> {
    let raw = set.raw(PIXEL_DATA).unwrap_or_default();
    match raw.get(..shape.length()) {
        Some(raw) => Ok(raw.to_vec()),
        None => {
            let problem = format!("{} bytes needed, {} found", shape.length(), raw.len());
            Err(ImagingError::malformed(path, name(PIXEL_DATA), problem, AGAIN))
        }
    }
}

/// A grey stream, by its decoder; the result is like native little-endian pixels.
fn unpack_jpeg(
    set: &Dataset,
    path: &Path,
    shape: &Shape,
    decode: impl Fn(&[u8], usize, usize) -> std::result::Result<(Vec<u16>, u32), Wrong>,
) -> Result<Vec<u8>> {
    let wrong = |wrong: Wrong| match wrong {
        Wrong::Broken(problem) => {
            ImagingError::malformed(path, name(PIXEL_DATA), format!("JPEG: {problem}"), AGAIN)
        }
        Wrong::Unsupported(kind) => ImagingError::unsupported(
            path,
            name(PIXEL_DATA),
            format!("JPEG: {kind}"),
            "decompress it, e.g. with gdcmconv --raw or dcmdjpeg",
        ),
    };
    if shape.channels != 1 {
        return Err(wrong(Wrong::Unsupported("colour".into())));
    }
    // The first item is the offset table.
    let stream: Vec<u8> = set.fragments().skip(1).flatten().copied().collect();
    let (samples, bits) = decode(&stream, shape.rows, shape.columns).map_err(wrong)?;
    if bits as usize > 8 * shape.bytes {
        return Err(wrong(Wrong::Broken("more bits per sample than the image has")));
    }
    Ok(samples.iter().flat_map(|sample| sample.to_le_bytes().into_iter().take(shape.bytes)).collect())
}

/// Run-length decoding (PS3.5 annex G); the result is planar and, like native little-endian pixels, low byte first.
fn unpack_rle(set: &Dataset, path: &Path, shape: &Shape) -> Result<Vec<u8>> {
    let wrong =
        |problem: &str| ImagingError::malformed(path, name(PIXEL_DATA), format!("RLE: {problem}"), AGAIN);
    // The first item is the offset table.
    let frame: Vec<u8> = set.fragments().skip(1).flatten().copied().collect();
    let word = |n: usize| {
        let raw = frame.get(4 * n..4 * n + 4)?.first_chunk()?;
        Some(u32::from_le_bytes(*raw) as usize)
    };
    let segments = shape.channels * shape.bytes;
    if word(0) != Some(segments) || frame.len() < 64 {
        return Err(wrong("number of segments"));
    }
    let mut out = vec![0; shape.length()];
    for segment in 0..segments {
        let from = word(1 + segment).unwrap_or(usize::MAX);
        let to = if segment + 1 < segments { word(2 + segment).unwrap_or(0) } else { frame.len() };
        let packed = frame.get(from..to).ok_or_else(|| wrong("segment offsets"))?;
        let (channel, byte) = (segment / shape.bytes, segment % shape.bytes);
        // Segments run from the most significant byte down.
        let first = channel * shape.pixels() * shape.bytes + shape.bytes - 1 - byte;
        let mut places = (0..shape.pixels()).map(|p| first + p * shape.bytes);
        unpack_bits(packed, |value| places.next().map(|at| out[at] = value).is_some());
        if places.next().is_some() {
            return Err(wrong("a segment ends too early"));
        }
    }
    Ok(out)
}

/// PackBits; stops when `put` takes no more.
fn unpack_bits(mut packed: &[u8], mut put: impl FnMut(u8) -> bool) {
    while let [count, rest @ ..] = packed {
        packed = match *count {
            count @ 0..=127 => {
                let (run, rest) = rest.split_at((usize::from(count) + 1).min(rest.len()));
                if !run.iter().all(|value| put(*value)) {
                    return;
                }
                rest
            }
            128 => rest,
            count => {
                let Some((value, rest)) = rest.split_first() else { return };
                if !(0..257 - usize::from(count)).all(|_| put(*value)) {
                    return;
                }
                rest
            }
        };
    }
}

fn decode(raw: &[u8], shape: &Shape, big: bool, (slope, intercept): (f64, f64)) -> Vec<f32> {
    let value = |n: usize| {
        let word = match shape.bytes {
            1 => u16::from(raw[n]),
            _ if big => u16::from_be_bytes([raw[2 * n], raw[2 * n + 1]]),
            _ => u16::from_le_bytes([raw[2 * n], raw[2 * n + 1]]),
        };
        // Up to the top, so that the shift down cuts foreign bits and extends the sign.
        let top = u32::from(word) << (32 - shape.stored - shape.shift);
        let down = 32 - shape.stored;
        let stored = if shape.signed { f64::from(top as i32 >> down) } else { f64::from(top >> down) };
        (stored * slope + intercept) as f32
    };
    let planar = shape.planar || shape.channels == 1;
    let at = |channel: usize, pixel: usize| {
        if planar { channel * shape.pixels() + pixel } else { pixel * shape.channels + channel }
    };
    (0..shape.channels)
        .flat_map(|c| (0..shape.pixels()).map(move |p| (c, p)))
        .map(|(c, p)| value(at(c, p)))
        .collect()
}

fn rescale(set: &Dataset, path: &Path) -> Result<(f64, f64)> {
    let one = |tag: Tag, default: f64| match (set.raw(tag), set.numbers(tag).as_deref()) {
        (None, _) => Ok(default),
        (_, Some([value])) => Ok(*value),
        _ => Err(ImagingError::malformed(path, name(tag), "is not one number", AGAIN)),
    };
    Ok((one(SLOPE, 1.0)?, one(INTERCEPT, 0.0)?))
}

/// `None` if the file does not say where it lies.
fn placement(set: &Dataset, path: &Path) -> Result<Option<Placement>> {
    if [POSITION, ORIENTATION, PIXEL_SPACING].iter().any(|tag| set.raw(*tag).is_none_or(<[u8]>::is_empty)) {
        return Ok(None);
    }
    let wrong = |tag: Tag| ImagingError::malformed(path, name(tag), "does not hold the right numbers", AGAIN);
    let numbers = |tag: Tag| set.numbers(tag).unwrap_or_default();
    let position = <[f64; 3]>::try_from(numbers(POSITION)).map_err(|_| wrong(POSITION))?;
    let orientation = <[f64; 6]>::try_from(numbers(ORIENTATION)).map_err(|_| wrong(ORIENTATION))?;
    let [rows, columns] = <[f64; 2]>::try_from(numbers(PIXEL_SPACING)).map_err(|_| wrong(PIXEL_SPACING))?;
    let [a, b, c, d, e, f] = orientation;
    let (along_row, along_column) = ([a, b, c], [d, e, f]);
    let length = |v: [f64; 3]| v.iter().map(|x| x * x).sum::<f64>();
    let across = a * d + b * e + c * f;
    if (length(along_row) - 1.0).abs() > 1e-2
        || (length(along_column) - 1.0).abs() > 1e-2
        || across.abs() > 1e-2
    {
        return Err(wrong(ORIENTATION));
    }
    if !(rows > 0.0 && columns > 0.0) {
        return Err(wrong(PIXEL_SPACING));
    }
    let thickness = numbers(THICKNESS).first().copied().filter(|t| *t > 0.0).unwrap_or(1.0);
    Ok(Some(Placement { position, along_row, along_column, spacing: [columns, rows], thickness }))
}

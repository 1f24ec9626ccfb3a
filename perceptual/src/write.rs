//! Writing images: PNG, TIFF and NIfTI-1 with samples of several number formats.
//!
//! NIfTI files are written anew from the grid (sform; no patient data): little-endian, single file, slope 1.

use crate::error::{PerceptualError, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use imaging::{Geometry, OutputFormat, Overwrite, SampleType, write_atomically};
use ndarray::Array4;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tiff::encoder::{TiffEncoder, TiffValue, colortype};

pub use imaging::OutputFormat as Format;

/// Writes `values` `[channel, depth, height, width]` as `kind` in the format that the name's ending asks for.
///
/// # Errors
/// If the format cannot hold the image, or the file cannot be written.
pub fn write_scan(
    path: &Path,
    values: &Array4<f32>,
    kind: SampleType,
    geometry: &Geometry,
    overwrite: Overwrite,
) -> Result<()> {
    let (channels, depth, ..) = values.dim();
    let refuse = |reason: String| Err(PerceptualError::file(path, reason));
    if !matches!(kind, SampleType::U8 | SampleType::I8 | SampleType::U16 | SampleType::I16 | SampleType::F32)
    {
        return refuse(format!("samples of kind {kind:?} are not written"));
    }
    match OutputFormat::of(path)? {
        OutputFormat::Png if depth != 1 || !matches!(kind, SampleType::U8 | SampleType::U16) => refuse(
            format!("PNG holds one slice of unsigned samples, not {depth} of {kind:?}; use TIFF or NIfTI"),
        ),
        OutputFormat::Png | OutputFormat::Tiff if channels != 1 && channels != 3 => {
            refuse(format!("{channels} channels; pictures have 1 or 3"))
        }
        OutputFormat::Tiff if channels == 3 && !matches!(kind, SampleType::U8 | SampleType::U16) => {
            refuse(format!("colour of kind {kind:?} is not written"))
        }
        OutputFormat::Nifti | OutputFormat::NiftiGz if channels != 1 => {
            refuse("NIfTI is written with one channel; use PNG or TIFF for colour".into())
        }
        OutputFormat::Png => Ok(write_atomically(path, overwrite, |out| png(out, values, kind))?),
        OutputFormat::Tiff => Ok(write_atomically(path, overwrite, |out| tiff_pages(out, values, kind))?),
        OutputFormat::Nifti => {
            Ok(write_atomically(path, overwrite, |out| nifti(out, values, kind, geometry))?)
        }
        OutputFormat::NiftiGz => Ok(write_atomically(path, overwrite, |out| {
            let mut gz = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            nifti(&mut gz, values, kind, geometry)?;
            gz.finish().map(drop)
        })?),
    }
}

/// Samples of page `page`, channels interleaved.
fn interleaved<'a>(values: &'a Array4<f32>, page: usize) -> impl Iterator<Item = f32> + 'a {
    let (channels, _, height, width) = values.dim();
    (0..height)
        .flat_map(move |y| (0..width).map(move |x| (y, x)))
        .flat_map(move |(y, x)| (0..channels).map(move |c| values[[c, page, y, x]]))
}

fn png(out: &mut BufWriter<&File>, values: &Array4<f32>, kind: SampleType) -> io::Result<()> {
    let (channels, _, height, width) = values.dim();
    let deep = kind == SampleType::U16;
    let bytes: Vec<u8> = if deep {
        interleaved(values, 0).flat_map(|v| (v as u16).to_ne_bytes()).collect()
    } else {
        interleaved(values, 0).map(|v| v as u8).collect()
    };
    let colour = match (channels, deep) {
        (1, false) => ExtendedColorType::L8,
        (1, true) => ExtendedColorType::L16,
        (_, false) => ExtendedColorType::Rgb8,
        (_, true) => ExtendedColorType::Rgb16,
    };
    PngEncoder::new(out).write_image(&bytes, width as u32, height as u32, colour).map_err(io::Error::other)
}

fn tiff_pages(out: &mut BufWriter<&File>, values: &Array4<f32>, kind: SampleType) -> io::Result<()> {
    let (channels, depth, height, width) = values.dim();
    let size = (width as u32, height as u32);
    let mut encoder = TiffEncoder::new(out).map_err(io::Error::other)?;
    for page in 0..depth {
        let samples = interleaved(values, page);
        match (channels, kind) {
            (1, SampleType::U8) => {
                tiff_page::<colortype::Gray8, u8>(&mut encoder, size, samples, |v| v as u8)
            }
            (1, SampleType::I8) => {
                tiff_page::<colortype::GrayI8, i8>(&mut encoder, size, samples, |v| v as i8)
            }
            (1, SampleType::U16) => {
                tiff_page::<colortype::Gray16, u16>(&mut encoder, size, samples, |v| v as u16)
            }
            (1, SampleType::I16) => {
                tiff_page::<colortype::GrayI16, i16>(&mut encoder, size, samples, |v| v as i16)
            }
            (1, _) => tiff_page::<colortype::Gray32Float, f32>(&mut encoder, size, samples, |v| v),
            (_, SampleType::U16) => {
                tiff_page::<colortype::RGB16, u16>(&mut encoder, size, samples, |v| v as u16)
            }
            (..) => tiff_page::<colortype::RGB8, u8>(&mut encoder, size, samples, |v| v as u8),
        }?;
    }
    Ok(())
}

fn tiff_page<C, T>(
    encoder: &mut TiffEncoder<&mut BufWriter<&File>>,
    (width, height): (u32, u32),
    samples: impl Iterator<Item = f32>,
    convert: impl Fn(f32) -> T,
) -> io::Result<()>
where
    C: colortype::ColorType<Inner = T>,
    [T]: TiffValue,
{
    let samples: Vec<T> = samples.map(convert).collect();
    encoder.write_image::<C>(width, height, &samples).map_err(io::Error::other)
}

/// Length of a NIfTI-1 header with the empty list of extensions.
const HEADER: usize = 352;

fn nifti(out: &mut dyn Write, values: &Array4<f32>, kind: SampleType, geometry: &Geometry) -> io::Result<()> {
    let (_, depth, height, width) = values.dim();
    let (code, bits): (i16, i16) = match kind {
        SampleType::U8 => (2, 8),
        SampleType::I8 => (256, 8),
        SampleType::U16 => (512, 16),
        SampleType::I16 => (4, 16),
        _ => (16, 32),
    };
    let mut header = vec![0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348_i32.to_le_bytes());
    let extents = [3, width, height, depth, 1, 1, 1, 1];
    for (i, extent) in extents.into_iter().enumerate() {
        let extent =
            i16::try_from(extent).map_err(|_| io::Error::other("an extent beyond NIfTI-1's 32767"))?;
        put(40 + 2 * i, &extent.to_le_bytes());
    }
    put(70, &code.to_le_bytes());
    put(72, &bits.to_le_bytes());
    put(76, &1_f32.to_le_bytes());
    for (i, spacing) in geometry.spacing.iter().enumerate() {
        put(80 + 4 * i, &(*spacing as f32).to_le_bytes());
    }
    put(108, &(HEADER as f32).to_le_bytes());
    put(112, &1_f32.to_le_bytes());
    put(123, &[if geometry.known { 2 } else { 0 }]);
    put(254, &1_i16.to_le_bytes());
    for (i, entry) in geometry.affine[..3].iter().flatten().enumerate() {
        put(280 + 4 * i, &(*entry as f32).to_le_bytes());
    }
    put(344, b"n+1\0");
    out.write_all(&header)?;
    let bytes: Vec<u8> = match kind {
        SampleType::U8 => values.iter().map(|&v| v as u8).collect(),
        SampleType::I8 => values.iter().map(|&v| v as i8 as u8).collect(),
        SampleType::U16 => values.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect(),
        SampleType::I16 => values.iter().flat_map(|&v| (v as i16).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    out.write_all(&bytes)
}

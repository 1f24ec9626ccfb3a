//! PNG pictures: 1 to 16 bits, grey, palette or colour; alpha is dropped (not blended).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageError};
use ndarray::Array4;

use crate::error::{ImagingError, Result};
use crate::scan::{Geometry, Limits, SampleType, Scan, SourceHeader};

pub(crate) const AGAIN: &str = "save or copy the file again from its source";

pub(crate) fn read_png(path: &Path, limits: Limits) -> Result<Scan> {
    let file = File::open(path).map_err(|e| ImagingError::io(path, "open", e))?;
    let mut caps = image::Limits::no_limits();
    caps.max_alloc = Some(limits.samples.saturating_mul(8));
    let wrong = |e: ImageError| match e {
        ImageError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            ImagingError::io(path, "read", e)
        }
        e => ImagingError::malformed(path, "PNG", e.to_string(), AGAIN),
    };
    let decoder = PngDecoder::with_limits(BufReader::new(file), caps).map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    let samples = u64::from(width) * u64::from(height) * u64::from(decoder.color_type().channel_count());
    check_samples(path, samples, limits)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    let (width, height) = (width as usize, height as usize);
    let shallow =
        |raw: &[u8], stride, keep| (SampleType::U8, planes(raw, stride, keep, height, width, f32::from));
    let deep =
        |raw: &[u16], stride, keep| (SampleType::U16, planes(raw, stride, keep, height, width, f32::from));
    let (sample_type, voxels) = match picture {
        DynamicImage::ImageLuma8(p) => shallow(&p, 1, 1),
        DynamicImage::ImageLumaA8(p) => shallow(&p, 2, 1),
        DynamicImage::ImageRgb8(p) => shallow(&p, 3, 3),
        DynamicImage::ImageRgba8(p) => shallow(&p, 4, 3),
        DynamicImage::ImageLuma16(p) => deep(&p, 1, 1),
        DynamicImage::ImageLumaA16(p) => deep(&p, 2, 1),
        DynamicImage::ImageRgb16(p) => deep(&p, 3, 3),
        DynamicImage::ImageRgba16(p) => deep(&p, 4, 3),
        other => {
            let problem = format!("pixels of kind {:?}", other.color());
            return Err(ImagingError::unsupported(
                path,
                "colour type",
                problem,
                "save it as 8 or 16 bit grey",
            ));
        }
    };
    Ok(Scan {
        path: path.into(),
        voxels,
        sample_type,
        geometry: Geometry::unknown(),
        header: SourceHeader::none(),
    })
}

/// Interleaved pixels of `stride` samples to `keep` planes.
pub(crate) fn planes<T: Copy>(
    raw: &[T],
    stride: usize,
    keep: usize,
    height: usize,
    width: usize,
    convert: impl Fn(T) -> f32,
) -> Array4<f32> {
    Array4::from_shape_fn((keep, 1, height, width), |(c, _, y, x)| convert(raw[(y * width + x) * stride + c]))
}

pub(crate) fn check_samples(path: &Path, samples: u64, limits: Limits) -> Result<()> {
    if samples > limits.samples {
        return Err(ImagingError::unsupported(
            path,
            "size",
            format!("{samples} samples are claimed, more than the limit of {}", limits.samples),
            "cut the scan into parts, or raise the limit if the file is trusted",
        ));
    }
    Ok(())
}

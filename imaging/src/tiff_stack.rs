//! TIFF pictures and stacks: every page is one slice; 8 to 64 bit integers, 32 and 64 bit floats, grey or RGB.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array4, Axis, concatenate};
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use crate::error::{ImagingError, Result};
use crate::picture::{AGAIN, check_samples, planes};
use crate::scan::{Geometry, Limits, SampleType, Scan, SourceHeader};

type Reader = Decoder<BufReader<File>>;

pub(crate) fn read(path: &Path, limits: Limits) -> Result<Scan> {
    let file = File::open(path).map_err(|e| ImagingError::io(path, "open", e))?;
    let mut caps = tiff::decoder::Limits::default();
    caps.decoding_buffer_size = usize::try_from(limits.samples.saturating_mul(8)).unwrap_or(usize::MAX);
    caps.intermediate_buffer_size = caps.decoding_buffer_size;
    let mut decoder = Decoder::new(BufReader::new(file)).map_err(|e| wrong(path, 0, e))?.with_limits(caps);
    let mut pages = Vec::new();
    let mut samples = 0;
    let mut first = None;
    loop {
        let page = pages.len();
        let shape = page_shape(&mut decoder, path, page)?;
        samples += shape.width as u64 * shape.height as u64 * shape.keep as u64;
        check_samples(path, samples, limits)?;
        let (sample_type, slice) = read_page(&mut decoder, path, page, &shape)?;
        let kind = (shape, sample_type);
        if *first.get_or_insert(kind) != kind {
            return Err(ImagingError::unsupported(
                path,
                format!("page {page}"),
                "its size, colour or number format differs from the first page's",
                "save the pages of one size and kind as a stack of their own (previews apart)",
            ));
        }
        pages.push(slice);
        if !decoder.more_images() {
            break;
        }
        decoder.next_image().map_err(|e| wrong(path, page + 1, e))?;
    }
    let views: Vec<_> = pages.iter().map(|p| p.view()).collect();
    let voxels = concatenate(Axis(1), &views)
        .map_err(|e| ImagingError::malformed(path, "pages", e.to_string(), AGAIN))?;
    let sample_type = first.map_or(SampleType::U8, |(_, t)| t);
    Ok(Scan {
        path: path.into(),
        voxels: voxels.as_standard_layout().into_owned(),
        sample_type,
        geometry: Geometry::unknown(),
        header: SourceHeader::none(),
    })
}

#[derive(Clone, Copy, PartialEq)]
struct PageShape {
    width: usize,
    height: usize,
    /// Samples per pixel in the file.
    stride: usize,
    /// Samples per pixel without alpha.
    keep: usize,
}

impl PageShape {
    fn planes<T: Copy>(&self, raw: Vec<T>, convert: impl Fn(T) -> f32) -> Array4<f32> {
        planes(&raw, self.stride, self.keep, self.height, self.width, convert)
    }
}

fn page_shape(decoder: &mut Reader, path: &Path, page: usize) -> Result<PageShape> {
    let (width, height) = decoder.dimensions().map_err(|e| wrong(path, page, e))?;
    let colour = decoder.colortype().map_err(|e| wrong(path, page, e))?;
    let (stride, keep) = match colour {
        ColorType::Gray(8..) => (1, 1),
        ColorType::GrayA(8..) => (2, 1),
        ColorType::RGB(8..) => (3, 3),
        ColorType::RGBA(8..) => (4, 3),
        other => {
            return Err(ImagingError::unsupported(
                path,
                format!("page {page}, PhotometricInterpretation and BitsPerSample"),
                format!("pixels of kind {other:?}"),
                "save it as 8 or 16 bit grey or RGB",
            ));
        }
    };
    let planar: Option<u16> =
        decoder.find_tag_unsigned(Tag::PlanarConfiguration).map_err(|e| wrong(path, page, e))?;
    if stride > 1 && planar == Some(2) {
        return Err(ImagingError::unsupported(
            path,
            format!("page {page}, PlanarConfiguration"),
            "colours are stored in separate planes",
            "save it with interleaved colours",
        ));
    }
    if width == 0 || height == 0 {
        return Err(ImagingError::malformed(path, format!("page {page}, size"), "no pixels", AGAIN));
    }
    Ok(PageShape { width: width as usize, height: height as usize, stride, keep })
}

fn read_page(
    decoder: &mut Reader,
    path: &Path,
    page: usize,
    shape: &PageShape,
) -> Result<(SampleType, Array4<f32>)> {
    let decoded = decoder.read_image().map_err(|e| wrong(path, page, e))?;
    let wanted = shape.width * shape.height * shape.stride;
    let found = decoded_len(&decoded);
    if found < wanted {
        return Err(ImagingError::malformed(
            path,
            format!("page {page}, StripByteCounts"),
            format!("{wanted} samples expected, {found} found"),
            AGAIN,
        ));
    }
    // Wide numbers keep the 24 bits that single precision has.
    Ok(match decoded {
        DecodingResult::U8(v) => (SampleType::U8, shape.planes(v, f32::from)),
        DecodingResult::I8(v) => (SampleType::I8, shape.planes(v, f32::from)),
        DecodingResult::U16(v) => (SampleType::U16, shape.planes(v, f32::from)),
        DecodingResult::I16(v) => (SampleType::I16, shape.planes(v, f32::from)),
        DecodingResult::U32(v) => (SampleType::U32, shape.planes(v, |v| v as f32)),
        DecodingResult::I32(v) => (SampleType::I32, shape.planes(v, |v| v as f32)),
        DecodingResult::U64(v) => (SampleType::U64, shape.planes(v, |v| v as f32)),
        DecodingResult::I64(v) => (SampleType::I64, shape.planes(v, |v| v as f32)),
        DecodingResult::F16(v) => (SampleType::F32, shape.planes(v, |v| v.to_f32())),
        DecodingResult::F32(v) => (SampleType::F32, shape.planes(v, |v| v)),
        DecodingResult::F64(v) => (SampleType::F64, shape.planes(v, |v| v as f32)),
    })
}

fn decoded_len(decoded: &DecodingResult) -> usize {
    match decoded {
        DecodingResult::U8(v) => v.len(),
        DecodingResult::U16(v) => v.len(),
        DecodingResult::U32(v) => v.len(),
        DecodingResult::U64(v) => v.len(),
        DecodingResult::F16(v) => v.len(),
        DecodingResult::F32(v) => v.len(),
        DecodingResult::F64(v) => v.len(),
        DecodingResult::I8(v) => v.len(),
        DecodingResult::I16(v) => v.len(),
        DecodingResult::I32(v) => v.len(),
        DecodingResult::I64(v) => v.len(),
    }
}

fn wrong(path: &Path, page: usize, error: TiffError) -> ImagingError {
    let field = format!("page {page}");
    match error {
        TiffError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => {
            ImagingError::malformed(path, field, e.to_string(), AGAIN)
        }
        TiffError::UnsupportedError(e) => {
            ImagingError::unsupported(path, field, e.to_string(), "save it as plain 8 or 16 bit grey")
        }
        e => ImagingError::malformed(path, field, e.to_string(), AGAIN),
    }
}

//! Grey JPEG 2000 codestreams (ITU-T T.800), as DICOM files wrap them: one component of up to 16 bits, reversible or not.
//!
//! Decoded by `hayro-jpeg2000`, once the stream's own header confirms the caller's size; memory follows that size.

use super::jpeg::Wrong;
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// The start of a codestream and of the segment that states its size.
const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];

/// Decodes a picture of known size, row by row; also its bits per sample. Signed samples come in two's complement.
pub(super) fn decode(bytes: &[u8], rows: usize, columns: usize) -> Result<(Vec<u16>, u32), Wrong> {
    let (bits, signed) = header(bytes, rows, columns)?;
    let broken = |_| Wrong::Broken("the stream is damaged or ends too early");
    // Strictly, for what is missing would be made up.
    let settings = DecodeSettings { strict: true, ..DecodeSettings::default() };
    let image = Image::new(bytes, &settings).map_err(broken)?;
    let mut context = DecoderContext::default();
    let picture = image.decode(&mut context).map_err(broken)?;
    let [component] = picture.components() else { return Err(Wrong::Unsupported("colour".into())) };
    if component.samples().len() != rows * columns {
        return Err(Wrong::Broken("its size is not the image's"));
    }
    // Samples are real numbers where there are losses. The library raises signed ones too by half their range.
    let (most, raised) = ((1_u32 << bits) - 1, if signed { 1_i32 << (bits - 1) } else { 0 });
    let sample = |value: f32| value.round().clamp(0.0, most as f32) as i32 - raised;
    Ok((component.samples().iter().map(|value| sample(*value) as u16).collect(), bits))
}

/// Bits per sample, and whether they are signed.
fn header(bytes: &[u8], rows: usize, columns: usize) -> Result<(u32, bool), Wrong> {
    if !bytes.starts_with(&START) {
        return Err(Wrong::Broken("no JPEG 2000 codestream"));
    }
    let word =
        |at: usize| bytes.get(at..at + 4).and_then(<[u8]>::first_chunk).map(|raw| u32::from_be_bytes(*raw));
    // The far corner of the picture and its near one.
    let corners = [word(8), word(12), word(16), word(20)];
    let [Some(right), Some(bottom), Some(left), Some(top)] = corners else { return Err(SHORT) };
    let size = right.checked_sub(left).zip(bottom.checked_sub(top));
    if size.map(|(width, height)| (height as usize, width as usize)) != Some((rows, columns)) {
        return Err(Wrong::Broken("its size is not the image's"));
    }
    match bytes.get(40..45) {
        Some([0, 1, depth, 1, 1]) if depth & 0x7f < 16 => {
            Ok((u32::from(depth & 0x7f) + 1, depth & 0x80 != 0))
        }
        Some([0, 1, ..]) => Err(Wrong::Unsupported("more than 16 bits, or a sampling factor".into())),
        Some(_) => Err(Wrong::Unsupported("colour".into())),
        None => Err(SHORT),
    }
}

const SHORT: Wrong = Wrong::Broken("the stream ends too early");

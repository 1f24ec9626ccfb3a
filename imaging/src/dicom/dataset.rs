//! A DICOM file's top-level elements (PS3.5 section 7, PS3.10 section 7), as slices of the file's bytes.
//!
//! Sequences are stepped over, not interpreted. Nothing is copied, every length is checked against what is
//! left of the file, and nesting is bounded.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use flate2::read::DeflateDecoder;

use super::AGAIN;
use crate::error::{ImagingError, Result};
use crate::scan::Limits;

pub(super) type Tag = (u16, u16);

pub(super) const PIXEL_DATA: Tag = (0x7fe0, 0x0010);
const TRANSFER_SYNTAX: Tag = (0x0002, 0x0010);
const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;
const DEEPEST: usize = 32;

/// How a data set is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Syntax {
    explicit: bool,
    pub(super) big: bool,
    pub(super) packing: Packing,
    deflated: bool,
}

/// How pixels are encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    /// Run lengths.
    Rle,
    /// A JPEG stream.
    Jpeg,
    /// A JPEG 2000 codestream.
    Jpeg2000,
}

impl Syntax {
    const META: Self = Self { explicit: true, big: false, packing: Packing::Plain, deflated: false };

    fn of(uid: &str, path: &Path) -> Result<Self> {
        let plain = Self::META;
        match uid {
            "1.2.840.10008.1.2" => Ok(Self { explicit: false, ..plain }),
            "1.2.840.10008.1.2.1" => Ok(plain),
            "1.2.840.10008.1.2.1.99" => Ok(Self { deflated: true, ..plain }),
            "1.2.840.10008.1.2.2" => Ok(Self { big: true, ..plain }),
            "1.2.840.10008.1.2.5" => Ok(Self { packing: Packing::Rle, ..plain }),
            "1.2.840.10008.1.2.4.50"
            | "1.2.840.10008.1.2.4.51"
            | "1.2.840.10008.1.2.4.57"
            | "1.2.840.10008.1.2.4.70" => Ok(Self { packing: Packing::Jpeg, ..plain }),
            "1.2.840.10008.1.2.4.90" | "1.2.840.10008.1.2.4.91" => {
                Ok(Self { packing: Packing::Jpeg2000, ..plain })
            }
            other => Err(ImagingError::unsupported(
                path,
                "TransferSyntaxUID (0002,0010)",
                format!(
                    "compression {other} (JPEG-LS, high-throughput JPEG 2000 or a video) is not read here"
                ),
                "decompress it, e.g. with gdcmconv --raw or dcmdjpeg",
            )),
        }
    }
}

/// Elements by tag; for encapsulated pixel data the fragments.
#[derive(Debug)]
pub(super) struct Dataset {
    bytes: Vec<u8>,
    values: HashMap<Tag, (usize, usize)>,
    fragments: Vec<(usize, usize)>,
    pub(super) syntax: Syntax,
}

/// Whether the file's first bytes are those of a DICOM file.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    start.get(128..132) == Some(b"DICM")
}

impl Dataset {
    pub(super) fn parse(path: &Path, bytes: Vec<u8>, limits: Limits) -> Result<Self> {
        if !looks_like(&bytes) {
            let remedy = "give DICOM files as the scanner or archive exports them";
            return Err(ImagingError::unsupported(path, "preamble", "no DICM signature", remedy));
        }
        let mut set = Self { bytes, values: HashMap::new(), fragments: Vec::new(), syntax: Syntax::META };
        let end = Walker { set: &mut set, path, at: 132 }.meta()?;
        let uid = set.text(TRANSFER_SYNTAX).unwrap_or_default();
        set.syntax = Syntax::of(&uid, path)?;
        let start = if set.syntax.deflated { set.inflate(path, end, limits)? } else { end };
        Walker { set: &mut set, path, at: start }.top_level()?;
        Ok(set)
    }

    /// Replaces the file's bytes by the inflated data set.
    fn inflate(&mut self, path: &Path, start: usize, limits: Limits) -> Result<usize> {
        let most = limits.samples.saturating_mul(4);
        let mut inflated = Vec::new();
        DeflateDecoder::new(&self.bytes[start..])
            .take(most)
            .read_to_end(&mut inflated)
            .map_err(|e| ImagingError::malformed(path, "data set", format!("broken stream ({e})"), AGAIN))?;
        self.values.clear();
        self.bytes = inflated;
        Ok(0)
    }

    pub(super) fn raw(&self, tag: Tag) -> Option<&[u8]> {
        self.values.get(&tag).map(|&(from, to)| &self.bytes[from..to])
    }

    pub(super) fn fragments(&self) -> impl Iterator<Item = &[u8]> {
        self.fragments.iter().map(|&(from, to)| &self.bytes[from..to])
    }

    /// A text value without its padding.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        let raw = self.raw(tag)?;
        let text = String::from_utf8_lossy(raw);
        Some(text.trim_matches(['\0', ' ']).to_owned())
    }

    /// Decimal numbers, separated by backslashes.
    pub(super) fn numbers(&self, tag: Tag) -> Option<Vec<f64>> {
        let text = self.text(tag)?;
        text.split('\\').map(|part| part.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect()
    }

    /// An unsigned 16-bit value.
    pub(super) fn short(&self, tag: Tag) -> Option<u16> {
        let raw = self.raw(tag)?.first_chunk()?;
        Some(if self.syntax.big { u16::from_be_bytes(*raw) } else { u16::from_le_bytes(*raw) })
    }
}

struct Walker<'a> {
    set: &'a mut Dataset,
    path: &'a Path,
    at: usize,
}

impl Walker<'_> {
    /// File meta elements (group 2); returns where the data set begins.
    fn meta(mut self) -> Result<usize> {
        while self.set.bytes.get(self.at..self.at + 2) == Some(&[2, 0]) {
            let (tag, length) = self.head(Syntax::META)?;
            self.keep(tag, length)?;
        }
        Ok(self.at)
    }

    fn top_level(mut self) -> Result<()> {
        let syntax = self.set.syntax;
        while self.at < self.set.bytes.len() {
            let (tag, length) = self.head(syntax)?;
            if length != UNDEFINED {
                self.keep(tag, length)?;
            } else if tag == PIXEL_DATA {
                self.collect_fragments(syntax)?;
                // What follows encapsulated pixels is padding.
                return Ok(());
            } else {
                self.skip_items(syntax, 0)?;
            }
        }
        Ok(())
    }

    /// Tag and length of the element at the cursor; the cursor moves to its value.
    fn head(&mut self, syntax: Syntax) -> Result<(Tag, u32)> {
        let tag = (self.u16(syntax.big)?, self.u16(syntax.big)?);
        if tag.0 == 0xfffe || !syntax.explicit {
            return Ok((tag, self.u32(syntax.big)?));
        }
        let kind = self.take(2)?;
        let kind = [self.set.bytes[kind.0], self.set.bytes[kind.0 + 1]];
        const LONG: [&[u8; 2]; 13] =
            [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
        if LONG.contains(&&kind) {
            self.take(2)?;
            Ok((tag, self.u32(syntax.big)?))
        } else {
            Ok((tag, u32::from(self.u16(syntax.big)?)))
        }
    }

    fn keep(&mut self, tag: Tag, length: u32) -> Result<()> {
        let place = self.take_of(tag, length)?;
        self.set.values.insert(tag, place);
        Ok(())
    }

    fn collect_fragments(&mut self, syntax: Syntax) -> Result<()> {
        loop {
            let (tag, length) = self.head(syntax)?;
            match tag {
                ITEM => {
                    let place = self.take_of(PIXEL_DATA, length)?;
                    self.set.fragments.push(place);
                }
                SEQUENCE_END => return Ok(()),
                _ => return Err(self.broken(tag)),
            }
        }
    }

    /// Items of a sequence of undefined length.
    fn skip_items(&mut self, syntax: Syntax, depth: usize) -> Result<()> {
        loop {
            let (tag, length) = self.head(syntax)?;
            match (tag, length) {
                (SEQUENCE_END, _) => return Ok(()),
                (ITEM, UNDEFINED) => self.skip_elements(syntax, depth + 1)?,
                (ITEM, length) => {
                    self.take_of(tag, length)?;
                }
                _ => return Err(self.broken(tag)),
            }
        }
    }

    /// Elements of an item of undefined length.
    fn skip_elements(&mut self, syntax: Syntax, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            let problem = format!("nested more than {DEEPEST} deep");
            return Err(ImagingError::malformed(self.path, "sequence", problem, AGAIN));
        }
        loop {
            let (tag, length) = self.head(syntax)?;
            match (tag, length) {
                (ITEM_END, _) => return Ok(()),
                (_, UNDEFINED) => self.skip_items(syntax, depth)?,
                (tag, length) => {
                    self.take_of(tag, length)?;
                }
            }
        }
    }

    fn take_of(&mut self, tag: Tag, length: u32) -> Result<(usize, usize)> {
        let left = self.set.bytes.len() - self.at;
        if length as usize > left {
            let problem = format!("{length} bytes are claimed, {left} are left in the file");
            return Err(ImagingError::malformed(self.path, name(tag), problem, AGAIN));
        }
        self.take(length as usize)
    }

    fn take(&mut self, length: usize) -> Result<(usize, usize)> {
        let end = self.at + length;
        if end > self.set.bytes.len() {
            return Err(ImagingError::malformed(self.path, "data set", "the file ends too early", AGAIN));
        }
        let place = (self.at, end);
        self.at = end;
        Ok(place)
    }

    fn u16(&mut self, big: bool) -> Result<u16> {
        let (at, _) = self.take(2)?;
        let raw = [self.set.bytes[at], self.set.bytes[at + 1]];
        Ok(if big { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
    }

    fn u32(&mut self, big: bool) -> Result<u32> {
        let (first, second) = (self.u16(big)?, self.u16(big)?);
        let (high, low) = if big { (first, second) } else { (second, first) };
        Ok(u32::from(high) << 16 | u32::from(low))
    }

    fn broken(&self, tag: Tag) -> ImagingError {
        ImagingError::malformed(self.path, name(tag), "stands where an item should", AGAIN)
    }
}

/// A tag as DICOM writes it.
pub(super) fn name((group, element): Tag) -> String {
    format!("({group:04x},{element:04x})")
}

//! Grey JPEG streams (ITU-T T.81), as DICOM files wrap them: one component, Huffman coded, sequential DCT of 8 or 12 bits
//! (processes 1, 2 and 4) and lossless of 2 to 16 bits (process 14, all predictors).
//!
//! Decoded here because the JPEG library at hand knows neither 12 bits nor the lossless process, which is what archives
//! use, and answers some damaged files with a panic. Memory follows the caller's size, which the stream must confirm.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// Why a stream is not decoded.
#[derive(Debug, PartialEq)]
pub(super) enum Wrong {
    /// It is of another kind.
    Unsupported(String),
    /// It contradicts itself.
    Broken(&'static str),
}

type Result<T> = std::result::Result<T, Wrong>;

const SHORT: Wrong = Wrong::Broken("the stream ends too early");

/// Decodes a picture of known size, row by row; also its bits per sample.
pub(super) fn decode(bytes: &[u8], rows: usize, columns: usize) -> Result<(Vec<u16>, u32)> {
    let mut stream = Stream::new(bytes);
    if stream.take(2)? != [0xff, 0xd8] {
        return Err(Wrong::Broken("no JPEG stream"));
    }
    loop {
        match stream.marker()? {
            code @ (0xc0 | 0xc1 | 0xc3) => stream.frame(code, rows, columns)?,
            0xc4 => stream.huffman_tables()?,
            0xdb => stream.quantisation_tables()?,
            0xdd => {
                let [high, low] = *stream.segment()? else { return Err(SHORT) };
                stream.restart = usize::from(u16::from_be_bytes([high, low]));
            }
            0xda => return stream.scan(rows, columns),
            code @ 0xc0..=0xcf => {
                return Err(Wrong::Unsupported(format!("the process of marker FF{code:02X}")));
            }
            0xd8 | 0xd9 => return Err(Wrong::Broken("no picture")),
            _ => drop(stream.segment()?),
        }
    }
}

/// A stream up to its picture.
struct Stream<'a> {
    bytes: &'a [u8],
    /// Bits per sample, quantisation table; whether it is lossless.
    frame: Option<(u32, usize, bool)>,
    quantisation: [Option<[u16; 64]>; 4],
    /// By class (DC or lossless, AC) and number.
    huffman: [[Option<Huffman>; 4]; 2],
    /// Units between restarts; 0 for none.
    restart: usize,
}

impl<'a> Stream<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, frame: None, quantisation: [None; 4], huffman: Default::default(), restart: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(SHORT)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next marker's code; it may have fill bytes before.
    fn marker(&mut self) -> Result<u8> {
        if self.take(1)? != [0xff] {
            return Err(Wrong::Broken("no marker where one should stand"));
        }
        loop {
            match self.take(1)? {
                [0xff] => {}
                [code] => return Ok(*code),
                _ => return Err(SHORT),
            }
        }
    }

    /// A marker's parameters.
    fn segment(&mut self) -> Result<&'a [u8]> {
        let length = self.take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        self.take(length.checked_sub(2).ok_or(SHORT)?)
    }

    fn frame(&mut self, code: u8, rows: usize, columns: usize) -> Result<()> {
        let [bits, a, b, c, d, components, rest @ ..] = self.segment()? else { return Err(SHORT) };
        let found = [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])].map(usize::from);
        if *components != 1 {
            return Err(Wrong::Unsupported(format!("{components} components")));
        }
        if found != [rows, columns] {
            return Err(Wrong::Broken("the stream's size is not that of the image"));
        }
        let [_, _, table, ..] = rest else { return Err(SHORT) };
        let lossless = code == 0xc3;
        if !(lossless && (2..=16).contains(bits) || !lossless && [8, 12].contains(bits)) {
            return Err(Wrong::Unsupported(format!("{bits} bits per sample in its process")));
        }
        self.frame = Some((u32::from(*bits), usize::from(*table), lossless));
        Ok(())
    }

    fn huffman_tables(&mut self) -> Result<()> {
        let mut rest = self.segment()?;
        while let [place, after @ ..] = rest {
            let (counts, after) = after.split_first_chunk::<16>().ok_or(SHORT)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (values, after) = after.split_at_checked(total).ok_or(SHORT)?;
            let class = self.huffman.get_mut(usize::from(place >> 4));
            let table = class.and_then(|class| class.get_mut(usize::from(place & 15)));
            let number = Wrong::Broken("number of a Huffman table");
            *table.ok_or(number)? = Some(Huffman::new(counts, values)?);
            rest = after;
        }
        Ok(())
    }

    fn quantisation_tables(&mut self) -> Result<()> {
        let mut rest = self.segment()?;
        while let [place, after @ ..] = rest {
            let width = if place >> 4 == 0 { 1 } else { 2 };
            let (raw, after) = after.split_at_checked(64 * width).ok_or(SHORT)?;
            let value = |raw: &[u8]| raw.iter().fold(0, |value, byte| value << 8 | u16::from(*byte));
            let mut table = [0; 64];
            table.iter_mut().zip(raw.chunks_exact(width)).for_each(|(entry, raw)| *entry = value(raw));
            let place = self.quantisation.get_mut(usize::from(place & 15));
            *place.ok_or(Wrong::Broken("number of a quantisation table"))? = Some(table);
            rest = after;
        }
        Ok(())
    }

    /// The picture.
    fn scan(&mut self, rows: usize, columns: usize) -> Result<(Vec<u16>, u32)> {
        let [1, _, tables, start, _, approximation] = *self.segment()? else {
            return Err(Wrong::Broken("the scan's header"));
        };
        let (bits, quantisation, lossless) =
            self.frame.ok_or(Wrong::Broken("a scan without its frame header"))?;
        let missing = || Wrong::Broken("a table is missing");
        let table = |class: usize, number: u8| {
            self.huffman[class].get(usize::from(number)).and_then(Option::as_ref).ok_or_else(missing)
        };
        let first = table(0, tables >> 4)?;
        let bit_stream = Bits { bytes: self.bytes, held: 0, left: 0 };
        let samples = if lossless {
            if self.restart != 0 {
                return Err(Wrong::Unsupported("restarts in a lossless stream".into()));
            }
            let shift = u32::from(approximation & 15);
            if !(1..=7).contains(&start) || shift >= bits {
                return Err(Wrong::Broken("the predictor"));
            }
            lossless_samples(bit_stream, first, [rows, columns], start, (bits, shift))?
        } else {
            // A sequential scan holds whole blocks, whatever its header says of a part (some encoders leave it 0).
            let steps = self.quantisation.get(quantisation).copied().flatten().ok_or_else(missing)?;
            let tables = (first, table(1, tables & 15)?);
            let blocks = Blocks { bits: bit_stream, tables, steps, restart: self.restart };
            blocks.samples([rows, columns], bits)?
        };
        Ok((samples, bits))
    }
}

/// A canonical code.
struct Huffman {
    /// Per length: first code, place of its value, number of codes.
    lengths: [(u32, usize, u32); 17],
    values: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], values: &[u8]) -> Result<Self> {
        let (mut code, mut place) = (0u32, 0);
        let mut lengths = [(0, 0, 0); 17];
        for (length, count) in (1..).zip(counts) {
            lengths[length] = (code, place, u32::from(*count));
            place += usize::from(*count);
            code += u32::from(*count);
            if code > 1 << length {
                return Err(Wrong::Broken("a Huffman table has too many codes"));
            }
            code <<= 1;
        }
        Ok(Self { lengths, values: values.to_vec() })
    }
}

/// Bits of the entropy-coded part, stuffing removed.
struct Bits<'a> {
    bytes: &'a [u8],
    held: u8,
    left: u32,
}

impl Bits<'_> {
    fn bit(&mut self) -> Result<u32> {
        if self.left == 0 {
            (self.held, self.bytes) = match self.bytes {
                [0xff, 0, rest @ ..] => (0xff, rest),
                [0xff, ..] | [] => return Err(SHORT),
                [byte, rest @ ..] => (*byte, rest),
            };
            self.left = 8;
        }
        self.left -= 1;
        Ok(u32::from(self.held >> self.left & 1))
    }

    fn symbol(&mut self, table: &Huffman) -> Result<u8> {
        let mut code = 0;
        for (first, place, count) in &table.lengths[1..] {
            code = code << 1 | self.bit()?;
            if let Some(offset) = code.checked_sub(*first).filter(|offset| offset < count) {
                return Ok(table.values[place + offset as usize]);
            }
        }
        Err(Wrong::Broken("an unknown code"))
    }

    /// A signed value of `size` bits (T.81 F.2.2.1); 16 stands for 32768 without further bits.
    fn value(&mut self, size: u8) -> Result<i32> {
        match size {
            0 => return Ok(0),
            16 => return Ok(32768),
            17.. => return Err(Wrong::Broken("a value of too many bits")),
            _ => {}
        }
        let mut value = 0;
        for _ in 0..size {
            value = value << 1 | self.bit()? as i32;
        }
        Ok(if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    /// Steps over a restart marker.
    fn restart(&mut self) -> Result<()> {
        self.left = 0;
        match self.bytes {
            [0xff, 0xd0..=0xd7, rest @ ..] => {
                self.bytes = rest;
                Ok(())
            }
            _ => Err(Wrong::Broken("no restart marker where one should stand")),
        }
    }
}

/// Differences to a prediction from the neighbours (T.81 annex H).
fn lossless_samples(
    mut bits: Bits<'_>,
    table: &Huffman,
    [rows, columns]: [usize; 2],
    predictor: u8,
    (precision, shift): (u32, u32),
) -> Result<Vec<u16>> {
    let mut samples = vec![0u16; rows * columns];
    for row in 0..rows {
        for column in 0..columns {
            let at = row * columns + column;
            let before = |back: usize| i32::from(samples[at - back]);
            let predicted = match (row, column) {
                (0, 0) => 1 << (precision - shift - 1),
                (0, _) => before(1),
                (_, 0) => before(columns),
                _ => {
                    let (left, above, corner) = (before(1), before(columns), before(columns + 1));
                    match predictor {
                        1 => left,
                        2 => above,
                        3 => corner,
                        4 => left + above - corner,
                        5 => left + ((above - corner) >> 1),
                        6 => above + ((left - corner) >> 1),
                        _ => (left + above) >> 1,
                    }
                }
            };
            let size = bits.symbol(table)?;
            // Modulo 2^16, as the standard says.
            samples[at] = (predicted + bits.value(size)?) as u16;
        }
    }
    samples.iter_mut().for_each(|sample| *sample <<= shift);
    Ok(samples)
}

/// Where the coefficients of a block lie, in the order of the stream.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Blocks of 8 × 8 coefficients (T.81 annexes A and F).
struct Blocks<'a> {
    bits: Bits<'a>,
    /// DC and AC.
    tables: (&'a Huffman, &'a Huffman),
    steps: [u16; 64],
    restart: usize,
}

impl Blocks<'_> {
    fn samples(mut self, [rows, columns]: [usize; 2], precision: u32) -> Result<Vec<u16>> {
        let basis = basis();
        let (middle, top) = ((1u32 << (precision - 1)) as f32, ((1u32 << precision) - 1) as f32);
        let mut samples = vec![0; rows * columns];
        let (across, down) = (columns.div_ceil(8), rows.div_ceil(8));
        let mut mean = 0;
        for block in 0..across * down {
            if self.restart > 0 && block > 0 && block % self.restart == 0 {
                self.bits.restart()?;
                mean = 0;
            }
            let values = transform(&self.coefficients(&mut mean)?, &basis);
            let (row, column) = (block / across * 8, block % across * 8);
            for y in 0..(rows - row).min(8) {
                for x in 0..(columns - column).min(8) {
                    let value = (values[8 * y + x] + middle).round().clamp(0.0, top);
                    samples[(row + y) * columns + column + x] = value as u16;
                }
            }
        }
        Ok(samples)
    }

    fn coefficients(&mut self, mean: &mut i32) -> Result<[f32; 64]> {
        let mut block = [0.0; 64];
        let size = self.bits.symbol(self.tables.0)?;
        *mean = mean.wrapping_add(self.bits.value(size)?);
        block[0] = *mean as f32 * f32::from(self.steps[0]);
        let mut place = 1;
        while place < 64 {
            let symbol = self.bits.symbol(self.tables.1)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            match (run, size) {
                (15, 0) => place += 16,
                (_, 0) => break,
                _ => {
                    place += run;
                    let value = self.bits.value(size)?;
                    let at = *ZIGZAG.get(place).ok_or(Wrong::Broken("a block of too many values"))?;
                    block[at] = value as f32 * f32::from(self.steps[place]);
                    place += 1;
                }
            }
        }
        Ok(block)
    }
}

/// `basis[8·x + u]`: the cosine of frequency u at place x, scaled for the inverse transform.
fn basis() -> [f32; 64] {
    std::array::from_fn(|at| {
        let (x, u) = ((at / 8) as f32, (at % 8) as f32);
        let scale = if at % 8 == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        0.5 * scale * ((2.0 * x + 1.0) * u * PI / 16.0).cos()
    })
}

/// The inverse cosine transform, rows and then columns.
fn transform(block: &[f32; 64], basis: &[f32; 64]) -> [f32; 64] {
    let mut rows = [0.0; 64];
    for (v, x) in (0..8).flat_map(|v| (0..8).map(move |x| (v, x))) {
        rows[8 * v + x] = (0..8).map(|u| block[8 * v + u] * basis[8 * x + u]).sum();
    }
    let mut out = [0.0; 64];
    for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
        out[8 * y + x] = (0..8).map(|v| rows[8 * v + x] * basis[8 * y + v]).sum();
    }
    out
}

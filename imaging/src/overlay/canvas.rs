//! An RGB picture that can be drawn on, and its captions.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

pub(super) type Rgb = [u8; 3];

/// Two sizes of type.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Title,
    Caption,
}

impl Type {
    fn font(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Title => (FontWeight::Bold, RasterHeight::Size20),
            Self::Caption => (FontWeight::Regular, RasterHeight::Size16),
        }
    }

    /// Pixels that a line of text takes.
    pub(super) fn height(self) -> usize {
        self.font().1.val()
    }

    /// Pixels that `text` takes; the type is monospaced.
    pub(super) fn width(self, text: &str) -> usize {
        let (weight, size) = self.font();
        text.chars().count() * get_raster_width(weight, size)
    }
}

pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(width: usize, height: usize, colour: Rgb) -> Self {
        Self { width, height, pixels: colour.repeat(width * height) }
    }

    /// Mixes `colour` into a pixel; outside the canvas nothing happens.
    pub(super) fn blend(&mut self, x: usize, y: usize, colour: Rgb, alpha: f32) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = 3 * (y * self.width + x);
        for (old, new) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *old = (f32::from(*old) * (1.0 - alpha) + f32::from(new) * alpha).round() as u8;
        }
    }

    pub(super) fn rectangle(&mut self, (x, y): (usize, usize), (w, h): (usize, usize), colour: Rgb) {
        for j in y..y + h {
            for i in x..x + w {
                self.blend(i, j, colour, 1.0);
            }
        }
    }

    /// A word on a dark plate, readable on any picture.
    pub(super) fn plate(&mut self, (x, y): (usize, usize), text: &str, colour: Rgb) {
        if text.is_empty() {
            return;
        }
        for j in y..y + Type::Caption.height() {
            for i in x..x + Type::Caption.width(text) + 8 {
                self.blend(i, j, [0; 3], 0.55);
            }
        }
        self.text((x + 4, y), text, Type::Caption, colour);
    }

    /// Writes a line of basic Latin text, its upper left corner at `(x, y)`; other characters become `?`.
    pub(super) fn text(&mut self, (x, y): (usize, usize), text: &str, kind: Type, colour: Rgb) {
        let (weight, size) = kind.font();
        let step = get_raster_width(weight, size);
        for (n, letter) in text.chars().enumerate() {
            let shown = get_raster(letter, weight, size).or_else(|| get_raster('?', weight, size));
            let rows = shown.iter().flat_map(|raster| raster.rows()).enumerate();
            for (j, row) in rows {
                for (i, &strength) in row.iter().enumerate() {
                    self.blend(x + n * step + i, y + j, colour, f32::from(strength) / 255.0);
                }
            }
        }
    }
}

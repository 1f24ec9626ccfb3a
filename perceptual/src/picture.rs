//! A grid of captioned grey panels as one PNG.

use crate::error::Result;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use imaging::{Overwrite, write_atomically};
use ndarray::{Array2, ArrayView2};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::io;
use std::path::Path;

/// Side of a panel in pixels.
const SIDE: usize = 224;
const GAP: usize = 12;
const CAPTION: usize = 20;

/// A picture with its caption; values 0 (black) to 1 (white).
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) caption: String,
    pub(crate) values: Array2<f64>,
}

/// Writes columns of panels side by side.
pub(crate) fn write_grid(path: &Path, columns: &[Vec<Panel>], overwrite: Overwrite) -> Result<()> {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    let width = GAP + columns.len() * (SIDE + GAP);
    let height = GAP + rows * (SIDE + CAPTION + GAP);
    let mut canvas = Array2::from_elem((height, width), 24_u8);
    for (x, column) in columns.iter().enumerate() {
        for (y, panel) in column.iter().enumerate() {
            let (left, top) = (GAP + x * (SIDE + GAP), GAP + y * (SIDE + CAPTION + GAP));
            write_text(&mut canvas, left, top, &panel.caption);
            draw(&mut canvas, left, top + CAPTION, panel.values.view());
        }
    }
    let pixels = canvas.as_slice().expect("a fresh array is in standard layout");
    write_atomically(path, overwrite, |out| {
        PngEncoder::new(out)
            .write_image(pixels, width as u32, height as u32, ExtendedColorType::L8)
            .map_err(io::Error::other)
    })?;
    Ok(())
}

/// The nearest sample for every pixel: blocks stay visible as blocks.
fn draw(canvas: &mut Array2<u8>, left: usize, top: usize, values: ArrayView2<'_, f64>) {
    let (height, width) = values.dim();
    let longest = height.max(width);
    let (shown_h, shown_w) = (SIDE * height / longest, SIDE * width / longest);
    for y in 0..shown_h {
        for x in 0..shown_w {
            let value = values[[y * height / shown_h, x * width / shown_w]];
            canvas[[top + y, left + x]] = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    }
}

fn write_text(canvas: &mut Array2<u8>, left: usize, top: usize, text: &str) {
    let advance = get_raster_width(FontWeight::Regular, RasterHeight::Size16);
    for (i, letter) in text.chars().take(SIDE / advance).enumerate() {
        let Some(raster) = get_raster(letter, FontWeight::Regular, RasterHeight::Size16) else { continue };
        for (y, row) in raster.rows().enumerate() {
            for (x, &ink) in row.iter().enumerate() {
                let pixel = &mut canvas[[top + y, left + i * advance + x]];
                *pixel = ink.max(*pixel);
            }
        }
    }
}

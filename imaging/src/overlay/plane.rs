//! One plane of a scan with its labels, sampled at any scale.
//!
//! Grey values are interpolated bilinearly, and averaged where the picture shrinks. Labels are drawn from the
//! bilinear interpolation m of a label's 0/1 mask: the contour is m = 1/2, and (m − 1/2)/|∇m| its distance in
//! pixels, from which line and fill get soft edges at any magnification.

use ndarray::{Array2, ArrayView2};

use super::canvas::{Canvas, Rgb};

/// Opacity of a label's area.
const FILL: f32 = 0.34;
/// Opacity of its contour.
const LINE: f32 = 0.95;
/// Half the width of a contour in pixels.
const HALF_LINE: f32 = 0.9;

/// A rectangle of the canvas that shows a plane.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) at: (usize, usize),
    pub(super) size: (usize, usize),
}

/// Grey values from `low` (black) to `high` (white).
pub(super) fn draw_grey(canvas: &mut Canvas, frame: Frame, plane: &Array2<f32>, (low, high): (f32, f32)) {
    let (rows, columns) = plane.dim();
    let shrink = (rows as f32 / frame.size.1 as f32).max(columns as f32 / frame.size.0 as f32);
    // Enough samples per pixel that none of the plane is passed over.
    let taps = shrink.ceil().clamp(1.0, 16.0) as usize;
    let view = plane.view();
    each_pixel(frame, |x, y| {
        let mut sum = 0.0;
        for j in 0..taps {
            for i in 0..taps {
                let part = |n: usize| (n as f32 + 0.5) / taps as f32;
                sum += sample(&view, position(frame, plane.dim(), x as f32 + part(i), y as f32 + part(j)));
            }
        }
        let grey = (sum / (taps * taps) as f32 - low) / (high - low);
        let grey = (grey.clamp(0.0, 1.0) * 255.0).round() as u8;
        canvas.blend(frame.at.0 + x, frame.at.1 + y, [grey; 3], 1.0);
    });
}

/// Area and contour of one label.
pub(super) fn draw_label(canvas: &mut Canvas, frame: Frame, plane: &Array2<u8>, label: u8, colour: Rgb) {
    let mask = plane.mapv(|l| f32::from(u8::from(l == label)));
    let view = mask.view();
    let (w, h) = frame.size;
    let field = Array2::from_shape_fn((h, w), |(y, x)| {
        sample(&view, position(frame, mask.dim(), x as f32 + 0.5, y as f32 + 0.5))
    });
    each_pixel(frame, |x, y| {
        let m = field[[y, x]];
        let slope = |a: f32, b: f32, span: usize| (a - b) / span.max(1) as f32;
        let (left, right) = (x.saturating_sub(1), (x + 1).min(w - 1));
        let (up, down) = (y.saturating_sub(1), (y + 1).min(h - 1));
        let dx = slope(field[[y, right]], field[[y, left]], right - left);
        let dy = slope(field[[down, x]], field[[up, x]], down - up);
        let steep = dx.hypot(dy);
        let (fill, line) = if steep > 1e-4 {
            let distance = (m - 0.5) / steep;
            ((distance + 0.5).clamp(0.0, 1.0), (HALF_LINE + 0.5 - distance.abs()).clamp(0.0, 1.0))
        } else {
            (f32::from(u8::from(m > 0.5)), 0.0)
        };
        let alpha = (FILL * fill).max(LINE * line);
        canvas.blend(frame.at.0 + x, frame.at.1 + y, colour, alpha);
    });
}

fn each_pixel(frame: Frame, mut draw: impl FnMut(usize, usize)) {
    for y in 0..frame.size.1 {
        for x in 0..frame.size.0 {
            draw(x, y);
        }
    }
}

/// Where a point of the frame lies in a plane, in voxel centres: (row, column).
fn position(frame: Frame, (rows, columns): (usize, usize), x: f32, y: f32) -> (f32, f32) {
    (y * rows as f32 / frame.size.1 as f32 - 0.5, x * columns as f32 / frame.size.0 as f32 - 0.5)
}

fn sample(plane: &ArrayView2<'_, f32>, (row, column): (f32, f32)) -> f32 {
    let axis = |at: f32, size: usize| {
        let at = at.clamp(0.0, (size - 1) as f32);
        let low = at.floor() as usize;
        (low, (low + 1).min(size - 1), at - low as f32)
    };
    let (rows, columns) = plane.dim();
    let (y0, y1, v) = axis(row, rows);
    let (x0, x1, u) = axis(column, columns);
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    mix(mix(plane[[y0, x0]], plane[[y0, x1]], u), mix(plane[[y1, x0]], plane[[y1, x1]], u), v)
}

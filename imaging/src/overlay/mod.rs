//! A panel picture for the eye: scan | result over scan | reference over scan, with scores.
//!
//! A picture shows as one row of panels; a volume as three, one per orthogonal plane, each through the slice
//! with most of the drawn labels in the reference. Volumes with a known orientation are shown as radiologists do: the
//! patient's right side on the left, front and top up, voxels in their true proportions.

mod canvas;
mod plane;

use std::path::Path;

use image::ExtendedColorType;
use ndarray::{Array2, Array3, Array4, ArrayView2, Axis};

use crate::error::{ImagingError, Result};
use crate::metrics::{LabelScore, score, trivial_baseline};
use crate::preprocess::{AxisCodes, Reorientation};
use crate::scan::Scan;
use crate::write::{Overwrite, encode_png, write_atomically};
use canvas::{Canvas, Rgb, Type};
use plane::{Frame, draw_grey, draw_label};

const GROUND: Rgb = [18, 20, 24];
const INK: Rgb = [236, 238, 242];
const FAINT: Rgb = [150, 156, 168];
const MARGIN: usize = 24;
const GAP: usize = 14;
/// Longest side of a panel, pictures and volumes.
const PANEL_2D: f64 = 440.0;
const PANEL_3D: f64 = 300.0;
/// Told apart also with the common colour deficiencies (after Okabe and Ito).
const PALETTE: [Rgb; 6] =
    [[255, 150, 30], [70, 190, 255], [0, 200, 140], [240, 110, 190], [245, 230, 70], [200, 130, 255]];

/// How one label is called and drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelStyle {
    /// The label.
    pub label: u8,
    /// Its name, basic Latin.
    pub name: String,
    /// Whether it is drawn over the scan; its score is shown in any case.
    pub drawn: bool,
}

impl LabelStyle {
    /// Labels 0, 1, ... by their names; label 0 is background and not drawn.
    pub fn named<S: AsRef<str>>(names: &[S]) -> Vec<Self> {
        let style = |(label, name): (usize, &S)| Self {
            label: label as u8,
            name: name.as_ref().to_owned(),
            drawn: label > 0,
        };
        names.iter().take(256).enumerate().map(style).collect()
    }
}

/// What an overlay shows.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// First line.
    pub title: &'a str,
    /// Second line, small; may be empty.
    pub subtitle: &'a str,
    /// Heading of the result's column, e.g. `Blind result`.
    pub result_name: &'a str,
    /// The scan.
    pub scan: &'a Scan,
    /// Labels on the scan's grid.
    pub result: &'a Array3<u8>,
    /// Labels on the scan's grid to compare with.
    pub reference: Option<&'a Array3<u8>>,
    /// Labels to show.
    pub labels: &'a [LabelStyle],
}

impl Overlay<'_> {
    /// Draws the overlay and writes it as PNG.
    ///
    /// # Errors
    /// If result or reference are not on the scan's grid, or the file cannot be written.
    pub fn write(&self, path: &Path, overwrite: Overwrite) -> Result<()> {
        let canvas = self.draw()?;
        let (width, height) = (canvas.width, canvas.height);
        write_atomically(path, overwrite, |out| {
            encode_png(out, &canvas.pixels, width, height, ExtendedColorType::Rgb8)
        })
    }

    fn draw(&self) -> Result<Canvas> {
        self.check_grids()?;
        let views = self.views();
        let columns = if self.reference.is_some() { 3 } else { 2 };
        let cell = views.iter().map(|v| v.size.0).max().unwrap_or(0);
        let legend = self.legend();
        let head = MARGIN + Type::Title.height() + if self.subtitle.is_empty() { 0 } else { 24 } + GAP;
        let rows: usize = views.iter().map(|v| v.size.1 + GAP).sum();
        let top = head + Type::Caption.height() + 8;
        let width = (2 * MARGIN + columns * cell + (columns - 1) * GAP).max(self.least_width(&legend));
        let height = top + rows + legend.len() * 22 + MARGIN - 4;
        let mut canvas = Canvas::new(width, height, GROUND);
        canvas.text((MARGIN, MARGIN - 4), self.title, Type::Title, INK);
        canvas.text((MARGIN, MARGIN + Type::Title.height()), self.subtitle, Type::Caption, FAINT);
        let names = ["Scan", self.result_name, "Reference"];
        let window = display_window(self.scan);
        for (column, name) in names.iter().take(columns).enumerate() {
            let x = MARGIN + column * (cell + GAP);
            let middle = x + cell.saturating_sub(Type::Caption.width(name)) / 2;
            canvas.text((middle, head), name, Type::Caption, INK);
            let mut y = top;
            for view in &views {
                // Narrow planes stand in the middle of their column.
                let frame = Frame { at: (x + (cell - view.size.0) / 2, y), size: view.size };
                self.panel(&mut canvas, frame, view, column, window);
                y += view.size.1 + GAP;
            }
        }
        draw_legend(&mut canvas, &legend, top + rows);
        Ok(canvas)
    }

    fn panel(&self, canvas: &mut Canvas, frame: Frame, view: &View, column: usize, window: (f32, f32)) {
        draw_grey(canvas, frame, &view.grey, window);
        let planes = [None, Some(&view.result), view.reference.as_ref()];
        if let Some(plane) = planes[column] {
            for (style, colour) in coloured(self.labels).filter(|(s, _)| s.drawn) {
                draw_label(canvas, frame, plane, style.label, colour);
            }
        } else {
            let (x, y) = (frame.at.0 + 4, frame.at.1 + 4);
            canvas.plate((x, y), &view.name, INK);
            if view.sides {
                let y = frame.at.1 + frame.size.1 - Type::Caption.height() - 4;
                canvas.plate((x, y), "R", INK);
                let right = frame.at.0 + frame.size.0;
                canvas.plate((right.saturating_sub(Type::Caption.width("L") + 12), y), "L", INK);
            }
        }
    }

    fn check_grids(&self) -> Result<()> {
        for (name, labels) in [("result", Some(self.result)), ("reference", self.reference)] {
            let Some(labels) = labels else { continue };
            let (d, h, w) = labels.dim();
            if [d, h, w] != self.scan.dims() {
                let problem = format!("the {name} has {d}×{h}×{w} voxels, the scan {:?}", self.scan.dims());
                let remedy = "give a segmentation on the scan's own grid";
                return Err(ImagingError::unfit(self.scan.path(), "size", problem, remedy));
            }
        }
        Ok(())
    }

    /// The planes to show: one of a picture, three of a volume.
    fn views(&self) -> Vec<View> {
        let grey = self.scan.grey();
        if self.scan.rank() == 2 {
            let [_, h, w] = self.scan.dims();
            let scale = PANEL_2D / h.max(w) as f64;
            // Whole factors keep the pixels of small pictures even.
            let scale = if scale > 1.0 { scale.round() } else { scale };
            let flat = |a: &Array3<u8>| a.index_axis(Axis(0), 0).to_owned();
            return vec![View {
                name: String::new(),
                sides: false,
                size: (
                    (w as f64 * scale).round().max(1.0) as usize,
                    (h as f64 * scale).round().max(1.0) as usize,
                ),
                grey: grey.index_axis(Axis(0), 0).to_owned(),
                result: flat(self.result),
                reference: self.reference.map(flat),
            }];
        }
        self.orthogonal_views(grey)
    }

    fn orthogonal_views(&self, grey: Array3<f32>) -> Vec<View> {
        // Radiological display is L, P, S for columns and rows that run right and down; S is turned below.
        let turned =
            AxisCodes::try_from("LPS".to_owned()).and_then(|c| Reorientation::towards(self.scan, &c));
        let (turn, known) = turned.map_or((Reorientation::none(), false), |t| (t, true));
        let flat = |a: Array4<f32>| a.index_axis_move(Axis(0), 0);
        let grey = flat(turn.apply(grey.insert_axis(Axis(0))));
        let turn_labels =
            |a: &Array3<u8>| turn.apply(a.clone().insert_axis(Axis(0))).index_axis_move(Axis(0), 0);
        let result = turn_labels(self.result);
        let reference = self.reference.map(turn_labels);
        let spacing = turn.spacing(self.scan.geometry().spacing);
        let (z, y, x) = grey.dim();
        let extent = [z as f64 * spacing[2], y as f64 * spacing[1], x as f64 * spacing[0]];
        let scale = PANEL_3D / extent.iter().fold(f64::MIN_POSITIVE, |a, b| a.max(*b));
        let shown = reference.as_ref().unwrap_or(&result);
        ["axial", "coronal", "sagittal"]
            .iter()
            .enumerate()
            .map(|(axis, name)| {
                let index = self.telling_slice(shown, axis);
                let (rows, columns) = [(1, 2), (0, 2), (0, 1)][axis];
                let pixels = |i: usize| ((extent[i] * scale).round() as usize).max(1);
                // Rows of the two upright planes run up in the volume and down on the screen.
                let upright = axis > 0;
                View {
                    name: if known { (*name).to_owned() } else { format!("plane {}", axis + 1) },
                    sides: known && axis < 2,
                    size: (pixels(columns), pixels(rows)),
                    grey: cut(&grey, axis, index, upright),
                    result: cut(&result, axis, index, upright),
                    reference: reference.as_ref().map(|r| cut(r, axis, index, upright)),
                }
            })
            .collect()
    }

    /// The slice that shows most of the drawn labels; the middle one if there is nothing to show.
    fn telling_slice(&self, labels: &Array3<u8>, axis: usize) -> usize {
        let mut drawn = [false; 256];
        for style in self.labels {
            drawn[usize::from(style.label)] |= style.drawn;
        }
        let shown = |plane: ArrayView2<'_, u8>| plane.iter().filter(|l| drawn[usize::from(**l)]).count();
        let best = labels.axis_iter(Axis(axis)).map(shown).enumerate().max_by_key(|(_, count)| *count);
        best.filter(|(_, count)| *count > 0).map_or(labels.len_of(Axis(axis)) / 2, |(slice, _)| slice)
    }

    /// One line per label, with its colour if it is drawn.
    fn legend(&self) -> Vec<(Option<Rgb>, String)> {
        let scores =
            |labels: &Array3<u8>, reference: &Array3<u8>| score(labels.view(), reference.view(), 255);
        let compared = self.reference.map(|r| (scores(self.result, r), trivial_baseline(r.view(), 255)));
        let longest = self.labels.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        coloured(self.labels)
            .filter(|(style, _)| style.drawn || compared.is_some())
            .map(|(style, colour)| {
                let figures = compared.as_ref().map_or(String::new(), |(own, trivial)| {
                    let at = usize::from(style.label);
                    own.get(at).map_or(String::new(), |own| figures(own, trivial.get(at)))
                });
                (style.drawn.then_some(colour), format!("{:<longest$}  {figures}", style.name))
            })
            .collect()
    }

    fn least_width(&self, legend: &[(Option<Rgb>, String)]) -> usize {
        let lines = legend.iter().map(|(_, line)| Type::Caption.width(line) + 26);
        let heads = [Type::Title.width(self.title), Type::Caption.width(self.subtitle)];
        lines.chain(heads).max().unwrap_or(0) + 2 * MARGIN
    }
}

/// One plane as it stands on the screen.
struct View {
    name: String,
    /// Whether left and right of the patient are known and in this plane.
    sides: bool,
    size: (usize, usize),
    grey: Array2<f32>,
    result: Array2<u8>,
    reference: Option<Array2<u8>>,
}

fn cut<T: Clone>(volume: &Array3<T>, axis: usize, index: usize, upright: bool) -> Array2<T> {
    let mut plane = volume.index_axis(Axis(axis), index);
    if upright {
        plane.invert_axis(Axis(0));
    }
    plane.to_owned()
}

/// Drawn labels take the palette's colours in turn.
fn coloured(labels: &[LabelStyle]) -> impl Iterator<Item = (&LabelStyle, Rgb)> {
    labels.iter().scan(0, |next, style| {
        let colour = PALETTE[*next % PALETTE.len()];
        *next += usize::from(style.drawn);
        Some((style, colour))
    })
}

fn figures(own: &LabelScore, trivial: Option<&LabelScore>) -> String {
    let shown = |value: Option<f64>| value.map_or("  -  ".to_owned(), |v| format!("{v:.3}"));
    format!(
        "Dice {}  IoU {}  (Dice of the trivial answer {})",
        shown(own.dice),
        shown(own.iou),
        shown(trivial.and_then(|t| t.dice))
    )
}

fn draw_legend(canvas: &mut Canvas, legend: &[(Option<Rgb>, String)], top: usize) {
    for (n, (colour, line)) in legend.iter().enumerate() {
        let y = top + n * 22;
        if let Some(colour) = colour {
            canvas.rectangle((MARGIN, y + 2), (14, 14), *colour);
        }
        canvas.text((MARGIN + 26, y), line, Type::Caption, INK);
    }
}

/// Grey values shown as black and white: percentiles 0.5 and 99.5.
fn display_window(scan: &Scan) -> (f32, f32) {
    let mut values: Vec<f32> = scan.grey().iter().copied().filter(|v| v.is_finite()).collect();
    if values.is_empty() {
        return (0.0, 1.0);
    }
    let mut at = |part: f64| {
        let index = ((values.len() - 1) as f64 * part).round() as usize;
        *values.select_nth_unstable_by(index, f32::total_cmp).1
    };
    let (low, high) = (at(0.005), at(0.995));
    if low < high { (low, high) } else { (low, low + 1.0) }
}

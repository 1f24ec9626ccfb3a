//! Coefficient packing of a stencil: a volume as one long line, cut into polynomials.
//!
//! A channel is flattened into a line in which neighbouring rows share one gap of zeros and neighbouring planes
//! one gap of zero rows; the kernel is then a one-dimensional filter of span O. The volume may be cut into columns with
//! halo first, whose lines follow each other. There are two ways from the line to polynomials of n coefficients:
//!
//! * A stream: the line is cut into windows of n coefficients with step n − O, and the product of a window with the filter
//!   polynomial holds correct outputs at the indices ≥ O (overlap-save; Cheetah, ePrint 2022/207, section 3.1, packs cubes with
//!   halo instead, which takes a quarter more polynomials at 64³). Fewest polynomials for large volumes.
//! * Folds: each column is a window of its own, so small that a polynomial carries `fold` input channels of it, and a
//!   product `unfold` output channels. Input channel c stands at c·S, the filter from c to output o at
//!   (fold − 1 − c)·S + o·fold·S, and output o appears at (fold − 1)·S + o·fold·S; S is the line's length with its span, and
//!   other pairs land at least S away. One filter polynomial then serves `fold·unfold` filters, and every column: layers with
//!   many channels and few voxels need fewer transforms.
//!
//! [`Layout::new`] takes the cheapest.

use super::stencil::{Stencil, StencilWeights};
use models::{Dims, Shape};
use ntt::mac::flat::FlatTiles;
use pahe::MOST_TILES;

/// How a stencil is packed into polynomials of n coefficients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    stencil: Stencil,
    degree: usize,
    /// Output extents of one column.
    column: Dims,
    /// Columns per axis.
    columns: Dims,
    /// Rows, planes and columns stand this far apart: pitch in units of the next finer axis.
    pitch: Dims,
    /// Span O of the filter.
    span: usize,
    /// Coefficients of the line that carry outputs; with folds, of one column's.
    length: usize,
    /// Places of the line from one window to the next, and those that a window holds.
    step: usize,
    reach: usize,
    /// Windows per channel.
    windows: usize,
    /// Input channels per polynomial.
    fold: usize,
    /// Output channels per polynomial.
    unfold: usize,
}

/// A value's place among the polynomials of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of the value in its channel, row-major.
    pub voxel: u32,
    /// Coefficient within the window.
    pub coefficient: u32,
}

/// Pitch of an axis: as many places as its values need when consecutive lines may share their zeros.
fn shared_pitch(stencil: &Stencil, axis: usize) -> usize {
    let (input, output) = (stencil.input.dims[axis] as i64, stencil.output.dims[axis] as i64);
    let last = output - 1 + stencil.origin[axis] + stencil.span()[axis] as i64;
    let gap = 0.max(-stencil.origin[axis]).max(last - (input - 1));
    (input + gap).max(output) as usize
}

impl Layout {
    /// The cheapest packing with at most `most_unfold` outputs per polynomial, or `None` where even a single column spans
    /// more than n coefficients.
    pub fn new(stencil: &Stencil, degree: usize, most_unfold: usize) -> Option<Self> {
        let cuts = |extent: usize| {
            // Distinct column extents only: ⌈extent / count⌉ for every count.
            let mut extents: Vec<usize> = (1..=extent).map(|count| extent.div_ceil(count)).collect();
            extents.dedup();
            extents
        };
        let [depths, heights, widths] = stencil.output.dims.map(cuts);
        let columns = depths.iter().flat_map(|&d| {
            let widths = &widths;
            heights.iter().flat_map(move |&h| widths.iter().map(move |&w| [d, h, w]))
        });
        let layouts = columns.flat_map(|column| {
            let stream = Self::stream(stencil, degree, column);
            let folded = stream.as_ref().and_then(|stream| stream.folded(most_unfold));
            stream.into_iter().chain(folded)
        });
        layouts.min_by_key(Self::price)
    }

    fn stream(stencil: &Stencil, degree: usize, column: Dims) -> Option<Self> {
        let columns: Dims = std::array::from_fn(|axis| stencil.output.dims[axis].div_ceil(column[axis]));
        let pitch: Dims = std::array::from_fn(|axis| {
            let halo = column[axis] + stencil.span()[axis];
            if columns[axis] == 1 { halo.min(shared_pitch(stencil, axis)) } else { halo }
        });
        let at = |d: usize, h: usize, w: usize| (d * pitch[1] + h) * pitch[2] + w;
        let [d, h, w] = stencil.span();
        let span = at(d, h, w);
        if span >= degree {
            return None;
        }
        let count: usize = columns.iter().product();
        let length = (count - 1) * pitch[0] * pitch[1] * pitch[2]
            + at(column[0] - 1, column[1] - 1, column[2] - 1)
            + 1;
        let windows = length.div_ceil(degree - span);
        Some(Self {
            stencil: *stencil,
            degree,
            column,
            columns,
            pitch,
            span,
            length,
            step: degree - span,
            reach: degree,
            windows,
            fold: 1,
            unfold: 1,
        })
    }

    /// A window per column with as many channels as fit, if those are several; `unfold` of outputs at most.
    fn folded(&self, most_unfold: usize) -> Option<Self> {
        let column = self.pitch.iter().product();
        let used = self.flat(self.column.map(|extent| extent - 1)) + 1;
        // Single taps a power of two apart need no transform.
        let length = if self.span == 0 { used.next_power_of_two() } else { used };
        let windows = self.columns.iter().product();
        let room = self.degree / (length + self.span);
        let (inputs, outputs) = (self.stencil.input.channels, self.stencil.output.channels);
        let packed = |fold: usize| Self {
            length,
            step: column,
            reach: column,
            windows,
            fold,
            unfold: (room / fold).min(outputs).min(most_unfold),
            ..self.clone()
        };
        let folds = 1..=room.min(inputs);
        folds.map(packed).filter(|layout| layout.fold * layout.unfold > 1).min_by_key(Self::price)
    }

    /// What the layer takes, in microseconds at n = 4096 and two limbs (Zen 4): uploads and replies, by both parties and through a
    /// network of 1 Gbit/s; filters on their way to the NTT domain; products.
    fn price(&self) -> u64 {
        const UPLOAD: usize = 425;
        const REPLY: usize = 360;
        let (filter, product) = match (self.is_flat(), self.is_once()) {
            (true, _) => (0, 1),
            (false, true) => (18, 6),
            (false, false) => (26, 2),
        };
        let (inputs, outputs) = (self.input_groups(), self.output_groups());
        let per_window = inputs * UPLOAD + outputs * REPLY + inputs * outputs * product;
        (self.windows * per_window + inputs * outputs * filter) as u64
    }

    /// Whether filters have so few terms that they need no transform.
    pub fn is_flat(&self) -> bool {
        self.filter_terms().is_some_and(|terms| FlatTiles::suits(self.degree, terms))
    }

    /// Whether there are so few windows that transformed filters are better forgotten than kept.
    pub fn is_once(&self) -> bool {
        self.windows <= MOST_TILES && !self.is_flat()
    }

    /// Distance between the lines of two channels in one polynomial.
    fn stride(&self) -> usize {
        self.length + self.span
    }

    /// Coefficients per polynomial.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// Polynomials along a channel's line.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// Polynomials across the input channels, per window.
    pub fn input_groups(&self) -> usize {
        self.stencil.input.channels.div_ceil(self.fold)
    }

    /// Polynomials across the output channels, per window.
    pub fn output_groups(&self) -> usize {
        self.stencil.output.channels.div_ceil(self.unfold)
    }

    /// Nonzero terms of the filters that meet in one output polynomial, over all inputs: each of its coefficients sums as
    /// many terms of noise.
    pub fn terms(&self) -> usize {
        self.stencil.taps() * self.stencil.input.channels * self.unfold
    }

    /// Fills the polynomial of one input channel group for a window with these slots: `out` holds n zeros.
    pub fn pack(&self, slots: &[Slot], group: usize, values: &[u64], out: &mut [u64]) {
        let volume = self.stencil.input.volume();
        let channels = values[group * self.fold * volume..].chunks_exact(volume).take(self.fold);
        for (c, values) in channels.enumerate() {
            for slot in slots {
                out[c * self.stride() + slot.coefficient as usize] = values[slot.voxel as usize];
            }
        }
    }

    /// Per window, where the voxels of an input channel stand (of the first channel of a group).
    pub fn input_slots(&self) -> Vec<Vec<Slot>> {
        let mut slots = vec![Vec::new(); self.windows];
        let dims = self.stencil.input.dims;
        let (step, reach) = (self.step, self.reach);
        self.for_each_column(|base, start| {
            for (voxel, at) in voxels(dims).enumerate() {
                let local: [i64; 3] = std::array::from_fn(|axis| {
                    at[axis] as i64 - start[axis] as i64 - self.stencil.origin[axis]
                });
                if !self.stores(local) {
                    continue;
                }
                let position = base + self.flat(local.map(|x| x as usize));
                // The voxel stands in every window that covers its position.
                let last = (position / step).min(self.windows - 1);
                let first = (position + 1).saturating_sub(reach).div_ceil(step);
                for (window, slots) in slots.iter_mut().enumerate().take(last + 1).skip(first) {
                    let coefficient = (position - window * step) as u32;
                    slots.push(Slot { voxel: voxel as u32, coefficient });
                }
            }
        });
        slots
    }

    /// Per window, where the voxels of an output channel appear (of the first channel of a group).
    pub fn output_slots(&self) -> Vec<Vec<Slot>> {
        let mut slots = vec![Vec::new(); self.windows];
        let output = self.stencil.output.dims;
        let step = self.step;
        let offset = self.span + (self.fold - 1) * self.stride();
        self.for_each_column(|base, start| {
            for local in voxels(self.column) {
                let at: Dims = std::array::from_fn(|axis| start[axis] + local[axis]);
                if (0..3).any(|axis| at[axis] >= output[axis]) {
                    continue;
                }
                let position = base + self.flat(local);
                let voxel = ((at[0] * output[1] + at[1]) * output[2] + at[2]) as u32;
                let coefficient = (position % step + offset) as u32;
                slots[position / step].push(Slot { voxel, coefficient });
            }
        });
        // Replies list coefficients in ascending order.
        slots.iter_mut().for_each(|slots| slots.sort_unstable_by_key(|slot| slot.coefficient));
        slots
    }

    /// Distance between two output channels of one polynomial.
    pub fn output_stride(&self) -> usize {
        self.fold * self.stride()
    }

    /// Output channels of a group: all `unfold` of them but in the last group.
    pub fn outputs_of(&self, group: usize) -> std::ops::Range<usize> {
        let start = group * self.unfold;
        start..(start + self.unfold).min(self.stencil.output.channels)
    }

    /// How many equally spaced coefficients can be nonzero in a filter of one tap, if they are equally spaced.
    pub fn filter_terms(&self) -> Option<usize> {
        match (self.span, self.fold * self.unfold) {
            (0, 1) => Some(1),
            (0, _) if self.length.is_power_of_two() => Some(self.degree / self.length),
            _ => None,
        }
    }

    /// Adds the filter polynomial from an input group to an output group to the zeros of `out`: n coefficients, or those
    /// terms of it that [`Layout::filter_terms`] counts. Every place that may be nonzero is written, so that the time does
    /// not tell which weights are zero.
    pub fn filter(&self, weights: &StencilWeights, output: usize, input: usize, out: &mut [i64]) {
        let inputs = input * self.fold..((input + 1) * self.fold).min(self.stencil.input.channels);
        let apart = self.degree / out.len();
        for (o, channel) in self.outputs_of(output).enumerate() {
            for (c, from) in inputs.clone().enumerate() {
                let base = (self.fold - 1 - c) * self.stride() + o * self.output_stride() + self.span;
                for (&weight, tap) in weights.taps(channel, from).iter().zip(voxels(self.stencil.kernel)) {
                    let tap = std::array::from_fn(|axis| tap[axis] * self.stencil.step[axis]);
                    out[(base - self.flat(tap)) / apart] = i64::from(weight);
                }
            }
        }
    }

    fn flat(&self, at: Dims) -> usize {
        (at[0] * self.pitch[1] + at[1]) * self.pitch[2] + at[2]
    }

    /// Whether a column's line carries the input voxel at this place relative to the column's first tap.
    fn stores(&self, local: [i64; 3]) -> bool {
        (0..3).all(|axis| {
            // What no tap of the column reads is left out; with shared gaps it could hit a neighbour.
            let reach = (self.column[axis] + self.stencil.span()[axis]) as i64;
            (0..reach).contains(&local[axis])
        })
    }

    /// Calls `body` with the line position and the first output voxel of each column.
    fn for_each_column(&self, mut body: impl FnMut(usize, Dims)) {
        let length = self.pitch.iter().product::<usize>();
        for (index, at) in voxels(self.columns).enumerate() {
            body(index * length, std::array::from_fn(|axis| at[axis] * self.column[axis]));
        }
    }

    /// The stencil that is packed.
    pub fn stencil(&self) -> &Stencil {
        &self.stencil
    }
}

/// All places of a box, row-major.
fn voxels(dims: Dims) -> impl Iterator<Item = Dims> {
    let shape = Shape { channels: 1, dims };
    (0..shape.volume()).map(move |index| {
        let (row, x) = (index / dims[2], index % dims[2]);
        [row / dims[1], row % dims[1], x]
    })
}

#[cfg(test)]
mod tests {
    use super::super::stencil::tests::{direct, layers, output, random_layer};
    use super::super::stencil::{Lowering, correlate};
    use super::*;
    use models::{Op, Window};
    use prg::{Prg, Seed};

    fn negacyclic(a: &[i64], filter: &[i64]) -> Vec<i64> {
        let n = a.len();
        let mut product = vec![0; n];
        for (k, &w) in filter.iter().enumerate().filter(|(_, w)| **w != 0) {
            for (j, &x) in a.iter().enumerate() {
                let at = j + k;
                if at < n { product[at] += x * w } else { product[at - n] -= x * w }
            }
        }
        product
    }

    /// Packs, multiplies polynomials by the schoolbook and unpacks.
    fn through_polynomials(layout: &Layout, weights: &StencilWeights, x: &[u64]) -> Vec<i64> {
        let (n, volume) = (layout.degree(), layout.stencil().output.volume());
        let (inputs, outputs) = (layout.input_slots(), layout.output_slots());
        let mut y = vec![i64::MIN; layout.stencil().output.len()];
        for (window, slots) in outputs.iter().enumerate() {
            for group in 0..layout.output_groups() {
                let mut sum = vec![0; n];
                let mut terms = 0;
                for input in 0..layout.input_groups() {
                    let (mut poly, mut filter) = (vec![0; n], vec![0; n]);
                    layout.pack(&inputs[window], input, x, &mut poly);
                    layout.filter(weights, group, input, &mut filter);
                    terms += filter.iter().filter(|&&w| w != 0).count();
                    let poly: Vec<i64> = poly.iter().map(|&x| x as i64).collect();
                    for (sum, product) in sum.iter_mut().zip(negacyclic(&poly, &filter)) {
                        *sum += product;
                    }
                }
                assert!(terms <= layout.terms(), "noise is bounded by {} terms, not {terms}", layout.terms());
                for (o, channel) in layout.outputs_of(group).enumerate() {
                    for slot in slots {
                        let at = slot.coefficient as usize + o * layout.output_stride();
                        let place = &mut y[channel * volume + slot.voxel as usize];
                        assert_eq!(*place, i64::MIN, "every output appears once");
                        *place = sum[at];
                    }
                }
            }
        }
        y
    }

    #[test]
    fn polynomial_products_hold_the_layer() {
        let mut prg = Prg::new(&Seed::from_bytes([6; 16]));
        let wide = |channels, dims| {
            (Op::Conv { window: Window::dense([3, 3, 3], [1; 3]), channels }, Shape { channels: 2, dims })
        };
        for (op, input) in layers().into_iter().chain([wide(1, [4, 9, 10]), wide(2, [3, 3, 3])]) {
            let output = output(&op, input);
            let layer = random_layer(&op, input, output, &mut prg);
            let x: Vec<u64> = (0..input.len()).map(|_| prg.next_u64() % 1000).collect();
            let lowering = Lowering::of(&op, input, output).unwrap();
            let (stencil, weights) = (lowering.stencil(), lowering.weights(&layer));
            let arranged = lowering.arrange(&x);
            let signed: Vec<i64> = arranged.iter().map(|&x| x as i64).collect();
            let expected = correlate(stencil, &weights, &signed);
            let mut packings = 0;
            let degrees = [32, 64, 128, 256, 512, 1024];
            for (degree, most_unfold) in degrees.into_iter().flat_map(|degree| [(degree, 1), (degree, 64)]) {
                let Some(layout) = Layout::new(stencil, degree, most_unfold) else { continue };
                packings += 1;
                let y = through_polynomials(&layout, &weights, &arranged);
                assert_eq!(y, expected, "{op:?} on {input:?} with {layout:?}");
            }
            assert!(packings >= 2, "{op:?}");
            let x: Vec<i64> = x.iter().map(|&x| x as i64).collect();
            let restored = lowering.restore(expected.iter().map(|&y| y as u64).collect());
            assert!(restored.iter().zip(direct(&op, input, output, &layer, &x)).all(|(&a, b)| a as i64 == b));
        }
    }

    #[test]
    fn the_packing_is_as_dense_as_measured() {
        let same = |channels, dims| {
            let shape = Shape { channels, dims };
            let window = Window::dense([3, 3, 3], [1; 3]);
            Layout::new(Lowering::convolution(window, shape, shape).stencil(), 4096, usize::MAX).unwrap()
        };
        assert_eq!(same(64, [64; 3]).windows(), 99);
        assert_eq!(same(64, [32; 3]).windows(), 13);
        // Many channels of few voxels share polynomials, cut into columns if need be.
        let middle = same(256, [16; 3]);
        assert!(middle.fold >= 2 && middle.windows() >= 4, "{middle:?}");
        let small = same(64, [8; 3]);
        assert!(small.fold * small.unfold >= 4, "{small:?}");
    }
}

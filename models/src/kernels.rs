//! Loops shared by the integer reference and the float network: one straightforward implementation per operator.
//!
//! Every function reads and writes flat row-major `[channel, depth, height, width]` buffers. Output channels are
//! independent and run in parallel; the innermost loop runs along the width and is contiguous at stride 1. Nothing
//! here knows of shares, packing or any lowering that the protocol uses.

use crate::graph::{Dims, Shape, Window};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use std::ops::Range;

/// What the loops need of a number.
pub(crate) trait Scalar: Copy + Default + PartialOrd + Send + Sync {
    /// `self + a · b`; integers wrap.
    fn add_product(self, a: Self, b: Self) -> Self;
}

impl Scalar for i64 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

impl Scalar for f32 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self + a * b
    }
}

/// A tensor in a flat buffer.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) shape: Shape,
}

impl<'a, T> View<'a, T> {
    #[inline(always)]
    fn row(&self, channel: usize, z: usize, y: usize) -> &'a [T] {
        let [depth, height, width] = self.shape.dims;
        let start = ((channel * depth + z) * height + y) * width;
        &self.values[start..start + width]
    }
}

/// The `i` in `0..len` with `0 ≤ i·stride + offset < limit`.
#[inline(always)]
fn inside(len: usize, limit: usize, stride: usize, offset: isize) -> Range<usize> {
    let start = if offset < 0 { offset.unsigned_abs().div_ceil(stride) } else { 0 };
    let end = (limit as isize - offset).max(0).unsigned_abs().div_ceil(stride).min(len);
    start.min(end)..end
}

/// Where tap `tap` lies relative to the window's first voxel, along one axis.
#[inline(always)]
fn tap_offset(window: &Window, axis: usize, tap: usize) -> isize {
    (tap * window.dilation[axis]) as isize - window.pad_before[axis] as isize
}

/// `i·stride + offset`, where it lies in `0..limit`.
#[inline(always)]
fn position(i: usize, stride: usize, offset: isize, limit: usize) -> Option<usize> {
    let position = (i * stride).checked_add_signed(offset)?;
    (position < limit).then_some(position)
}

/// Convolution; weights `[out, in, kernel…]`.
pub(crate) fn conv<T: Scalar>(
    x: View<'_, T>,
    weights: &[T],
    bias: &[T],
    window: &Window,
    dims: Dims,
) -> Vec<T> {
    let per_output = x.shape.channels * window.taps();
    let volume: usize = dims.iter().product();
    let mut y = vec![T::default(); bias.len() * volume];
    let arch = Arch::new();
    y.par_chunks_mut(volume).enumerate().for_each(|(channel, plane)| {
        plane.fill(bias[channel]);
        let filters = &weights[channel * per_output..][..per_output];
        for (index, row) in plane.chunks_mut(dims[2]).enumerate() {
            let at = [index / dims[1], index % dims[1]];
            arch.dispatch(ConvRow { x, filters, window, at, row });
        }
    });
    y
}

/// One row of one output channel, compiled once for every set of vector instructions.
struct ConvRow<'a, T> {
    x: View<'a, T>,
    filters: &'a [T],
    window: &'a Window,
    at: [usize; 2],
    row: &'a mut [T],
}

impl<T: Scalar> NullaryFnOnce for ConvRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        conv_row(self.x, self.filters, self.window, self.at, self.row);
    }
}

/// Adds to one row of one output channel what all inputs and taps give.
#[inline(always)]
fn conv_row<T: Scalar>(x: View<'_, T>, filters: &[T], window: &Window, at: [usize; 2], row: &mut [T]) {
    let [kernel_d, kernel_h, kernel_w] = window.kernel;
    for (channel, filter) in filters.chunks(window.taps()).enumerate() {
        for tap_z in 0..kernel_d {
            let z = position(at[0], window.stride[0], tap_offset(window, 0, tap_z), x.shape.dims[0]);
            for tap_y in 0..kernel_h {
                let y = position(at[1], window.stride[1], tap_offset(window, 1, tap_y), x.shape.dims[1]);
                let (Some(z), Some(y)) = (z, y) else { continue };
                let taps = &filter[(tap_z * kernel_h + tap_y) * kernel_w..][..kernel_w];
                slide_row(x.row(channel, z, y), taps, window, row);
            }
        }
    }
}

/// One row of input times the taps along the width.
#[inline(always)]
fn slide_row<T: Scalar>(input: &[T], taps: &[T], window: &Window, row: &mut [T]) {
    let stride = window.stride[2];
    for (tap, &weight) in taps.iter().enumerate() {
        let offset = tap_offset(window, 2, tap);
        let range = inside(row.len(), input.len(), stride, offset);
        let Some(start) = position(range.start, stride, offset, input.len()) else { continue };
        if stride == 1 {
            let input = &input[start..];
            row[range].iter_mut().zip(input).for_each(|(y, &x)| *y = y.add_product(weight, x));
        } else {
            let input = input[start..].iter().step_by(stride);
            row[range].iter_mut().zip(input).for_each(|(y, &x)| *y = y.add_product(weight, x));
        }
    }
}

/// Transposed convolution; weights `[in, out, kernel…]`. Each input voxel is scattered over its window.
pub(crate) fn conv_transpose<T: Scalar>(
    x: View<'_, T>,
    weights: &[T],
    bias: &[T],
    window: &Window,
    dims: Dims,
) -> Vec<T> {
    let volume: usize = dims.iter().product();
    let taps = window.taps();
    let mut y = vec![T::default(); bias.len() * volume];
    y.par_chunks_mut(volume).enumerate().for_each(|(output, plane)| {
        plane.fill(bias[output]);
        for input in 0..x.shape.channels {
            let filter = &weights[(input * bias.len() + output) * taps..][..taps];
            scatter_channel(x, input, filter, window, plane, dims);
        }
    });
    y
}

fn scatter_channel<T: Scalar>(
    x: View<'_, T>,
    channel: usize,
    filter: &[T],
    window: &Window,
    plane: &mut [T],
    dims: Dims,
) {
    let [kernel_d, kernel_h, kernel_w] = window.kernel;
    for z in 0..x.shape.dims[0] {
        for y in 0..x.shape.dims[1] {
            let input = x.row(channel, z, y);
            for tap in 0..kernel_d * kernel_h {
                let [tap_z, tap_y] = [tap / kernel_h, tap % kernel_h];
                let z = position(z, window.stride[0], tap_offset(window, 0, tap_z), dims[0]);
                let y = position(y, window.stride[1], tap_offset(window, 1, tap_y), dims[1]);
                let (Some(z), Some(y)) = (z, y) else { continue };
                let row = &mut plane[(z * dims[1] + y) * dims[2]..][..dims[2]];
                scatter_row(input, &filter[tap * kernel_w..][..kernel_w], window, row);
            }
        }
    }
}

fn scatter_row<T: Scalar>(input: &[T], taps: &[T], window: &Window, row: &mut [T]) {
    let stride = window.stride[2];
    for (tap, &weight) in taps.iter().enumerate() {
        let offset = tap_offset(window, 2, tap);
        let range = inside(input.len(), row.len(), stride, offset);
        let Some(start) = position(range.start, stride, offset, row.len()) else { continue };
        let outputs = row[start..].iter_mut().step_by(stride);
        outputs.zip(&input[range]).for_each(|(y, &x)| *y = y.add_product(weight, x));
    }
}

/// Folds every window, leaving out the padding, starting from the first voxel that the window covers.
pub(crate) fn pool<T: Scalar>(
    x: View<'_, T>,
    window: &Window,
    dims: Dims,
    fold: impl Fn(T, T) -> T + Sync,
) -> Vec<T> {
    let volume: usize = dims.iter().product();
    let mut y = vec![T::default(); x.shape.channels * volume];
    y.par_chunks_mut(volume).enumerate().for_each(|(channel, plane)| {
        for (index, value) in plane.iter_mut().enumerate() {
            let at = [index / (dims[1] * dims[2]), index / dims[2] % dims[1], index % dims[2]];
            *value = pool_window(x, channel, window, at, &fold).unwrap_or_default();
        }
    });
    y
}

fn pool_window<T: Scalar>(
    x: View<'_, T>,
    channel: usize,
    window: &Window,
    at: Dims,
    fold: &impl Fn(T, T) -> T,
) -> Option<T> {
    let along = |axis: usize| {
        let limit = x.shape.dims[axis];
        (0..window.kernel[axis]).filter_map(move |tap| {
            position(at[axis], window.stride[axis], tap_offset(window, axis, tap), limit)
        })
    };
    let rows = along(0).flat_map(|z| along(1).map(move |y| (z, y)));
    rows.flat_map(|(z, y)| along(2).map(move |w| x.row(channel, z, y)[w])).reduce(fold)
}

/// α·x² + β·x + γ per channel; weights `[channel, (α, β)]`.
pub(crate) fn quadratic<T: Scalar>(x: View<'_, T>, weights: &[T], bias: &[T]) -> Vec<T> {
    let channels = x.values.chunks(x.shape.volume()).zip(weights.chunks(2)).zip(bias);
    let value =
        |x: T, w: &[T], c: T| c.add_product(w[1], x).add_product(w[0], T::default().add_product(x, x));
    channels.flat_map(|((x, w), &c)| x.iter().map(move |&x| value(x, w, c))).collect()
}

/// The lowest index among the channels with the largest value, per voxel.
pub(crate) fn argmax<T: Scalar>(x: View<'_, T>) -> Vec<usize> {
    let volume = x.shape.volume();
    let best = |voxel: usize| {
        let score = |channel: usize| x.values[channel * volume + voxel];
        (1..x.shape.channels)
            .fold(0, |best, channel| if score(channel) > score(best) { channel } else { best })
    };
    (0..volume).map(best).collect()
}

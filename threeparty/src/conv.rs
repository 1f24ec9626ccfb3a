//! Convolutions, forward and backward, as matrix products over gathered offsets.
//!
//! Functionality: y = Σ w·x + b over a batch `[image, channel, depth, height, width]` with weights
//! `[out, in, kernel…]`; the gradients of x and of w; transposed convolution with weights `[in, out, kernel…]`, as the
//! graph's operators define them. A dense layer is the convolution whose window is the whole image.
//!
//! One message per layer: parties convolve their components locally ([`multiply`](crate::multiply)) and reshare the
//! result, fused with the truncation. The image is zero-padded once; after that element (tap, position) of the im2col
//! matrix stands at offset tap + position, so no matrix but one packed panel ever exists ([`kernels`](crate::kernels)).
//! Transposed convolution runs per phase of its stride, so that no inserted zero is multiplied.
//! The gradient of x is the transposed convolution of the gradient of y with the same weights, whatever the stride.
//! Cost: 32 bytes per output over all parties in the 64-bit ring with truncation by 16, two rounds.
//! Constant time: yes; shapes are public.

use crate::error::Error;
use crate::multiply::Layout;
use crate::party::Party;
use crate::pool::coordinates;
use crate::ring::Ring;
use crate::ring::sealed::Element;
use crate::share::Shares;
use models::{Dims, Shape, Window};

/// A convolution of a batch of images, with its offsets worked out.
#[derive(Clone)]
pub struct Conv {
    /// Images of the batch.
    pub batch: usize,
    /// Shape of one input image.
    pub input: Shape,
    /// Shape of one output image.
    pub output: Shape,
    window: Window,
    padding: Padding,
    forward: Layout,
}

impl Conv {
    /// A convolution to `channels` channels, or `None` where the window does not fit.
    pub fn new(window: Window, input: Shape, channels: usize, batch: usize) -> Option<Self> {
        let output = Shape { channels, dims: window.slide(input.dims)? };
        let padding = Padding::new(input, batch, window.pad_before, window.pad_after);
        let taps = padding.taps(&window);
        let forward = Layout {
            out: (steps(channels, output.volume()), batch_offsets(batch, output)),
            a: (steps(channels, taps.len()), steps(taps.len(), 1)),
            b: (taps, padding.positions(batch, output.dims, window.stride)),
        };
        Some(Self { batch, input, output, window, padding, forward })
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.forward.a.0.len() * self.forward.a.1.len()
    }

    /// Multiply-accumulates of the forward pass, in the clear.
    pub fn products(&self) -> usize {
        self.weights() * self.batch * self.output.volume()
    }

    /// The gradient of the input is a transposed convolution of the output's gradient, with the same weights.
    fn backward(&self) -> ConvTranspose {
        ConvTranspose::onto(self.window, self.output, self.input, self.batch)
    }

    /// The layout of the gradient of the weights.
    fn by_weight(&self) -> Layout {
        let (rows, cols) = self.forward.out.clone();
        let (taps, positions) = self.forward.b.clone();
        Layout { out: self.forward.a.clone(), a: (rows, cols), b: (positions, taps) }
    }
}

/// The same passes on plain numbers, added to `z`: for the twins of training in the clear.
impl Conv {
    /// A batch of outputs that so far are their channel's bias.
    pub(crate) fn spread_bias<T: Element>(&self, bias: &[T]) -> Vec<T> {
        spread(self.batch, self.output, bias)
    }

    /// The sum of a batch of outputs, per channel.
    pub(crate) fn sum_channels<T: Element>(&self, outputs: &[T]) -> impl Iterator<Item = T> {
        let mut sums = vec![T::default(); self.output.channels];
        for (i, voxels) in outputs.chunks(self.output.volume()).enumerate() {
            let sum = &mut sums[i % self.output.channels];
            *sum = voxels.iter().fold(*sum, |sum, &x| sum.plus(x));
        }
        sums.into_iter()
    }

    pub(crate) fn add_forward<T: Element>(&self, z: &mut [T], x: &[T], weights: &[T]) {
        self.forward.product(z, weights, &self.padding.pad_side(x));
    }

    pub(crate) fn add_backward<T: Element>(&self, z: &mut [T], gradient: &[T], weights: &[T]) {
        let plan = self.backward();
        let gradient = plan.padding.pad_side(gradient);
        plan.phases.iter().for_each(|phase| phase.product(z, weights, &gradient));
    }

    pub(crate) fn add_weight_gradient<T: Element>(&self, z: &mut [T], x: &[T], gradient: &[T]) {
        self.by_weight().product(z, gradient, &self.padding.pad_side(x));
    }

    /// This party's additive share of the gradient of the weights.
    pub(crate) fn add_weight_gradient_share<R: Ring>(
        &self,
        z: &mut [R],
        x: &Shares<R>,
        gradient: &Shares<R>,
    ) {
        self.by_weight().accumulate(z, gradient, &self.padding.pad(x));
    }
}

impl Party {
    /// Convolution, bias at the scale of the product, truncation by `shift`. Two rounds; one for shift 0.
    ///
    /// # Panics
    /// If the operands have other sizes than the plan.
    pub fn conv<R: Ring>(
        &mut self,
        plan: &Conv,
        x: &Shares<R>,
        weights: &Shares<R>,
        bias: &Shares<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        assert!(
            weights.len() == plan.weights() && bias.len() == plan.output.channels,
            "weights of another layer"
        );
        let mut z = plan.spread_bias(&bias.own);
        plan.forward.accumulate(&mut z, weights, &plan.padding.pad(x));
        self.reshare_truncated(z, shift)
    }

    /// Gradient of the input from the gradient of the output, truncated by `shift`.
    pub fn conv_backward<R: Ring>(
        &mut self,
        plan: &Conv,
        gradient: &Shares<R>,
        weights: &Shares<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        let mut z = vec![R::default(); plan.batch * plan.input.len()];
        plan.backward().accumulate(&mut z, weights, gradient);
        self.reshare_truncated(z, shift)
    }

    /// Gradient of the weights, summed over the batch, truncated by `shift`.
    pub fn conv_weight_gradient<R: Ring>(
        &mut self,
        plan: &Conv,
        x: &Shares<R>,
        gradient: &Shares<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        let mut z = vec![R::default(); plan.weights()];
        plan.add_weight_gradient_share(&mut z, x, gradient);
        self.reshare_truncated(z, shift)
    }

    /// Transposed convolution, otherwise like [`Party::conv`].
    pub fn conv_transpose<R: Ring>(
        &mut self,
        plan: &ConvTranspose,
        x: &Shares<R>,
        weights: &Shares<R>,
        bias: &Shares<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        let mut z = spread(plan.padding.batch, plan.output, &bias.own);
        plan.accumulate(&mut z, weights, x);
        self.reshare_truncated(z, shift)
    }
}

/// A transposed convolution of a batch of images, as one product per phase of its stride.
#[derive(Clone)]
pub struct ConvTranspose {
    output: Shape,
    padding: Padding,
    phases: Vec<Layout>,
}

impl ConvTranspose {
    /// A transposed convolution of one image to `channels` channels, or `None` where nothing is left of the image.
    pub fn new(window: Window, output_padding: Dims, input: Shape, channels: usize) -> Option<Self> {
        let dims = window.slide_transposed(input.dims, output_padding)?;
        Some(Self::onto(window, input, Shape { channels, dims }, 1))
    }

    /// From images of one shape to images of another; outputs that no tap reaches are zero.
    fn onto(window: Window, input: Shape, output: Shape, batch: usize) -> Self {
        let span: Dims = std::array::from_fn(|axis| window.dilation[axis] * (window.kernel[axis] - 1));
        let extra: Dims = std::array::from_fn(|axis| {
            (output.dims[axis] + window.pad_before[axis]) / window.stride[axis] + 1
        });
        let after = std::array::from_fn(|axis| extra[axis].saturating_sub(input.dims[axis]));
        let padding = Padding::new(input, batch, span, after);
        let phases = coordinates(window.stride)
            .filter_map(|phase| Self::phase(&window, &padding, span, output, phase));
        Self { output, phases: phases.collect(), padding }
    }

    /// Adds this party's additive share of the result to `z`.
    fn accumulate<R: Ring>(&self, z: &mut [R], weights: &Shares<R>, x: &Shares<R>) {
        let x = self.padding.pad(x);
        self.phases.iter().for_each(|phase| phase.accumulate(z, weights, &x));
    }

    /// Output o reads input (o + pad − tap·dilation) / stride where that divides: for the outputs of one phase, the
    /// same taps at the same distances.
    fn phase(window: &Window, padding: &Padding, span: Dims, output: Shape, phase: Dims) -> Option<Layout> {
        let first: Dims = std::array::from_fn(|axis| {
            (phase[axis] + window.stride[axis] - window.pad_before[axis] % window.stride[axis])
                % window.stride[axis]
        });
        let count: Dims = std::array::from_fn(|axis| {
            output.dims[axis].saturating_sub(first[axis]).div_ceil(window.stride[axis])
        });
        let (mut taps, mut offsets) = (Vec::new(), Vec::new());
        for (index, tap) in coordinates(window.kernel).enumerate() {
            let reach: [usize; 3] = std::array::from_fn(|axis| {
                first[axis] + window.pad_before[axis] + span[axis] * window.stride[axis]
                    - tap[axis] * window.dilation[axis]
            });
            if (0..3).all(|axis| reach[axis].is_multiple_of(window.stride[axis])) {
                taps.push(index);
                offsets.push(padding.offset(std::array::from_fn(|axis| reach[axis] / window.stride[axis])));
            }
        }
        let input = padding.input;
        let channels = |stride: usize, inner: &[usize]| -> Vec<usize> {
            (0..input.channels).flat_map(|c| inner.iter().map(move |i| c * stride + i)).collect()
        };
        let grid = |image: usize, place: &dyn Fn(Dims) -> usize| -> Vec<usize> {
            (0..padding.batch).flat_map(|n| coordinates(count).map(move |at| n * image + place(at))).collect()
        };
        let [_, height, width] = output.dims;
        let out = grid(output.len(), &|at| {
            let at: Dims = std::array::from_fn(|axis| first[axis] + at[axis] * window.stride[axis]);
            (at[0] * height + at[1]) * width + at[2]
        });
        let layout = Layout {
            out: (steps(output.channels, output.volume()), out),
            a: (steps(output.channels, window.taps()), channels(output.channels * window.taps(), &taps)),
            b: (
                channels(padding.volume(), &offsets),
                grid(input.channels * padding.volume(), &|at| padding.offset(at)),
            ),
        };
        (!taps.is_empty() && !layout.out.1.is_empty()).then_some(layout)
    }
}

/// A zero-padded batch of images.
#[derive(Clone)]
struct Padding {
    input: Shape,
    batch: usize,
    before: Dims,
    dims: Dims,
}

impl Padding {
    fn new(input: Shape, batch: usize, before: Dims, after: Dims) -> Self {
        let dims = std::array::from_fn(|axis| before[axis] + input.dims[axis] + after[axis]);
        Self { input, batch, before, dims }
    }

    /// Voxels of one padded channel.
    fn volume(&self) -> usize {
        self.dims.iter().product()
    }

    fn offset(&self, at: Dims) -> usize {
        (at[0] * self.dims[1] + at[1]) * self.dims[2] + at[2]
    }

    /// Offsets of `[channel, tap]`.
    fn taps(&self, window: &Window) -> Vec<usize> {
        let offset = |tap: Dims| self.offset(std::array::from_fn(|axis| tap[axis] * window.dilation[axis]));
        let volume = self.volume();
        let of = move |c: usize| coordinates(window.kernel).map(move |tap| c * volume + offset(tap));
        (0..self.input.channels).flat_map(of).collect()
    }

    /// Offsets of `[image, output position]`.
    fn positions(&self, batch: usize, output: Dims, stride: Dims) -> Vec<usize> {
        let offset = |at: Dims| self.offset(std::array::from_fn(|axis| at[axis] * stride[axis]));
        let image = self.input.channels * self.volume();
        (0..batch).flat_map(|n| coordinates(output).map(move |at| n * image + offset(at))).collect()
    }

    fn pad<R: Ring>(&self, x: &Shares<R>) -> Shares<R> {
        assert_eq!(x.len(), self.batch * self.input.len(), "images of another size");
        if self.dims == self.input.dims {
            return x.clone();
        }
        Shares { own: self.pad_side(&x.own), next: self.pad_side(&x.next) }
    }

    fn pad_side<T: Element>(&self, x: &[T]) -> Vec<T> {
        let [depth, height, width] = self.input.dims;
        let mut padded = vec![T::default(); self.batch * self.input.channels * self.volume()];
        for (i, line) in x.chunks_exact(width).enumerate() {
            let (channel, d, h) = (i / height / depth, i / height % depth, i % height);
            let at = self.offset([d + self.before[0], h + self.before[1], self.before[2]]);
            padded[channel * self.volume() + at..][..width].copy_from_slice(line);
        }
        padded
    }
}

fn steps(count: usize, stride: usize) -> Vec<usize> {
    (0..count).map(|i| i * stride).collect()
}

/// Offsets of `[image, voxel]` of the first channel.
fn batch_offsets(batch: usize, shape: Shape) -> Vec<usize> {
    (0..batch).flat_map(|n| (0..shape.volume()).map(move |i| n * shape.len() + i)).collect()
}

/// A batch of outputs that so far are their channel's bias. Own components of a bias give additive shares.
fn spread<T: Element>(batch: usize, output: Shape, bias: &[T]) -> Vec<T> {
    let image = bias.iter().flat_map(|&b| std::iter::repeat_n(b, output.volume()));
    (0..batch).flat_map(|_| image.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use crate::pool::voxel;
    use prg::{Prg, Seed};

    fn random(seed: u8, len: usize) -> Vec<u64> {
        let mut out = vec![0; len];
        Prg::new(&Seed::from_bytes([seed; 16])).fill_u64(&mut out);
        out
    }

    /// Every (output index, input index, weight index) of a convolution: what all passes sum over.
    fn terms(plan: &Conv) -> Vec<(usize, usize, usize)> {
        let (x, y, taps) = (plan.input, plan.output, plan.window.taps());
        let mut terms = Vec::new();
        for n in 0..plan.batch {
            for (i, at) in coordinates(y.dims).enumerate() {
                for (tap, v) in (0..taps).filter_map(|tap| Some((tap, voxel(&plan.window, x.dims, at, tap)?)))
                {
                    for (o, c) in (0..y.channels).flat_map(|o| (0..x.channels).map(move |c| (o, c))) {
                        let output = n * y.len() + o * y.volume() + i;
                        let input = n * x.len() + c * x.volume() + v;
                        terms.push((output, input, (o * x.channels + c) * taps + tap));
                    }
                }
            }
        }
        terms
    }

    fn sum(len: usize, terms: impl Iterator<Item = (usize, u64, u64)>) -> Vec<u64> {
        let mut out = vec![0u64; len];
        terms.for_each(|(i, a, b)| out[i] = out[i].wrapping_add(a.wrapping_mul(b)));
        out
    }

    #[test]
    fn all_passes_equal_schoolbook() {
        let odd = Window { dilation: [1, 2, 1], ..Window::dense([2, 3, 3], [1, 1, 2]) };
        let strided = Window { stride: [1, 2, 3], ..Window::dense([1, 3, 3], [0, 1, 1]) };
        // Strides beyond the kernel leave voxels that nothing reads, at the end too.
        let sparse = Window { stride: [2, 3, 2], dilation: [1, 1, 2], ..Window::dense([1, 2, 2], [0, 1, 0]) };
        let whole = Window::dense([1, 6, 7], [0; 3]);
        let cases = [
            (odd, [3, 6, 7]),
            (Window::dense([1, 3, 3], [0, 1, 1]), [1, 5, 40]),
            (strided, [1, 6, 7]),
            (Window { pad_after: [0, 2, 0], ..strided }, [1, 5, 8]),
            (sparse, [4, 6, 8]),
            (whole, [1, 6, 7]),
        ];
        for (window, dims) in cases {
            let plan = Conv::new(window, Shape { channels: 3, dims }, 5, 2).unwrap();
            let (inputs, outputs) = (2 * plan.input.len(), 2 * plan.output.len());
            let (x, w, g) = (random(1, inputs), random(2, plan.weights()), random(3, outputs));
            let [xs, ws, gs] = [&x, &w, &g].map(|values| deal(values, &Seed::from_os()));
            let bias = deal(&[7u64; 5], &Seed::from_os());
            let [(y, dw, dx), ..] = run(|party| {
                let id = party.id();
                let y = party.conv(&plan, &xs[id], &ws[id], &bias[id], 0)?;
                let dw = party.conv_weight_gradient(&plan, &xs[id], &gs[id], 0)?;
                let dx = party.conv_backward(&plan, &gs[id], &ws[id], 0)?;
                Ok((party.open(&y)?, party.open(&dw)?, party.open(&dx)?))
            })
            .unwrap();
            let terms = terms(&plan);
            let expected = sum(outputs, terms.iter().map(|&(o, i, k)| (o, x[i], w[k])));
            assert!(y.iter().zip(&expected).all(|(&a, &b)| a == b.wrapping_add(7)));
            assert_eq!(dw, sum(w.len(), terms.iter().map(|&(o, i, k)| (k, x[i], g[o]))));
            assert_eq!(dx, sum(inputs, terms.iter().map(|&(o, i, k)| (i, g[o], w[k]))));
        }
    }

    #[test]
    fn transposed_convolution_is_the_gradient_of_a_convolution() {
        let window = |kernel, stride, pad| Window { stride, ..Window::dense(kernel, pad) };
        for (window, output_padding) in [
            (window([1, 2, 2], [1, 2, 2], [0; 3]), [0; 3]),
            (window([2, 3, 3], [2, 2, 2], [0, 1, 1]), [0, 1, 1]),
            (window([1, 2, 3], [1, 3, 1], [0, 0, 2]), [0; 3]),
        ] {
            let input = Shape { channels: 2, dims: [2, 3, 4] };
            let plan = ConvTranspose::new(window, output_padding, input, 3).unwrap();
            // The convolution from the output's grid to the input's, whose gradient this is.
            let conv = Conv::new(window, plan.output, 2, 1).unwrap();
            assert!((0..3).all(|axis| conv.output.dims[axis] >= input.dims[axis]));
            let (x, w) = (random(4, input.len()), random(5, conv.weights()));
            let [xs, ws] = [&x, &w].map(|values| deal(values, &Seed::from_os()));
            let bias = deal(&[0u64; 3], &Seed::from_os());
            let [y, ..] = run(|party| {
                let id = party.id();
                let y = party.conv_transpose(&plan, &xs[id], &ws[id], &bias[id], 0)?;
                party.open(&y)
            })
            .unwrap();
            let terms = terms(&conv);
            let inside = |o: usize| {
                let (channel, at) = (o / conv.output.volume(), o % conv.output.volume());
                let [_, h, w] = conv.output.dims;
                let at = [at / w / h, at / w % h, at % w];
                let [depth, height, width] = input.dims;
                let fits = at[0] < depth && at[1] < height && at[2] < width;
                fits.then(|| ((channel * depth + at[0]) * height + at[1]) * width + at[2])
            };
            let terms = terms.iter().filter_map(|&(o, i, k)| Some((i, x[inside(o)?], w[k])));
            assert_eq!(y, sum(y.len(), terms));
        }
    }
}

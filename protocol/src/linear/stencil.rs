//! Every linear layer is a stencil: a stride-one correlation on a grid.
//!
//! [`Lowering`] turns a convolution of any stride, padding and dilation, and a transposed convolution, into one
//! [`Stencil`] with local rearrangements of shares before and after, so that an engine for homomorphic
//! correlation meets a single form:
//!
//! * `Direct`: stride 1 is a stencil already.
//! * `Polyphase`: stride s reads the s^d phases of its input as further channels, and becomes stride 1. Phases that
//!   no tap reads, as those of a 1×1 kernel but one, are left out.
//! * `Interleave` (BUNET, section on transposed convolution): the share gets zeros between its values and is
//!   correlated with the flipped kernel.
//! * `Phases`: each of the s^d phases of a transposed convolution's output is a small correlation of the plain
//!   input; phases are further output channels, interleaved at the end. No zero is encrypted.
//!
//! Rearrangements permute or zero-fill, so they act on shares of any modulus without communication.

use models::manifest::LayerWeights;
use models::{Dims, Op, Shape, Window};
use zeroize::Zeroizing;

/// y\[o\]\[v\] = Σ_i Σ_t w\[o\]\[i\]\[t\] · x\[i\]\[v + origin + step∘t\] over taps t of the box `kernel`; x is zero outside its grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stencil {
    /// Input channels and grid.
    pub input: Shape,
    /// Output channels and grid.
    pub output: Shape,
    /// Taps per axis.
    pub kernel: Dims,
    /// Distance between taps per axis.
    pub step: Dims,
    /// Where tap 0 reads, relative to the output voxel.
    pub origin: [i64; 3],
}

impl Stencil {
    /// Taps of one kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Distance between the first and the last tap, per axis.
    pub fn span(&self) -> Dims {
        std::array::from_fn(|axis| (self.kernel[axis] - 1) * self.step[axis])
    }
}

/// Integer weights of a stencil: `[output channel][input channel][tap]`, taps row-major over the kernel box.
pub struct StencilWeights {
    inputs: usize,
    taps: usize,
    values: Vec<i32>,
}

impl StencilWeights {
    fn zeros(stencil: &Stencil) -> Self {
        let (inputs, taps) = (stencil.input.channels, stencil.taps());
        Self { inputs, taps, values: vec![0; stencil.output.channels * inputs * taps] }
    }

    /// The taps between one output and one input channel.
    pub fn taps(&self, output: usize, input: usize) -> &[i32] {
        &self.values[(output * self.inputs + input) * self.taps..][..self.taps]
    }

    fn add(&mut self, output: usize, input: usize, tap: usize, weight: i32) {
        self.values[(output * self.inputs + input) * self.taps + tap] += weight;
    }
}

impl Drop for StencilWeights {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.values);
    }
}

/// How a layer becomes a stencil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Direct,
    Polyphase,
    Interleave,
    Phases,
}

/// A linear layer as a stencil, with the rearrangements around it.
#[derive(Clone, Debug)]
pub struct Lowering {
    kind: Kind,
    window: Window,
    input: Shape,
    output: Shape,
    stencil: Stencil,
    /// For `Polyphase`, the phases that taps read, in ascending order.
    read: Vec<usize>,
}

/// Smallest and largest of the offsets that the taps of one axis read at.
struct Reach {
    low: i64,
    high: i64,
}

impl Reach {
    fn of(offsets: impl Iterator<Item = i64>) -> Self {
        offsets.fold(Self { low: i64::MAX, high: i64::MIN }, |reach, offset| Self {
            low: reach.low.min(offset),
            high: reach.high.max(offset),
        })
    }

    fn taps(&self) -> usize {
        (self.high - self.low + 1).max(1) as usize
    }
}

impl Lowering {
    /// A convolution.
    pub fn convolution(window: Window, input: Shape, output: Shape) -> Self {
        if window.stride == [1; 3] {
            let origin = window.pad_before.map(|pad| -(pad as i64));
            let stencil = Stencil { input, output, kernel: window.kernel, step: window.dilation, origin };
            return Self { kind: Kind::Direct, window, input, output, stencil, read: Vec::new() };
        }
        let reach: [Reach; 3] = std::array::from_fn(|axis| {
            Reach::of((0..window.kernel[axis]).map(|tap| conv_phase(&window, axis, tap).1))
        });
        let read = read_phases(&window);
        let dims = std::array::from_fn(|axis| input.dims[axis].div_ceil(window.stride[axis]));
        let stencil = Stencil {
            input: Shape { channels: input.channels * read.len(), dims },
            output,
            kernel: std::array::from_fn(|axis| reach[axis].taps()),
            step: [1; 3],
            origin: std::array::from_fn(|axis| reach[axis].low),
        };
        Self { kind: Kind::Polyphase, window, input, output, stencil, read }
    }

    /// A transposed convolution by correlating the zero-interleaved input.
    pub fn interleave(window: Window, input: Shape, output: Shape) -> Self {
        let dims = std::array::from_fn(|axis| (input.dims[axis] - 1) * window.stride[axis] + 1);
        let origin = std::array::from_fn(|axis| {
            window.pad_before[axis] as i64 - ((window.kernel[axis] - 1) * window.dilation[axis]) as i64
        });
        let stencil = Stencil {
            input: Shape { dims, ..input },
            output,
            kernel: window.kernel,
            step: window.dilation,
            origin,
        };
        Self { kind: Kind::Interleave, window, input, output, stencil, read: Vec::new() }
    }

    /// A transposed convolution by one small correlation per phase of the output.
    pub fn phases(window: Window, input: Shape, output: Shape) -> Self {
        let reach: [Reach; 3] = std::array::from_fn(|axis| {
            let taps = 0..window.kernel[axis];
            let phases = 0..window.stride[axis];
            Reach::of(phases.flat_map(|phase| {
                taps.clone().filter_map(move |tap| transposed_offset(&window, axis, phase, tap))
            }))
        });
        let phases: usize = window.stride.iter().product();
        let dims = std::array::from_fn(|axis| output.dims[axis].div_ceil(window.stride[axis]));
        let stencil = Stencil {
            input,
            output: Shape { channels: output.channels * phases, dims },
            kernel: std::array::from_fn(|axis| reach[axis].taps()),
            step: [1; 3],
            origin: std::array::from_fn(|axis| reach[axis].low),
        };
        Self { kind: Kind::Phases, window, input, output, stencil, read: Vec::new() }
    }

    /// The lowering of a convolution, or of a transposed one by `phases`.
    pub fn of(op: &Op, input: Shape, output: Shape) -> Option<Self> {
        match *op {
            Op::Conv { window, .. } => Some(Self::convolution(window, input, output)),
            Op::ConvTranspose { window, .. } => Some(Self::phases(window, input, output)),
            _ => None,
        }
    }

    /// The stencil.
    pub fn stencil(&self) -> &Stencil {
        &self.stencil
    }

    /// Whether the stencil reads its input in another order than the layer's.
    pub fn rearranges(&self) -> bool {
        matches!(self.kind, Kind::Polyphase | Kind::Interleave)
    }

    /// A share of the layer's input, rearranged to the stencil's input.
    pub fn arrange(&self, values: &[u64]) -> Vec<u64> {
        match self.kind {
            Kind::Direct | Kind::Phases => values.to_vec(),
            Kind::Polyphase => self.split(values),
            Kind::Interleave => {
                let mut wide = vec![0; self.stencil.input.len()];
                for (index, &value) in values.iter().enumerate() {
                    let (channel, at) = locate(index, self.input);
                    let at = std::array::from_fn(|axis| at[axis] * self.window.stride[axis]);
                    wide[position(channel, at, self.stencil.input)] = value;
                }
                wide
            }
        }
    }

    /// Channel (phase, c) of the result holds the voxels of channel c in that phase.
    fn split(&self, values: &[u64]) -> Vec<u64> {
        let mut split = vec![0; self.stencil.input.len()];
        for (index, &value) in values.iter().enumerate() {
            let (channel, at) = locate(index, self.input);
            let (phase, at) = phase_of(at, self.window.stride);
            if let Ok(phase) = self.read.binary_search(&phase) {
                split[position(phase * self.input.channels + channel, at, self.stencil.input)] = value;
            }
        }
        split
    }

    /// A share of the stencil's output, rearranged to the layer's output.
    pub fn restore(&self, values: Vec<u64>) -> Vec<u64> {
        if self.kind != Kind::Phases {
            return values;
        }
        let values = Zeroizing::new(values);
        (0..self.output.len())
            .map(|index| {
                let (channel, at) = locate(index, self.output);
                let (phase, at) = phase_of(at, self.window.stride);
                values[position(phase * self.output.channels + channel, at, self.stencil.output)]
            })
            .collect()
    }

    /// The layer's weights as the stencil's.
    pub fn weights(&self, layer: &LayerWeights) -> StencilWeights {
        if self.kind == Kind::Direct {
            let values = layer.weights.iter().copied().collect();
            return StencilWeights { inputs: self.input.channels, taps: self.stencil.taps(), values };
        }
        let mut weights = StencilWeights::zeros(&self.stencil);
        let kernel = Shape { channels: 1, dims: self.window.kernel };
        let taps = kernel.volume();
        let transposed = matches!(self.kind, Kind::Interleave | Kind::Phases);
        for (index, &weight) in layer.weights.iter().enumerate() {
            let (pair, tap) = (index / taps, locate(index % taps, kernel).1);
            let (output, input) = if transposed {
                (pair % self.output.channels, pair / self.output.channels)
            } else {
                (pair / self.input.channels, pair % self.input.channels)
            };
            self.place(&mut weights, output, input, tap, weight);
        }
        weights
    }

    fn place(&self, weights: &mut StencilWeights, output: usize, input: usize, tap: Dims, weight: i32) {
        let window = &self.window;
        let boxed = Shape { channels: 1, dims: self.stencil.kernel };
        let shifted = |offset: [i64; 3]| {
            let at = std::array::from_fn(|axis| (offset[axis] - self.stencil.origin[axis]) as usize);
            position(0, at, boxed)
        };
        match self.kind {
            Kind::Direct => unreachable!("its weights are taken as they are"),
            Kind::Interleave => {
                let flipped = std::array::from_fn(|axis| window.kernel[axis] - 1 - tap[axis]);
                weights.add(output, input, position(0, flipped, boxed), weight);
            }
            Kind::Polyphase => {
                let phases: [(usize, i64); 3] =
                    std::array::from_fn(|axis| conv_phase(window, axis, tap[axis]));
                let stride = Shape { channels: 1, dims: window.stride };
                let phase = position(0, phases.map(|(phase, _)| phase), stride);
                let phase = self.read.binary_search(&phase).expect("every phase that a tap reads is there");
                let tap = shifted(phases.map(|(_, offset)| offset));
                weights.add(output, phase * self.input.channels + input, tap, weight);
            }
            Kind::Phases => {
                let stride = Shape { channels: 1, dims: window.stride };
                for phase in 0..stride.volume() {
                    let at = locate(phase, stride).1;
                    let offsets: [Option<i64>; 3] =
                        std::array::from_fn(|axis| transposed_offset(window, axis, at[axis], tap[axis]));
                    if let [Some(d), Some(h), Some(w)] = offsets {
                        let channel = phase * self.output.channels + output;
                        weights.add(channel, input, shifted([d, h, w]), weight);
                    }
                }
            }
        }
    }
}

/// Which phase of the input a tap of a strided convolution reads, and at what offset within it.
fn conv_phase(window: &Window, axis: usize, tap: usize) -> (usize, i64) {
    let offset = (tap * window.dilation[axis]) as i64 - window.pad_before[axis] as i64;
    let stride = window.stride[axis] as i64;
    (offset.rem_euclid(stride) as usize, offset.div_euclid(stride))
}

/// The phases (row-major over the stride box) that taps of a strided convolution read.
fn read_phases(window: &Window) -> Vec<usize> {
    let stride = Shape { channels: 1, dims: window.stride };
    let reads =
        |axis: usize, phase| (0..window.kernel[axis]).any(|tap| conv_phase(window, axis, tap).0 == phase);
    (0..stride.volume())
        .filter(|&phase| {
            let at = locate(phase, stride).1;
            (0..3).all(|axis| reads(axis, at[axis]))
        })
        .collect()
}

/// Where a tap of a transposed convolution reads for one phase of the output, if it contributes to it.
fn transposed_offset(window: &Window, axis: usize, phase: usize, tap: usize) -> Option<i64> {
    let distance = (phase + window.pad_before[axis]) as i64 - (tap * window.dilation[axis]) as i64;
    let stride = window.stride[axis] as i64;
    (distance.rem_euclid(stride) == 0).then(|| distance.div_euclid(stride))
}

/// The phase of a voxel (row-major over the stride box) and its place within the phase.
fn phase_of(at: Dims, stride: Dims) -> (usize, Dims) {
    let phase = std::array::from_fn(|axis| at[axis] % stride[axis]);
    let phase = position(0, phase, Shape { channels: 1, dims: stride });
    (phase, std::array::from_fn(|axis| at[axis] / stride[axis]))
}

/// Channel and voxel of a row-major index.
fn locate(index: usize, shape: Shape) -> (usize, Dims) {
    let [_, height, width] = shape.dims;
    let (row, x) = (index / width, index % width);
    let (plane, y) = (row / height, row % height);
    (plane / shape.dims[0], [plane % shape.dims[0], y, x])
}

/// Row-major index of a voxel.
fn position(channel: usize, at: Dims, shape: Shape) -> usize {
    ((channel * shape.dims[0] + at[0]) * shape.dims[1] + at[1]) * shape.dims[2] + at[2]
}

/// The stencil in the clear, on signed integers: the test suites' view of what engines compute.
#[cfg(test)]
pub(crate) fn correlate(stencil: &Stencil, weights: &StencilWeights, input: &[i64]) -> Vec<i64> {
    let boxed = Shape { channels: 1, dims: stencil.kernel };
    (0..stencil.output.len())
        .map(|index| {
            let (output, at) = locate(index, stencil.output);
            let mut sum = 0;
            for channel in 0..stencil.input.channels {
                for (tap, &weight) in weights.taps(output, channel).iter().enumerate() {
                    let tap = locate(tap, boxed).1;
                    let from: [i64; 3] = std::array::from_fn(|axis| {
                        (at[axis] + tap[axis] * stencil.step[axis]) as i64 + stencil.origin[axis]
                    });
                    let inside =
                        (0..3).all(|axis| (0..stencil.input.dims[axis] as i64).contains(&from[axis]));
                    if inside {
                        let from = from.map(|x| x as usize);
                        sum += i64::from(weight) * input[position(channel, from, stencil.input)];
                    }
                }
            }
            sum
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use models::Graph;
    use ndarray::{Array1, ArrayD, IxDyn};
    use prg::{Prg, Seed};

    /// Layers of every kind: 1-D to 3-D, odd extents, strides, paddings, dilations.
    pub(crate) fn layers() -> Vec<(Op, Shape)> {
        let window = |kernel, stride, dilation, pad_before, pad_after| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        };
        let one = [1, 1, 1];
        let conv = |window, channels| Op::Conv { window, channels };
        let transposed =
            |window, output_padding, channels| Op::ConvTranspose { window, output_padding, channels };
        let shape = |channels, dims| Shape { channels, dims };
        vec![
            (conv(Window::dense([1, 1, 5], [0, 0, 2]), 3), shape(2, [1, 1, 13])),
            (conv(Window::dense([1, 3, 3], [0, 1, 1]), 2), shape(3, [1, 7, 9])),
            (conv(Window::dense([3, 3, 3], [1, 1, 1]), 2), shape(2, [5, 4, 3])),
            (conv(Window::dense([1, 1, 1], [0, 0, 0]), 4), shape(3, [1, 5, 6])),
            (conv(Window::dense([1, 3, 3], [0, 0, 0]), 1), shape(1, [1, 6, 5])),
            // One tap in lines of a power of two, whose filters are flat: folded, and too long for one polynomial.
            (conv(Window::dense(one, [0; 3]), 3), shape(5, [1, 16, 16])),
            (conv(Window::dense(one, [0; 3]), 2), shape(3, [2, 64, 40])),
            (conv(window([1, 3, 2], one, [1, 2, 3], [0, 2, 0], [0, 1, 4]), 2), shape(2, [1, 8, 7])),
            (conv(window([1, 3, 3], [1, 2, 2], one, [0, 1, 1], [0, 1, 1]), 3), shape(2, [1, 9, 8])),
            (conv(window(one, [1, 2, 2], one, [0; 3], [0; 3]), 3), shape(2, [1, 7, 6])),
            (conv(window([3, 2, 1], [2, 3, 1], [1, 2, 1], [2, 0, 0], [1, 2, 0]), 2), shape(2, [6, 8, 3])),
            (conv(window([1, 1, 7], [1, 1, 4], one, [0, 0, 5], [0, 0, 0]), 1), shape(1, [1, 1, 21])),
            (transposed(window([1, 2, 2], [1, 2, 2], one, [0; 3], [0; 3]), [0; 3], 2), shape(3, [1, 4, 5])),
            (transposed(window([2, 2, 2], [2, 2, 2], one, [0; 3], [0; 3]), [0; 3], 2), shape(2, [2, 3, 4])),
            (
                transposed(window([1, 3, 3], [1, 2, 2], one, [0, 1, 1], [0, 1, 1]), [0, 1, 1], 2),
                shape(2, [1, 5, 4]),
            ),
            (
                transposed(window([1, 1, 3], [1, 1, 2], [1, 1, 2], [0, 0, 1], [0, 0, 0]), [0, 0, 1], 1),
                shape(2, [1, 1, 6]),
            ),
            (transposed(Window::dense([1, 3, 3], [0, 1, 1]), [0; 3], 2), shape(1, [1, 4, 4])),
        ]
    }

    pub(crate) fn output(op: &Op, input: Shape) -> Shape {
        let rank = (0..3).find(|&axis| input.dims[axis] > 1).map_or(1, |axis| 3 - axis);
        let mut graph = Graph::new(rank, input).unwrap();
        let id = graph.push("layer", op.clone(), vec![0]).unwrap();
        graph.node(id).shape
    }

    pub(crate) fn random_layer(op: &Op, input: Shape, output: Shape, prg: &mut Prg) -> LayerWeights {
        let dims = IxDyn(&op.weight_shape(input.channels).expect("a layer with weights"));
        let weights = ArrayD::from_shape_simple_fn(dims, || (prg.next_u64() % 255) as i32 - 127);
        let bias = Array1::from_shape_simple_fn(output.channels, || (prg.next_u64() % 2001) as i64 - 1000);
        LayerWeights { weights, bias }
    }

    /// The definition, scattering every input voxel through the kernel, independent of the lowering.
    pub(crate) fn direct(op: &Op, input: Shape, output: Shape, layer: &LayerWeights, x: &[i64]) -> Vec<i64> {
        let (window, transposed) = match *op {
            Op::Conv { window, .. } => (window, false),
            Op::ConvTranspose { window, .. } => (window, true),
            _ => unreachable!("a linear layer"),
        };
        let mut y = vec![0; output.len()];
        for (index, &value) in x.iter().enumerate() {
            let (i, at) = locate(index, input);
            for (tap, _) in (0..window.taps()).enumerate() {
                let t = locate(tap, Shape { channels: 1, dims: window.kernel }).1;
                let target: [Option<usize>; 3] = std::array::from_fn(|axis| {
                    let tap = (t[axis] * window.dilation[axis]) as i64;
                    let (pad, stride) = (window.pad_before[axis] as i64, window.stride[axis] as i64);
                    let at = at[axis] as i64;
                    let to = if transposed {
                        at * stride + tap - pad
                    } else {
                        let to = at + pad - tap;
                        if to.rem_euclid(stride) != 0 {
                            return None;
                        }
                        to.div_euclid(stride)
                    };
                    (0..output.dims[axis] as i64).contains(&to).then_some(to as usize)
                });
                if let [Some(d), Some(h), Some(w)] = target {
                    for o in 0..output.channels {
                        let pair = if transposed { [i, o] } else { [o, i] };
                        let weight = layer.weights[IxDyn(&[pair[0], pair[1], t[0], t[1], t[2]])];
                        y[position(o, [d, h, w], output)] += i64::from(weight) * value;
                    }
                }
            }
        }
        y
    }

    #[test]
    fn every_lowering_equals_the_definition() {
        let mut prg = Prg::new(&Seed::from_bytes([4; 16]));
        for (op, input) in layers() {
            let output = output(&op, input);
            let layer = random_layer(&op, input, output, &mut prg);
            let x: Vec<i64> = (0..input.len()).map(|_| (prg.next_u64() % 201) as i64 - 100).collect();
            let expected = direct(&op, input, output, &layer, &x);
            let mut lowerings = vec![Lowering::of(&op, input, output).unwrap()];
            if let Op::ConvTranspose { window, .. } = op {
                lowerings.push(Lowering::interleave(window, input, output));
            }
            for lowering in lowerings {
                let residues: Vec<u64> = x.iter().map(|&x| x as u64).collect();
                let arranged: Vec<i64> = lowering.arrange(&residues).iter().map(|&x| x as i64).collect();
                let y = correlate(lowering.stencil(), &lowering.weights(&layer), &arranged);
                let y = lowering.restore(y.iter().map(|&y| y as u64).collect());
                let y: Vec<i64> = y.iter().map(|&y| y as i64).collect();
                assert_eq!(y, expected, "{op:?} on {input:?} by {:?}", lowering.kind);
            }
        }
    }
}

//! The operators of a network.

use crate::graph::{Dims, MAX_VALUES, Shape, Window};
use crate::resample::Resample;
use serde::{Deserialize, Serialize};

/// The largest kernel, stride, dilation or padding.
const MAX_WINDOW: usize = 1 << 16;

/// Most labels of an argmax.
const MAX_LABELS: usize = 1 << 16;

/// What a node computes. On integers the meaning is exact, see `reference`; on floats, shifts are zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The image.
    Input,
    /// y = Σ w·x + b, as ONNX `Conv` with one group. Weights are `[out, in, kernel…]`.
    Conv {
        /// Geometry.
        window: Window,
        /// Output channels.
        channels: usize,
    },
    /// As ONNX `ConvTranspose` with one group. Weights are `[in, out, kernel…]`.
    ConvTranspose {
        /// Geometry.
        window: Window,
        /// Extra extent at the far end.
        output_padding: Dims,
        /// Output channels.
        channels: usize,
    },
    /// y = max(0, ⌊(x + 2^(shift−1)) / 2^shift⌋); with shift 0, y = max(0, x).
    Relu {
        /// Bits truncated.
        shift: u32,
    },
    /// y = x where x > 0, slope·x elsewhere. In float networks only: on integers it is a truncation, a ReLU and a
    /// weighted sum of the two.
    LeakyRelu {
        /// The slope of negative values, from −2 to 2; public.
        slope: f32,
    },
    /// y = x².
    Square,
    /// y = α·x² + β·x + γ with trained coefficients per channel. Weights are `[channels, 2]`: α, then β at the scale of
    /// α·x²; γ is the bias.
    Quadratic,
    /// The product of two inputs, value by value.
    Mul,
    /// y = ⌊(x + 2^(shift−1)) / 2^shift⌋, that is half up.
    Truncate {
        /// Bits truncated, at least 1.
        shift: u32,
    },
    /// y = x · 2^shift: raises the number of fractional bits, without communication.
    Raise {
        /// Bits added.
        shift: u32,
    },
    /// y = factor·x / 2^shift by public numbers. On integers factor·x: the division is folded into the scale.
    Scale {
        /// The factor, below 2^30 in magnitude.
        factor: i64,
        /// Fractional bits of the factor.
        shift: u32,
    },
    /// On integers the *sum* over the window, padding counting as zero: the division is folded into the scale
    /// ([`Edge`](crate::Edge)). On floats the average, padding included in the count.
    AvgPool {
        /// Geometry.
        window: Window,
    },
    /// The largest value of the window; padding never wins.
    MaxPool {
        /// Geometry.
        window: Window,
    },
    /// A public linear map along one axis: padding, cropping, interpolation. On integers the sums without the division,
    /// which is folded into the scale as for average pooling.
    Resample(Resample),
    /// The channels of all inputs, one after the other.
    Concat,
    /// The sum of all inputs.
    Add,
    /// The lowest index among the channels with the largest value.
    ArgMax,
    /// 1 where the only channel exceeds `at`, else 0.
    Threshold {
        /// The limit, in units of the input edge.
        at: i64,
    },
}

impl Op {
    /// Whether the node carries weights.
    pub fn has_weights(&self) -> bool {
        matches!(self, Self::Conv { .. } | Self::ConvTranspose { .. } | Self::Quadratic)
    }

    /// Output channels that an operator with weights states.
    pub fn output_channels(&self) -> Option<usize> {
        match *self {
            Self::Conv { channels, .. } | Self::ConvTranspose { channels, .. } => Some(channels),
            _ => None,
        }
    }

    /// Shape of the weights on an input of `inputs` channels: `[out, in, …]`, for a transposed convolution
    /// `[in, out, …]`, for a quadratic `[channels, 2, 1, 1, 1]`.
    pub fn weight_shape(&self, inputs: usize) -> Option<[usize; 5]> {
        match *self {
            Self::Conv { window: Window { kernel: [d, h, w], .. }, channels } => {
                Some([channels, inputs, d, h, w])
            }
            Self::ConvTranspose { window: Window { kernel: [d, h, w], .. }, channels, .. } => {
                Some([inputs, channels, d, h, w])
            }
            Self::Quadratic => Some([inputs, 2, 1, 1, 1]),
            _ => None,
        }
    }

    /// Whether the node turns scores into labels for the data holder.
    pub fn is_readout(&self) -> bool {
        matches!(self, Self::ArgMax | Self::Threshold { .. })
    }

    /// The name of the kind of operator.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv { .. } => "conv",
            Self::ConvTranspose { .. } => "conv_transpose",
            Self::Relu { .. } => "relu",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Square => "square",
            Self::Quadratic => "quadratic",
            Self::Mul => "mul",
            Self::Truncate { .. } => "truncate",
            Self::Raise { .. } => "raise",
            Self::Scale { .. } => "scale",
            Self::AvgPool { .. } => "avg_pool",
            Self::MaxPool { .. } => "max_pool",
            Self::Resample(_) => "resample",
            Self::Concat => "concat",
            Self::Add => "add",
            Self::ArgMax => "argmax",
            Self::Threshold { .. } => "threshold",
        }
    }

    /// Refuses windows and weights too large to be meant, so that no later product overflows.
    fn check_window(&self, inputs: usize) -> Result<(), String> {
        let (Self::Conv { window, .. }
        | Self::ConvTranspose { window, .. }
        | Self::AvgPool { window }
        | Self::MaxPool { window }) = self
        else {
            return Ok(());
        };
        let extents = [window.kernel, window.stride, window.dilation, window.pad_before, window.pad_after];
        if extents.iter().flatten().any(|&extent| extent > MAX_WINDOW) {
            return Err(format!("its window exceeds {MAX_WINDOW} along an axis"));
        }
        let channels = self.output_channels().unwrap_or(1);
        match channels.checked_mul(inputs).and_then(|pairs| pairs.checked_mul(window.taps())) {
            Some(0..=MAX_VALUES) => Ok(()),
            _ => Err("it has too many weights".into()),
        }
    }

    /// The shape of an operator's value, or why there is none.
    pub fn infer(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let arity = match self {
            Self::Input => return Err("a graph has one input".into()),
            Self::Concat | Self::Add => 2..=usize::MAX,
            Self::Mul => 2..=2,
            _ => 1..=1,
        };
        if !arity.contains(&inputs.len()) {
            return Err(format!("{} inputs do not fit a {}", inputs.len(), self.kind()));
        }
        let first = inputs[0];
        self.check_window(first.channels)?;
        let no_fit = |dims: Dims| format!("its window does not fit an input of {dims:?}");
        match *self {
            Self::Resample(ref map) => map.infer(first),
            Self::Conv { window, channels } => {
                Ok(Shape { channels, dims: window.slide(first.dims).ok_or_else(|| no_fit(first.dims))? })
            }
            Self::ConvTranspose { window, output_padding, channels } => {
                let dims =
                    window.slide_transposed(first.dims, output_padding).ok_or_else(|| no_fit(first.dims))?;
                Ok(Shape { channels, dims })
            }
            Self::AvgPool { window } | Self::MaxPool { window } => {
                window.check_covers_input()?;
                Ok(Shape { dims: window.slide(first.dims).ok_or_else(|| no_fit(first.dims))?, ..first })
            }
            Self::Concat => {
                if inputs.iter().any(|shape| shape.dims != first.dims) {
                    return Err(format!(
                        "its inputs differ in extent: {:?}",
                        inputs.iter().map(|s| s.dims).collect::<Vec<_>>()
                    ));
                }
                Ok(Shape { channels: inputs.iter().map(|shape| shape.channels).sum(), ..first })
            }
            Self::Add | Self::Mul if inputs.iter().any(|&shape| shape != first) => {
                Err("its inputs differ in shape".into())
            }
            Self::ArgMax if !(2..=MAX_LABELS).contains(&first.channels) => {
                Err(format!("argmax over {} channels; 2 to {MAX_LABELS} are possible", first.channels))
            }
            Self::Threshold { .. } if first.channels != 1 => Err("a threshold reads one channel".into()),
            Self::ArgMax | Self::Threshold { .. } => Ok(Shape { channels: 1, ..first }),
            Self::Truncate { shift: 0 } => Err("a truncation takes off at least one bit".into()),
            Self::Relu { shift } | Self::Truncate { shift } | Self::Raise { shift } if shift > 40 => {
                Err(format!("a shift by {shift} bits; 40 is the most"))
            }
            Self::Scale { factor, shift } if shift > 30 || factor.unsigned_abs() >= 1 << 30 => {
                Err(format!("a factor of {factor} / 2^{shift}; 30 bits are the most"))
            }
            Self::LeakyRelu { slope } if !(-2.0..=2.0).contains(&slope) => {
                Err(format!("a slope of {slope}; −2 to 2 are possible"))
            }
            Self::Input
            | Self::Relu { .. }
            | Self::LeakyRelu { .. }
            | Self::Square
            | Self::Quadratic
            | Self::Mul
            | Self::Scale { .. }
            | Self::Truncate { .. }
            | Self::Raise { .. }
            | Self::Add => Ok(first),
        }
    }
}

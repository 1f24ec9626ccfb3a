//! Average pooling as window sums; the division is folded into the scale of the edge.

pub mod rotation;

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::manifest::LayerWeights;
use models::{Dims, Op, Shape, Window};

/// Window sums of shares: no communication. The default.
pub struct LocalAverage;

impl Strategy for LocalAverage {
    fn name(&self) -> &'static str {
        "local"
    }

    fn operator(&self) -> Operator {
        Operator::AveragePool
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        match site.node.op {
            Op::AvgPool { window } => {
                Ok(Box::new(LocalAverageStep { window, input: site.inputs[0], output: site.node.shape }))
            }
            _ => Err(Refusal("is no average pooling".into())),
        }
    }
}

struct LocalAverageStep {
    window: Window,
    input: Shape,
    output: Shape,
}

impl LocalAverageStep {
    fn sum(&self, share: &Share) -> Vec<u64> {
        let modulus = share.modulus;
        let mut sums = Vec::with_capacity(self.output.len());
        for channel in 0..self.output.channels {
            for_each_window(&self.window, self.input.dims, self.output.dims, |voxels| {
                let base = channel * self.input.volume();
                let values = voxels.iter().map(|voxel| share.values[base + voxel]);
                sums.push(values.fold(0, |sum, x| modulus.add(sum, x)));
            });
        }
        sums
    }
}

impl Step for LocalAverageStep {
    fn describe(&self) -> String {
        format!("local sums {:?}", self.window)
    }

    fn cost(&self) -> Cost {
        Cost::default()
    }

    fn alice(&self, _: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        Ok(self.sum(inputs[0]))
    }

    fn bob(
        &self,
        _: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        Ok(self.sum(inputs[0]))
    }
}

/// Calls `body` for every window in order, with the row-major indices of its voxels that lie on the grid.
pub(crate) fn for_each_window(window: &Window, input: Dims, output: Dims, mut body: impl FnMut(&[usize])) {
    let axis = |axis: usize, at: usize| {
        (0..window.kernel[axis]).filter_map(move |tap| {
            (at * window.stride[axis] + tap * window.dilation[axis])
                .checked_sub(window.pad_before[axis])
                .filter(|&x| x < input[axis])
        })
    };
    let mut voxels = Vec::with_capacity(window.taps());
    for d in 0..output[0] {
        for h in 0..output[1] {
            for w in 0..output[2] {
                voxels.clear();
                for z in axis(0, d) {
                    for y in axis(1, h) {
                        voxels.extend(axis(2, w).map(|x| (z * input[1] + y) * input[2] + x));
                    }
                }
                body(&voxels);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, moduli, run_layer, values_below};
    use ntt::Modulus;
    use prg::{Prg, Seed};

    /// Windows of every kind: powers of two and not, overlapping, padded, dilated, on odd extents.
    fn pools() -> Vec<(Window, Shape)> {
        let shape = |channels, dims| Shape { channels, dims };
        let padded = Window {
            kernel: [1, 3, 3],
            stride: [1, 2, 2],
            dilation: [1; 3],
            pad_before: [0, 1, 1],
            pad_after: [0, 1, 0],
        };
        let dilated = Window {
            kernel: [2, 1, 5],
            stride: [1, 1, 3],
            dilation: [2, 1, 2],
            pad_before: [0; 3],
            pad_after: [0; 3],
        };
        vec![
            (Window::tiling([1, 1, 2]), shape(3, [1, 1, 15])),
            (Window::tiling([1, 2, 2]), shape(2, [1, 100, 130])),
            (Window::tiling([2, 2, 2]), shape(2, [6, 5, 4])),
            (padded, shape(2, [1, 9, 8])),
            (dilated, shape(1, [5, 3, 17])),
        ]
    }

    #[test]
    fn sums_of_shares_equal_the_integer_reference() {
        let mut prg = Prg::new(&Seed::from_bytes([51; 16]));
        for modulus in moduli() {
            for (window, shape) in pools() {
                let values = values_below(700, shape.len(), &mut prg);
                let layer = Layer::shaped(Op::AvgPool { window }, shape, &values, modulus, modulus);
                run_layer(&LocalAverage, layer, &mut prg).assert_exact();
            }
        }
    }

    #[test]
    fn rotated_sums_equal_the_integer_reference() {
        let mut prg = Prg::new(&Seed::from_bytes([52; 16]));
        let modulus = Modulus::prime(737_281).unwrap();
        for (window, shape) in pools() {
            let values = values_below(30_000, shape.len(), &mut prg);
            let layer = Layer::shaped(Op::AvgPool { window }, shape, &values, modulus, modulus);
            run_layer(&rotation::Rotation, layer, &mut prg).assert_exact();
        }
    }
}

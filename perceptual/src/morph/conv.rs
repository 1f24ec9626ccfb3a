//! The first convolution as a matrix (algorithm 1) times M⁻¹ (algorithm 3), in blocks.
//!
//! C has a row per input value and a column per output value (channel, voxel), and is zero but for αp² entries per
//! column. Rows of one block of M meet only the output voxels whose window reaches into the block: per block, C_ac is a
//! dense matrix of q × (channels · those voxels), and zero elsewhere. That is all that is stored; and where M repeats one
//! block, blocks that the windows reach in the same way (all but those at the borders, if q divides the width) share
//! one matrix.

use crate::error::{PerceptualError, Result};
use crate::morph::key::MorphKey;
use models::graph::{Shape, Window};
use nalgebra::DMatrix;
use ndarray::{Array4, ArrayView1, ArrayView5};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Largest distance from an integer at which a sum is still rounded.
pub const ROUNDING_LIMIT: f64 = 0.25;

/// Most stored entries of C_ac: 2 GiB.
const MAX_ENTRIES: usize = 1 << 28;

/// C_ac of one block of M.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    /// Output voxels that the block meets, ascending.
    pub(crate) voxels: Vec<usize>,
    /// Index of its q × (channels · voxels) matrix, voxels fastest.
    pub(crate) matrix: usize,
}

/// The augmented convolution C_ac with its bias, channels in secret order: what the server holds.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedConv {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(crate) blocks: Vec<Block>,
    pub(crate) matrices: Vec<DMatrix<f64>>,
    pub(crate) bias: Vec<f64>,
    /// Sums are integers: they are rounded.
    pub(crate) exact: bool,
}

/// A convolution, as [`AugmentedConv::new`] reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv<'a> {
    pub(crate) window: &'a Window,
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(crate) weights: ArrayView5<'a, f64>,
}

/// Per output voxel that rows `rows` of C meet, the taps: (row, input channel, tap).
fn reached(
    window: &Window,
    input: Shape,
    output: Shape,
    rows: Range<usize>,
) -> BTreeMap<usize, Vec<(usize, usize, usize)>> {
    let mut voxels: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for row in rows {
        let (channel, voxel) = (row / input.volume(), row % input.volume());
        for tap in 0..window.taps() {
            if let Some(target) = target(window, input, output, voxel, tap) {
                voxels.entry(target).or_default().push((row, channel, tap));
            }
        }
    }
    voxels
}

/// The output voxel that reads input voxel `voxel` through `tap`.
fn target(window: &Window, input: Shape, output: Shape, voxel: usize, tap: usize) -> Option<usize> {
    let (at, tap) = (split(voxel, input.dims), split(tap, window.kernel));
    let mut target = [0; 3];
    for axis in 0..3 {
        let shifted = (at[axis] + window.pad_before[axis]).checked_sub(tap[axis] * window.dilation[axis])?;
        if !shifted.is_multiple_of(window.stride[axis]) {
            return None;
        }
        target[axis] = shifted / window.stride[axis];
        if target[axis] >= output.dims[axis] {
            return None;
        }
    }
    Some((target[0] * output.dims[1] + target[1]) * output.dims[2] + target[2])
}

fn split(index: usize, [_, height, width]: [usize; 3]) -> [usize; 3] {
    [index / (height * width), index / width % height, index % width]
}

impl Conv<'_> {
    /// How the windows reach rows `rows` of C.
    fn reach(&self, rows: Range<usize>) -> Reach {
        let start = rows.start;
        let reached = reached(self.window, self.input, self.output, rows);
        let relative = |(row, channel, tap): (usize, usize, usize)| (row - start, channel, tap);
        let taps = reached.values().map(|taps| taps.iter().copied().map(relative).collect()).collect();
        Reach { voxels: reached.into_keys().collect(), taps }
    }

    /// Rows `rows` of C on the voxels they meet; channels in the order given.
    pub(crate) fn rows(&self, rows: Range<usize>, order: &[usize]) -> (Vec<usize>, DMatrix<f64>) {
        let identity = DMatrix::identity(rows.len(), rows.len());
        let reach = self.reach(rows);
        (reach.voxels, self.multiply(&reach.taps, order, &identity))
    }

    /// `inverse` times the rows of C that windows reach as `taps` say.
    fn multiply(&self, taps: &Taps, order: &[usize], inverse: &DMatrix<f64>) -> DMatrix<f64> {
        let mut matrix = DMatrix::zeros(inverse.nrows(), order.len() * taps.len());
        let width = taps.len();
        for (place, &channel) in order.iter().enumerate() {
            for (index, taps) in taps.iter().enumerate() {
                let mut column = matrix.column_mut(place * width + index);
                for &(row, from, tap) in taps {
                    let [z, y, x] = split(tap, self.window.kernel);
                    let weight = self.weights[[channel, from, z, y, x]];
                    column.axpy(weight, &inverse.column(row), 1.0);
                }
            }
        }
        matrix
    }
}

/// Per output voxel, the taps through which it reads: (row within the block, input channel, tap).
type Taps = Vec<Vec<(usize, usize, usize)>>;

/// Which output voxels a block meets, and how.
struct Reach {
    voxels: Vec<usize>,
    taps: Taps,
}

impl AugmentedConv {
    /// C_ac = M⁻¹·C with channels in the order given.
    pub(crate) fn new(
        conv: Conv<'_>,
        bias: ArrayView1<'_, f64>,
        order: &[usize],
        key: &MorphKey,
        exact: bool,
    ) -> Result<Self> {
        key.check(conv.input.to_array())?;
        let block = key.block();
        let reaches: Vec<Reach> = (0..key.kappa())
            .into_par_iter()
            .map(|index| conv.reach(index * block..(index + 1) * block))
            .collect();
        let (blocks, taps) = share(reaches, key.distinct());
        let entries = taps.iter().map(|(taps, _)| taps.len()).sum::<usize>() * block * order.len();
        if entries > MAX_ENTRIES {
            let gib = entries as f64 * 8.0 / (1_u64 << 30) as f64;
            let reason = format!(
                "the augmented convolution would take {gib:.1} GiB; smaller blocks (a larger morphing factor), one \
                 repeated block, and a side that divides the image's width make it smaller"
            );
            return Err(PerceptualError::Parameters(reason));
        }
        let inverses: Vec<_> = (0..key.distinct()).into_par_iter().map(|index| key.inverse(index)).collect();
        let matrices =
            taps.par_iter().map(|(taps, index)| conv.multiply(taps, order, &inverses[*index])).collect();
        let bias = order.iter().map(|&channel| bias[channel]).collect();
        Ok(Self { input: conv.input, output: conv.output, blocks, matrices, bias, exact })
    }

    /// round(T·C_ac) + bias, for a network of integers.
    ///
    /// # Errors
    /// If T has another length, or a sum lies too far from an integer: T was made with another key.
    pub fn apply(&self, morphed: &[f64]) -> Result<Array4<i64>> {
        self.check(morphed)?;
        let (sums, off) = self.sums(morphed);
        if off.is_nan() || off > ROUNDING_LIMIT {
            return Err(PerceptualError::WrongKey { what: "morphed image".into() });
        }
        Ok(self.biased(sums.into_iter().map(f64::round).collect()).mapv(|value| value as i64))
    }

    /// T·C_ac + bias, for a network of floats.
    ///
    /// # Errors
    /// If T has another length.
    pub fn values(&self, morphed: &[f64]) -> Result<Array4<f64>> {
        self.check(morphed)?;
        Ok(self.biased(self.sums(morphed).0))
    }

    fn check(&self, morphed: &[f64]) -> Result<()> {
        if morphed.len() == self.input.len() {
            return Ok(());
        }
        let expected = format!("morphed images of {} values", self.input.len());
        Err(PerceptualError::Mismatch { expected, found: format!("one of {}", morphed.len()) })
    }

    fn biased(&self, mut sums: Vec<f64>) -> Array4<f64> {
        let volume = self.output.volume();
        sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += self.bias[i / volume]);
        Array4::from_shape_vec(self.output.to_array(), sums).expect("as many sums as the output has values")
    }

    /// T·C_ac, and its largest distance from an integer.
    pub fn sums(&self, morphed: &[f64]) -> (Vec<f64>, f64) {
        let volume = self.output.volume();
        let block = morphed.len() / self.blocks.len();
        let mut sums = vec![0.0; self.output.len()];
        sums.par_chunks_mut(volume).enumerate().for_each(|(channel, plane)| {
            for (values, part) in morphed.chunks(block).zip(&self.blocks) {
                let matrix = self.matrices[part.matrix].as_slice();
                for (index, &voxel) in part.voxels.iter().enumerate() {
                    let column = &matrix[(channel * part.voxels.len() + index) * block..][..block];
                    plane[voxel] += dot(values, column);
                }
            }
        });
        let off = sums
            .iter()
            .map(|sum| (sum - sum.round()).abs())
            .fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
        (sums, off)
    }

    /// Entries of C_ac that are stored and sent, 8 bytes each.
    pub fn entries(&self) -> usize {
        self.matrices.iter().map(DMatrix::len).sum()
    }

    /// Products per scan.
    pub fn products(&self) -> usize {
        self.blocks.iter().map(|block| self.matrices[block.matrix].len()).sum()
    }
}

/// Gives blocks that are reached in the same way under the same block of M one matrix; the second result says, per
/// matrix, how it is reached and which block of M it belongs to.
fn share(reaches: Vec<Reach>, distinct: usize) -> (Vec<Block>, Vec<(Taps, usize)>) {
    let mut known: HashMap<(Taps, usize), usize> = HashMap::new();
    let mut blocks = Vec::new();
    for (index, Reach { voxels, taps }) in reaches.into_iter().enumerate() {
        let next = known.len();
        let matrix = *known.entry((taps, index % distinct)).or_insert(next);
        blocks.push(Block { voxels, matrix });
    }
    let mut taps: Vec<_> = known.into_iter().collect();
    taps.sort_unstable_by_key(|&(_, matrix)| matrix);
    (blocks, taps.into_iter().map(|(reach, _)| reach).collect())
}

/// Eight partial sums, so that the compiler can keep them in vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, rest_a) = a.as_chunks::<8>();
    let (b, rest_b) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;
    use crate::morph::key::Blocks;
    use models::graph::Op;
    use models::manifest::LayerWeights;
    use models::reference::eval_node;
    use ndarray::{Array1, Array5};

    fn check(window: Window, input: Shape, channels: usize, kappa: usize, blocks: Blocks) {
        let op = Op::Conv { window, channels };
        let output = op.infer(&[input]).unwrap();
        let [o, i, d, h, w] = op.weight_shape(input.channels).unwrap();
        let mut state = 17_i64;
        let mut next = |span: i64| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            state % span - span / 2
        };
        let weights = Array5::from_shape_fn((o, i, d, h, w), |_| next(255) as i32);
        let bias = Array1::from_shape_fn(o, |_| next(1 << 20));
        let image = Array4::from_shape_fn(input.to_array(), |_| next(4096));
        let key = MorphKey::new(MasterKey::from_bytes([9; 16]), input, kappa, blocks).unwrap();
        let order = key.channel_order(channels);
        let floats = weights.mapv(f64::from);
        let conv = Conv { window: &window, input, output, weights: floats.view() };
        let augmented = AugmentedConv::new(conv, bias.mapv(|b| b as f64).view(), &order, &key, true).unwrap();
        assert!(augmented.entries() <= augmented.products());
        let morphed = key.morph(&image.mapv(|v| v as f64)).unwrap();
        assert!(augmented.sums(&morphed).1 < 1e-6);
        let found = augmented.apply(&morphed).unwrap();
        let plain =
            eval_node(&op, &[&image], Some(&LayerWeights { weights: weights.into_dyn(), bias })).unwrap();
        for (place, &channel) in order.iter().enumerate() {
            assert_eq!(
                found.index_axis(ndarray::Axis(0), place),
                plain.index_axis(ndarray::Axis(0), channel)
            );
        }
        let other = MorphKey::new(MasterKey::from_bytes([8; 16]), input, kappa, blocks).unwrap();
        let wrong = other.morph(&image.mapv(|v| v as f64)).unwrap();
        assert!(matches!(augmented.apply(&wrong), Err(PerceptualError::WrongKey { .. })));
        assert!(matches!(augmented.apply(&wrong[1..]), Err(PerceptualError::Mismatch { .. })));
    }

    #[test]
    fn the_augmented_convolution_is_exact() {
        let same = Window::dense([1, 3, 3], [0, 1, 1]);
        check(same, Shape { channels: 3, dims: [1, 8, 10] }, 5, 24, Blocks::Repeated);
        check(same, Shape { channels: 2, dims: [1, 8, 8] }, 4, 1, Blocks::Repeated);
        check(same, Shape { channels: 1, dims: [1, 8, 12] }, 4, 8, Blocks::Independent);
        let strided = Window {
            kernel: [1, 5, 4],
            stride: [1, 2, 3],
            dilation: [1, 2, 1],
            pad_before: [0, 3, 0],
            pad_after: [0, 2, 1],
        };
        check(strided, Shape { channels: 2, dims: [1, 15, 16] }, 3, 10, Blocks::Repeated);
        check(
            Window::dense([3; 3], [1; 3]),
            Shape { channels: 1, dims: [6, 4, 8] },
            4,
            12,
            Blocks::Independent,
        );
    }

    #[test]
    fn repeated_blocks_share_what_is_stored() {
        let (window, input) = (Window::dense([1, 3, 3], [0, 1, 1]), Shape { channels: 1, dims: [1, 64, 64] });
        let output = Shape { channels: 2, ..input };
        let weights = Array5::from_elem((2, 1, 1, 3, 3), 1.0);
        let conv = Conv { window: &window, input, output, weights: weights.view() };
        let key = MorphKey::new(MasterKey::from_bytes([9; 16]), input, 256, Blocks::Repeated).unwrap();
        let augmented = AugmentedConv::new(conv, Array1::zeros(2).view(), &[1, 0], &key, true).unwrap();
        // Left, middle and right, each at the top, in between and at the bottom.
        assert_eq!((augmented.blocks.len(), augmented.matrices.len()), (256, 9));
        assert_eq!(augmented.matrices[augmented.blocks[70].matrix].shape(), (16, 2 * 3 * 18));
    }
}

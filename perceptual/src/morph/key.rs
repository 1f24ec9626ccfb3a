//! The morphing key: block diagonal M and the order of the first layer's output channels (algorithm 2).
//!
//! A block is U·S·V with U, V orthogonal (from Householder QR of Gaussian matrices) and S diagonal with entries
//! between 1 and [`CONDITION`], log-uniform with random signs: its condition number is at most `CONDITION` and its inverse
//! is Vᵀ·S⁻¹·Uᵀ, with no elimination and no chance of a singular matrix.

use crate::error::{PerceptualError, Result};
use crate::keys::{MasterKey, write_private};
use models::graph::Shape;
use nalgebra::{DMatrix, DVector};
use ndarray::Array4;
use prg::{Prg, Seed};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest condition number of a block.
pub const CONDITION: f64 = 16.0;

/// Largest block, q: its QR takes seconds.
pub const MAX_BLOCK: usize = 2048;

/// Whether M repeats one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// One block κ times, as in the paper: ⌈q/κ⌉ known images give it away.
    #[default]
    Repeated,
    /// κ independent blocks: q known images are needed.
    Independent,
}

/// A key for images of one shape. It has neither `Debug` nor `PartialEq`.
#[derive(Clone)]
pub struct MorphKey {
    master: MasterKey,
    shape: Shape,
    block: usize,
    blocks: Blocks,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    kind: String,
    key: String,
    shape: Shape,
    block: usize,
    blocks: Blocks,
}

const KIND: &str = "bunet-morph-key-1";

impl MorphKey {
    /// A key for images of `shape` with `kappa` blocks (the paper's morphing factor κ).
    ///
    /// # Errors
    /// If κ does not divide the number of values, or blocks would be too large.
    pub fn new(master: MasterKey, shape: Shape, kappa: usize, blocks: Blocks) -> Result<Self> {
        let values = shape.len();
        if kappa == 0 || !values.is_multiple_of(kappa) {
            let reason =
                format!("a morphing factor of {kappa} does not divide the {values} values of an image");
            return Err(PerceptualError::Parameters(reason));
        }
        let block = values / kappa;
        if !(2..=MAX_BLOCK).contains(&block) {
            let least =
                (values.div_ceil(MAX_BLOCK)..=values).find(|k| values.is_multiple_of(*k)).unwrap_or(values);
            let reason = format!(
                "blocks of {block} values; 2 to {MAX_BLOCK} are possible: the smallest morphing factor is {least}"
            );
            return Err(PerceptualError::Parameters(reason));
        }
        Ok(Self { master, shape, block, blocks })
    }

    /// The shape of the images it is for.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Side of a block, q.
    pub fn block(&self) -> usize {
        self.block
    }

    /// Number of blocks, κ.
    pub fn kappa(&self) -> usize {
        self.shape.len() / self.block
    }

    /// Whether one block is repeated.
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// By which a wrong key is told; public.
    pub fn fingerprint(&self) -> String {
        self.master.fingerprint()
    }

    /// Block `index` of M.
    pub fn matrix(&self, index: usize) -> DMatrix<f64> {
        let [u, v] = self.orthogonal(index);
        u * scale_rows(v, &self.singular_values(index), |v, s| v * s)
    }

    /// Block `index` of M⁻¹.
    pub fn inverse(&self, index: usize) -> DMatrix<f64> {
        let [u, v] = self.orthogonal(index);
        scale_rows(v, &self.singular_values(index), |v, s| v / s).transpose() * u.transpose()
    }

    /// Different blocks of M: 1 or κ.
    pub fn distinct(&self) -> usize {
        match self.blocks {
            Blocks::Repeated => 1,
            Blocks::Independent => self.kappa(),
        }
    }

    /// T = D·M of an image `[channel, depth, height, width]`.
    ///
    /// # Errors
    /// If the image has another shape.
    pub fn morph(&self, image: &Array4<f64>) -> Result<Vec<f64>> {
        self.morpher()(image)
    }

    /// The same for many images: M is made once.
    pub fn morpher(&self) -> impl Fn(&Array4<f64>) -> Result<Vec<f64>> + Sync + '_ {
        let blocks: Vec<_> = (0..self.distinct()).map(|index| self.matrix(index)).collect();
        move |image| {
            self.check(image.dim().into())?;
            let unrolled: Vec<f64> = image.iter().copied().collect();
            Ok(self.multiply(&unrolled, &blocks))
        }
    }

    /// D = T·M⁻¹: what the key's owner gets back.
    ///
    /// # Errors
    /// If the vector has another length.
    pub fn unmorph(&self, morphed: &[f64]) -> Result<Array4<f64>> {
        if morphed.len() != self.shape.len() {
            return Err(self.mismatch(format!("{} morphed values", morphed.len())));
        }
        let inverses: Vec<_> = (0..self.distinct()).map(|index| self.inverse(index)).collect();
        let image = self.multiply(morphed, &inverses);
        Ok(Array4::from_shape_vec(self.shape.to_array(), image).expect("as many values as the shape has"))
    }

    /// The secret order of `channels` output channels: entry s is the channel that stands in place s.
    pub fn channel_order(&self, channels: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..channels).collect();
        let mut prg = Prg::new(&self.master.derive("channel order"));
        for last in (1..channels).rev() {
            let mut pick = [0];
            prg.fill_below(&mut pick, last as u64 + 1);
            order.swap(last, pick[0] as usize);
        }
        order
    }

    /// Whether an image of `shape` can be morphed.
    pub(crate) fn check(&self, shape: [usize; 4]) -> Result<()> {
        if shape == self.shape.to_array() {
            Ok(())
        } else {
            Err(self.mismatch(format!("an image of {shape:?}")))
        }
    }

    fn mismatch(&self, found: String) -> PerceptualError {
        PerceptualError::Mismatch { expected: format!("images of {:?}", self.shape.to_array()), found }
    }

    fn multiply(&self, values: &[f64], blocks: &[DMatrix<f64>]) -> Vec<f64> {
        let distinct = self.distinct();
        let per = values.len() / distinct;
        let rows = per / self.block;
        let mut product = Vec::with_capacity(values.len());
        for (block, part) in blocks.iter().zip(values.chunks(per)) {
            let left = DMatrix::from_row_slice(rows, self.block, part);
            // Column-major of the transpose is row-major of the product.
            product.extend_from_slice((left * block).transpose().as_slice());
        }
        product
    }

    fn seed(&self, index: usize) -> Seed {
        self.master.derive(&format!("morphing block {index} of side {}", self.block))
    }

    fn orthogonal(&self, index: usize) -> [DMatrix<f64>; 2] {
        let seed = self.seed(index);
        [0, 1].map(|side| {
            let mut normals = Normals::new(&seed.derive("orthogonal", side));
            DMatrix::from_fn(self.block, self.block, |_, _| normals.next()).qr().q()
        })
    }

    fn singular_values(&self, index: usize) -> DVector<f64> {
        let mut prg = Prg::new(&self.seed(index).derive("singular values", 0));
        DVector::from_fn(self.block, |_, _| {
            let word = prg.next_u64();
            let sign = if word & 1 == 1 { -1.0 } else { 1.0 };
            sign * CONDITION.powf((word >> 11) as f64 / (1_u64 << 53) as f64)
        })
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// If it is no key file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| PerceptualError::file(path, error))?;
        let text = Zeroizing::new(text);
        let refuse = || PerceptualError::file(path, "this is no morphing key; `morph keygen` makes one");
        let file: KeyFile = serde_json::from_str(&text).map_err(|_| refuse())?;
        let key = Zeroizing::new(file.key);
        let master = MasterKey::parse(&key).filter(|_| file.kind == KIND).ok_or_else(refuse)?;
        if file.block == 0 {
            return Err(refuse());
        }
        Self::new(master, file.shape, file.shape.len() / file.block, file.blocks)
    }

    /// Writes a key file that only its owner can read; never over another file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let key = self.master.to_hex();
        let (shape, block, blocks) = (self.shape, self.block, self.blocks);
        let file = KeyFile { kind: KIND.into(), key: key.to_string(), shape, block, blocks };
        let text = serde_json::to_string_pretty(&file).map_err(|error| PerceptualError::file(path, error))?;
        let (_key, text) = (Zeroizing::new(file.key), Zeroizing::new(text));
        write_private(path, text.as_bytes())
    }
}

fn scale_rows(mut matrix: DMatrix<f64>, by: &DVector<f64>, f: impl Fn(f64, f64) -> f64) -> DMatrix<f64> {
    for mut column in matrix.column_iter_mut() {
        column.iter_mut().zip(by).for_each(|(entry, &s)| *entry = f(*entry, s));
    }
    matrix
}

/// Standard normal values, by Box and Muller.
struct Normals(Prg);

impl Normals {
    fn new(seed: &Seed) -> Self {
        Self(Prg::new(seed))
    }

    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kappa: usize, blocks: Blocks) -> MorphKey {
        let shape = Shape { channels: 2, dims: [1, 6, 8] };
        MorphKey::new(MasterKey::from_bytes([5; 16]), shape, kappa, blocks).unwrap()
    }

    #[test]
    fn blocks_are_inverted_and_well_conditioned() {
        let key = key(3, Blocks::Independent);
        for index in 0..3 {
            let (block, inverse) = (key.matrix(index), key.inverse(index));
            let off = (&block * inverse - DMatrix::identity(32, 32)).amax();
            assert!(off < 1e-12, "{off}");
            let singular = block.singular_values();
            let (most, least) = (singular.max(), singular.min());
            assert!(least >= 1.0 - 1e-9 && most <= CONDITION + 1e-9, "{least} to {most}");
        }
        assert!((key.matrix(0) - key.matrix(1)).amax() > 0.1);
    }

    #[test]
    fn morphing_is_undone_by_the_key_alone() {
        let image = Array4::from_shape_fn((2, 1, 6, 8), |(c, _, y, x)| (c * 100 + y * 8 + x) as f64);
        for blocks in [Blocks::Repeated, Blocks::Independent] {
            let key = key(6, blocks);
            let morphed = key.morph(&image).unwrap();
            let back = key.unmorph(&morphed).unwrap();
            assert!((&back - &image).iter().all(|off| off.abs() < 1e-9));
            let other = MorphKey::new(MasterKey::from_bytes([6; 16]), key.shape(), 6, blocks).unwrap();
            assert!((&other.unmorph(&morphed).unwrap() - &image).iter().any(|off| off.abs() > 1.0));
        }
    }

    #[test]
    fn orders_are_permutations_and_files_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("morph.key");
        let key = key(6, Blocks::Repeated);
        key.write(&path).unwrap();
        let read = MorphKey::read(&path).unwrap();
        let mut order = read.channel_order(64);
        assert_eq!(order, key.channel_order(64));
        order.sort_unstable();
        assert_eq!(order, (0..64).collect::<Vec<_>>());
        assert_eq!(read.matrix(0), key.matrix(0));
    }

    #[test]
    fn factors_and_shapes_that_do_not_fit_are_refused() {
        let shape = Shape { channels: 1, dims: [1, 100, 100] };
        let master = MasterKey::from_bytes([5; 16]);
        let error = |kappa| MorphKey::new(master.clone(), shape, kappa, Blocks::Repeated).err().unwrap();
        assert!(error(3).to_string().contains("divide"));
        assert!(error(1).to_string().contains("smallest morphing factor is 5"), "{}", error(1));
        assert!(key(6, Blocks::Repeated).morph(&Array4::zeros((1, 1, 6, 8))).is_err());
    }
}

//! The known-plaintext attack on morphing: T = D·M is a linear system in M, solved by least squares.
//!
//! Each known image gives κ rows of q values for each different block of M (one row where blocks are independent). With
//! at least q independent rows the inverse of M follows; with fewer, every image in the span of the known rows is still
//! seen. An adversary who chooses the images makes the rows independent from the start; natural images need a few
//! more where their rows are alike (empty background).

use crate::error::{PerceptualError, Result};
use crate::morph::{Blocks, MorphKey};
use nalgebra::DMatrix;

/// A known image, unrolled, and its morphed form.
#[derive(Clone, Debug)]
pub struct Pair {
    /// D.
    pub plain: Vec<f64>,
    /// T.
    pub morphed: Vec<f64>,
}

/// What the attack found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Estimates of M⁻¹'s different blocks.
    pub inverses: Vec<DMatrix<f64>>,
    /// Smallest rank among the blocks' systems; q means that the key is known completely.
    pub rank: usize,
}

/// Images needed if their rows are independent: ⌈q/κ⌉, or q for independent blocks.
pub fn images_needed(key: &MorphKey) -> usize {
    match key.blocks() {
        Blocks::Repeated => key.block().div_ceil(key.kappa()),
        Blocks::Independent => key.block(),
    }
}

/// Finds M⁻¹ from pairs; `distinct` is 1 for a repeated block, κ otherwise.
///
/// # Errors
/// If there is no pair, or lengths do not fit.
pub fn recover(pairs: &[Pair], block: usize, distinct: usize) -> Result<Recovered> {
    let fits = |values: &[f64]| !values.is_empty() && values.len().is_multiple_of(block * distinct);
    if block == 0
        || distinct == 0
        || pairs.is_empty()
        || !pairs.iter().all(|pair| fits(&pair.plain) && pair.plain.len() == pair.morphed.len())
    {
        return Err(PerceptualError::Parameters("the known images do not fit the blocks".into()));
    }
    let mut found = Recovered { inverses: Vec::new(), rank: block };
    for index in 0..distinct {
        let side = |select: fn(&Pair) -> &[f64]| {
            let rows: Vec<f64> =
                pairs.iter().flat_map(|pair| part(select(pair), index, distinct)).copied().collect();
            DMatrix::from_row_slice(rows.len() / block, block, &rows)
        };
        let (plain, morphed) = (side(|pair| &pair.plain), side(|pair| &pair.morphed));
        let system = morphed.svd(true, true);
        let tolerance = system.singular_values.max() * 1e-10;
        found.rank = found.rank.min(system.rank(tolerance));
        let inverse =
            system.solve(&plain, tolerance).map_err(|error| PerceptualError::Singular(error.into()))?;
        found.inverses.push(inverse);
    }
    Ok(found)
}

fn part(values: &[f64], index: usize, distinct: usize) -> &[f64] {
    let length = values.len() / distinct;
    &values[index * length..][..length]
}

impl Recovered {
    /// What the adversary sees of another morphed image.
    pub fn unmorph(&self, morphed: &[f64]) -> Vec<f64> {
        unmorph(&self.inverses, morphed)
    }
}

/// T·M⁻¹ with the given blocks, repeated in order.
pub(crate) fn unmorph(inverses: &[DMatrix<f64>], morphed: &[f64]) -> Vec<f64> {
    let length = morphed.len() / inverses.len();
    let mut image = Vec::with_capacity(morphed.len());
    for (part, inverse) in morphed.chunks(length).zip(inverses) {
        let rows = DMatrix::from_row_slice(length / inverse.nrows(), inverse.nrows(), part);
        image.extend_from_slice((rows * inverse).transpose().as_slice());
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;
    use models::graph::Shape;
    use ndarray::Array4;
    use prg::{Prg, Seed};

    fn images(shape: Shape, count: usize) -> Vec<Array4<f64>> {
        let mut prg = Prg::new(&Seed::from_bytes([4; 16]));
        (0..count)
            .map(|_| {
                let mut values = vec![0; shape.len()];
                prg.fill_below(&mut values, 256);
                let values = values.into_iter().map(|v| v as f64).collect();
                Array4::from_shape_vec(shape.to_array(), values).unwrap()
            })
            .collect()
    }

    fn pair(key: &MorphKey, image: &Array4<f64>) -> Pair {
        Pair { plain: image.iter().copied().collect(), morphed: key.morph(image).unwrap() }
    }

    fn attack(key: &MorphKey, known: usize) -> (usize, f64) {
        let images = images(key.shape(), known + 1);
        let pairs: Vec<_> = images[..known].iter().map(|image| pair(key, image)).collect();
        let found = recover(&pairs, key.block(), key.distinct()).unwrap();
        let Pair { plain, morphed } = pair(key, &images[known]);
        let seen = found.unmorph(&morphed);
        (found.rank, plain.iter().zip(&seen).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
    }

    #[test]
    fn two_pairs_give_the_papers_key_away_and_one_does_not() {
        let shape = Shape { channels: 3, dims: [1, 32, 32] };
        let key = MorphKey::new(MasterKey::from_bytes([1; 16]), shape, 48, Blocks::Repeated).unwrap();
        assert_eq!((key.block(), images_needed(&key)), (64, 2));
        let (rank, off) = attack(&key, 2);
        assert!(rank == 64 && off < 1e-6, "{rank} {off}");
        let (rank, off) = attack(&key, 1);
        assert!(rank == 48 && off > 10.0, "{rank} {off}");
    }

    #[test]
    fn independent_blocks_need_as_many_images_as_a_block_is_wide() {
        let shape = Shape { channels: 1, dims: [1, 8, 8] };
        let key = MorphKey::new(MasterKey::from_bytes([1; 16]), shape, 8, Blocks::Independent).unwrap();
        assert_eq!(images_needed(&key), 8);
        assert!(attack(&key, 8).1 < 1e-6);
        assert!(attack(&key, 7).1 > 1.0);
    }

    #[test]
    fn one_chosen_image_is_enough_where_there_are_as_many_blocks_as_values_in_one() {
        let shape = Shape { channels: 1, dims: [1, 16, 16] };
        let key = MorphKey::new(MasterKey::from_bytes([2; 16]), shape, 16, Blocks::Repeated).unwrap();
        let unit = Array4::from_shape_fn(shape.to_array(), |(_, _, y, x)| f64::from(u8::from(y == x)));
        let found = recover(&[pair(&key, &unit)], 16, 1).unwrap();
        assert!((&found.inverses[0] - key.inverse(0)).amax() < 1e-9);
    }
}

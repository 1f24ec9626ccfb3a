//! What a morphed image shows as it is: T, block by block.
//!
//! A block's norm is that of its plain block up to the condition number of M: dark and bright blocks are told apart, and
//! an empty block is zero. Where M repeats one block, equal blocks of the image are equal in T.

use crate::morph::MorphKey;
use models::graph::Shape;
use ndarray::Array4;

/// T as if it were an image: what an eye sees (as in Fig. 4 of the MpLe paper).
///
/// # Panics
/// If the shape does not have as many values as T.
pub fn as_image(morphed: &[f64], shape: Shape) -> Array4<f64> {
    Array4::from_shape_vec(shape.to_array(), morphed.to_vec()).expect("a shape of as many values")
}

/// Root mean square of each block, painted over the block: a blurred image for nothing.
pub fn energies(morphed: &[f64], shape: Shape, block: usize) -> Array4<f64> {
    let painted: Vec<f64> = morphed
        .chunks(block)
        .flat_map(|values| {
            let square: f64 = values.iter().map(|value| value * value).sum();
            std::iter::repeat_n((square / values.len() as f64).sqrt(), values.len())
        })
        .collect();
    as_image(&painted, shape)
}

/// How many blocks have a twin elsewhere in T.
pub fn repeated(morphed: &[f64], block: usize) -> usize {
    let scale = morphed.iter().fold(0.0_f64, |most, value| most.max(value.abs())) * 1e-9;
    let blocks: Vec<&[f64]> = morphed.chunks(block).collect();
    let equal = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= scale);
    (0..blocks.len()).filter(|&i| (0..blocks.len()).any(|j| i != j && equal(blocks[i], blocks[j]))).count()
}

/// Values of `image` scaled to 0..=`range`: T has no fixed range of its own.
pub fn stretched(image: &Array4<f64>, range: f64) -> Array4<f64> {
    let low = image.iter().copied().fold(f64::INFINITY, f64::min);
    let high = image.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let width = if high > low { high - low } else { 1.0 };
    image.mapv(|value| (value - low) / width * range)
}

/// T of an image, for measurements by the key's owner.
pub fn seen(key: &MorphKey, image: &Array4<f64>) -> crate::error::Result<Array4<f64>> {
    Ok(as_image(&key.morph(image)?, key.shape()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;
    use crate::morph::Blocks;

    #[test]
    fn equal_and_empty_blocks_show_unless_blocks_are_independent() {
        let shape = Shape { channels: 1, dims: [1, 8, 16] };
        let image =
            Array4::from_shape_fn(
                shape.to_array(),
                |(_, _, y, x)| {
                    if y < 2 { 0.0 } else { ((y / 2 * 16 + x) % 50) as f64 }
                },
            );
        for (blocks, twins) in [(Blocks::Repeated, 8), (Blocks::Independent, 2)] {
            let key = MorphKey::new(MasterKey::from_bytes([1; 16]), shape, 8, blocks).unwrap();
            let morphed = key.morph(&image).unwrap();
            assert_eq!(repeated(&morphed, key.block()), twins, "{blocks:?}");
            let energy = energies(&morphed, shape, key.block());
            assert_eq!(energy[[0, 0, 0, 0]], 0.0);
            assert!(energy[[0, 0, 2, 0]] > 1.0);
        }
    }
}

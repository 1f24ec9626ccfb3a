//! Pixel-based encryption: negative-positive transformation and colour shuffling by key streams.
//!
//! Sirichotedumrong, Kinoshita, Kiya: "Privacy-preserving deep neural networks using pixel-based image encryption
//! without common security keys". Input: samples p of L bits and a seed. Step 2: one bit r per pixel and channel,
//! p' = p where r = 0 and p xor (2^L − 1), that is 2^L − 1 − p, where r = 1. Step 3, for colour images and if asked
//! for: one of six orders per pixel ([`PERMUTATIONS`]). Augmentation comes before encryption.
//!
//! Deviations: L is the image's real depth, up to 16 bits, not always 8; streams come from AES-128 in counter mode.
//!
//! Security: the sample keeps its distance from mid-grey, |2p' − (2^L − 1)| = |2p − (2^L − 1)|, whatever the key:
//! see [`crate::attack::fold`], which needs no key and no training. With one key for all images, averages over images
//! show the key bits as well. The server computes on the encrypted image and needs no key.
//!
//! Layout `[channel, depth, height, width]`, bits drawn in that order, one permutation per voxel in `[depth, height,
//! width]` order. Cost: one bit per sample, about 1.4 bytes of stream per colour voxel; no interaction.

mod backend;
mod files;
mod keyspace;
mod samples;

pub use backend::Pixel;
pub(crate) use backend::input_range;
pub(crate) use files::each_file;
pub use files::{EncryptOptions, Sidecar, decrypt_file, decrypt_folder, encrypt_file, encrypt_folder};
pub use keyspace::KeySpace;
pub use samples::{IntegerMap, MapOptions, Samples};

use crate::error::{PerceptualError, Result};
use ndarray::{Array4, ArrayViewMut4, Axis};
use prg::{Prg, Seed};

/// Table I of the paper: entry `i` says which input component (0 red, 1 green, 2 blue) becomes output 0, 1 and 2.
pub const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Which steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Steps {
    /// Colour components change places (step 3); the negative-positive transformation (step 2) always runs.
    pub shuffle: bool,
}

/// Encrypts samples of `depth` bits in place.
///
/// # Errors
/// If the depth is not 1 to 16, a sample exceeds it, or shuffling is asked for without three channels.
pub fn encrypt(samples: &mut Array4<u16>, depth: u32, seed: &Seed, steps: Steps) -> Result<()> {
    check(samples, depth, steps)?;
    negate(samples, depth, seed);
    if steps.shuffle {
        shuffle(samples.view_mut(), seed);
    }
    Ok(())
}

/// Undoes [`encrypt`].
///
/// # Errors
/// As [`encrypt`].
pub fn decrypt(samples: &mut Array4<u16>, depth: u32, seed: &Seed, steps: Steps) -> Result<()> {
    check(samples, depth, steps)?;
    if steps.shuffle {
        permute(samples.view_mut(), seed, |order, pixel| {
            let mut original = [0; 3];
            order.iter().zip(pixel).for_each(|(&from, value)| original[from] = value);
            original
        });
    }
    negate(samples, depth, seed);
    Ok(())
}

/// One key bit per sample, in the order of the samples.
pub fn key_bits(seed: &Seed, count: usize) -> Vec<bool> {
    let mut bytes = vec![0; count.div_ceil(8)];
    Prg::new(&seed.derive("negative-positive", 0)).fill(&mut bytes);
    (0..count).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect()
}

fn check(samples: &Array4<u16>, depth: u32, steps: Steps) -> Result<()> {
    if !(1..=16).contains(&depth) {
        return Err(PerceptualError::Parameters(format!("a depth of {depth} bits; 1 to 16 are possible")));
    }
    let channels = samples.dim().0;
    if steps.shuffle && channels != 3 {
        let reason = format!("colour shuffling needs three channels, the image has {channels}");
        return Err(PerceptualError::Parameters(reason));
    }
    match samples.iter().find(|&&sample| u32::from(sample) >> depth != 0) {
        Some(sample) => {
            let reason = format!("it has {depth} bits, but holds the value {sample}; state the real depth");
            Err(PerceptualError::samples("image", reason))
        }
        None => Ok(()),
    }
}

fn negate(samples: &mut Array4<u16>, depth: u32, seed: &Seed) {
    let mask = (u32::from(u16::MAX) >> (16 - depth)) as u16;
    let bits = key_bits(seed, samples.len());
    samples.iter_mut().zip(bits).filter(|(_, bit)| *bit).for_each(|(sample, _)| *sample ^= mask);
}

/// Step 3 on three channels.
fn shuffle<T: Copy>(samples: ArrayViewMut4<'_, T>, seed: &Seed) {
    permute(samples, seed, |order, pixel| order.map(|from| pixel[from]));
}

fn permute<T: Copy>(
    mut samples: ArrayViewMut4<'_, T>,
    seed: &Seed,
    apply: impl Fn([usize; 3], [T; 3]) -> [T; 3],
) {
    let mut orders = vec![0; samples.len() / 3];
    Prg::new(&seed.derive("colour shuffling", 0)).fill_below(&mut orders, 6);
    let (mut red, rest) = samples.view_mut().split_at(Axis(0), 1);
    let (mut green, mut blue) = rest.split_at(Axis(0), 1);
    let pixels = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
    for (((r, g), b), order) in pixels.zip(orders) {
        [*r, *g, *b] = apply(PERMUTATIONS[order as usize], [*r, *g, *b]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image(channels: usize, depth: u32, salt: u64) -> Array4<u16> {
        let mut values = vec![0; channels * 2 * 5 * 7];
        Prg::with_nonce(&Seed::from_bytes([2; 16]), salt).fill_below(&mut values, 1 << depth);
        Array4::from_shape_vec((channels, 2, 5, 7), values.into_iter().map(|v| v as u16).collect()).unwrap()
    }

    #[test]
    fn the_permutations_are_all_six() {
        let mut seen = PERMUTATIONS.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 6);
        assert!(seen.iter().all(|order| (0..3).all(|c| order.contains(&c))));
    }

    #[test]
    fn about_half_of_the_samples_are_negated_and_the_rest_kept() {
        let plain = image(1, 12, 0);
        let mut secret = plain.clone();
        encrypt(&mut secret, 12, &Seed::from_bytes([3; 16]), Steps { shuffle: false }).unwrap();
        assert!(plain.iter().zip(&secret).all(|(&p, &s)| s == p || s == 4095 - p));
        let kept = plain.iter().zip(&secret).filter(|(p, s)| p == s).count();
        assert!((20..50).contains(&kept), "{kept} of {}", plain.len());
    }

    #[test]
    fn wrong_depth_and_missing_channels_are_refused() {
        let seed = Seed::from_bytes([3; 16]);
        let mut deep = image(1, 16, 0);
        assert!(encrypt(&mut deep, 8, &seed, Steps { shuffle: false }).is_err());
        assert!(encrypt(&mut deep, 17, &seed, Steps { shuffle: false }).is_err());
        assert!(encrypt(&mut deep, 16, &seed, Steps { shuffle: true }).is_err());
    }

    proptest! {
        #[test]
        fn decryption_undoes_encryption(depth in 1_u32..=16, salt: u64, key: [u8; 16], shuffle: bool) {
            let plain = image(3, depth, salt);
            let seed = Seed::from_bytes(key);
            let mut secret = plain.clone();
            encrypt(&mut secret, depth, &seed, Steps { shuffle }).unwrap();
            prop_assert!(depth < 4 || secret != plain);
            decrypt(&mut secret, depth, &seed, Steps { shuffle }).unwrap();
            prop_assert_eq!(secret, plain);
        }
    }
}

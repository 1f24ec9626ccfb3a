//! The folding attack on pixel-based encryption: no key, no training, one pass.
//!
//! |2p' − (2^L − 1)| is the same for p' = p and p' = 2^L − 1 − p: it does not depend on the key bit. Colour shuffling
//! only changes the order of a pixel's three values, so that the sorted triple does not depend on the key either. What
//! is lost is on which side of mid-grey a sample lies. In images that use one side only, as scans with a dark background
//! do, nothing is lost in those areas but the sign.

use ndarray::{Array4, Axis};

/// |2p − (2^L − 1)|: the same for an encrypted image and its plain one.
pub fn fold(samples: &Array4<u16>, depth: u32) -> Array4<f64> {
    let largest = f64::from((1_u32 << depth) - 1);
    samples.mapv(|sample| (2.0 * f64::from(sample) - largest).abs())
}

/// As [`fold`], each voxel's channels in ascending order: the same whatever the shuffling.
pub fn fold_sorted(samples: &Array4<u16>, depth: u32) -> Array4<f64> {
    let mut folded = fold(samples, depth);
    for mut voxel in folded.lanes_mut(Axis(0)) {
        let mut values = voxel.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        voxel.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    }
    folded
}

/// What the adversary takes for the image: the side of mid-grey that most images of the kind lie on is known.
pub fn reconstruct(folded: &Array4<f64>, depth: u32, mostly_dark: bool) -> Array4<f64> {
    let largest = f64::from((1_u32 << depth) - 1);
    folded.mapv(|distance| if mostly_dark { (largest - distance) / 2.0 } else { (largest + distance) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::{Steps, encrypt};
    use crate::quality::ssim;
    use prg::{Prg, Seed};

    #[test]
    fn folding_does_not_depend_on_the_key() {
        let mut values = vec![0; 3 * 20 * 20];
        Prg::new(&Seed::from_bytes([8; 16])).fill_below(&mut values, 4096);
        let values = values.into_iter().map(|v| v as u16).collect();
        let plain = Array4::from_shape_vec((3, 1, 20, 20), values).unwrap();
        for (key, shuffle) in [(1, false), (2, false), (3, true), (4, true)] {
            let mut secret = plain.clone();
            encrypt(&mut secret, 12, &Seed::from_bytes([key; 16]), Steps { shuffle }).unwrap();
            assert_eq!(fold_sorted(&secret, 12), fold_sorted(&plain, 12));
            assert_eq!(fold(&secret, 12) == fold(&plain, 12), !shuffle);
        }
    }

    #[test]
    fn a_dark_image_is_seen_without_the_key() {
        let plain = Array4::from_shape_fn((1, 1, 32, 32), |(_, _, y, x)| {
            let from_centre = (y as f64 - 16.0).hypot(x as f64 - 16.0);
            (120.0 * (-from_centre * from_centre / 60.0).exp()) as u16
        });
        let mut secret = plain.clone();
        encrypt(&mut secret, 8, &Seed::from_bytes([1; 16]), Steps { shuffle: false }).unwrap();
        let seen = reconstruct(&fold(&secret, 8), 8, true);
        assert_eq!(seen, plain.mapv(f64::from), "below mid-grey everywhere: the attack is exact");
        let before = ssim(plain.mapv(f64::from).view(), secret.mapv(f64::from).view(), 255.0).unwrap();
        assert!(before < 0.1, "the encrypted image itself looks like noise: {before}");
    }
}

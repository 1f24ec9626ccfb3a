//! How many keys there are, nominally and really: equations 2 to 5 of the paper, for grey images too.

use super::Steps;

/// Base-2 logarithms of numbers of keys.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct KeySpace {
    /// Negative-positive transformation: 2^(H·W·channels) patterns.
    pub negative_positive_bits: f64,
    /// Colour shuffling: 6^(H·W) patterns; 0 where it does not run.
    pub shuffling_bits: f64,
    /// Both together: the paper's figure for one image.
    pub nominal_bits: f64,
    /// What a search over master keys has to go through.
    pub master_bits: f64,
    /// What an adversary has to find out per sample to see the image up to its negative: nothing. See the folding
    /// attack; the figure is here so that nobody quotes the nominal one alone.
    pub folded_bits: f64,
}

impl KeySpace {
    /// For an image of `channels` × `voxels` samples.
    pub fn of(channels: usize, voxels: usize, steps: Steps) -> Self {
        let negative_positive_bits = (channels * voxels) as f64;
        let shuffling_bits = if steps.shuffle { voxels as f64 * 6_f64.log2() } else { 0.0 };
        let nominal_bits = negative_positive_bits + shuffling_bits;
        Self {
            negative_positive_bits,
            shuffling_bits,
            nominal_bits,
            master_bits: nominal_bits.min(128.0),
            folded_bits: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_colour_and_a_grey_image() {
        let colour = KeySpace::of(3, 96 * 96, Steps { shuffle: true });
        assert_eq!(colour.negative_positive_bits, 27_648.0);
        assert!((colour.shuffling_bits - 9216.0 * 2.584_962_5).abs() < 1e-2);
        assert!((colour.nominal_bits - (27_648.0 + colour.shuffling_bits)).abs() < 1e-9);
        let grey = KeySpace::of(1, 64 * 64, Steps { shuffle: false });
        assert_eq!((grey.nominal_bits, grey.master_bits), (4096.0, 128.0));
    }
}

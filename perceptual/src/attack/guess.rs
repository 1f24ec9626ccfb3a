//! Figures of blind guessing, which say little: attacks do not guess.
//!
//! The MpLe paper gives 7.9·10⁻⁹⁰ as the probability of breaking its scheme by brute force. That is 1/64!, the chance of
//! guessing the order of 64 channels. It says nothing about M, and the order is found without guessing
//! ([`crate::attack::reverse`]).

use crate::morph::MorphKey;

/// log2 of the number of guesses.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Guesses {
    /// Order of the first layer's channels: β!.
    pub channel_order_bits: f64,
    /// Entries of M's different blocks at 53 bits each: the nominal key space.
    pub matrix_bits: f64,
    /// Master keys: what a search has to go through at most.
    pub master_bits: f64,
    /// Known images after which M is computed, not guessed.
    pub known_images: usize,
}

/// For a key and a first layer of `channels` output channels.
pub fn guesses(key: &MorphKey, channels: usize) -> Guesses {
    let entries = key.distinct() as f64 * (key.block() as f64).powi(2);
    Guesses {
        channel_order_bits: (1..=channels).map(|i| (i as f64).log2()).sum(),
        matrix_bits: 53.0 * entries,
        master_bits: 128.0,
        known_images: crate::attack::known::images_needed(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;
    use crate::morph::Blocks;
    use models::graph::Shape;

    #[test]
    fn the_papers_figure_is_the_order_of_64_channels() {
        let shape = Shape { channels: 3, dims: [1, 32, 32] };
        let key = MorphKey::new(MasterKey::from_bytes([0; 16]), shape, 48, Blocks::Repeated).unwrap();
        let guesses = guesses(&key, 64);
        let probability = (-guesses.channel_order_bits).exp2();
        assert!((probability / 7.88e-90 - 1.0).abs() < 0.01, "{probability}");
        assert_eq!(guesses.matrix_bits, 53.0 * 64.0 * 64.0);
        assert_eq!(guesses.known_images, 2);
    }
}

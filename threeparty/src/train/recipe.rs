//! What is public about a training run.

use super::GRADIENT_FRAC;
use prg::{Prg, Seed};
use serde::{Deserialize, Serialize};

/// The rule that turns gradients into new weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimiser {
    /// Stochastic gradient descent: v ← μv + g, w ← w − ηv.
    Sgd {
        /// η.
        rate: f64,
        /// μ.
        momentum: f64,
    },
    /// Adam (Kingma, Ba 2015) with β₁ = 0.9, β₂ = 1 − 2^-10 and ε² = 2^-20 inside the root.
    Adam {
        /// η.
        rate: f64,
    },
}

/// Optimiser, batch size, length and order of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Images per step.
    pub batch: usize,
    /// Passes over the training set; images that fill no batch wait for the next epoch's order.
    pub epochs: usize,
    /// Seed of the public order and, where nobody brings weights, of the initial ones.
    pub seed: [u8; 16],
}

/// What is revealed after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose largest score is that of their label.
    pub accuracy: f64,
}

/// The batches of an epoch: a public random permutation, cut up.
pub fn epoch_order(recipe: &Recipe, images: usize, epoch: usize) -> Vec<Vec<usize>> {
    let mut prg = Prg::new(&Seed::from_bytes(recipe.seed).derive("order", epoch as u64));
    let mut order: Vec<usize> = (0..images).collect();
    for i in (1..images).rev() {
        let mut j = [0];
        prg.fill_below(&mut j, i as u64 + 1);
        order.swap(i, j[0] as usize);
    }
    order.chunks_exact(recipe.batch).map(<[usize]>::to_vec).collect()
}

impl Recipe {
    /// A recipe for scores alone: no step is ever taken.
    pub(crate) fn for_scores() -> Self {
        Self { optimiser: Optimiser::Sgd { rate: 0.0, momentum: 0.0 }, batch: 1, epochs: 0, seed: [0; 16] }
    }

    /// Bits by which summed gradients are divided: ⌈log₂ batch⌉.
    pub(crate) fn batch_bits(&self) -> u32 {
        self.batch.next_power_of_two().trailing_zeros()
    }

    /// What is left of the division by the batch size after [`Recipe::batch_bits`].
    pub(crate) fn batch_rest(&self) -> f64 {
        self.batch.next_power_of_two() as f64 / self.batch as f64
    }
}

/// A rate as a public integer with [`GRADIENT_FRAC`] fractional bits.
pub(crate) fn fixed_rate(rate: f64) -> u64 {
    (rate * f64::from(1u32 << GRADIENT_FRAC)).round() as i64 as u64
}

/// β₁ and β₂ of Adam.
pub(crate) const BETA: [f64; 2] = [0.9, 1.0 - 1.0 / 1024.0];

/// η·√(1−β₂ᵗ)/(1−β₁ᵗ): Adam's rate at step t ≥ 1.
pub(crate) fn adam_rate(rate: f64, step: u64) -> f64 {
    let [b1, b2] = BETA.map(|beta| 1.0 - beta.powf(step as f64));
    rate * b2.sqrt() / b1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_image_once_in_an_order_of_its_own() {
        let optimiser = Optimiser::Adam { rate: 0.1 };
        let recipe = Recipe { optimiser, batch: 7, epochs: 2, seed: [4; 16] };
        let flat = |epoch| epoch_order(&recipe, 70, epoch).concat();
        let mut sorted = flat(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..70).collect::<Vec<_>>());
        assert_ne!(flat(0), flat(1));
        assert_eq!(flat(1), flat(1));
        assert_eq!(epoch_order(&recipe, 20, 0).len(), 2);
    }
}

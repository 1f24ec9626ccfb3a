//! What is public about a training run.

use super::GRADIENT_FRAC;
use models::Shape;
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

/// Optimiser, batch size, length and order of a training run, all of it public.
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
    /// Factor on the rate after every epoch; 1, the default, keeps it.
    #[serde(default = "kept")]
    pub decay: f64,
    /// Whether every image is mirrored and turned each time it is used: publicly at random, so that it costs nothing.
    #[serde(default)]
    pub turns: bool,
}

fn kept() -> f64 {
    1.0
}

/// The public part of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Numbers of the images.
    pub images: Vec<usize>,
    /// How each is turned: bit 0 mirrors the columns, bit 1 the rows, bit 2 swaps both.
    pub turns: Vec<u8>,
    /// Factor on the optimiser's rate.
    pub rate: f64,
}

impl Batch {
    /// These images as they are, at the full rate.
    pub fn plain(images: &[usize]) -> Self {
        Self { images: images.to_vec(), turns: vec![0; images.len()], rate: 1.0 }
    }

    /// Where each value of the batch stands among all images, all of this shape.
    pub(crate) fn values(&self, shape: Shape) -> Vec<usize> {
        let [depth, height, width] = shape.dims;
        let image = |(&number, &turn): (&usize, &u8)| {
            let at = move |row: usize, column: usize| {
                let column = if turn & 1 == 0 { column } else { width - 1 - column };
                let row = if turn & 2 == 0 { row } else { height - 1 - row };
                let (row, column) = if turn & 4 == 0 { (row, column) } else { (column, row) };
                row * width + column
            };
            let planes = (0..shape.channels * depth).map(move |plane| plane * height * width);
            planes.flat_map(move |plane| {
                let start = number * shape.len() + plane;
                (0..height).flat_map(move |row| (0..width).map(move |column| start + at(row, column)))
            })
        };
        self.images.iter().zip(&self.turns).flat_map(image).collect()
    }
}

/// The batches of an epoch: a public random permutation, cut up. Only square images are turned by a quarter.
pub fn epoch_batches(recipe: &Recipe, shape: Shape, images: usize, epoch: usize) -> Vec<Batch> {
    let mut prg = Prg::new(&Seed::from_bytes(recipe.seed).derive("order", epoch as u64));
    let mut below = |bound: u64| {
        let mut drawn = [0];
        prg.fill_below(&mut drawn, bound);
        drawn[0]
    };
    let mut order: Vec<usize> = (0..images).collect();
    for i in (1..images).rev() {
        order.swap(i, below(i as u64 + 1) as usize);
    }
    let kinds = match (recipe.turns, shape.dims[1] == shape.dims[2]) {
        (false, _) => 1,
        (true, false) => 4,
        (true, true) => 8,
    };
    let rate = recipe.decay.powi(epoch as i32);
    let batch = |images: &[usize]| {
        let turns = images.iter().map(|_| below(kinds) as u8).collect();
        Batch { images: images.to_vec(), turns, rate }
    };
    order.chunks_exact(recipe.batch).map(batch).collect()
}

impl Recipe {
    /// A recipe that keeps its rate and shows images as they are.
    pub fn new(optimiser: Optimiser, batch: usize, epochs: usize, seed: [u8; 16]) -> Self {
        Self { optimiser, batch, epochs, seed, decay: kept(), turns: false }
    }

    /// A recipe for scores alone: no step is ever taken.
    pub(crate) fn for_scores() -> Self {
        Self::new(Optimiser::Sgd { rate: 0.0, momentum: 0.0 }, 1, 0, [0; 16])
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
        let recipe = Recipe { decay: 0.5, ..Recipe::new(optimiser, 7, 2, [4; 16]) };
        let shape = Shape { channels: 1, dims: [1, 2, 2] };
        let batches = |epoch| epoch_batches(&recipe, shape, 70, epoch);
        let flat = |epoch| batches(epoch).into_iter().flat_map(|batch| batch.images).collect::<Vec<_>>();
        let mut sorted = flat(0);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..70).collect::<Vec<_>>());
        assert_ne!(flat(0), flat(1));
        assert_eq!(flat(1), flat(1));
        assert_eq!(epoch_batches(&recipe, shape, 20, 0).len(), 2);
        assert_eq!((batches(0)[0].rate, batches(2)[0].rate), (1.0, 0.25));
        assert!(batches(0).iter().all(|batch| batch.turns.iter().all(|&turn| turn == 0)));
    }

    #[test]
    fn images_are_turned_in_all_eight_ways_channel_by_channel() {
        let recipe = Recipe { turns: true, ..Recipe::new(Optimiser::Adam { rate: 0.1 }, 64, 1, [4; 16]) };
        let shape = Shape { channels: 2, dims: [1, 2, 2] };
        let [batch] = epoch_batches(&recipe, shape, 64, 0).try_into().unwrap_or_else(|_| panic!("one batch"));
        let values = batch.values(shape);
        let mut seen: Vec<Vec<usize>> = Vec::new();
        for (&number, image) in batch.images.iter().zip(values.chunks(8)) {
            let own: Vec<usize> = image.iter().map(|&at| at - 8 * number).collect();
            assert!(own[4..].iter().zip(&own[..4]).all(|(b, a)| *b == a + 4), "channels turn alike: {own:?}");
            seen.push(own[..4].to_vec());
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        let turned = |turn| Batch { turns: vec![turn], ..Batch::plain(&[0]) }.values(shape)[..4].to_vec();
        assert_eq!([0, 1, 2, 4].map(turned), [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [0, 2, 1, 3]]);
    }
}

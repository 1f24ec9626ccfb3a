//! The pixel paper's attack by locally connected networks, written out: one small network per pixel.
//!
//! Three locally connected layers of 1×1 windows with 8, 32 and 3 maps share no weights between pixels: each pixel has
//! its own 3 → 8 → 32 → 3 network (ReLU between), trained by stochastic gradient descent with momentum on the mean
//! squared error between its output and the plain pixel. The adversary holds pairs under the keys in question: with one
//! key for all images the networks learn each pixel's key bits; with a key per image there is nothing to learn but the
//! mean image. Pixels are independent of each other and train in parallel.

use ndarray::{Array3, ArrayView3, Axis};
use prg::{Prg, Seed};
use rayon::prelude::*;

const IN: usize = 3;
const ONE: usize = 8;
const TWO: usize = 32;

/// How the networks are trained.
#[derive(Clone, Copy, Debug)]
pub struct Training {
    /// Passes over the pairs.
    pub epochs: usize,
    /// Pairs per step.
    pub batch: usize,
    /// Step size.
    pub rate: f32,
    /// Share of the last step that is kept.
    pub momentum: f32,
    /// Seed of initial weights.
    pub seed: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self { epochs: 20, batch: 32, rate: 0.02, momentum: 0.9, seed: 1 }
    }
}

/// Trains on pairs and reconstructs `test`; all `[image, channel, pixel]` with three channels, values in 0..=1.
///
/// # Panics
/// If shapes do not fit.
pub fn attack(
    secret: ArrayView3<'_, f32>,
    plain: ArrayView3<'_, f32>,
    test: ArrayView3<'_, f32>,
    training: &Training,
) -> Array3<f32> {
    let (_, channels, pixels) = secret.dim();
    assert!(channels == IN && plain.dim() == secret.dim(), "pairs of three channels");
    assert!(test.dim().1 == IN && test.dim().2 == pixels, "images of the size of the pairs");
    let column = |images: ArrayView3<'_, f32>, pixel: usize| -> Vec<[f32; IN]> {
        let values = images.index_axis_move(Axis(2), pixel);
        values.outer_iter().map(|image| std::array::from_fn(|c| image[c])).collect()
    };
    let outputs: Vec<Vec<[f32; IN]>> = (0..pixels)
        .into_par_iter()
        .map(|pixel| {
            let mut network = Network::new(training.seed, pixel as u64);
            network.train(&column(secret, pixel), &column(plain, pixel), training);
            column(test, pixel).iter().map(|x| network.forward(x).2).collect()
        })
        .collect();
    Array3::from_shape_fn(test.dim(), |(image, c, pixel)| outputs[pixel][image][c])
}

/// Parameters in one vector, so that a step is one loop: weights and biases of three layers.
const SIZES: [usize; 6] = [IN * ONE, ONE, ONE * TWO, TWO, TWO * IN, IN];
const TOTAL: usize = SIZES[0] + SIZES[1] + SIZES[2] + SIZES[3] + SIZES[4] + SIZES[5];

struct Network {
    parameters: [f32; TOTAL],
    velocity: [f32; TOTAL],
}

/// The six parts of a parameter vector.
fn parts(vector: &[f32; TOTAL]) -> [&[f32]; 6] {
    let mut rest = &vector[..];
    SIZES.map(|size| {
        let (head, tail) = rest.split_at(size);
        rest = tail;
        head
    })
}

impl Network {
    fn new(seed: u64, pixel: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut prg = Prg::with_nonce(&Seed::from_bytes(bytes), pixel);
        let mut uniform = || (prg.next_u64() >> 40) as f32 / (1_u32 << 24) as f32 * 2.0 - 1.0;
        let mut parameters = [0.0; TOTAL];
        let mut at = 0;
        for (layer, inputs) in [IN, ONE, TWO].into_iter().enumerate() {
            let limit = (6.0 / inputs as f32).sqrt();
            parameters[at..at + SIZES[2 * layer]].iter_mut().for_each(|w| *w = limit * uniform());
            at += SIZES[2 * layer] + SIZES[2 * layer + 1];
        }
        Self { parameters, velocity: [0.0; TOTAL] }
    }

    fn forward(&self, x: &[f32; IN]) -> ([f32; ONE], [f32; TWO], [f32; IN]) {
        let [w1, b1, w2, b2, w3, b3] = parts(&self.parameters);
        // Centred inputs: key bits then change signs only.
        let centred = x.map(|v| 2.0 * v - 1.0);
        let one = std::array::from_fn(|o| dot(&w1[o * IN..][..IN], &centred, b1[o]).max(0.0));
        let two = std::array::from_fn(|o| dot(&w2[o * ONE..][..ONE], &one, b2[o]).max(0.0));
        (one, two, std::array::from_fn(|o| dot(&w3[o * TWO..][..TWO], &two, b3[o])))
    }

    fn train(&mut self, inputs: &[[f32; IN]], targets: &[[f32; IN]], training: &Training) {
        for _ in 0..training.epochs {
            for (inputs, targets) in inputs.chunks(training.batch).zip(targets.chunks(training.batch)) {
                let mut gradient = [0.0; TOTAL];
                inputs.iter().zip(targets).for_each(|(x, y)| self.accumulate(x, y, &mut gradient));
                let scale = training.rate / inputs.len() as f32;
                for ((w, v), g) in self.parameters.iter_mut().zip(&mut self.velocity).zip(gradient) {
                    *v = training.momentum * *v - scale * g;
                    *w += *v;
                }
            }
        }
    }

    /// Adds the gradient of one pair's squared error.
    fn accumulate(&self, x: &[f32; IN], y: &[f32; IN], gradient: &mut [f32; TOTAL]) {
        let (one, two, output) = self.forward(x);
        let [_, _, w2, _, w3, _] = parts(&self.parameters);
        let centred = x.map(|v| 2.0 * v - 1.0);
        let error: [f32; IN] = std::array::from_fn(|c| 2.0 * (output[c] - y[c]) / IN as f32);
        let back_two: [f32; TWO] = std::array::from_fn(|i| {
            if two[i] > 0.0 { (0..IN).map(|o| w3[o * TWO + i] * error[o]).sum() } else { 0.0 }
        });
        let back_one: [f32; ONE] = std::array::from_fn(|i| {
            if one[i] > 0.0 { (0..TWO).map(|o| w2[o * ONE + i] * back_two[o]).sum() } else { 0.0 }
        });
        let mut rest = &mut gradient[..];
        for (errors, values) in [(&back_one[..], &centred[..]), (&back_two, &one), (&error, &two)] {
            let (weights, tail) = rest.split_at_mut(errors.len() * values.len());
            let (bias, tail) = tail.split_at_mut(errors.len());
            for ((row, b), &e) in weights.chunks_mut(values.len()).zip(bias).zip(errors) {
                row.iter_mut().zip(values).for_each(|(g, v)| *g += e * v);
                *b += e;
            }
            rest = tail;
        }
    }
}

fn dot(a: &[f32], b: &[f32], start: f32) -> f32 {
    a.iter().zip(b).fold(start, |sum, (a, b)| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut network = Network::new(3, 0);
        let (x, y) = ([0.2, 0.9, 0.4], [0.7, 0.1, 0.5]);
        let mut gradient = [0.0; TOTAL];
        network.accumulate(&x, &y, &mut gradient);
        let loss = |network: &Network| -> f32 {
            network.forward(&x).2.iter().zip(y).map(|(o, y)| (o - y) * (o - y) / 3.0).sum()
        };
        for index in [0, 10, 25, 40, 200, 290, 330, 417] {
            let kept = network.parameters[index];
            network.parameters[index] = kept + 1e-3;
            let above = loss(&network);
            network.parameters[index] = kept - 1e-3;
            let below = loss(&network);
            network.parameters[index] = kept;
            let slope = (above - below) / 2e-3;
            assert!(
                (slope - gradient[index]).abs() < 2e-3 + 0.02 * slope.abs(),
                "{index}: {slope} {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn one_key_is_learned_and_a_key_per_image_is_not() {
        let (images, pixels) = (120, 6);
        let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
        let mut values = vec![0; images * IN * pixels];
        prg.fill_below(&mut values, 1000);
        let values = values.into_iter().map(|v| v as f32 / 1000.0).collect();
        let plain = Array3::from_shape_vec((images, IN, pixels), values).unwrap();
        let negate = |same: bool| {
            let mut bits = Prg::new(&Seed::from_bytes([2; 16]));
            let key: Vec<bool> = (0..IN * pixels).map(|_| bits.next_u64() & 1 == 1).collect();
            let mut secret = plain.clone();
            for mut image in secret.outer_iter_mut() {
                for (value, bit) in image.iter_mut().zip(&key) {
                    let bit = if same { *bit } else { bits.next_u64() & 1 == 1 };
                    *value = if bit { 1.0 - *value } else { *value };
                }
            }
            secret
        };
        let error = |same| {
            let secret = negate(same);
            let (train, test) = secret.view().split_at(Axis(0), 100);
            let training = Training { epochs: 150, batch: 10, rate: 0.05, ..Training::default() };
            let seen = attack(train, plain.view().split_at(Axis(0), 100).0, test, &training);
            let target = plain.view().split_at(Axis(0), 100).1;
            (&seen - &target).mapv(|off| off * off).mean().unwrap()
        };
        let (same, different) = (error(true), error(false));
        assert!(same < 0.01 && different > 0.05, "{same} {different}");
    }
}

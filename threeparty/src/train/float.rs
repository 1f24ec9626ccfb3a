//! The float twin: the same network, initial weights, batches and optimisers in `f32`.

use super::metrics::Metrics;
use super::network::{Network, NetworkError, Plan, Stage};
use super::recipe::{BETA, Batch, Optimiser, Recipe, adam_rate};

/// A network in training, in floating point.
pub struct FloatLearner {
    network: Network,
    recipe: Recipe,
    plan: Plan,
    weights: Vec<f32>,
    moments: [Vec<f32>; 2],
    step: u64,
}

/// What the backward pass needs of a stage.
enum Trace {
    Input(Vec<f32>),
    /// The input voxel that each value came from, or none where the ReLU stopped it.
    Winners(Vec<Option<usize>>, usize),
}

impl FloatLearner {
    /// Training from `weights`.
    pub fn new(network: Network, recipe: Recipe, weights: Vec<f32>) -> Result<Self, NetworkError> {
        let plan = network.plan(recipe.batch)?;
        let moments = [vec![0.0; weights.len()], vec![0.0; weights.len()]];
        Ok(Self { network, recipe, plan, weights, moments, step: 0 })
    }

    /// The weights.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// One step on a batch of `images`, which are `[image, channel, voxel]`.
    pub fn step(&mut self, images: &[f32], labels: &[usize], batch: &Batch) {
        let x = batch.values(self.network.input).into_iter().map(|i| images[i]).collect();
        let (scores, traces) = forward(&self.plan, &self.weights, x);
        let mut gradient = scores;
        for (row, &i) in gradient.chunks_mut(self.plan.classes).zip(&batch.images) {
            softmax(row);
            row[labels[i]] -= 1.0;
            row.iter_mut().for_each(|g| *g /= batch.images.len() as f32);
        }
        let gradients = self.backward(traces, gradient);
        self.step += 1;
        self.update(&gradients, batch.rate);
    }

    fn backward(&self, traces: Vec<Trace>, mut gradient: Vec<f32>) -> Vec<f32> {
        let mut gradients = vec![0.0; self.weights.len()];
        for (stage, trace) in self.plan.stages.iter().zip(traces).rev() {
            match (stage, trace) {
                (Stage::Linear(conv, weights, bias), Trace::Input(x)) => {
                    conv.add_weight_gradient(&mut gradients[weights.clone()], &x, &gradient);
                    let sums = conv.sum_channels(&gradient);
                    gradients[bias.clone()].iter_mut().zip(sums).for_each(|(g, sum)| *g = sum);
                    let mut passed = vec![0.0; x.len()];
                    conv.add_backward(&mut passed, &gradient, &self.weights[weights.clone()]);
                    gradient = passed;
                }
                (_, Trace::Winners(winners, len)) => {
                    let mut passed = vec![0.0; len];
                    winners.iter().zip(&gradient).for_each(|(winner, g)| {
                        if let Some(i) = winner {
                            passed[*i] += g;
                        }
                    });
                    gradient = passed;
                }
                _ => unreachable!("the forward pass leaves each stage the trace of its kind"),
            }
        }
        gradients
    }

    fn update(&mut self, gradients: &[f32], factor: f64) {
        let [first, second] = &mut self.moments;
        let step = self.step;
        for (((w, &g), m), v) in self.weights.iter_mut().zip(gradients).zip(first).zip(second) {
            match self.recipe.optimiser {
                Optimiser::Sgd { rate, momentum } => {
                    *m = momentum as f32 * *m + g;
                    *w -= (factor * rate) as f32 * *m;
                }
                Optimiser::Adam { rate } => {
                    *m += (1.0 - BETA[0] as f32) * (g - *m);
                    *v += (1.0 - BETA[1] as f32) * (g * g - *v);
                    *w -= (factor * adam_rate(rate, step)) as f32 * *m / (*v + 2f32.powi(-20)).sqrt();
                }
            }
        }
    }

    /// Mean loss and accuracy.
    pub fn evaluate(&self, images: &[f32], labels: &[usize]) -> Metrics {
        let (mut loss, mut correct) = (0.0, 0);
        for (mut row, &label) in self.scores(images).into_iter().zip(labels) {
            let best = (1..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
            correct += usize::from(best == label);
            softmax(&mut row);
            loss -= f64::from(row[label].max(f32::MIN_POSITIVE)).ln();
        }
        Metrics { loss: loss / labels.len() as f64, accuracy: correct as f64 / labels.len() as f64 }
    }

    /// Scores per image.
    pub fn scores(&self, images: &[f32]) -> Vec<Vec<f32>> {
        let plan = self.network.plan(1).unwrap_or_else(|_| unreachable!("planned before"));
        images
            .chunks(self.network.input.len())
            .map(|image| forward(&plan, &self.weights, image.to_vec()).0)
            .collect()
    }
}

fn forward(plan: &Plan, all: &[f32], mut x: Vec<f32>) -> (Vec<f32>, Vec<Trace>) {
    let mut traces = Vec::new();
    for stage in &plan.stages {
        let (y, trace) = match stage {
            Stage::Linear(conv, weights, bias) => {
                let mut y = conv.spread_bias(&all[bias.clone()]);
                conv.add_forward(&mut y, &x, &all[weights.clone()]);
                (y, Trace::Input(x))
            }
            Stage::Pool(pool) => {
                let taps = pool.taps();
                let first = |a: usize, b: usize| if x[b] > x[a] { b } else { a };
                let best = |i: usize| taps[1..].iter().fold(taps[0][i], |best, tap| first(best, tap[i]));
                let winners: Vec<usize> = (0..taps[0].len()).map(best).collect();
                let y = winners.iter().map(|&i| x[i]).collect();
                (y, Trace::Winners(winners.into_iter().map(Some).collect(), x.len()))
            }
            Stage::Relu => {
                let winners = x.iter().enumerate().map(|(i, &x)| (x >= 0.0).then_some(i)).collect();
                (x.iter().map(|x| x.max(0.0)).collect(), Trace::Winners(winners, x.len()))
            }
        };
        traces.push(trace);
        x = y;
    }
    (x, traces)
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    row.iter_mut().for_each(|z| *z = (*z - largest).exp());
    let sum: f32 = row.iter().sum();
    row.iter_mut().for_each(|z| *z /= sum);
}

//! Training over fixed-point arithmetic: the servers and the integer twin run this code.

use super::network::{Network, NetworkError, Plan, Stage};
use super::recipe::{Metrics, Optimiser, Recipe, adam_rate, fixed_rate};
use super::{COMPARED_BITS, FRAC, GRADIENT_FRAC};
use crate::arithmetic::{Arithmetic, Vector};
use crate::error::Error;
use crate::functions::Functions;
use crate::party::Party;
use crate::share::{Bits, Shares};

/// Images with their labels, held in whatever form the arithmetic works on.
#[derive(Clone)]
pub struct Samples<V> {
    /// `[image, channel, voxel]` with [`FRAC`] fractional bits.
    pub images: V,
    /// `[image, class]`, 1 or 0.
    pub labels: V,
}

/// A network in training.
pub struct Learner<A: Arithmetic> {
    network: Network,
    recipe: Recipe,
    plan: Plan,
    weights: A::Vector,
    /// SGD: velocities. Adam: first moments, then second moments with [`MOMENT_FRAC`] fractional bits.
    state: Vec<A::Vector>,
    step: u64,
}

/// Fractional bits of Adam's second moments.
const MOMENT_FRAC: u32 = 32;
/// Bits of Adam's second moments plus ε².
const MOMENT_BITS: u32 = 48;
/// Images per batch when only scores are wanted.
const SCORED_AT_ONCE: usize = 64;

/// What the backward pass needs of a stage.
enum Trace<A: Arithmetic> {
    Input(A::Vector),
    Route(A::Route),
    Mask(A::Mask),
}

impl<A: Arithmetic> Learner<A> {
    /// Training from `weights`, laid out as [`Network::initial_weights`] does.
    pub fn new(network: Network, recipe: Recipe, weights: A::Vector) -> Result<Self, NetworkError> {
        let plan = network.plan(recipe.batch)?;
        let moments = if matches!(recipe.optimiser, Optimiser::Adam { .. }) { 2 } else { 1 };
        let state = vec![A::Vector::zeros(weights.len()); moments];
        Ok(Self { network, recipe, plan, weights, state, step: 0 })
    }

    /// The weights.
    pub fn weights(&self) -> &A::Vector {
        &self.weights
    }

    /// Everything that a checkpoint keeps: weights, optimiser state, steps so far.
    pub fn state(&self) -> (Vec<&A::Vector>, u64) {
        (std::iter::once(&self.weights).chain(&self.state).collect(), self.step)
    }

    /// Takes up the state of a checkpoint.
    ///
    /// # Panics
    /// If it belongs to another network or optimiser.
    pub fn resume(&mut self, state: Vec<A::Vector>, step: u64) {
        assert!(state.len() == 1 + self.state.len(), "the state of another optimiser");
        assert!(state.iter().all(|part| part.len() == self.weights.len()), "the state of another network");
        let mut parts = state.into_iter();
        self.weights = parts.next().unwrap_or_else(|| unreachable!("there is at least one part"));
        self.state = parts.collect();
        self.step = step;
    }

    /// One step on the images with these public numbers.
    ///
    /// # Panics
    /// If there are not as many as the recipe's batch size.
    pub fn step(&mut self, a: &mut A, samples: &Samples<A::Vector>, batch: &[usize]) -> Result<(), A::Error> {
        assert_eq!(batch.len(), self.recipe.batch, "batches of the planned size");
        let x = pick(&samples.images, batch, self.network.input.len());
        let y = pick(&samples.labels, batch, self.plan.classes);
        let (scores, traces) = forward(a, &self.plan, &self.weights, x)?;
        let softmax = a.softmax(&scores, self.plan.classes, FRAC, COMPARED_BITS)?;
        let gradient = softmax.probabilities.sub(&y.scale(1 << FRAC));
        let gradients = self.backward(a, traces, gradient)?;
        self.step += 1;
        self.update(a, &gradients)
    }

    /// Gradients of all weights, divided by 2^⌈log₂ batch⌉, [`GRADIENT_FRAC`] fractional bits.
    fn backward(
        &self,
        a: &mut A,
        traces: Vec<Trace<A>>,
        mut gradient: A::Vector,
    ) -> Result<A::Vector, A::Error> {
        let mut layers = Vec::new();
        for (i, (stage, trace)) in self.plan.stages.iter().zip(traces).enumerate().rev() {
            match (stage, trace) {
                (Stage::Linear(conv, weights, _), Trace::Input(x)) => {
                    let passed = match i {
                        0 => A::Vector::zeros(0),
                        _ => {
                            let weights = self.weights.slice(weights.start, weights.len());
                            a.convolve_back(conv, &gradient, &weights, FRAC)?
                        }
                    };
                    layers.push((conv, x, std::mem::replace(&mut gradient, passed)));
                }
                (Stage::Pool(pool), Trace::Route(route)) => gradient = a.unpool(pool, &route, &gradient)?,
                (Stage::Relu, Trace::Mask(mask)) => gradient = a.masked(&mask, &gradient)?,
                _ => unreachable!("the forward pass leaves each stage the trace of its kind"),
            }
        }
        let layers: Vec<_> = layers.iter().rev().map(|(conv, x, g)| (&***conv, x, g)).collect();
        a.weight_gradients(&layers, FRAC, 2 * FRAC - GRADIENT_FRAC + self.recipe.batch_bits())
    }

    fn update(&mut self, a: &mut A, gradient: &A::Vector) -> Result<(), A::Error> {
        let (direction, rate) = match self.recipe.optimiser {
            Optimiser::Sgd { rate, momentum } => {
                let kept = match momentum {
                    0.0 => A::Vector::zeros(gradient.len()),
                    _ => a.truncate(&self.state[0].scale(fixed_rate(momentum)), GRADIENT_FRAC)?,
                };
                self.state[0] = kept.add(gradient);
                (self.state[0].clone(), rate * self.recipe.batch_rest())
            }
            Optimiser::Adam { rate } => (self.adam(a, gradient)?, adam_rate(rate, self.step)),
        };
        let change = a.truncate(&direction.scale(fixed_rate(rate)), 2 * GRADIENT_FRAC - FRAC)?;
        self.weights = self.weights.sub(&change);
        Ok(())
    }

    /// m/√(v + ε²) after both moments took in the gradient.
    fn adam(&mut self, a: &mut A, gradient: &A::Vector) -> Result<A::Vector, A::Error> {
        let square = a.square_fixed(gradient, 2 * GRADIENT_FRAC - MOMENT_FRAC)?;
        let first = gradient.sub(&self.state[0]).scale(fixed_rate(0.1));
        self.state[0] = self.state[0].add(&a.truncate(&first, GRADIENT_FRAC)?);
        let second = square.sub(&self.state[1]);
        self.state[1] = self.state[1].add(&a.truncate(&second, 10)?);
        let positive = a.add_public(&self.state[1], 1 << (MOMENT_FRAC - 20));
        let inverse = a.inverse_sqrt(&positive, MOMENT_FRAC, MOMENT_BITS, FRAC)?;
        a.mul_fixed(&self.state[0], &inverse, FRAC)
    }

    /// Mean loss and accuracy over all samples, revealed.
    pub fn evaluate(&self, a: &mut A, samples: &Samples<A::Vector>) -> Result<Metrics, A::Error> {
        let classes = self.plan.classes;
        let images = samples.labels.len() / classes;
        let scores = self.scores(a, &samples.images)?;
        let softmax = a.softmax(&scores, classes, FRAC, COMPARED_BITS)?;
        let sum_bits = FRAC + 1 + usize::BITS - classes.leading_zeros();
        let logs = a.ln(&softmax.sums, FRAC, sum_bits)?;
        let of_label = a.mul_fixed(&softmax.shifted, &samples.labels, 0)?;
        let column = |v: &A::Vector, c| v.gather(&(0..images).map(|i| i * classes + c).collect::<Vec<_>>());
        let columns: Vec<_> = (0..classes).map(|c| column(&scores, c)).collect();
        let winners = a.argmax(&columns, COMPARED_BITS)?;
        let labels: Vec<_> = (0..classes).map(|c| column(&samples.labels, c)).collect();
        let hits = a.mul_fixed(&winners, &A::Vector::concat(&labels), 0)?;
        let sums = [sum(&logs).sub(&sum(&of_label)), sum(&hits)];
        let revealed = a.reveal(&A::Vector::concat(&sums))?;
        let mean = |value: u64, unit: f64| value as i64 as f64 / unit / images as f64;
        Ok(Metrics { loss: mean(revealed[0], f64::from(1u32 << FRAC)), accuracy: mean(revealed[1], 1.0) })
    }

    /// Scores `[image, class]`, a few images at a time so that memory does not grow with their number.
    pub fn scores(&self, a: &mut A, images: &A::Vector) -> Result<A::Vector, A::Error> {
        let len = self.network.input.len();
        let all: Vec<usize> = (0..images.len() / len).collect();
        let mut parts = Vec::new();
        let mut plan: Option<Plan> = None;
        for batch in all.chunks(SCORED_AT_ONCE) {
            let fitting = match plan.take().filter(|plan| plan.batch == batch.len()) {
                Some(plan) => plan,
                None => self.network.plan(batch.len()).unwrap_or_else(|_| unreachable!("planned before")),
            };
            parts.push(forward(a, &fitting, &self.weights, pick(images, batch, len))?.0);
            plan = Some(fitting);
        }
        Ok(A::Vector::concat(&parts))
    }
}

impl Learner<Party> {
    /// The class of every image, as index bits: for a client alone to see.
    pub fn labels(&self, party: &mut Party, images: &Shares<u64>) -> Result<Bits, Error> {
        let scores = self.scores(party, images)?;
        let (classes, rows) = (self.plan.classes, Shares::len(&scores) / self.plan.classes);
        let column = |c: usize| (0..rows).map(|i| i * classes + c).collect::<Vec<_>>();
        let columns: Vec<_> = (0..classes).map(|c| Shares::gather(&scores, &column(c))).collect();
        let (_, route) = party.maximum(&columns, COMPARED_BITS)?;
        party.winner(&route)
    }
}

/// What [`forward`] leaves behind: scores, and what the backward pass needs.
type Forward<A> = (<A as Arithmetic>::Vector, Vec<Trace<A>>);

fn forward<A: Arithmetic>(
    a: &mut A,
    plan: &Plan,
    all: &A::Vector,
    mut x: A::Vector,
) -> Result<Forward<A>, A::Error> {
    let mut traces = Vec::new();
    for stage in &plan.stages {
        let (y, trace) = match stage {
            Stage::Linear(conv, weights, bias) => {
                let weights = all.slice(weights.start, weights.len());
                let bias = all.slice(bias.start, bias.len()).scale(1 << FRAC);
                (a.convolve(conv, &x, &weights, &bias, FRAC)?, Trace::Input(x))
            }
            Stage::Pool(pool) => {
                let (y, route) = a.pool(pool, &x, COMPARED_BITS)?;
                (y, Trace::Route(route))
            }
            Stage::Relu => {
                let (y, mask) = a.rectify(&x, COMPARED_BITS)?;
                (y, Trace::Mask(mask))
            }
        };
        traces.push(trace);
        x = y;
    }
    Ok((x, traces))
}

/// The rows with these numbers, each of `len` values.
fn pick<V: Vector>(rows: &V, numbers: &[usize], len: usize) -> V {
    let rows: Vec<V> = numbers.iter().map(|i| rows.slice(i * len, len)).collect();
    V::concat(&rows)
}

fn sum<V: Vector>(values: &V) -> V {
    let mut sum = values.clone();
    while sum.len() > 1 {
        let half = sum.len() / 2;
        let rest = sum.slice(2 * half, sum.len() - 2 * half);
        sum = V::concat([&sum.slice(0, half).add(&sum.slice(half, half)), &rest]);
    }
    sum
}

//! Training over fixed-point arithmetic: the servers and the integer twin run this code.

use super::metrics::Metrics;
use super::network::{Network, NetworkError, Plan, Stage};
use super::recipe::{Batch, Optimiser, Recipe, adam_rate, fixed_rate};
use super::{COMPARED_BITS, FRAC, GRADIENT_FRAC};
use crate::arithmetic::{Arithmetic, Vector};
use crate::cost::Spent;
use crate::error::Error;
use crate::functions::Functions;
use crate::party::Party;
use crate::share::{Bits, Shares};
use std::time::Instant;

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
    costs: StepCosts,
}

/// What the steps of a training took at one party, by layer.
#[derive(Clone, Debug, Default)]
pub struct StepCosts {
    /// Per layer of the network, forward and backward. The first layer passes nothing back.
    pub layers: Vec<[Spent; 2]>,
    /// Softmax and the scores' gradient.
    pub loss: Spent,
    /// The gradients of all layers' weights, which travel in one message.
    pub gradients: Spent,
    /// The optimiser.
    pub update: Spent,
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
        let mut learner =
            Self { network, recipe, plan, weights, state, step: 0, costs: StepCosts::default() };
        learner.take_costs();
        Ok(learner)
    }

    /// What all steps since the last call took.
    pub fn take_costs(&mut self) -> StepCosts {
        let layers = vec![Default::default(); self.plan.stages.len()];
        std::mem::replace(&mut self.costs, StepCosts { layers, ..StepCosts::default() })
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

    /// One step on a batch.
    ///
    /// # Panics
    /// If it has not as many images as the recipe says.
    pub fn step(&mut self, a: &mut A, samples: &Samples<A::Vector>, batch: &Batch) -> Result<(), A::Error> {
        assert_eq!(batch.images.len(), self.recipe.batch, "batches of the planned size");
        let x = samples.images.gather(&batch.values(self.network.input));
        let y = pick(&samples.labels, &batch.images, self.plan.classes);
        let mut costs = std::mem::take(&mut self.costs);
        let (scores, traces) = forward(a, &self.plan, &self.weights, x, &mut costs.layers)?;
        let softmax =
            metered(a, &mut costs.loss, |a| a.softmax(&scores, self.plan.classes, FRAC, COMPARED_BITS))?;
        let gradient = softmax.probabilities.sub(&y.scale(1 << FRAC));
        let gradients = self.backward(a, traces, gradient, &mut costs)?;
        self.step += 1;
        metered(a, &mut costs.update, |a| self.update(a, &gradients, batch.rate))?;
        self.costs = costs;
        Ok(())
    }

    /// Gradients of all weights, divided by 2^⌈log₂ batch⌉, [`GRADIENT_FRAC`] fractional bits.
    fn backward(
        &self,
        a: &mut A,
        traces: Vec<Trace<A>>,
        mut gradient: A::Vector,
        costs: &mut StepCosts,
    ) -> Result<A::Vector, A::Error> {
        let mut layers = Vec::new();
        for (i, (stage, trace)) in self.plan.stages.iter().zip(traces).enumerate().rev() {
            let spent = &mut costs.layers[i][1];
            match (stage, trace) {
                (Stage::Linear(conv, weights, _), Trace::Input(x)) => {
                    let passed = match i {
                        0 => A::Vector::zeros(0),
                        _ => {
                            let weights = self.weights.slice(weights.start, weights.len());
                            metered(a, spent, |a| a.convolve_back(conv, &gradient, &weights, FRAC))?
                        }
                    };
                    layers.push((conv, x, std::mem::replace(&mut gradient, passed)));
                }
                (Stage::Pool(pool), Trace::Route(route)) => {
                    gradient = metered(a, spent, |a| a.unpool(pool, &route, &gradient))?;
                }
                (Stage::Relu, Trace::Mask(mask)) => {
                    gradient = metered(a, spent, |a| a.masked(&mask, &gradient))?;
                }
                _ => unreachable!("the forward pass leaves each stage the trace of its kind"),
            }
        }
        let layers: Vec<_> = layers.iter().rev().map(|(conv, x, g)| (&***conv, x, g)).collect();
        let shift = 2 * FRAC - GRADIENT_FRAC + self.recipe.batch_bits();
        metered(a, &mut costs.gradients, |a| a.weight_gradients(&layers, FRAC, shift))
    }

    fn update(&mut self, a: &mut A, gradient: &A::Vector, factor: f64) -> Result<(), A::Error> {
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
        let change = a.truncate(&direction.scale(fixed_rate(factor * rate)), 2 * GRADIENT_FRAC - FRAC)?;
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
            let mut spent = vec![Default::default(); fitting.stages.len()];
            parts.push(forward(a, &fitting, &self.weights, pick(images, batch, len), &mut spent)?.0);
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
    costs: &mut [[Spent; 2]],
) -> Result<Forward<A>, A::Error> {
    let mut traces = Vec::new();
    for (stage, [spent, _]) in plan.stages.iter().zip(costs) {
        let (y, trace) = match stage {
            Stage::Linear(conv, weights, bias) => {
                let weights = all.slice(weights.start, weights.len());
                let bias = all.slice(bias.start, bias.len()).scale(1 << FRAC);
                let y = metered(a, spent, |a| a.convolve(conv, &x, &weights, &bias, FRAC))?;
                (y, Trace::Input(x))
            }
            Stage::Pool(pool) => {
                let (y, route) = metered(a, spent, |a| a.pool(pool, &x, COMPARED_BITS))?;
                (y, Trace::Route(route))
            }
            Stage::Relu => {
                let (y, mask) = metered(a, spent, |a| a.rectify(&x, COMPARED_BITS))?;
                (y, Trace::Mask(mask))
            }
        };
        traces.push(trace);
        x = y;
    }
    Ok((x, traces))
}

/// Does something, and adds what it took to `spent`.
fn metered<A: Arithmetic, T>(
    a: &mut A,
    spent: &mut Spent,
    work: impl FnOnce(&mut A) -> Result<T, A::Error>,
) -> Result<T, A::Error> {
    let (start, before) = (Instant::now(), a.traffic());
    let done = work(a)?;
    *spent += Spent::since(start, a.traffic() - before);
    Ok(done)
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

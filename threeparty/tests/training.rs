//! The three trainings against each other: servers, integer twin, float twin.

#![expect(clippy::unwrap_used, reason = "tests")]

use models::Shape;
use prg::{Prg, Seed};
use threeparty::clear::Clear;
use threeparty::cost::{self, Cost, Spent};
use threeparty::local;
use threeparty::train::{
    Batch, COMPARED_BITS, FRAC, FloatLearner, GRADIENT_FRAC, Layer, Learner, Network, Optimiser, Recipe,
    Samples, StepCosts, epoch_batches, from_fixed, to_fixed,
};

const CLASSES: usize = 3;
const SIDE: usize = 8;

fn network() -> Network {
    let layers = vec![
        Layer::Conv { channels: 4, kernel: 3, stride: 1 },
        Layer::MaxPool,
        Layer::Relu,
        Layer::Conv { channels: 5, kernel: 3, stride: 2 },
        Layer::Relu,
        Layer::Dense { outputs: CLASSES },
    ];
    Network { input: Shape { channels: 2, dims: [1, SIDE, SIDE] }, layers }
}

/// Images whose class is the third of the image that is brightest.
fn samples(images: usize) -> (Vec<f32>, Vec<usize>) {
    let mut prg = Prg::new(&Seed::from_bytes([8; 16]));
    let mut uniform = || (prg.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..images {
        let label = (uniform() * CLASSES as f32) as usize;
        for i in 0..2 * SIDE * SIDE {
            let bright = i % (SIDE * SIDE) / SIDE * CLASSES / SIDE == label;
            pixels.push(uniform() * 0.7 + f32::from(u8::from(bright)) * 0.3);
        }
        labels.push(label);
    }
    (pixels, labels)
}

fn fixed(images: &[f32], labels: &[usize]) -> Samples<Vec<u64>> {
    let images = images.iter().map(|&x| to_fixed(f64::from(x))).collect();
    let one_hot = labels.iter().flat_map(|&l| (0..CLASSES).map(move |c| u64::from(l == c))).collect();
    Samples { images, labels: one_hot }
}

fn recipe(optimiser: Optimiser, batch: usize) -> Recipe {
    Recipe { decay: 0.9, turns: true, ..Recipe::new(optimiser, batch, 1, [5; 16]) }
}

fn check_twins(recipe: &Recipe, steps: usize, tolerance: f64) {
    let (images, labels) = samples(3 * recipe.batch);
    let weights = network().initial_weights(&Seed::from_bytes([6; 16])).unwrap();
    let batches = epoch_batches(recipe, network().input, labels.len(), 0);
    let batches = &batches[..steps];

    let mut float =
        FloatLearner::new(network(), recipe.clone(), weights.iter().map(|&w| w as f32).collect()).unwrap();
    batches.iter().for_each(|batch| float.step(&images, &labels, batch));

    let plain = fixed(&images, &labels);
    let start: Vec<u64> = weights.iter().map(|&w| to_fixed(w)).collect();
    let mut clear = Clear::new(&Seed::from_os());
    let mut integer = Learner::<Clear>::new(network(), recipe.clone(), start.clone()).unwrap();
    batches.iter().for_each(|batch| integer.step(&mut clear, &plain, batch).unwrap());
    let of_twin = integer.evaluate(&mut clear, &plain).unwrap();

    let shared_weights = local::deal(&start, &Seed::from_os());
    let shared_images = local::deal(&plain.images, &Seed::from_os());
    let shared_labels = local::deal(&plain.labels, &Seed::from_os());
    let [(secure, of_servers), ..] = local::run(|party| {
        let id = party.id();
        let samples = Samples { images: shared_images[id].clone(), labels: shared_labels[id].clone() };
        let mut learner = Learner::new(network(), recipe.clone(), shared_weights[id].clone()).unwrap();
        batches.iter().try_for_each(|batch| learner.step(party, &samples, batch))?;
        let metrics = learner.evaluate(party, &samples)?;
        Ok((party.open(learner.weights())?, metrics))
    })
    .unwrap();

    let of_float = float.evaluate(&images, &labels);
    assert!((of_float.loss - of_servers.loss).abs() < 20.0 * tolerance, "{of_float:?} {of_servers:?}");
    assert!((of_twin.loss - of_servers.loss).abs() < 20.0 * tolerance, "{of_twin:?} {of_servers:?}");
    // Means: a rounding that tips a maximum or a ReLU the other way moves single weights visibly.
    let mean =
        |f: &dyn Fn(usize) -> f64| (0..weights.len()).map(|i| f(i).abs()).sum::<f64>() / weights.len() as f64;
    let [twin, secure] =
        [integer.weights(), &secure].map(|w| w.iter().map(|&w| from_fixed(w)).collect::<Vec<_>>());
    let moved = mean(&|i| secure[i] - weights[i]);
    assert!(moved > 10.0 * tolerance, "the steps are too small to tell anything: {moved}");
    let to_float = mean(&|i| secure[i] - f64::from(float.weights()[i]));
    let to_twin = mean(&|i| secure[i] - twin[i]);
    assert!(to_float < tolerance && to_twin < tolerance, "moved {moved}, float {to_float}, twin {to_twin}");
}

#[test]
fn servers_and_twins_take_the_same_steps() {
    check_twins(&recipe(Optimiser::Sgd { rate: 0.5, momentum: 0.9 }, 4), 3, 1e-3);
    check_twins(&recipe(Optimiser::Sgd { rate: 0.2, momentum: 0.0 }, 6), 1, 1e-4);
    check_twins(&recipe(Optimiser::Adam { rate: 0.05 }, 4), 2, 1e-3);
}

#[test]
fn a_step_costs_what_the_formulas_say_layer_by_layer() {
    let recipe = recipe(Optimiser::Sgd { rate: 0.5, momentum: 0.9 }, 4);
    let (images, labels) = samples(4);
    let plain = fixed(&images, &labels);
    let weights = network().initial_weights(&Seed::from_bytes([6; 16])).unwrap();
    let weights: Vec<u64> = weights.into_iter().map(to_fixed).collect();
    let shared = [&weights, &plain.images, &plain.labels].map(|values| local::deal(values, &Seed::from_os()));
    let parties = local::run(|party| {
        let [weights, images, labels] = shared.each_ref().map(|shares| shares[party.id()].clone());
        let mut learner = Learner::new(network(), recipe.clone(), weights).unwrap();
        let before = party.traffic();
        learner.step(party, &Samples { images, labels }, &Batch::plain(&[0, 1, 2, 3]))?;
        Ok((learner.take_costs(), party.traffic() - before))
    })
    .unwrap();
    let measured = |pick: &dyn Fn(&StepCosts) -> Spent| Cost {
        bytes: parties.iter().map(|(costs, _)| pick(costs).bytes_sent).sum(),
        rounds: pick(&parties[0].0).rounds,
    };
    // Four images; the layers have 4×8×8, 4×4×4, 4×4×4, 5×2×2, 5×2×2 and 3 outputs.
    let forward = [
        cost::product(64, 4 * 256, FRAC),
        cost::maximum(64, 4 * 64, 4, COMPARED_BITS),
        cost::relu(64, 4 * 64, COMPARED_BITS),
        cost::product(64, 4 * 20, FRAC),
        cost::relu(64, 4 * 20, COMPARED_BITS),
        cost::product(64, 4 * 3, FRAC),
    ];
    forward.iter().enumerate().for_each(|(i, cost)| assert_eq!(measured(&|c| c.layers[i][0]), *cost, "{i}"));
    let backward = [
        Cost::default(),
        Cost { bytes: 144 * 4 * 64, rounds: 2 },
        cost::select(64, 4 * 64),
        cost::product(64, 4 * 64, FRAC),
        cost::select(64, 4 * 20),
        cost::product(64, 4 * 20, FRAC),
    ];
    backward.iter().enumerate().for_each(|(i, cost)| assert_eq!(measured(&|c| c.layers[i][1]), *cost, "{i}"));
    let len = weights.len();
    assert_eq!(measured(&|c| c.gradients), cost::product(64, len, 2 * FRAC - GRADIENT_FRAC + 2));
    let update = cost::truncate(64, len, GRADIENT_FRAC) + cost::truncate(64, len, 2 * GRADIENT_FRAC - FRAC);
    assert_eq!(measured(&|c| c.update), update);
    for (costs, traffic) in &parties {
        let mut all = costs.layers.concat();
        all.extend([costs.loss, costs.gradients, costs.update]);
        assert_eq!(all.iter().map(|spent| spent.bytes_sent).sum::<u64>(), traffic.sent);
        assert_eq!(all.iter().map(|spent| spent.rounds).sum::<u64>(), traffic.rounds);
    }
}

#[test]
fn the_float_gradient_is_the_slope_of_the_loss() {
    let (images, labels) = samples(4);
    let weights: Vec<f32> =
        network().initial_weights(&Seed::from_bytes([6; 16])).unwrap().iter().map(|&w| w as f32).collect();
    let recipe = recipe(Optimiser::Sgd { rate: 1.0, momentum: 0.0 }, 4);
    let mut stepped = FloatLearner::new(network(), recipe.clone(), weights.clone()).unwrap();
    stepped.step(&images, &labels, &Batch::plain(&[0, 1, 2, 3]));
    let loss = |weights: Vec<f32>| {
        FloatLearner::new(network(), recipe.clone(), weights).unwrap().evaluate(&images, &labels).loss
    };
    for i in (0..weights.len()).step_by(29) {
        let gradient = f64::from(weights[i] - stepped.weights()[i]);
        let (mut up, mut down) = (weights.clone(), weights.clone());
        (up[i], down[i]) = (up[i] + 1e-4, down[i] - 1e-4);
        // Small, so that hardly any maximum or ReLU changes sides within it.
        let slope = (loss(up) - loss(down)) / 2e-4;
        assert!(
            (slope - gradient).abs() < 3e-3 + 0.03 * slope.abs(),
            "weight {i}: {slope} against {gradient}"
        );
    }
}

#[test]
fn the_integer_twin_learns() {
    let (images, labels) = samples(96);
    let plain = fixed(&images, &labels);
    // The class is a matter of up and down: no turning here.
    let recipe = Recipe { turns: false, ..recipe(Optimiser::Sgd { rate: 0.1, momentum: 0.9 }, 16) };
    let start = network().initial_weights(&Seed::from_bytes([6; 16])).unwrap();
    let start = start.iter().map(|&w| to_fixed(w)).collect();
    let mut clear = Clear::new(&Seed::from_bytes([7; 16]));
    let mut learner = Learner::<Clear>::new(network(), recipe.clone(), start).unwrap();
    for epoch in 0..12 {
        epoch_batches(&recipe, network().input, 96, epoch)
            .iter()
            .for_each(|b| learner.step(&mut clear, &plain, b).unwrap());
    }
    let metrics = learner.evaluate(&mut clear, &plain).unwrap();
    assert!(metrics.accuracy > 0.9, "{metrics:?}");
}

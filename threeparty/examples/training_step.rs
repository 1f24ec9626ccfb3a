//! Cost of one training step of the paper's network over three parties in one process.
//!
//! `cargo run --release -p threeparty --example training_step -- [steps, default 1]`: batch 32 of 32×32×1, convolutions
//! 16-32-64-64, three max poolings, dense 1024→10, softmax cross-entropy, SGD with momentum.

use models::Shape;
use prg::{Prg, Seed};
use std::time::Instant;
use threeparty::machine::cpu_seconds;
use threeparty::train::{Batch, Learner, Network, Optimiser, Recipe, Samples, to_fixed};
use threeparty::{Error, local};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let steps: usize = std::env::args().nth(1).map_or(Ok(1), |arg| arg.parse())?;
    let network = Network::paper(Shape { channels: 1, dims: [1, 32, 32] }, 10);
    let optimiser = Optimiser::Sgd { rate: 0.05, momentum: 0.9 };
    let recipe = Recipe::new(optimiser, 32, 1, [1; 16]);
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let mut pixels = vec![0; 32 * 32 * 32];
    prg.fill_below(&mut pixels, 1 << 16);
    let one_hot: Vec<u64> = (0..320).map(|i| u64::from(i % 10 == i / 10 % 10)).collect();
    let weights = network.initial_weights(&Seed::from_bytes([2; 16]))?;
    let weights: Vec<u64> = weights.iter().map(|&w| to_fixed(w)).collect();
    let shared = [&weights, &pixels, &one_hot].map(|values| local::deal(values, &Seed::from_os()));
    let batch = Batch::plain(&(0..32).collect::<Vec<_>>());
    let (wall, cpu) = (Instant::now(), cpu_seconds().unwrap_or(f64::NAN));
    let traffic = local::run(|party| {
        let [weights, images, labels] = &shared.each_ref().map(|shares| shares[party.id()].clone());
        let samples = Samples { images: images.clone(), labels: labels.clone() };
        let learner = Learner::new(network.clone(), recipe.clone(), weights.clone());
        let mut learner = learner.unwrap_or_else(|_| unreachable!("the paper's network fits"));
        (0..steps).try_for_each(|_| learner.step(party, &samples, &batch))?;
        Ok::<_, Error>(party.traffic())
    })?;
    let per_step = |value: f64| value / steps as f64;
    println!(
        "per step: {:.2} s wall, {:.2} CPU s of all parties, {:.1} MB sent by all parties, {} rounds",
        per_step(wall.elapsed().as_secs_f64()),
        per_step(cpu_seconds().unwrap_or(f64::NAN) - cpu),
        per_step(traffic.iter().map(|t| t.sent).sum::<u64>() as f64 / 1e6),
        per_step(traffic[0].rounds as f64)
    );
    Ok(())
}

//! A training job in the clear: the float twin and the integer twin, beside which the servers' curves are drawn.
//!
//! `cargo run --release -p threeparty --example twins -- job.json table.csv images/ [float|integer|both]`, with the job and
//! the pictures of a training run with one data owner. Prints one JSON line per epoch, as `party` does; for
//! the float twin also the area under the ROC curve of the test images where there are two classes.

use prg::Seed;
use serde_json::json;
use std::convert::Infallible;
use std::path::Path;
use threeparty::clear::Clear;
use threeparty::client::Labelled;
use threeparty::data::Table;
use threeparty::job::{Job, Task, Training};
use threeparty::train::{FloatLearner, Learner, Samples, epoch_order, to_fixed};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [job, table, images, which @ ..] = args.as_slice() else {
        return Err("usage: twins job.json table.csv images/ [float|integer|both]".into());
    };
    let Task::Train(training) = Job::parse(&std::fs::read_to_string(job)?)?.task else {
        return Err("the job is no training run".into());
    };
    let [owner] = training.owners.as_slice() else { return Err("the twins know one data owner".into()) };
    let table = Table::load(Path::new(table), Path::new(images))?;
    let input = training.network.input;
    let (train, test) =
        (table.images("train", owner.train, input)?, table.images("test", owner.test, input)?);
    let which = which.first().map_or("both", String::as_str);
    if which != "integer" {
        float(&training, &train, &test)?;
    }
    if which != "float" {
        integer(&training, &train, &test)?;
    }
    Ok(())
}

fn float(training: &Training, train: &Labelled, test: &Labelled) -> Result<(), Box<dyn std::error::Error>> {
    let weights = training.network.initial_weights(&Seed::from_bytes(training.recipe.seed))?;
    let weights = weights.into_iter().map(|w| w as f32).collect();
    let mut learner = FloatLearner::new(training.network.clone(), training.recipe.clone(), weights)?;
    for epoch in 0..training.recipe.epochs {
        let batches = epoch_order(&training.recipe, train.labels.len(), epoch);
        batches.iter().for_each(|batch| learner.step(&train.images, &train.labels, batch));
        let [on_train, on_test] = [train, test].map(|set| learner.evaluate(&set.images, &set.labels));
        let margins: Vec<f32> = learner.scores(&test.images).iter().map(|row| row[1] - row[0]).collect();
        let auc = area(&margins, &test.labels);
        println!(
            "{}",
            json!({ "twin": "float", "epoch": epoch + 1, "train": on_train, "test": on_test, "auc": auc })
        );
    }
    Ok(())
}

fn integer(training: &Training, train: &Labelled, test: &Labelled) -> Result<(), Box<dyn std::error::Error>> {
    let classes = training.network.classes()?;
    let [train, test] = [train, test].map(|set| Samples {
        images: set.images.iter().map(|&x| to_fixed(f64::from(x))).collect::<Vec<u64>>(),
        labels: set.labels.iter().flat_map(|&l| (0..classes).map(move |c| u64::from(l == c))).collect(),
    });
    let weights = training.network.initial_weights(&Seed::from_bytes(training.recipe.seed))?;
    let weights = weights.into_iter().map(to_fixed).collect();
    let mut clear = Clear::new(&Seed::from_os());
    let mut learner = Learner::<Clear>::new(training.network.clone(), training.recipe.clone(), weights)?;
    let images = train.labels.len() / classes;
    for epoch in 0..training.recipe.epochs {
        for batch in epoch_order(&training.recipe, images, epoch) {
            sure(learner.step(&mut clear, &train, &batch));
        }
        let [on_train, on_test] = [&train, &test].map(|set| sure(learner.evaluate(&mut clear, set)));
        println!("{}", json!({ "twin": "integer", "epoch": epoch + 1, "train": on_train, "test": on_test }));
    }
    Ok(())
}

fn sure<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// The probability that a picture of class 1 scores higher than one of class 0; ties count half.
fn area(scores: &[f32], labels: &[usize]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut ranks, mut start) = (0.0, 0);
    while start < order.len() {
        let ties = order[start..].iter().take_while(|&&i| scores[i] == scores[order[start]]).count();
        let rank = start as f64 + (ties as f64 + 1.0) / 2.0;
        ranks += rank * order[start..start + ties].iter().filter(|&&i| labels[i] == 1).count() as f64;
        start += ties;
    }
    let positive = labels.iter().filter(|&&label| label == 1).count() as f64;
    let negative = labels.len() as f64 - positive;
    (ranks - positive * (positive + 1.0) / 2.0) / (positive * negative)
}

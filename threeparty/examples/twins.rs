//! A training job in the clear: the float twin and the integer twin, beside which the servers' curves are drawn.
//!
//! `cargo run --release -p threeparty --example twins -- job.json table.csv images/ [float|integer|both|weights.json]`, with
//! the job and the pictures of a training run with one data owner. Prints one JSON line per epoch, as `party` does;
//! for the float twin also the area under the ROC curve (AUC) of the test images where there are two classes. Given a
//! file of weights that the servers trained, prints what they achieve on the test images.

use prg::Seed;
use serde_json::json;
use std::convert::Infallible;
use std::path::Path;
use threeparty::clear::Clear;
use threeparty::client::Labelled;
use threeparty::data::Table;
use threeparty::job::{Job, Task, Training};
use threeparty::train::{FloatLearner, Learner, Metrics, Samples, epoch_batches, roc_area, to_fixed};

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
    if which.ends_with(".json") {
        let weights: Vec<f32> = serde_json::from_slice(&std::fs::read(which)?)?;
        if weights.len() != training.network.parameters()? {
            return Err(format!("{which} holds the weights of another network").into());
        }
        let trained = FloatLearner::new(training.network, training.recipe, weights)?;
        let (metrics, auc) = on_test(&trained, &test);
        println!("{}", json!({ "weights": which, "test": metrics, "auc": auc }));
        return Ok(());
    }
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
        let batches = epoch_batches(&training.recipe, training.network.input, train.labels.len(), epoch);
        batches.iter().for_each(|batch| learner.step(&train.images, &train.labels, batch));
        let on_train = learner.evaluate(&train.images, &train.labels);
        let (on_test, auc) = on_test(&learner, test);
        println!(
            "{}",
            json!({ "twin": "float", "epoch": epoch + 1, "train": on_train, "test": on_test, "auc": auc })
        );
    }
    Ok(())
}

fn on_test(learner: &FloatLearner, test: &Labelled) -> (Metrics, f64) {
    let margins: Vec<f32> = learner.scores(&test.images).iter().map(|row| row[1] - row[0]).collect();
    (learner.evaluate(&test.images, &test.labels), roc_area(&margins, &test.labels))
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
        for batch in epoch_batches(&training.recipe, training.network.input, images, epoch) {
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

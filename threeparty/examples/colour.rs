//! How well colour alone tells the classes of a table apart: the baseline that a network on pictures must beat.
//!
//! `cargo run --release -p threeparty --example colour -- table.csv images/`: a linear least-squares fit of the label, on the
//! training split, to each picture's mean colour, to its histogram of every channel in eight bins, and to both with
//! the channels' deviations; prints accuracy and the area under the ROC curve on the test split.

use models::Shape;
use serde_json::json;
use std::path::Path;
use threeparty::client::Labelled;
use threeparty::data::Table;
use threeparty::train::roc_area;

/// Extents that pictures are brought to.
const SIDE: usize = 50;
const BINS: usize = 8;
/// Numbers that describe a picture, a constant among them.
type Features = fn(&[f32]) -> Vec<f64>;
/// Keeps the normal equations solvable where a bin is empty in all pictures.
const RIDGE: f64 = 1e-6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [table, images] = args.as_slice() else { return Err("usage: colour table.csv images/".into()) };
    let table = Table::load(Path::new(table), Path::new(images))?;
    let shape = Shape { channels: 3, dims: [1, SIDE, SIDE] };
    let [train, test] = ["train", "test"].map(|split| table.images(split, table.count(split), shape));
    let (train, test) = (train?, test?);
    let kinds: [(&str, Features); 3] =
        [("mean", means), ("histograms", histograms), ("histograms, mean, deviation", everything)];
    for (name, features) in kinds {
        let weights = fit(&train, features);
        let scores: Vec<f32> =
            pictures(&test).map(|picture| dot(&weights, &features(picture)) as f32).collect();
        let right = scores.iter().zip(&test.labels).filter(|&(&s, &label)| usize::from(s > 0.5) == label);
        let (accuracy, auc) = (right.count() as f64 / scores.len() as f64, roc_area(&scores, &test.labels));
        println!("{}", json!({ "colour": name, "weights": weights.len(), "accuracy": accuracy, "auc": auc }));
    }
    Ok(())
}

fn pictures(set: &Labelled) -> impl Iterator<Item = &[f32]> {
    set.images.chunks(3 * SIDE * SIDE)
}

fn means(picture: &[f32]) -> Vec<f64> {
    let mean = |channel: &[f32]| channel.iter().map(|&v| f64::from(v)).sum::<f64>() / channel.len() as f64;
    picture.chunks(SIDE * SIDE).map(mean).chain([1.0]).collect()
}

/// Shares of the pixels in bins of a quarter of a unit around zero, per channel; the outermost bins are open.
fn histograms(picture: &[f32]) -> Vec<f64> {
    let mut shares = vec![0.0; 3 * BINS];
    for (channel, shares) in picture.chunks(SIDE * SIDE).zip(shares.chunks_mut(BINS)) {
        for value in channel {
            let bin = (value * 2.0 + BINS as f32 / 2.0).clamp(0.0, BINS as f32 - 1.0) as usize;
            shares[bin] += 1.0 / channel.len() as f64;
        }
    }
    shares.push(1.0);
    shares
}

fn everything(picture: &[f32]) -> Vec<f64> {
    let mean = means(picture);
    let deviation = |(channel, mean): (&[f32], &f64)| {
        let sum: f64 = channel.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
        (sum / channel.len() as f64).sqrt()
    };
    let deviations = picture.chunks(SIDE * SIDE).zip(&mean).map(deviation);
    deviations.chain(mean[..3].iter().copied()).chain(histograms(picture)).collect()
}

/// Weights of the least-squares fit of the labels, by the normal equations.
fn fit(set: &Labelled, features: Features) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = pictures(set).map(features).collect();
    let n = rows[0].len();
    // The matrix with its right side as the last column.
    let mut system = vec![vec![0.0; n + 1]; n];
    for (row, &label) in rows.iter().zip(&set.labels) {
        for (i, line) in system.iter_mut().enumerate() {
            line.iter_mut().zip(row.iter().chain([&(label as f64)])).for_each(|(sum, x)| *sum += row[i] * x);
        }
    }
    (0..n).for_each(|i| system[i][i] += RIDGE * rows.len() as f64);
    // The matrix is symmetric and positive definite: elimination needs no pivots.
    for i in 0..n {
        let (done, rest) = system.split_at_mut(i + 1);
        for line in rest {
            let factor = line[i] / done[i][i];
            line.iter_mut().zip(&done[i]).for_each(|(x, pivot)| *x -= factor * pivot);
        }
    }
    let mut weights = vec![0.0; n];
    for i in (0..n).rev() {
        weights[i] = (system[i][n] - dot(&system[i][i + 1..n], &weights[i + 1..])) / system[i][i];
    }
    weights
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

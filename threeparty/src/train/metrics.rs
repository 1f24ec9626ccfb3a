//! How well a network does.

use serde::{Deserialize, Serialize};

/// What is revealed after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose largest score is that of their label.
    pub accuracy: f64,
}

/// Area under the ROC curve: the probability that an image of class 1 scores higher than one of class 0; ties count half.
pub fn roc_area(scores: &[f32], labels: &[usize]) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_counts_pairs_in_the_right_order() {
        let (scores, labels) = ([0.1, 0.4, 0.35, 0.8, 0.4], [0, 0, 1, 1, 1]);
        // Of six pairs four are in order, one is a tie.
        assert!((roc_area(&scores, &labels) - 4.5 / 6.0).abs() < 1e-12);
    }
}

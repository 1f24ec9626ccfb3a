//! Dice and IoU per label, and what a network that sees nothing would score.

use ndarray::ArrayView3;
use serde::Serialize;

/// Agreement of one label in two segmentations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LabelScore {
    /// The label.
    pub label: u8,
    /// 2·|A∩B| / (|A| + |B|); `None` if the label is in neither.
    pub dice: Option<f64>,
    /// |A∩B| / |A∪B|; `None` if the label is in neither.
    pub iou: Option<f64>,
    /// Voxels with this label in the result.
    pub result: u64,
    /// Voxels with this label in the reference.
    pub reference: u64,
    /// Voxels with this label in both.
    pub both: u64,
}

/// Scores of labels `0..labels`.
///
/// # Panics
/// If the shapes differ.
pub fn score(result: ArrayView3<'_, u8>, reference: ArrayView3<'_, u8>, labels: u8) -> Vec<LabelScore> {
    let mut scores = score_all(result, reference);
    scores.truncate(usize::from(labels));
    scores
}

/// Scores of all labels, 0 to 255.
///
/// # Panics
/// If the shapes differ.
pub fn score_all(result: ArrayView3<'_, u8>, reference: ArrayView3<'_, u8>) -> Vec<LabelScore> {
    assert_eq!(result.dim(), reference.dim(), "segmentations on one grid");
    let mut counts = [[0u64; 3]; 256];
    for (&a, &b) in result.iter().zip(reference.iter()) {
        counts[usize::from(a)][0] += 1;
        counts[usize::from(b)][1] += 1;
        counts[usize::from(a)][2] += u64::from(a == b);
    }
    (0..=255).map(|label| one(label, counts[usize::from(label)])).collect()
}

fn one(label: u8, [result, reference, both]: [u64; 3]) -> LabelScore {
    let ratio = |above: u64, below: u64| (below > 0).then(|| above as f64 / below as f64);
    LabelScore {
        label,
        dice: ratio(2 * both, result + reference),
        iou: ratio(both, result + reference - both),
        result,
        reference,
        both,
    }
}

/// Label that most voxels of `reference` have (the lowest of equals).
pub fn majority_label(reference: ArrayView3<'_, u8>) -> u8 {
    let mut counts = [0u64; 256];
    for &label in reference {
        counts[usize::from(label)] += 1;
    }
    let most = counts.iter().max().copied().unwrap_or(0);
    counts.iter().position(|c| *c == most).map_or(0, |label| label as u8)
}

/// Scores of the segmentation that calls every voxel by the reference's majority label.
pub fn trivial_baseline(reference: ArrayView3<'_, u8>, labels: u8) -> Vec<LabelScore> {
    let constant = ndarray::Array3::from_elem(reference.dim(), majority_label(reference));
    score(constant.view(), reference, labels)
}

/// Number of voxels that differ.
///
/// # Panics
/// If the shapes differ.
pub fn different<T: PartialEq>(a: ArrayView3<'_, T>, b: ArrayView3<'_, T>) -> u64 {
    assert_eq!(a.dim(), b.dim(), "segmentations on one grid");
    a.iter().zip(b.iter()).filter(|(x, y)| x != y).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    fn labels(values: [u8; 6]) -> Array3<u8> {
        Array3::from_shape_vec((1, 2, 3), values.to_vec()).expect("six values")
    }

    #[test]
    fn dice_and_iou_of_a_known_case() {
        let (a, b) = (labels([0, 0, 1, 1, 1, 2]), labels([0, 1, 1, 1, 2, 2]));
        let scores = score(a.view(), b.view(), 4);
        assert_eq!(scores[1].dice, Some(4.0 / 6.0));
        assert_eq!(scores[1].iou, Some(0.5));
        assert_eq!((scores[2].result, scores[2].reference, scores[2].both), (1, 2, 1));
        assert_eq!((scores[3].dice, scores[3].iou), (None, None));
        assert_eq!(different(a.view(), b.view()), 2);
    }

    #[test]
    fn the_trivial_baseline_calls_all_the_majority() {
        let reference = labels([1, 1, 1, 1, 0, 0]);
        assert_eq!(majority_label(reference.view()), 1);
        let scores = trivial_baseline(reference.view(), 2);
        assert_eq!(scores[0].dice, Some(0.0));
        assert_eq!(scores[1].dice, Some(0.8));
    }
}

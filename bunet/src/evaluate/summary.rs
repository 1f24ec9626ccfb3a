//! `summary.json` in the keys of nnU-Net's evaluation, with HD95 and agreement beside them.
//!
//! As there, a label that neither segmentation of a case has has no Dice and IoU there (null) and is left out of the
//! label's mean; one that a single segmentation has scores 0. A foreground mean is that of the labels' means but label
//! 0's, and null if one of them is. HD95 is null unless both segmentations have the label.

use super::case::{Case, Labelling, Score};
use cli::Failure;
use models::record::Agreement;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) foreground_mean: Metrics<f64>,
    pub(super) mean: BTreeMap<u8, Metrics<f64>>,
    pub(super) metric_per_case: Vec<CaseMetrics>,
    /// `mm`, or `voxels` where files state no spacing.
    pub(super) hd95_unit: &'static str,
    /// How labels are called.
    pub(super) labels: BTreeMap<u8, String>,
    /// References without a prediction, and the reverse: left out.
    pub(super) missing: Vec<PathBuf>,
    /// Labels that differ from those of the integer network in the clear, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blind_against_clear: Option<Agreement>,
}

/// One case.
#[derive(Serialize)]
pub(super) struct CaseMetrics {
    pub(super) prediction_file: PathBuf,
    pub(super) reference_file: Option<PathBuf>,
    pub(super) metrics: BTreeMap<u8, Metrics<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blind_against_clear: Option<Agreement>,
}

/// One label, or a mean.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Metrics<T> {
    #[serde(rename = "Dice")]
    pub(super) dice: Option<f64>,
    #[serde(rename = "IoU")]
    pub(super) iou: Option<f64>,
    #[serde(rename = "HD95")]
    pub(super) hd95: Option<f64>,
    #[serde(rename = "FN")]
    fn_: T,
    #[serde(rename = "FP")]
    fp: T,
    #[serde(rename = "TN")]
    tn: T,
    #[serde(rename = "TP")]
    tp: T,
    n_pred: T,
    n_ref: T,
}

impl Summary {
    /// Puts cases together.
    pub(super) fn of(cases: &[Case], labelling: &Labelling, missing: Vec<PathBuf>) -> Result<Self, Failure> {
        let mut units = cases.iter().map(|case| case.millimetres);
        let millimetres = units.next().unwrap_or(false);
        if units.any(|other| other != millimetres) {
            let reason = "some references state their spacing and some do not: distances have no common unit";
            return Err(Failure::input(format!("{reason}; evaluate the kinds apart")));
        }
        let scored = cases.iter().any(|case| case.reference.is_some());
        let named = labelling.manifest().map_or(0, |manifest| manifest.labels.len());
        let known = (0..named).filter(|_| scored).filter_map(|label| u8::try_from(label).ok());
        let found = cases.iter().flat_map(|case| case.scores.keys().copied());
        let labels: BTreeSet<u8> = known.chain(found).collect();
        let metric_per_case: Vec<CaseMetrics> =
            cases.iter().map(|case| CaseMetrics::of(case, &labels)).collect();
        let mean: BTreeMap<u8, Metrics<f64>> = labels
            .iter()
            .map(|label| (*label, mean_of(metric_per_case.iter().map(|case| case.metrics[label].real()))))
            .collect();
        let foreground: Vec<Metrics<f64>> =
            mean.iter().filter(|(label, _)| **label > 0).map(|(_, metrics)| *metrics).collect();
        Ok(Self {
            foreground_mean: all_or_none(&foreground),
            mean,
            metric_per_case,
            hd95_unit: if millimetres { "mm" } else { "voxels" },
            labels: labels.iter().map(|label| (*label, labelling.name(*label))).collect(),
            missing,
            blind_against_clear: total(cases),
        })
    }
}

fn total(cases: &[Case]) -> Option<Agreement> {
    cases
        .iter()
        .filter_map(|case| case.agreement)
        .reduce(|a, b| Agreement { total: a.total + b.total, different: a.different + b.different })
}

impl CaseMetrics {
    fn of(case: &Case, labels: &BTreeSet<u8>) -> Self {
        let one = |label: &u8| {
            let score = case.scores.get(label).copied().unwrap_or_default();
            (*label, Metrics::of(&score, case.voxels))
        };
        let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            prediction_file: full(&case.prediction),
            reference_file: case.reference.as_deref().map(full),
            metrics: labels.iter().map(one).collect(),
            blind_against_clear: case.agreement,
        }
    }
}

impl Metrics<u64> {
    fn of(score: &Score, voxels: u64) -> Self {
        let Score { predicted, referred, both, hd95 } = *score;
        let (fp, fn_) = (predicted - both, referred - both);
        let ratio = |above: u64, below: u64| (below > 0).then(|| above as f64 / below as f64);
        Self {
            dice: ratio(2 * both, 2 * both + fp + fn_),
            iou: ratio(both, both + fp + fn_),
            hd95,
            fn_,
            fp,
            tn: voxels - both - fp - fn_,
            tp: both,
            n_pred: predicted,
            n_ref: referred,
        }
    }

    fn real(&self) -> Metrics<f64> {
        let Self { dice, iou, hd95, .. } = *self;
        let [fn_, fp, tn, tp, n_pred, n_ref] =
            [self.fn_, self.fp, self.tn, self.tp, self.n_pred, self.n_ref].map(|count| count as f64);
        Metrics { dice, iou, hd95, fn_, fp, tn, tp, n_pred, n_ref }
    }
}

/// Means of what is there.
fn mean_of(metrics: impl Iterator<Item = Metrics<f64>>) -> Metrics<f64> {
    let metrics: Vec<Metrics<f64>> = metrics.collect();
    let mean =
        |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let some = |of: fn(&Metrics<f64>) -> Option<f64>| mean(metrics.iter().filter_map(of).collect());
    let count = |of: fn(&Metrics<f64>) -> f64| mean(metrics.iter().map(of).collect()).unwrap_or(0.0);
    Metrics {
        dice: some(|m| m.dice),
        iou: some(|m| m.iou),
        hd95: some(|m| m.hd95),
        fn_: count(|m| m.fn_),
        fp: count(|m| m.fp),
        tn: count(|m| m.tn),
        tp: count(|m| m.tp),
        n_pred: count(|m| m.n_pred),
        n_ref: count(|m| m.n_ref),
    }
}

/// Means; none where one of the values is missing.
fn all_or_none(metrics: &[Metrics<f64>]) -> Metrics<f64> {
    let mut means = mean_of(metrics.iter().copied());
    let all = |of: fn(&Metrics<f64>) -> Option<f64>| metrics.iter().all(|m| of(m).is_some());
    means.dice = means.dice.filter(|_| all(|m| m.dice));
    means.iou = means.iou.filter(|_| all(|m| m.iou));
    means.hd95 = means.hd95.filter(|_| all(|m| m.hd95));
    means
}

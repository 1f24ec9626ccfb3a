//! One case: its files read, its labels scored.

use super::pairs::Pair;
use cli::Failure;
use imaging::{
    LabelGreys, LabelStyle, Overlay, Overwrite, Scan, different, hausdorff_95, labels_of, majority_label,
    score_all,
};
use models::record::Agreement;
use models::{Manifest, Model, bundle};
use ndarray::Array3;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What labels are called and which grey values stand for them.
pub(super) enum Labelling {
    /// Of a bundle, whose network can be run.
    Model(Box<Model>),
    /// Of a manifest alone.
    Manifest(Box<Manifest>),
    /// Values are labels.
    Values,
}

impl Labelling {
    pub(super) fn of(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(match path {
            None => Self::Values,
            Some(path) if path.join(bundle::WEIGHTS).is_file() => {
                Self::Model(Box::new(bundle::load(path).map_err(Failure::input)?))
            }
            Some(path) => Self::Manifest(Box::new(bundle::load_manifest(path).map_err(Failure::input)?)),
        })
    }

    pub(super) fn model(&self) -> Option<&Model> {
        if let Self::Model(model) = self { Some(model) } else { None }
    }

    pub(super) fn has_weights(&self) -> bool {
        self.model().is_some()
    }

    pub(super) fn manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Model(model) => Some(&model.manifest),
            Self::Manifest(manifest) => Some(manifest),
            Self::Values => None,
        }
    }

    /// The label's name, or its number.
    pub(super) fn name(&self, label: u8) -> String {
        let names = self.manifest().map(|manifest| &manifest.labels);
        names.and_then(|n| n.get(usize::from(label))).map_or_else(|| label.to_string(), |l| l.name.clone())
    }

    fn greys(&self) -> Result<LabelGreys, Failure> {
        self.manifest().map_or_else(|| Ok(LabelGreys::identity()), alice::label_greys)
    }
}

/// A case's files in memory, all on one grid.
pub(super) struct Read {
    prediction: Array3<u8>,
    reference: Option<Array3<u8>>,
    pub(super) image: Option<Scan>,
    /// Along x, y, z.
    spacing: [f64; 3],
    millimetres: bool,
}

/// Reads a case.
pub(super) fn read(pair: &Pair, labelling: &Labelling) -> Result<Read, Failure> {
    let greys = labelling.greys()?;
    let scan = Scan::read(&pair.prediction).map_err(Failure::input)?;
    let prediction = labels_of(&scan, &greys).map_err(Failure::input)?;
    let mut geometry = *scan.geometry();
    let fits = |other: &Scan| {
        let sizes = [other.dims(), scan.dims()].map(|[d, h, w]| format!("{d}×{h}×{w}"));
        let [found, wanted] = &sizes;
        let paths = [&pair.prediction, other.path()].map(|path| path.display().to_string());
        let reason =
            format!("{} has {found} voxels, {} {wanted}; both must be on one grid", paths[1], paths[0]);
        if found == wanted { Ok(()) } else { Err(Failure::input(reason)) }
    };
    let mut reference = None;
    if let Some(path) = &pair.reference {
        let scan = Scan::read(path).map_err(Failure::input)?;
        fits(&scan)?;
        reference = Some(labels_of(&scan, &greys).map_err(Failure::input)?);
        geometry = *scan.geometry();
    }
    let image = pair.image.as_ref().map(Scan::read).transpose().map_err(Failure::input)?;
    image.as_ref().map(fits).transpose()?;
    Ok(Read { prediction, reference, image, spacing: geometry.spacing, millimetres: geometry.known })
}

/// What was found of a case.
pub(super) struct Case {
    pub(super) prediction: PathBuf,
    pub(super) reference: Option<PathBuf>,
    pub(super) voxels: u64,
    pub(super) millimetres: bool,
    /// By label, of those that either segmentation has.
    pub(super) scores: BTreeMap<u8, Score>,
    /// With the network in the clear.
    pub(super) agreement: Option<Agreement>,
}

/// One label.
#[derive(Clone, Copy, Default)]
pub(super) struct Score {
    pub(super) predicted: u64,
    pub(super) referred: u64,
    pub(super) both: u64,
    pub(super) hd95: Option<f64>,
}

impl Case {
    /// Scores prediction against reference.
    pub(super) fn score(pair: &Pair, read: &Read) -> Self {
        let mut scores = BTreeMap::new();
        if let Some(reference) = &read.reference {
            let (ours, theirs) = (read.prediction.view(), reference.view());
            let present = |score: &imaging::LabelScore| score.result + score.reference > 0;
            for found in score_all(ours, theirs).into_iter().filter(present) {
                let hd95 = hausdorff_95(ours, theirs, found.label, read.spacing);
                let score =
                    Score { predicted: found.result, referred: found.reference, both: found.both, hd95 };
                scores.insert(found.label, score);
            }
        }
        Self {
            prediction: pair.prediction.clone(),
            reference: pair.reference.clone(),
            voxels: read.prediction.len() as u64,
            millimetres: read.millimetres,
            scores,
            agreement: None,
        }
    }

    /// Compares the prediction with the labels of the network in the clear.
    pub(super) fn compare(&mut self, read: &Read, clear: &Array3<u8>) {
        let different = different(read.prediction.view(), clear.view());
        self.agreement = Some(Agreement { total: self.voxels, different });
    }
}

/// Draws prediction and reference over the image.
pub(super) fn draw(
    path: &Path,
    policy: Overwrite,
    pair: &Pair,
    scan: &Scan,
    read: &Read,
    labelling: &Labelling,
) -> Result<(), Failure> {
    let shown = read.reference.as_ref().unwrap_or(&read.prediction);
    let styles = labelling.manifest().map_or_else(
        || {
            let present = score_all(read.prediction.view(), shown.view());
            let present = present.iter().filter(|score| score.result + score.reference > 0);
            let ground = majority_label(shown.view());
            present
                .map(|s| LabelStyle { label: s.label, name: s.label.to_string(), drawn: s.label != ground })
                .collect()
        },
        |manifest| alice::label_styles(manifest, shown),
    );
    let overlay = Overlay {
        title: &pair.name,
        subtitle: "",
        result_name: "Prediction",
        scan,
        result: &read.prediction,
        reference: read.reference.as_ref(),
        labels: &styles,
    };
    overlay.write(path, policy).map_err(Failure::output)
}

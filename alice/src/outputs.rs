//! The files that a run leaves behind: checked before it, written after it.

use crate::conversation::Answer;
use crate::{Job, Segment, label_styles};
use cli::Failure;
use imaging::{
    Overlay, Overwrite, Scan, check_output, check_scores_output, check_writable, score, trivial_baseline,
    write_labels, write_scores,
};
use ndarray::Array3;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Dice by label name, and the trivial answer's.
pub(crate) type Scores = BTreeMap<String, (f64, f64)>;

/// The files of one scan.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) overlay: Option<PathBuf>,
    pub(crate) scores: Option<PathBuf>,
    pub(crate) reference: Option<PathBuf>,
}

/// What happens to files that exist.
pub(crate) fn policy(flags: &Segment) -> Overwrite {
    if flags.overwrite { Overwrite::Replace } else { Overwrite::Refuse }
}

/// Finds out whether all outputs can be written, and that no two are the same.
pub(crate) fn check(flags: &Segment, scan: &Scan) -> Result<(), Failure> {
    check_output(&flags.output, scan, policy(flags)).map_err(explain)?;
    if let Some(path) = flags.scores_to() {
        check_scores_output(path, policy(flags)).map_err(explain)?;
    }
    let others = [flags.overlay.as_ref(), flags.scores_to(), flags.json.as_ref()];
    let others: Vec<&Path> = others.into_iter().flatten().map(PathBuf::as_path).collect();
    for (index, path) in others.iter().enumerate() {
        check_writable(path, policy(flags)).map_err(explain)?;
        let inputs = [Some(&flags.input), flags.reference.as_ref(), flags.manifest.as_ref()];
        let taken = inputs.into_iter().flatten().any(|input| same(input, path));
        if taken || same(&flags.output, path) || others[..index].iter().any(|other| same(other, path)) {
            let reason = "two files of this command have this name; give another one";
            return Err(Failure::output(format!("{}: {reason}", path.display())));
        }
    }
    Ok(())
}

/// The flag that allows what was refused.
pub(crate) fn explain(error: imaging::ImagingError) -> Failure {
    let text = error.to_string();
    Failure::output(text.replace("or allow replacing it", "or allow replacing it (--overwrite)"))
}

/// Whether two names mean one file.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
}

impl Files {
    /// The files of a command on one scan.
    pub(crate) fn of(flags: &Segment) -> Self {
        let Segment { input, output, overlay, scores, reference, .. } = flags.clone();
        Self { input, output, overlay, scores: scores.flatten(), reference }
    }

    /// The files that are written, the labels first.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.output), self.overlay.as_ref(), self.scores.as_ref()].into_iter().flatten()
    }

    /// Reads the reference segmentation, on the scan's grid.
    pub(crate) fn reference(&self, job: &Job, scan: &Scan) -> Result<Option<Array3<u8>>, Failure> {
        let Some(path) = &self.reference else { return Ok(None) };
        let labels = imaging::read_labels(path, &job.greys).map_err(Failure::input)?;
        let (d, h, w) = labels.dim();
        if [d, h, w] != scan.dims() {
            let sizes = format!("{d}×{h}×{w} voxels where the scan has {:?}", scan.dims());
            return Err(Failure::input(format!("{}: {sizes}; give one on the scan's grid", path.display())));
        }
        Ok(Some(labels))
    }

    /// Writes labels, overlay and scores; the names of what was written.
    pub(crate) fn write(
        &self,
        job: &Job,
        scan: &Scan,
        Answer { labels, scores }: &Answer,
        reference: Option<&Array3<u8>>,
        policy: Overwrite,
    ) -> Result<Vec<String>, Failure> {
        write_labels(&self.output, labels, scan, &job.greys, policy).map_err(explain)?;
        let mut written = vec![self.output.display().to_string()];
        if let Some(path) = &self.overlay {
            let manifest = job.plan.manifest();
            let overlay = Overlay {
                title: &format!("Blind segmentation by {}", manifest.name),
                subtitle: &self.input.file_name().unwrap_or_default().to_string_lossy(),
                result_name: "Blind result",
                scan,
                result: labels,
                reference,
                labels: &label_styles(manifest, reference.unwrap_or(labels)),
            };
            overlay.write(path, policy).map_err(explain)?;
            written.push(path.display().to_string());
        }
        if let Some((path, scores)) = self.scores.as_ref().zip(scores.as_ref()) {
            write_scores(path, scores, scan, policy).map_err(explain)?;
            written.push(path.display().to_string());
        }
        Ok(written)
    }
}

/// Dice of every label, with the trivial baseline: what calling all of it by the commonest label would score.
pub(crate) fn scores(job: &Job, labels: &Array3<u8>, reference: &Array3<u8>) -> Scores {
    let names = &job.plan.manifest().labels;
    let count = names.len() as u8;
    let own = score(labels.view(), reference.view(), count);
    let trivial = trivial_baseline(reference.view(), count);
    let pairs = own.iter().zip(&trivial).zip(names);
    pairs
        .filter_map(|((own, trivial), label)| {
            Some((label.name.clone(), (own.dice?, trivial.dice.unwrap_or(0.0))))
        })
        .collect()
}

/// Dice alone.
pub(crate) fn dice(scores: &Scores) -> BTreeMap<String, f64> {
    scores.iter().map(|(name, (dice, _))| (name.clone(), *dice)).collect()
}

//! Which prediction belongs to which reference and image: those of one name, endings apart.

use crate::args::Evaluate;
use cli::Failure;
use imaging::{find_scans, scan_stem};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of one case.
pub(crate) struct Pair {
    /// What they have in common.
    pub(crate) name: String,
    pub(crate) prediction: PathBuf,
    pub(crate) reference: Option<PathBuf>,
    pub(crate) image: Option<PathBuf>,
}

impl Pair {
    /// Where its overlay goes.
    pub(crate) fn overlay(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.png", self.name))
    }
}

/// All cases by name, and what is left out: references without a prediction, and the reverse.
pub(crate) fn of(flags: &Evaluate) -> Result<(Vec<Pair>, Vec<PathBuf>), Failure> {
    let folder = flags.predictions.is_dir();
    for other in [&flags.references, &flags.images].into_iter().flatten() {
        if other.is_dir() != folder && !(flags.images.as_ref() == Some(other) && other.is_dir()) {
            let reason = "give files for a file and folders for a folder";
            let paths = [&flags.predictions, other].map(|path| path.display().to_string()).join(" and ");
            return Err(Failure::input(format!("{paths}: {reason}")));
        }
    }
    if !folder {
        let [prediction, reference, image] =
            [Some(flags.predictions.clone()), flags.references.clone(), flags.images.clone()];
        let prediction = prediction.unwrap_or_default();
        return Ok((vec![Pair { name: scan_stem(&prediction), prediction, reference, image }], Vec::new()));
    }
    let predictions = named(&flags.predictions)?;
    let mut references = flags.references.as_deref().map(named).transpose()?;
    let images = flags.images.as_deref().map(named).transpose()?;
    if predictions.is_empty() {
        return Err(Failure::input(format!("{}: no labels in this folder", flags.predictions.display())));
    }
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for (name, prediction) in predictions {
        let none = |folder: &Option<PathBuf>| {
            let folder = folder.as_deref().unwrap_or(Path::new("")).display();
            Failure::input(format!("{}: nothing of this name in {folder}", prediction.display()))
        };
        let reference = references.as_mut().map(|known| known.remove(&name));
        if flags.partial && reference == Some(None) {
            missing.push(prediction);
            continue;
        }
        let reference = reference.map(|found| found.ok_or_else(|| none(&flags.references))).transpose()?;
        let image = images.as_ref().map(|known| known.get(&name).cloned());
        let image = image.map(|found| found.ok_or_else(|| none(&flags.images))).transpose()?;
        pairs.push(Pair { name, prediction, reference, image });
    }
    if pairs.is_empty() {
        let reason = "none of its labels has a reference";
        return Err(Failure::input(format!("{}: {reason}", flags.predictions.display())));
    }
    let unscored: Vec<PathBuf> = references.into_iter().flatten().map(|(_, path)| path).collect();
    if let Some(first) = unscored.first().filter(|_| !flags.partial) {
        let others = unscored.len() - 1;
        let reason = format!("has no prediction, nor have {others} others; a mean would leave them out");
        return Err(Failure::input(format!("{}: {reason}. If that is wanted: --partial", first.display())));
    }
    missing.extend(unscored);
    Ok((pairs, missing))
}

fn named(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let (found, _) = find_scans(folder).map_err(Failure::input)?;
    let mut named = BTreeMap::new();
    for scan in found {
        if let Some(other) = named.insert(scan.stem, scan.path.clone()) {
            let names = [&other, &scan.path].map(|path| path.display().to_string()).join(" and ");
            return Err(Failure::input(format!("{names}: two files of one name; remove one of them")));
        }
    }
    Ok(named)
}

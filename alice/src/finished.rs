//! Which files of a folder come from which network: `segmented.json` beside the labels.
//!
//! Files are entered before they appear, which they do whole or not at all. So a scan is finished if all files that are
//! asked for are here and there, wherever an earlier run was cut off.

use crate::outputs::Files;
use cli::Failure;
use models::Manifest;
use models::record::ModelId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The file's name.
pub(crate) const NAME: &str = "segmented.json";

/// A folder's list.
pub(crate) struct Finished {
    path: PathBuf,
    list: List,
}

#[derive(Serialize, Deserialize)]
struct List {
    model: ModelId,
    /// Labels by name, files in other folders (overlays, scores) by their whole path.
    #[serde(alias = "labels")]
    files: BTreeSet<String>,
}

impl Finished {
    /// The list of a folder, for results of one network: a new one, or the one that an earlier run with it left.
    pub(crate) fn open(folder: &Path, manifest: &Manifest, overwrite: bool) -> Result<Self, Failure> {
        let path = folder.join(NAME);
        let model = ModelId::of(manifest);
        let new = List { model: model.clone(), files: BTreeSet::new() };
        if overwrite || !path.exists() {
            return Ok(Self { path, list: new });
        }
        let failed = |error: &dyn std::fmt::Display| {
            let remedy = "restore it, or give another folder or --overwrite";
            Failure::output(format!("{}: {error}; {remedy}", path.display()))
        };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(&error))?;
        let list: List = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        if list.model != model {
            let (hash, name) = (&list.model.manifest_hash, &list.model.name);
            let other = format!("manifest {}", hash.chars().take(12).collect::<String>());
            let reason = format!("the labels in this folder are those of another network ({name}, {other})");
            let remedy = "give another folder, or replace them (--overwrite)";
            return Err(Failure::output(format!("{}: {reason}; {remedy}", path.display())));
        }
        Ok(Self { path, list })
    }

    /// Whether all that is to be written of a scan is there, and this network's.
    pub(crate) fn holds(&self, files: &Files) -> bool {
        files.outputs().all(|path| path.is_file() && self.owns(path))
    }

    /// Whether a file was entered by a run of this network.
    pub(crate) fn owns(&self, path: &Path) -> bool {
        self.list.files.contains(&self.key(path))
    }

    /// Enters a scan whose files are about to be written, and removes those of an earlier run.
    pub(crate) fn enter(&mut self, files: &Files) -> Result<(), Failure> {
        for path in files.outputs().filter(|path| path.exists()) {
            let failed = |error| Failure::output(format!("{}: cannot replace it: {error}", path.display()));
            std::fs::remove_file(path).map_err(failed)?;
        }
        let known = self.list.files.len();
        let keys: Vec<_> = files.outputs().map(|path| self.key(path)).collect();
        self.list.files.extend(keys);
        if self.list.files.len() > known {
            cli::write_json(&self.path, &self.list)?;
        }
        Ok(())
    }

    fn key(&self, path: &Path) -> String {
        let inside = path.parent() == self.path.parent();
        let key = if inside { path.file_name().map(PathBuf::from) } else { std::path::absolute(path).ok() };
        key.unwrap_or_else(|| path.to_owned()).to_string_lossy().into_owned()
    }
}

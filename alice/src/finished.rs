//! Which labels of a folder come from which network: `segmented.json` beside them.
//!
//! A name is entered before its labels appear, which they do whole or not at all. So a scan is finished if its name is
//! here and its labels are there, wherever an earlier run was cut off.

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
    /// Names of the files with labels.
    labels: BTreeSet<String>,
}

impl Finished {
    /// The list of a folder, for results of one network: a new one, or the one that an earlier run with it left.
    pub(crate) fn open(folder: &Path, manifest: &Manifest, overwrite: bool) -> Result<Self, Failure> {
        let path = folder.join(NAME);
        let model = ModelId::of(manifest);
        let new = List { model: model.clone(), labels: BTreeSet::new() };
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

    /// Whether these labels are there, and this network's.
    pub(crate) fn holds(&self, labels: &Path) -> bool {
        self.list.labels.contains(&name(labels)) && labels.is_file()
    }

    /// Enters labels that are about to be written, and removes those of an earlier run.
    pub(crate) fn enter(&mut self, labels: &Path) -> Result<(), Failure> {
        if labels.exists() {
            let failed = |error| Failure::output(format!("{}: cannot replace it: {error}", labels.display()));
            std::fs::remove_file(labels).map_err(failed)?;
        }
        if self.list.labels.insert(name(labels)) {
            cli::write_json(&self.path, &self.list)?;
        }
        Ok(())
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

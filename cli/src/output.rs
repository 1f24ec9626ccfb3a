//! Files of results: whole or not there.

use crate::Failure;
use models::record::RunRecord;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Writes a record, whole or not at all.
pub fn write_json(path: &Path, record: &impl Serialize) -> Result<(), Failure> {
    let failed = |error: io::Error| refused(path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(std::fs::Permissions::from_mode(0o666)) // less the user's mask, as any file
        .tempfile_in(folder)
        .map_err(failed)?;
    serde_json::to_writer_pretty(&mut file, record).map_err(|error| failed(error.into()))?;
    file.write_all(b"\n").map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// Appends a record as one line: the file of a server, which sees many runs, is JSON lines.
pub fn append_json(path: &Path, record: &RunRecord) -> Result<(), Failure> {
    let failed = |error: io::Error| refused(path, &error);
    let mut line = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    // One write, so that the lines of several clients do not mix.
    file.write_all(&line).map_err(failed)
}

/// Finds out early whether a file can be appended to.
pub fn append_only(path: &Path) -> Result<(), Failure> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| refused(path, &error))
}

/// A new file for its owner's eyes only.
pub fn private_file(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::output(format!("{}: cannot write: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        write_json(&path, &RunRecord::default()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), RunRecord::default());
        let nowhere = dir.path().join("none").join("run.json");
        assert_eq!(write_json(&nowhere, &RunRecord::default()).unwrap_err().kind(), crate::Kind::Output);
        let lines = dir.path().join("runs.jsonl");
        append_json(&lines, &RunRecord::default()).unwrap();
        append_json(&lines, &RunRecord::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&lines).unwrap().lines().count(), 2);
    }
}

//! Files of keys and certificates: complete or absent, and never overwritten.

use crate::NetError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use zeroize::Zeroizing;

/// More than any file of ours holds; a larger one is a mistake.
const LIMIT: u64 = 64 << 10;

/// Writes a file that must not exist yet, all of it or nothing, readable by others only if `public`.
pub(crate) fn write_new(path: &Path, content: &[u8], public: bool) -> Result<(), NetError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(name);
    let written = write_draft(&draft, content, public).and_then(|()| fs::hard_link(&draft, path));
    // The draft is gone either way; if it cannot be removed, the first error tells more.
    let _ = fs::remove_file(&draft);
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => NetError::Exists { path: path.into() },
        _ => failed(path, &error),
    })
}

/// Reads a file of ours.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, NetError> {
    let mut content = Zeroizing::new(Vec::with_capacity(LIMIT as usize)); // one allocation: no copy is left behind
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    file.take(LIMIT).read_to_end(&mut content).map_err(|error| failed(path, &error))?;
    Ok(content)
}

/// Refuses a private key that others on this machine can read.
pub(crate) fn check_private(path: &Path) -> Result<(), NetError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(|error| failed(path, &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(NetError::KeyExposed { path: path.into() });
        }
    }
    Ok(())
}

/// An error of the system, with the file it is about.
pub(crate) fn failed(path: &Path, error: &io::Error) -> NetError {
    NetError::File { path: path.into(), reason: error.to_string() }
}

fn write_draft(path: &Path, content: &[u8], public: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if public { 0o644 } else { 0o600 });
    }
    #[cfg(not(unix))]
    let _ = public;
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_overwritten_and_no_draft_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        write_new(&path, b"first", false).unwrap();
        assert!(matches!(write_new(&path, b"second", false), Err(NetError::Exists { .. })));
        assert_eq!(**read(&path).unwrap(), *b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_new(&dir.path().join("none/a.key"), b"", false).unwrap_err();
        assert!(error.to_string().contains("none/a.key"), "{error}");
    }
}

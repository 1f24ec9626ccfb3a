//! What can go wrong with a file, a scan or a manifest: each message names the file, the field and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagingError {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file contradicts its format or itself.
    #[error("{}: {field}: {problem}; {remedy}", path.display())]
    Malformed {
        /// File concerned.
        path: PathBuf,
        /// Field of the format, in the format's own words.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The file is of a kind that is not read or written here.
    #[error("{}: {field}: {problem}; {remedy}", path.display())]
    Unsupported {
        /// File concerned.
        path: PathBuf,
        /// Field of the format, in the format's own words.
        field: String,
        /// What is not supported.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The scan is well formed but does not fit the model or its companion.
    #[error("{}: {field}: {problem}; {remedy}", path.display())]
    Unfit {
        /// File concerned.
        path: PathBuf,
        /// Property that does not fit.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The answer cannot be written where it was asked for.
    #[error("{}: {problem}; {remedy}", path.display())]
    Output {
        /// File asked for.
        path: PathBuf,
        /// What stands in the way.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// A field of the preprocessing manifest makes no sense.
    #[error("preprocessing.{field}: {problem}; {remedy}")]
    Manifest {
        /// Field of [`crate::Preprocessing`].
        field: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What the model's author can do.
        remedy: String,
    },
}

impl ImagingError {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    pub(crate) fn malformed(
        path: &Path,
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            path: path.into(),
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn unsupported(
        path: &Path,
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            path: path.into(),
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn unfit(
        path: &Path,
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Unfit { path: path.into(), field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn output(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Output { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }

    pub(crate) fn manifest(
        field: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Manifest { field, problem: problem.into(), remedy: remedy.into() }
    }
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, ImagingError>;

//! What can go wrong: each message names the thing, the reason and, where there is one, the remedy.

use std::path::{Path, PathBuf};

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum PerceptualError {
    /// A scan that cannot be read or written.
    #[error(transparent)]
    Imaging(#[from] imaging::ImagingError),
    /// A file of this crate's own kinds that cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key other than the one that was used.
    #[error("{what}: this is not the key it was made with")]
    WrongKey {
        /// What was made with another key.
        what: String,
    },
    /// A key made for another shape, depth or network.
    #[error("the key is for {expected}, but this is {found}")]
    Mismatch {
        /// What the key was made for.
        expected: String,
        /// What came.
        found: String,
    },
    /// Samples that the stated integer map cannot hold without loss.
    #[error("{what}: {reason}")]
    Samples {
        /// Which image.
        what: String,
        /// What does not fit, and the remedy.
        reason: String,
    },
    /// Parameters that contradict each other.
    #[error("{0}")]
    Parameters(String),
    /// A matrix without inverse.
    #[error("{0} is singular")]
    Singular(String),
    /// A network that the transformation cannot be carried through.
    #[error("layer `{layer}`: {reason}")]
    Network {
        /// The layer's name.
        layer: String,
        /// Why.
        reason: String,
    },
    /// A network that cannot be evaluated.
    #[error(transparent)]
    Reference(#[from] models::reference::ReferenceError),
    /// A network of floats that cannot be evaluated.
    #[error(transparent)]
    Floats(#[from] models::float::FloatError),
    /// A network whose rest is none.
    #[error(transparent)]
    Graph(#[from] models::graph::GraphError),
    /// An ONNX network that cannot be read.
    #[error(transparent)]
    Onnx(#[from] models::onnx::OnnxError),
    /// A backend that failed.
    #[error(transparent)]
    Backend(#[from] models::backend::BackendError),
}

impl PerceptualError {
    pub(crate) fn file(path: &Path, reason: impl ToString) -> Self {
        Self::File { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn samples(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Samples { what: what.into(), reason: reason.into() }
    }
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, PerceptualError>;

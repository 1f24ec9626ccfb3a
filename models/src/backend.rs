//! One interface over every way to run a network on a scan.

use crate::manifest::Model;
use crate::record::RunRecord;
use ndarray::{Array3, Array4};

/// What a backend promises and what it gives away, in words that a reader can hold it to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ThreatModel {
    /// Who must not collude, and what each party is trusted with.
    pub assumption: String,
    /// Per party, what it learns.
    pub learns: Vec<(String, String)>,
    /// What an adversary can do all the same.
    pub limits: String,
}

/// A way to run a quantised network: in the clear, between two parties, among three, …
pub trait Backend {
    /// The name users call it by.
    fn name(&self) -> &'static str;

    /// Its threat model.
    fn threat_model(&self) -> ThreatModel;

    /// Runs `model` on an input of integers `[channel, depth, height, width]` at the scale of the input edge.
    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError>;
}

/// What a run yields to the data holder.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A label per voxel.
    pub labels: Array3<u16>,
    /// What it cost.
    pub record: RunRecord,
}

/// A failed run, with the backend's own error inside.
#[derive(Debug, thiserror::Error)]
#[error("backend `{backend}`: {source}")]
pub struct BackendError {
    /// The backend's name.
    pub backend: &'static str,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

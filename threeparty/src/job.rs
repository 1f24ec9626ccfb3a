//! What is public about a piece of work, the same file for all servers and clients.

use crate::train::{Network, NetworkError, Recipe};
use models::Manifest;
use serde::{Deserialize, Serialize};

/// Where the servers are, and what they shall do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Addresses of servers 0, 1 and 2, host:port.
    pub servers: [String; 3],
    /// The work.
    pub task: Task,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Training on the images of any number of owners.
    Train(Training),
    /// Labels for images by a network that was trained so.
    Classify(Classification),
    /// Segmentation by a quantised network.
    Segment(Box<Segmentation>),
    /// ReLUs of 31-bit values, to measure them; no clients.
    Measure {
        /// Values per operation.
        values: usize,
        /// Operations.
        repeat: usize,
    },
}

/// A training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The architecture.
    pub network: Network,
    /// Optimiser, batches, epochs, order.
    pub recipe: Recipe,
    /// Who brings images, and how many.
    pub owners: Vec<Owner>,
    /// The client that gets the trained weights.
    pub weights_to: Option<String>,
}

impl Training {
    /// What must be the same for a training to go on from a checkpoint: all but its length and who gets the weights.
    pub fn progress_digest(&self) -> [u8; 32] {
        let recipe = Recipe { epochs: 0, ..self.recipe.clone() };
        let same = Self { recipe, weights_to: None, ..self.clone() };
        *blake3::hash(&serde_json::to_vec(&same).unwrap_or_default()).as_bytes()
    }
}

/// A data owner of a training run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Name of its certificate.
    pub name: String,
    /// Images to train on.
    pub train: usize,
    /// Images to test on.
    pub test: usize,
}

/// Classification of images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classification {
    /// The architecture.
    pub network: Network,
    /// The client that brings the weights.
    pub model_owner: String,
    /// The client that brings the images and gets the labels.
    pub data_owner: String,
    /// Number of images.
    pub images: usize,
}

/// Segmentation of one image after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segmentation {
    /// The public part of the model.
    pub manifest: Manifest,
    /// The client that brings the weights.
    pub model_owner: String,
    /// The client that brings the images and gets the labels.
    pub data_owner: String,
    /// Number of images.
    pub images: usize,
}

/// A job that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The file cannot be understood.
    #[error("the job's file: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The network does not fit together.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Numbers that make no sense.
    #[error("{0}")]
    Nonsense(&'static str),
}

impl Job {
    /// Reads a job and looks whether it can be done.
    pub fn parse(json: &str) -> Result<Self, JobError> {
        let job: Self = serde_json::from_str(json)?;
        match &job.task {
            Task::Train(training) => {
                training.network.parameters()?;
                let images: usize = training.owners.iter().map(|owner| owner.train.min(1 << 32)).sum();
                if training.recipe.batch == 0 || images < training.recipe.batch {
                    return Err(JobError::Nonsense("a training run needs at least one full batch"));
                }
                if !(training.recipe.decay > 0.0 && training.recipe.decay <= 1.0) {
                    return Err(JobError::Nonsense(
                        "recipe.decay, the factor on the rate, lies above 0 and up to 1",
                    ));
                }
            }
            Task::Classify(classification) => {
                classification.network.parameters()?;
            }
            Task::Segment(segmentation) => {
                let graph = &segmentation.manifest.graph;
                if segmentation.manifest.edges.len() != graph.nodes().len() {
                    return Err(JobError::Nonsense("the manifest has not one edge per layer"));
                }
                if !graph.node(graph.output()).op.is_readout() {
                    return Err(JobError::Nonsense("the network yields scores, and nobody may see them"));
                }
            }
            Task::Measure { .. } => {}
        }
        Ok(job)
    }

    /// What all participants of a session must agree on.
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&serde_json::to_vec(self).unwrap_or_default()).as_bytes()
    }

    /// The clients that servers wait for.
    pub fn clients(&self) -> Vec<String> {
        let mut names = match &self.task {
            Task::Train(training) => {
                let owners = training.owners.iter().map(|owner| owner.name.clone());
                owners.chain(training.weights_to.clone()).collect()
            }
            Task::Classify(work) => vec![work.model_owner.clone(), work.data_owner.clone()],
            Task::Segment(work) => vec![work.model_owner.clone(), work.data_owner.clone()],
            Task::Measure { .. } => Vec::new(),
        };
        names.sort();
        names.dedup();
        names
    }
}

/// Weights and biases of each layer of a manifest that has some, in numbers.
pub(crate) fn weight_counts(manifest: &Manifest) -> Vec<(models::NodeId, usize, usize)> {
    let nodes = manifest.graph.nodes();
    let linear = nodes.iter().enumerate().filter_map(|(id, node)| {
        let shape = node.op.weight_shape(nodes[*node.inputs.first()?].shape.channels)?;
        Some((id, shape.iter().product(), node.shape.channels))
    });
    linear.collect()
}

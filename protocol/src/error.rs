//! What can go wrong in a run.

use crate::store::{PoolMismatch, StoreError};
use channels::ChannelError;

/// A run that ended early. The channel is not usable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection failed or the peer left.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Oblivious transfer failed.
    #[error("oblivious transfer: {0}")]
    Ot(#[from] ot::OtError),
    /// A garbled circuit failed.
    #[error("garbled circuit: {0}")]
    Gc(#[from] gc::GcError),
    /// Encrypted data from the peer is not what the plan says.
    #[error("encrypted upload: {0}")]
    Upload(#[from] pahe::UploadError),
    /// A reply that is not what the plan says.
    #[error("encrypted reply: {0}")]
    Reply(#[from] pahe::ReplyError),
    /// A key that is not what the plan says.
    #[error("public key: {0}")]
    Key(#[from] pahe::KeyError),
    /// Parameters that cannot be.
    #[error("encryption parameters: {0}")]
    Params(#[from] pahe::ParamError),
    /// The parties do not run the same protocol on the same network.
    #[error("the parties do not agree: {0}")]
    Disagreement(String),
    /// The peer refused to run, with its reason.
    #[error("the peer refused: {0}")]
    Refused(String),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A message that does not parse or is out of range.
    #[error("the peer sent {0}")]
    Peer(String),
    /// Something within a layer, with the layer's name.
    #[error("layer `{layer}`: {source}")]
    Layer {
        /// The layer.
        layer: String,
        /// What went wrong there.
        source: Box<ProtocolError>,
    },
    /// A file beside the run, an audit's or a pool's draft, could not be written or read.
    #[error("file: {0}")]
    File(#[from] std::io::Error),
    /// A pool that cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The parties' halves of a pool do not fit together.
    #[error("pool: {0}")]
    Pool(#[from] PoolMismatch),
}

impl ProtocolError {
    /// Names the layer in which an error arose.
    pub(crate) fn in_layer(self, layer: &str) -> Self {
        Self::Layer { layer: layer.to_owned(), source: Box::new(self) }
    }
}

/// Why a network cannot run as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No such strategy.
    #[error("there is no strategy `{name}` for {operator}; there are: {known}")]
    UnknownStrategy {
        /// The operator.
        operator: String,
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A layer named in the configuration that the network does not have.
    #[error("the configuration names layer `{0}`, which the network does not have")]
    UnknownLayer(String),
    /// A strategy that does not fit a layer.
    #[error("layer `{layer}`, strategy `{strategy}`: {reason}")]
    Refused {
        /// The layer.
        layer: String,
        /// The strategy.
        strategy: String,
        /// What does not fit, and what would.
        reason: String,
    },
    /// Values that do not fit the shares.
    #[error("layer `{layer}`: values up to {bound} do not fit shares modulo {modulus}; {remedy}")]
    Range {
        /// The layer.
        layer: String,
        /// The largest magnitude.
        bound: u64,
        /// The modulus.
        modulus: String,
        /// What would fit.
        remedy: String,
    },
    /// A manifest whose parts do not fit together.
    #[error("manifest: {0}")]
    Manifest(String),
    /// Share bits that are not to be had.
    #[error("shares of {0} bits; 16 to 40 are possible")]
    Bits(u32),
}

//! What can go wrong between the parties.

use channels::ChannelError;

/// A failed protocol.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection to another party failed: it left, stalled, or sent malformed control data.
    #[error("party {peer}: {source}")]
    Channel {
        /// The other party.
        peer: usize,
        /// What happened.
        source: ChannelError,
    },
    /// Another party runs another version, another job, or has another number than it should.
    #[error("party {peer} has other work in mind: its version, number or job differs from ours")]
    Disagreement {
        /// The other party.
        peer: usize,
    },
    /// Two parties hold different copies of the same component.
    #[error("party {peer} holds another copy of a shared component ({what})")]
    Inconsistent {
        /// The other party.
        peer: usize,
        /// What was compared.
        what: &'static str,
    },
}

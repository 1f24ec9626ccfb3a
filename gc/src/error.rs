//! Why garbling failed.

use channels::ChannelError;
use ot::OtError;

/// Why a garbled computation failed. A peer that sends wrong tables is not found out: semi-honest garbling does not
/// authenticate, and the outputs are then wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GcError {
    /// The connection failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The oblivious transfer of input labels failed.
    #[error(transparent)]
    Transfer(#[from] OtError),
    /// A residue in the tables is not below its modulus.
    #[error("the peer's garbled tables hold a residue that is not below its modulus")]
    OutOfRange,
}

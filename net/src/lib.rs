//! Authenticated transport: TCP, TLS 1.3 with pinned certificates, keys.
//!
//! Functionality: [`connect`] and [`Listener`] join two machines and give each a [`channels::Channel`]. Protocol
//! code runs on its own blocking threads; tokio stays at the socket and moves frames between it and two queues
//! of [`QUEUE`] bytes, so sending, receiving and computing overlap and memory stays bounded.
//!
//! Sources: TLS 1.3 (RFC 8446) as rustls implements it, with one suite, TLS_AES_128_GCM_SHA256, which is as
//! strong as the protocols above it. Keys are Ed25519 in self-signed X.509 certificates. Deviations from the web's
//! use of TLS: no certificate authority, no names, no expiry, no resumption; a certificate is trusted if and
//! only if it equals, byte for byte, one that the operator was given beforehand.
//!
//! ```text
//! client                                        server
//!   TCP, TLS 1.3 handshake  <------------------>  both prove the key of a certificate the other has pinned
//!                           <------------------   one byte: welcome, or full
//!   Channel                 <------------------>  Channel
//!   close_notify            <------------------>  close_notify
//! ```
//!
//! Security: against a network that reads, changes, drops or delays everything. It learns lengths and times. A
//! stranger is refused before anything of the protocols above runs, and holds a connection for at most the
//! handshake timeout. There is no way to switch encryption or authentication off.
//!
//! Cost: per direction, 22 bytes of TLS for each record of at most 16 KiB, the handshake of about 2 KB, and
//! the welcome; none of it is counted in [`channels::Traffic`]. One round trip for TCP, one and a half for the rest.
//!
//! Constant time: as far as rustls and ring are. Certificates and fingerprints are public.
#![forbid(unsafe_code)]

mod certificate;
mod connection;
mod error;
mod files;
mod identity;
mod listener;
mod tls;
mod wire;

use std::sync::LazyLock;
use std::time::Duration;

pub use certificate::{Certificate, Fingerprint, Trusted};
pub use channels::{Channel, ChannelError, Profile};
pub use connection::{Connection, connect};
pub use error::NetError;
pub use identity::{Identity, keygen};
pub use listener::{Listener, Stopper};
pub use wire::QUEUE;

use tokio::runtime::{Builder, Runtime};

/// How long a connection waits, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// For a name to be resolved and TCP to be joined.
    pub connect_timeout: Duration,
    /// For both sides to prove who they are.
    pub handshake_timeout: Duration,
    /// For the next bytes of the peer, or for it to take ours, before the run is given up. Longer than the peer's
    /// longest silent computation.
    pub idle_timeout: Duration,
    /// For what was sent to leave this machine once the channel is dropped.
    pub linger: Duration,
    /// The network to imitate, for what this side sends; none for the real one.
    pub profile: Option<Profile>,
}

impl Default for Options {
    /// Ten seconds to connect, to prove identity and to finish; five minutes of silence.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            linger: Duration::from_secs(10),
            profile: None,
        }
    }
}

/// The sockets' threads, shared by all connections of the process.
///
/// Blocking entry points use it, so none of this crate may be called from inside another async runtime.
fn runtime() -> Result<&'static Runtime, NetError> {
    static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
        let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
        Builder::new_multi_thread()
            .worker_threads(cores.clamp(2, 4))
            .thread_name("socket")
            .on_thread_start(|| meter::dedicate(meter::Primitive::Transport))
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    RUNTIME.as_ref().map_err(|reason| NetError::Runtime { reason: reason.clone() })
}

//! What can go wrong before there is a channel, each with its remedy.

use crate::Fingerprint;
use rustls::{AlertDescription, CertificateError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no connection, or no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NetError {
    /// The name of the host has no address.
    #[error("cannot find the address of {address}: {reason}; check the name (host:port)")]
    Resolve {
        /// As given.
        address: String,
        /// What the resolver said.
        reason: String,
    },
    /// The host answers, but nobody listens on the port.
    #[error("nobody listens at {address}; check that the server runs and that the port is right")]
    Refused {
        /// As given.
        address: String,
    },
    /// The host did not answer in time.
    #[error("{address} did not answer within {:.1} s; check the address and the firewalls between", .after.as_secs_f64())]
    ConnectTimeout {
        /// As given.
        address: String,
        /// The time waited.
        after: Duration,
    },
    /// There is no way to the host.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// As given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The server cannot listen at the address.
    #[error("cannot listen at {address}: {reason}")]
    Bind {
        /// As given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The peer shows a certificate that is not one of the trusted ones.
    #[error(
        "the peer's certificate is not a trusted one; its fingerprint is {seen}. If its operator confirms that \
         fingerprint, take its .crt file as the trusted certificate; if not, someone else is answering"
    )]
    WrongPeer {
        /// The fingerprint of the certificate shown.
        seen: Fingerprint,
    },
    /// The peer refused our certificate.
    #[error(
        "the peer does not trust this side's certificate; give its operator our .crt file to add to the \
         trusted ones (compare fingerprints)"
    )]
    NotTrusted,
    /// The server already has as many clients as it takes.
    #[error("the server is busy with as many clients as it takes; try again later")]
    Busy,
    /// What the peer sends is not TLS 1.3.
    #[error(
        "the peer does not speak this protocol ({reason}); check the port, and that no proxy stands between"
    )]
    NotTls {
        /// What was wrong with its bytes.
        reason: String,
    },
    /// The peer connected, and then was silent.
    #[error("the peer did not prove who it is within {:.1} s", .after.as_secs_f64())]
    HandshakeTimeout {
        /// The time waited.
        after: Duration,
    },
    /// The peer hung up before both had proved who they are.
    #[error("the peer hung up before both sides had proved who they are; its log tells why")]
    HungUp,
    /// Any other failure of the handshake.
    #[error("the secure connection failed: {reason}")]
    Handshake {
        /// What TLS said.
        reason: String,
    },
    /// The system gives no threads for the sockets.
    #[error("cannot start the socket threads: {reason}")]
    Runtime {
        /// What the system said.
        reason: String,
    },
    /// A key or certificate would be overwritten.
    #[error("{} exists and is not overwritten; move it away or choose another folder", .path.display())]
    Exists {
        /// The file in the way.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file does not hold what it should.
    #[error("{} holds no usable {expected}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// Others can read the private key.
    #[error("{0} can be read by others; make it private (chmod 600 {0}), or make new keys", .path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
    },
    /// A folder holds no certificates to trust.
    #[error("{} holds no certificates (*.crt) to trust", .path.display())]
    NoneTrusted {
        /// The folder.
        path: PathBuf,
    },
    /// The name cannot be part of a file name.
    #[error("{name:?} cannot name a key: use letters, digits, '-' and '_'")]
    BadName {
        /// As given.
        name: String,
    },
}

/// What the certificate verifiers hand to rustls, and [`handshake`] takes back.
#[derive(Debug, thiserror::Error)]
#[error("the certificate with fingerprint {0} is not pinned")]
pub(crate) struct NotPinned(pub(crate) Fingerprint);

/// The meaning of an I/O error during the handshake.
pub(crate) fn handshake(error: &io::Error) -> NetError {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => tls(error),
        None if matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe) => {
            NetError::HungUp
        }
        None => NetError::Handshake { reason: error.to_string() },
    }
}

fn tls(error: &rustls::Error) -> NetError {
    use rustls::Error as E;
    match error {
        E::InvalidCertificate(CertificateError::Other(other)) => match other.0.downcast_ref::<NotPinned>() {
            Some(NotPinned(seen)) => NetError::WrongPeer { seen: *seen },
            None => NetError::Handshake { reason: error.to_string() },
        },
        E::AlertReceived(alert) if is_about_certificate(*alert) => NetError::NotTrusted,
        E::InvalidMessage(_) | E::PeerIncompatible(_) => NetError::NotTls { reason: error.to_string() },
        E::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => {
            NetError::NotTls { reason: error.to_string() }
        }
        _ => NetError::Handshake { reason: error.to_string() },
    }
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    matches!(
        alert,
        A::CertificateUnknown
            | A::BadCertificate
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired
            | A::UnsupportedCertificate
            | A::CertificateExpired
            | A::CertificateRevoked
    )
}

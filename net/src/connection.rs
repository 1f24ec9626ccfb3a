//! One authenticated connection, and how a client makes it.

use crate::wire::{self, Tcp, Tls, Verdict};
use crate::{Certificate, Fingerprint, Identity, NetError, Options, Trusted, error, runtime, tls};
use channels::shaper::Shaper;
use channels::{Channel, ChannelError};
use rustls_pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The server's first byte to a client it trusts and has room for. A TLS 1.3 client learns only by reading that
/// its certificate was accepted; this byte lets [`connect`] find out.
pub(crate) const WELCOME: u8 = 1;
/// The server's first byte to a client it trusts but has no room for.
pub(crate) const FULL: u8 = 2;

/// An authenticated connection to one peer.
///
/// Dropping it delivers what was sent, for as long as [`Options::linger`]; [`Connection::close`] also tells
/// whether that worked.
pub struct Connection {
    channel: Option<Channel>, // none only while it is taken apart
    peer: Certificate,
    address: SocketAddr,
    sending: Arc<Verdict>,
    linger: Duration,
}

/// Connects to `address` (host:port), proves `identity`, and accepts only a server that is `trusted`.
pub fn connect(
    address: &str,
    identity: &Identity,
    trusted: &Trusted,
    options: &Options,
) -> Result<Connection, NetError> {
    let connector = TlsConnector::from(tls::client(identity, trusted)?);
    let (stream, remote) = runtime()?.block_on(async {
        let (tcp, remote) = timeout(options.connect_timeout, dial(address)).await.unwrap_or_else(|_| {
            Err(NetError::ConnectTimeout { address: address.into(), after: options.connect_timeout })
        })?;
        let after = options.handshake_timeout;
        let stream = timeout(after, shake_hands(connector, tcp)).await;
        Ok((stream.unwrap_or(Err(NetError::HandshakeTimeout { after }))?, remote))
    })?;
    let peer = tls::peer(stream.get_ref().1, trusted).ok_or(NetError::HungUp)?;
    Connection::start(stream, peer, remote, options, None)
}

impl Connection {
    /// The byte stream to and from the peer.
    pub fn channel(&mut self) -> &mut Channel {
        self.channel.as_mut().expect("what takes the channel consumes the connection")
    }

    /// The byte stream by itself. Dropping it delivers what was flushed, for as long as [`Options::linger`].
    pub fn into_channel(mut self) -> Channel {
        self.channel.take().expect("what takes the channel consumes the connection")
    }

    /// The name of the peer: that of the trusted certificate's file.
    pub fn peer_name(&self) -> &str {
        self.peer.name()
    }

    /// The fingerprint of the peer's certificate.
    pub fn peer_fingerprint(&self) -> Fingerprint {
        self.peer.fingerprint()
    }

    /// The peer's end of the TCP connection.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delivers what was sent, ends the connection, and tells whether the delivery worked.
    pub fn close(mut self) -> Result<(), ChannelError> {
        let flushed = self.channel().flush();
        let (sending, linger) = (self.sending.clone(), self.linger);
        drop(self);
        flushed?;
        sending.wait(Duration::ZERO).unwrap_or(Err(ChannelError::Timeout(linger)))
    }

    pub(crate) fn start(
        stream: Tls,
        peer: Certificate,
        address: SocketAddr,
        options: &Options,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, NetError> {
        let _guard = runtime()?.enter();
        let (outbox, inbox, sending) = wire::start(stream, options, slot);
        let channel = match options.profile.filter(|profile| profile.is_shaped()) {
            Some(profile) => Channel::new(Shaper::new(outbox, profile), inbox),
            None => Channel::new(outbox, inbox),
        };
        Ok(Self { channel: Some(channel), peer, address, sending, linger: options.linger })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // On an error path the caller holds the first error; one of the farewell would only hide it.
        let _ = self.channel.as_mut().map(Channel::flush);
    }
}

/// TCP to the first of the host's addresses that answers.
async fn dial(address: &str) -> Result<(Tcp, SocketAddr), NetError> {
    let resolve = |reason: String| NetError::Resolve { address: address.into(), reason };
    let found = lookup_host(address).await.map_err(|error| resolve(error.to_string()))?;
    let mut failure = resolve("it has none".into());
    for remote in found {
        match TcpStream::connect(remote).await.and_then(wire::prepare) {
            Ok(tcp) => return Ok((tcp, remote)),
            Err(error) => failure = unreachable(address, &error),
        }
    }
    Err(failure)
}

fn unreachable(address: &str, error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetError::Refused { address: address.into() },
        _ => NetError::Unreachable { address: address.into(), reason: error.to_string() },
    }
}

async fn shake_hands(connector: TlsConnector, tcp: Tcp) -> Result<Tls, NetError> {
    let failed = |error| error::handshake(&error);
    let name =
        ServerName::try_from("pinned").map_err(|error| NetError::Handshake { reason: error.to_string() })?;
    let mut stream = connector.connect(name, tcp).await.map_err(failed)?;
    match stream.read_u8().await.map_err(failed)? {
        WELCOME => Ok(stream.into()),
        FULL => Err(NetError::Busy),
        other => Err(NetError::NotTls { reason: format!("unknown welcome {other}") }),
    }
}

//! The server's side: admission of clients, and a thread for each.

use crate::connection::{FULL, WELCOME};
use crate::wire::{self, Tls};
use crate::{Certificate, Connection, Identity, NetError, Options, Trusted, error, runtime, tls};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Strangers that may be proving who they are at the same time. One more pushes out the oldest, so that silent
/// ones cannot keep others waiting.
const STRANGERS: usize = 256;

/// A server's socket. Clients hold none of its slots before they have proved to be trusted.
pub struct Listener {
    address: SocketAddr,
    admitted: mpsc::Receiver<Admitted>,
    stop: watch::Sender<bool>,
    options: Options,
}

/// Ends a [`Listener`]'s accepting, from any thread.
#[derive(Clone)]
pub struct Stopper(watch::Sender<bool>);

/// A trusted client that waits for its thread.
struct Admitted {
    stream: Tls,
    peer: Certificate,
    address: SocketAddr,
    slot: OwnedSemaphorePermit,
}

/// What admission needs to know.
struct Gate {
    acceptor: TlsAcceptor,
    trusted: Trusted,
    slots: Arc<Semaphore>,
    handshake_timeout: Duration,
}

impl Listener {
    /// Listens at `address` (host:port, port 0 for a free one) for clients that are `trusted`, at most
    /// `max_clients` at a time; more are told that the server is busy.
    pub fn bind(
        address: &str,
        identity: &Identity,
        trusted: &Trusted,
        options: &Options,
        max_clients: usize,
    ) -> Result<Self, NetError> {
        let runtime = runtime()?;
        let failed =
            |error: std::io::Error| NetError::Bind { address: address.into(), reason: error.to_string() };
        let socket = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let gate = Gate {
            acceptor: TlsAcceptor::from(tls::server(identity, trusted)?),
            trusted: trusted.clone(),
            slots: Arc::new(Semaphore::new(max_clients)),
            handshake_timeout: options.handshake_timeout,
        };
        let (admit, admitted) = mpsc::channel(max_clients.max(1));
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(accept(socket, Arc::new(gate), admit, stopped));
        Ok(Self { address: bound, admitted, stop, options: *options })
    }

    /// The address listened at, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that ends accepting.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// The next trusted client; none once stopped.
    pub fn accept(&mut self) -> Option<Connection> {
        loop {
            let Admitted { stream, peer, address, slot } = self.admitted.blocking_recv()?;
            match Connection::start(stream, peer, address, &self.options, Some(slot)) {
                Ok(connection) => return Some(connection),
                Err(error) => tracing::error!(%address, "client lost: {error}"),
            }
        }
    }

    /// Runs `handler` for each trusted client on a thread of its own. Returns once stopped and all are done.
    pub fn serve(mut self, handler: impl Fn(Connection) + Sync) {
        let handler = &handler;
        thread::scope(|scope| {
            while let Some(connection) = self.accept() {
                let (peer, address) = (connection.peer_name().to_owned(), connection.address());
                let work = move || {
                    if catch_unwind(AssertUnwindSafe(|| handler(connection))).is_err() {
                        tracing::error!(peer, %address, "a client's thread panicked; the others go on");
                    }
                };
                if let Err(error) = thread::Builder::new().name("client".into()).spawn_scoped(scope, work) {
                    tracing::error!(%address, "no thread for a client: {error}");
                }
            }
        });
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Stopper {
    /// Takes no more clients; those being served go on to their end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

async fn accept(
    socket: TcpListener,
    gate: Arc<Gate>,
    admit: mpsc::Sender<Admitted>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stopped.wait_for(|&stopped| stopped) => break,
        };
        match accepted {
            Ok((tcp, address)) => {
                strangers.retain(|stranger| !stranger.is_finished());
                if strangers.len() >= STRANGERS {
                    strangers.pop_front().inspect(AbortHandle::abort);
                }
                let gate = gate.clone();
                let admit = admit.clone();
                strangers.push_back(tokio::spawn(gate.receive(tcp, address, admit)).abort_handle());
            }
            Err(error) => {
                // Most often too many open files: wait for some to be closed.
                tracing::warn!("cannot accept a client: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    strangers.iter().for_each(AbortHandle::abort);
}

impl Gate {
    async fn receive(self: Arc<Self>, tcp: TcpStream, address: SocketAddr, admit: mpsc::Sender<Admitted>) {
        let after = self.handshake_timeout;
        let admission = timeout(after, self.examine(tcp, address)).await;
        match admission.unwrap_or(Err(NetError::HandshakeTimeout { after })) {
            // Refused only when the listener is gone.
            Ok(admitted) => drop(admit.send(admitted).await),
            Err(error) => tracing::warn!(%address, "client refused: {error}"),
        }
    }

    async fn examine(&self, tcp: TcpStream, address: SocketAddr) -> Result<Admitted, NetError> {
        let failed = |error| error::handshake(&error);
        let tcp = wire::prepare(tcp).map_err(failed)?;
        let mut stream: Tls = self.acceptor.accept(tcp).await.map_err(failed)?.into();
        let peer = tls::peer(stream.get_ref().1, &self.trusted).ok_or(NetError::HungUp)?;
        let slot = self.slots.clone().try_acquire_owned().ok();
        stream.write_u8(if slot.is_some() { WELCOME } else { FULL }).await.map_err(failed)?;
        match slot {
            Some(slot) => {
                stream.flush().await.map_err(failed)?;
                Ok(Admitted { stream, peer, address, slot })
            }
            None => {
                stream.shutdown().await.map_err(failed)?;
                Err(NetError::Busy)
            }
        }
    }
}

//! The two queues between protocol code and the socket, and the task that moves frames between them.
//!
//! One task per connection serves both directions: they share one TLS state, so two would only wait for each other.
//! Each direction has its own queue and its own end, so that what the peer said last can still be read after
//! sending has failed. Time limits live where the waiting is: for sending in the task, for receiving in
//! [`Inbox::recv`], so that a peer which computes for long while nobody waits for it is left in peace.

use crate::Options;
use channels::{ChannelError, FRAME, Sink, Source};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

/// Bytes that wait in each direction before the faster side is stopped, beside the system's own buffers.
pub const QUEUE: usize = 4 << 20;

/// Bytes taken from the socket, and handed to protocol code, at once: larger than [`FRAME`], for fewer wake-ups.
/// rustls by itself would ask the socket for 4 KiB.
const READ: usize = 256 << 10;

/// Frames that the socket task takes from the queue at once.
const BATCH: usize = 16;

pub(crate) type Tcp = BufReader<TcpStream>;
pub(crate) type Tls = TlsStream<Tcp>;

/// Prepares a fresh TCP connection. Buffer sizes are the system's: it adapts them to the path, up to more
/// than a program may ask for.
pub(crate) fn prepare(tcp: TcpStream) -> io::Result<Tcp> {
    tcp.set_nodelay(true)?;
    Ok(BufReader::with_capacity(READ, tcp))
}

/// Starts moving frames; call inside the runtime. `slot` is held until the sending half is dropped.
pub(crate) fn start(
    stream: Tls,
    options: &Options,
    slot: Option<OwnedSemaphorePermit>,
) -> (Outbox, Inbox, Arc<Verdict>) {
    let (to_socket, outgoing) = mpsc::channel(QUEUE / FRAME);
    let (incoming, from_socket) = mpsc::channel(QUEUE / READ);
    let (closing, closed) = watch::channel(());
    let verdict = Arc::new(Verdict::default());
    let wire = Wire { stream: Mutex::new(stream), patience: options.idle_timeout, linger: options.linger };
    let task = tokio::spawn(wire.run(outgoing, incoming, closed, verdict.clone())).abort_handle();
    let outbox = Outbox {
        queue: Some(to_socket),
        closing: Some(closing),
        verdict: verdict.clone(),
        task,
        linger: options.linger,
        _slot: slot,
    };
    let inbox = Inbox {
        queue: from_socket,
        end: ChannelError::Closed,
        runtime: Handle::current(),
        patience: options.idle_timeout,
    };
    (outbox, inbox, verdict)
}

/// The sending half.
pub(crate) struct Outbox {
    queue: Option<mpsc::Sender<Vec<u8>>>,
    closing: Option<watch::Sender<()>>,
    verdict: Arc<Verdict>,
    task: AbortHandle,
    linger: Duration,
    _slot: Option<OwnedSemaphorePermit>,
}

/// The receiving half.
pub(crate) struct Inbox {
    queue: mpsc::Receiver<Result<Vec<u8>, ChannelError>>,
    end: ChannelError,
    runtime: Handle,
    patience: Duration,
}

/// How sending ended, once it has.
#[derive(Default)]
pub(crate) struct Verdict {
    outcome: Mutex<Option<Result<(), ChannelError>>>,
    known: Condvar,
}

impl Verdict {
    /// Waits for the outcome.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Result<(), ChannelError>> {
        let outcome = lock(&self.outcome);
        let wait = self.known.wait_timeout_while(outcome, patience, |outcome| outcome.is_none());
        wait.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn set(&self, outcome: Result<(), ChannelError>) {
        *lock(&self.outcome) = Some(outcome);
        self.known.notify_all();
    }
}

impl Sink for Outbox {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        let queued = self.queue.as_ref().is_some_and(|queue| queue.blocking_send(frame).is_ok());
        if queued {
            return Ok(());
        }
        // The task gave its verdict before it let go of the queue.
        match self.verdict.wait(Duration::ZERO) {
            Some(Err(error)) => Err(error),
            _ => Err(ChannelError::Closed),
        }
    }

    fn has_room(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.capacity() > 0)
    }
}

impl Drop for Outbox {
    /// Waits until everything sent has left, but not for a peer that does not take it.
    fn drop(&mut self) {
        self.closing = None;
        self.queue = None;
        if self.verdict.wait(self.linger).is_none() {
            self.task.abort();
        }
    }
}

impl Source for Inbox {
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
        let next = match self.queue.try_recv() {
            Err(mpsc::error::TryRecvError::Empty) => {
                let next = async { timeout(self.patience, self.queue.recv()).await };
                self.runtime.block_on(next).map_err(|_| ChannelError::Timeout(self.patience))?
            }
            other => other.ok(),
        };
        match next {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(end)) => {
                self.end = end.clone();
                Err(end)
            }
            None => Err(self.end.clone()),
        }
    }

    fn is_ready(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// The socket's side. The lock is never contended: both directions run in one task.
struct Wire {
    stream: Mutex<Tls>,
    patience: Duration,
    linger: Duration,
}

impl Wire {
    async fn run(
        self,
        mut outgoing: mpsc::Receiver<Vec<u8>>,
        incoming: mpsc::Sender<Result<Vec<u8>, ChannelError>>,
        mut closed: watch::Receiver<()>,
        verdict: Arc<Verdict>,
    ) {
        let send = async {
            let outcome = self.send_all(&mut outgoing).await;
            verdict.set(outcome);
            drop(outgoing);
        };
        let receive = async {
            let open = tokio::select! {
                () = self.receive_all(&incoming) => false,
                _ = closed.changed() => true,
            };
            drop(incoming);
            if open {
                // A socket closed on unread bytes resets the connection, and the peer may lose what we sent last.
                let _ = timeout(self.linger, async { while self.read().await.is_ok() {} }).await;
            }
        };
        tokio::join!(send, receive);
    }

    async fn send_all(&self, queue: &mut mpsc::Receiver<Vec<u8>>) -> Result<(), ChannelError> {
        let mut batch = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            for frame in batch.drain(..) {
                self.patiently(self.write(&frame)).await?;
            }
            self.patiently(poll_fn(|cx| Pin::new(&mut *lock(&self.stream)).poll_flush(cx))).await?;
        }
        self.patiently(poll_fn(|cx| Pin::new(&mut *lock(&self.stream)).poll_shutdown(cx))).await
    }

    async fn receive_all(&self, queue: &mpsc::Sender<Result<Vec<u8>, ChannelError>>) {
        loop {
            let frame = self.read().await.map_err(|error| meaning(&error));
            let ended = frame.is_err();
            if queue.send(frame).await.is_err() || ended {
                return;
            }
        }
    }

    async fn patiently(&self, work: impl Future<Output = io::Result<()>>) -> Result<(), ChannelError> {
        match timeout(self.patience, work).await {
            Ok(done) => done.map_err(|error| meaning(&error)),
            Err(_) => Err(ChannelError::Timeout(self.patience)),
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                let written = ready!(Pin::new(&mut *lock(&self.stream)).poll_write(cx, bytes))?;
                bytes = &bytes[written..];
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// As much as there is, up to [`READ`] bytes; an error only when there is nothing before it.
    async fn read(&self) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        poll_fn(|cx| {
            let mut stream = lock(&self.stream);
            while frame.len() < READ {
                let record = match Pin::new(&mut *stream).poll_fill_buf(cx) {
                    Poll::Ready(Ok(record)) if !record.is_empty() => record,
                    _ if !frame.is_empty() => break,
                    Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                };
                let taken = record.len().min(READ - frame.len());
                if frame.is_empty() {
                    frame.reserve_exact(READ)
                }
                frame.extend_from_slice(&record[..taken]);
                Pin::new(&mut *stream).consume(taken);
            }
            Poll::Ready(Ok(std::mem::take(&mut frame)))
        })
        .await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an error of the socket or of TLS says to protocol code.
fn meaning(error: &io::Error) -> ChannelError {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero,
    };
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero => {
            ChannelError::Closed
        }
        _ => ChannelError::Transport(error.to_string()),
    }
}

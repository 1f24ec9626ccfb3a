//! Channels between two parties: buffered byte streams with accounting, in memory or over any transport.
//!
//! Functionality: a [`Channel`] is a reliable ordered byte stream in each direction. Lengths are never sent for
//! bulk data: both parties know them from the plan, so what is counted is exactly what a strategy declares.
//! Control messages (handshake, plan, goodbye) carry a length and are counted apart.
//!
//! Protocols run against this type alone: [`memory::pair`] joins two threads, the `net` crate brings TCP with TLS,
//! and [`shaper`] slows any transport down to a named network. Sending never waits for the peer's computation
//! beyond the transport's bounded queue; two parties that send at the same time use [`Channel::exchange`] or
//! [`Channel::stream`], which cannot deadlock.
#![forbid(unsafe_code)]

pub mod memory;
pub mod shaper;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

pub use shaper::Profile;
pub use traffic::Traffic;
use traffic::{Half, Meter};

/// Bytes gathered before a frame goes to the transport.
pub const FRAME: usize = 64 << 10;

/// The outgoing half of a transport: takes frames, of at most [`FRAME`] bytes unless a caller hands over more.
pub trait Sink: Send {
    /// Queues one frame, in order; blocks while the transport's bounded queue is full.
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError>;

    /// Whether the queue surely has room, so that sending is no wait.
    fn has_room(&self) -> bool {
        false
    }
}

/// The incoming half of a transport: yields frames of any size.
pub trait Source: Send {
    /// The next bytes, in order, never empty; blocks until there are some or the transport's patience ends.
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError>;

    /// Whether a frame surely is there, so that receiving is no wait.
    fn is_ready(&self) -> bool {
        false
    }
}

/// Why a channel stopped working.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The peer ended the connection or its process is gone.
    #[error("the peer closed the connection before the protocol was over")]
    Closed,
    /// Nothing moved for as long as the transport was told to wait.
    #[error("the peer did not answer for {} s; the run was given up", .0.as_secs())]
    Timeout(Duration),
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Transport(String),
    /// A control message announces more bytes than its kind may have.
    #[error("the peer announced a message of {announced} bytes where at most {limit} are allowed")]
    TooLong {
        /// Bytes announced.
        announced: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A two-way byte stream with accounting.
pub struct Channel {
    tx: Tx,
    rx: Rx,
    meter: Arc<Meter>,
}

/// The sending half of a [`Channel`], for a thread of its own inside [`Channel::stream`].
pub struct Tx {
    sink: Box<dyn Sink>,
    buffer: Vec<u8>,
    meter: Arc<Meter>,
}

/// The receiving half of a [`Channel`], for a thread of its own inside [`Channel::stream`].
pub struct Rx {
    source: Box<dyn Source>,
    frame: Vec<u8>,
    used: usize,
    meter: Arc<Meter>,
}

impl Channel {
    /// A channel over a transport's two halves.
    pub fn new(sink: impl Sink + 'static, source: impl Source + 'static) -> Self {
        let meter = Arc::new(Meter::default());
        let tx = Tx { sink: Box::new(sink), buffer: Vec::with_capacity(FRAME), meter: meter.clone() };
        let rx = Rx { source: Box::new(source), frame: Vec::new(), used: 0, meter: meter.clone() };
        Self { tx, rx, meter }
    }

    /// Queues bulk bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.tx.send(bytes)
    }

    /// Hands everything queued to the transport. Receiving does so by itself.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        self.tx.flush()
    }

    /// Fills `bytes` with the next bulk bytes of the peer.
    pub fn recv_into(&mut self, bytes: &mut [u8]) -> Result<(), ChannelError> {
        self.tx.flush()?;
        self.rx.recv_into(bytes)
    }

    /// The next `len` bulk bytes of the peer; `len` comes from the plan, never from the peer.
    pub fn recv(&mut self, len: usize) -> Result<Vec<u8>, ChannelError> {
        let mut bytes = vec![0; len];
        self.recv_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Sends `out` and receives `into` at once, in one round: neither direction waits for the other, so that a long
    /// message costs the network one latency.
    pub fn exchange(&mut self, out: &[u8], into: &mut [u8]) -> Result<(), ChannelError> {
        let send = |tx: &mut Tx| {
            tx.send(out)?;
            tx.flush()
        };
        self.stream(|tx, rx| {
            if out.len() <= FRAME {
                send(tx)?; // a frame fits into any transport's queue
                return rx.recv_into(into);
            }
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| send(tx));
                let received = rx.recv_into(into);
                match sending.join() {
                    Ok(sent) => sent.and(received),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })
    }

    /// Runs `body` with both halves, which may move to different threads; counts as one round however the
    /// traffic interleaves. What was sent is flushed at the end.
    pub fn stream<T, E: From<ChannelError>>(
        &mut self,
        body: impl FnOnce(&mut Tx, &mut Rx) -> Result<T, E>,
    ) -> Result<T, E> {
        self.meter.begin_stream();
        let result = body(&mut self.tx, &mut self.rx);
        self.meter.end_stream();
        let value = result?;
        self.tx.flush()?;
        Ok(value)
    }

    /// Sends one control message, with its length in front.
    pub fn send_control(&mut self, message: &[u8]) -> Result<(), ChannelError> {
        self.meter.control_sent(4 + message.len());
        self.tx.queue(&(message.len() as u32).to_le_bytes())?;
        self.tx.queue(message)?;
        self.tx.flush()
    }

    /// Receives one control message of at most `limit` bytes.
    pub fn recv_control(&mut self, limit: usize) -> Result<Vec<u8>, ChannelError> {
        self.tx.flush()?;
        let mut length = [0; 4];
        self.rx.read(&mut length)?;
        let announced = u32::from_le_bytes(length) as usize;
        if announced > limit {
            return Err(ChannelError::TooLong { announced, limit });
        }
        let mut message = vec![0; announced];
        self.rx.read(&mut message)?;
        self.meter.control_received(4 + announced);
        Ok(message)
    }

    /// What went over the channel so far.
    pub fn traffic(&self) -> Traffic {
        self.meter.read()
    }
}

impl Tx {
    /// Queues bulk bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ChannelError> {
        self.meter.sent(bytes.len());
        self.queue(bytes)
    }

    /// Hands everything queued to the transport.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let frame = std::mem::replace(&mut self.buffer, Vec::with_capacity(FRAME));
        if self.sink.has_room() {
            return self.sink.send(frame);
        }
        self.meter.waiting(Half::Sending, || self.sink.send(frame))
    }

    fn queue(&mut self, mut bytes: &[u8]) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(FRAME - self.buffer.len()));
            self.buffer.extend_from_slice(head);
            bytes = rest;
            if self.buffer.len() == FRAME {
                self.flush()?;
            }
        }
        Ok(())
    }
}

impl Rx {
    /// Fills `bytes` with the next bulk bytes of the peer.
    pub fn recv_into(&mut self, bytes: &mut [u8]) -> Result<(), ChannelError> {
        self.meter.received(bytes.len());
        self.read(bytes)
    }

    /// The next `len` bulk bytes of the peer; `len` comes from the plan, never from the peer.
    pub fn recv(&mut self, len: usize) -> Result<Vec<u8>, ChannelError> {
        let mut bytes = vec![0; len];
        self.recv_into(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, mut bytes: &mut [u8]) -> Result<(), ChannelError> {
        while !bytes.is_empty() {
            if self.used == self.frame.len() {
                self.frame = if self.source.is_ready() {
                    self.source.recv()?
                } else {
                    self.meter.waiting(Half::Receiving, || self.source.recv())?
                };
                self.used = 0;
            }
            let len = bytes.len().min(self.frame.len() - self.used);
            let (head, rest) = bytes.split_at_mut(len);
            head.copy_from_slice(&self.frame[self.used..self.used + len]);
            self.used += len;
            bytes = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn bytes_arrive_in_order_and_are_counted() {
        let (mut a, mut b) = memory::pair();
        let data: Vec<u8> = (0..3 * FRAME + 17).map(|i| i as u8).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                a.send(&data[..5]).unwrap();
                a.send(&data[5..]).unwrap();
                assert_eq!(a.recv(2).unwrap(), [1, 2]);
            });
            assert_eq!(b.recv(data.len()).unwrap(), data);
            b.send(&[1, 2]).unwrap();
            b.flush().unwrap();
        });
        let (a, b) = (a.traffic(), b.traffic());
        assert_eq!((a.sent, a.received, a.rounds), (data.len() as u64, 2, 1));
        assert_eq!((b.sent, b.received, b.rounds), (2, data.len() as u64, 0));
    }

    #[test]
    fn both_can_send_more_than_the_queue_holds() {
        let (mut a, mut b) = memory::pair();
        let size = 40 << 20;
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut got = vec![0; size / 2];
                a.exchange(&vec![1; size], &mut got).unwrap();
                assert!(got.iter().all(|&x| x == 2));
            });
            let mut got = vec![0; size];
            b.exchange(&vec![2; size / 2], &mut got).unwrap();
            assert!(got.iter().all(|&x| x == 1));
        });
        assert_eq!((a.traffic().rounds, b.traffic().rounds), (1, 1));
    }

    #[test]
    fn control_messages_are_bounded_and_counted_apart() {
        let (mut a, mut b) = memory::pair();
        a.send_control(b"hello").unwrap();
        a.send_control(&[0; 100]).unwrap();
        assert_eq!(b.recv_control(5).unwrap(), b"hello");
        assert_eq!(b.recv_control(99), Err(ChannelError::TooLong { announced: 100, limit: 99 }));
        assert_eq!((a.traffic().sent, a.traffic().control_sent), (0, 113));
    }

    #[test]
    fn a_peer_that_leaves_or_stalls_is_noticed() {
        let (mut a, b) = memory::pair();
        drop(b);
        assert_eq!(a.recv(1), Err(ChannelError::Closed));
        let patience = Duration::from_millis(20);
        let (mut a, _b) = memory::pair_with_patience(patience);
        assert_eq!(a.recv(1), Err(ChannelError::Timeout(patience)));
        assert_eq!(a.send(&vec![0; 64 << 20]), Err(ChannelError::Timeout(patience)));
    }
}

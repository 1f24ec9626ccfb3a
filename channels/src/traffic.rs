//! Accounting: what a strategy declares is held to these numbers.

use serde::{Deserialize, Serialize};
use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What one party sent and received, in bytes as handed to TLS, and how often it turned from sending to waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bulk bytes sent.
    pub sent: u64,
    /// Bulk bytes received.
    pub received: u64,
    /// Bytes of control messages sent, with their lengths.
    pub control_sent: u64,
    /// Bytes of control messages received, with their lengths.
    pub control_received: u64,
    /// Turns from sending to receiving bulk bytes; one exchange or stream is one round.
    pub rounds: u64,
    /// Time blocked because the outgoing queue was full, in nanoseconds.
    pub send_wait_ns: u64,
    /// Time blocked because nothing had arrived, in nanoseconds.
    pub receive_wait_ns: u64,
}

impl Sub for Traffic {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            sent: self.sent - earlier.sent,
            received: self.received - earlier.received,
            control_sent: self.control_sent - earlier.control_sent,
            control_received: self.control_received - earlier.control_received,
            rounds: self.rounds - earlier.rounds,
            send_wait_ns: self.send_wait_ns - earlier.send_wait_ns,
            receive_wait_ns: self.receive_wait_ns - earlier.receive_wait_ns,
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.sent += more.sent;
        self.received += more.received;
        self.control_sent += more.control_sent;
        self.control_received += more.control_received;
        self.rounds += more.rounds;
        self.send_wait_ns += more.send_wait_ns;
        self.receive_wait_ns += more.receive_wait_ns;
    }
}

/// Counters that both halves of a channel share. Relaxed: they order nothing, they only count.
#[derive(Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    control_sent: AtomicU64,
    control_received: AtomicU64,
    rounds: AtomicU64,
    send_wait: AtomicU64,
    receive_wait: AtomicU64,
    just_sent: AtomicBool,
    streaming: AtomicBool,
}

impl Meter {
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
        self.just_sent.store(true, Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
        if !self.streaming.load(Relaxed) && self.just_sent.swap(false, Relaxed) {
            self.rounds.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn control_sent(&self, bytes: usize) {
        self.control_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn control_received(&self, bytes: usize) {
        self.control_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn begin_stream(&self) {
        self.streaming.store(true, Relaxed);
        self.rounds.fetch_add(1, Relaxed);
    }

    pub(crate) fn end_stream(&self) {
        self.streaming.store(false, Relaxed);
        self.just_sent.store(false, Relaxed);
    }

    pub(crate) fn waited_to_send(&self, time: Duration) {
        self.send_wait.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn waited_to_receive(&self, time: Duration) {
        self.receive_wait.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> Traffic {
        Traffic {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            control_sent: self.control_sent.load(Relaxed),
            control_received: self.control_received.load(Relaxed),
            rounds: self.rounds.load(Relaxed),
            send_wait_ns: self.send_wait.load(Relaxed),
            receive_wait_ns: self.receive_wait.load(Relaxed),
        }
    }
}

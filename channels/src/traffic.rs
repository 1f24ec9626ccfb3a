//! Accounting: what a strategy declares is held to these numbers.

use serde::{Deserialize, Serialize};
use std::ops::{AddAssign, Sub};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Of the time blocked on sending alone, what no other thread of the process worked in, in nanoseconds.
    pub send_idle_ns: u64,
    /// Of the time blocked on receiving, what no other thread of the process worked in, in nanoseconds. Where both
    /// parties are threads of one process, the other party's work counts as this one's.
    pub receive_idle_ns: u64,
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
            send_idle_ns: self.send_idle_ns - earlier.send_idle_ns,
            receive_idle_ns: self.receive_idle_ns - earlier.receive_idle_ns,
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
        self.send_idle_ns += more.send_idle_ns;
        self.receive_idle_ns += more.receive_idle_ns;
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
    just_sent: AtomicBool,
    streaming: AtomicBool,
    waits: Mutex<Waits>,
}

/// A half of a channel.
#[derive(Clone, Copy)]
pub(crate) enum Half {
    Sending = 0,
    Receiving = 1,
}

/// How long the halves stood still; sending first.
#[derive(Default)]
struct Waits {
    /// Since when a half waits.
    since: [Option<Instant>; 2],
    /// How long each waited.
    blocked: [Duration; 2],
    /// How long the process did nothing else meanwhile. No time is in both.
    idle: [Duration; 2],
    /// The last change: when, and the process's CPU seconds then.
    last: Option<(Instant, f64)>,
}

impl Waits {
    /// A half begins or ends to wait, at this time and with these CPU seconds of the process spent.
    fn change(&mut self, half: Half, now: Instant, cpu: f64) {
        if let Some((before, spent)) = self.last {
            let idle = ((now - before).as_secs_f64() - (cpu - spent)).max(0.0);
            // Who waits for bytes and for room at once waits for the peer.
            if let Some(reason) =
                [Half::Receiving, Half::Sending].iter().find(|&&h| self.since[h as usize].is_some())
            {
                self.idle[*reason as usize] += Duration::from_secs_f64(idle);
            }
        }
        self.last = Some((now, cpu));
        let since = &mut self.since[half as usize];
        match since.take() {
            Some(start) => self.blocked[half as usize] += now - start,
            None => *since = Some(now),
        }
    }
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

    /// Runs what may block a half.
    pub(crate) fn waiting<T>(&self, half: Half, blocks: impl FnOnce() -> T) -> T {
        self.change(half);
        let result = blocks();
        self.change(half);
        result
    }

    fn change(&self, half: Half) {
        let mut waits = self.waits();
        waits.change(half, Instant::now(), meter::process_seconds());
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> Traffic {
        let waits = self.waits();
        let [send_wait_ns, receive_wait_ns] = waits.blocked.map(|time| time.as_nanos() as u64);
        let [send_idle_ns, receive_idle_ns] = waits.idle.map(|time| time.as_nanos() as u64);
        Traffic {
            sent: self.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            control_sent: self.control_sent.load(Relaxed),
            control_received: self.control_received.load(Relaxed),
            rounds: self.rounds.load(Relaxed),
            send_wait_ns,
            receive_wait_ns,
            send_idle_ns,
            receive_idle_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_what_nobody_worked_in_and_counts_once() {
        let (start, mut waits) = (Instant::now(), Waits::default());
        let mut at = |half, seconds: u64, cpu| waits.change(half, start + Duration::from_secs(seconds), cpu);
        at(Half::Sending, 1, 1.0); // waits for room
        at(Half::Receiving, 3, 2.0); // and for bytes; one of the two seconds was worked in
        at(Half::Sending, 6, 2.0);
        at(Half::Receiving, 10, 9.0); // others worked on more than one core
        at(Half::Receiving, 20, 19.0); // not waiting, all work
        at(Half::Receiving, 21, 19.0);
        let seconds = |times: [Duration; 2]| times.map(|time| time.as_secs());
        assert_eq!(seconds(waits.blocked), [5, 8]);
        assert_eq!(seconds(waits.idle), [1, 4]);
    }
}

//! Named networks, and a sink that slows a fast transport down to one.

use crate::{ChannelError, Sink};
use crossbeam_channel::{Sender, unbounded};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A network between the parties: rate per direction and round-trip time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// The name it goes by.
    pub name: &'static str,
    /// Bytes per second in each direction; infinite for an unshaped transport.
    pub bytes_per_second: f64,
    /// Round-trip time; each direction delays by half of it.
    pub round_trip: Duration,
}

/// The networks that papers of the field measure on, with their sources.
pub const PROFILES: [Profile; 7] = [
    Profile { name: "loopback", bytes_per_second: f64::INFINITY, round_trip: Duration::ZERO },
    // Cheetah (ePrint 2022/207), section 6
    Profile { name: "cheetah-lan", bytes_per_second: 375e6, round_trip: Duration::from_micros(300) },
    Profile { name: "cheetah-wan", bytes_per_second: 50e6, round_trip: Duration::from_millis(40) },
    // SIRNN (ePrint 2021/459), section 6
    Profile { name: "sirnn-lan", bytes_per_second: 377e6, round_trip: Duration::from_micros(800) },
    // BumbleBee (ePrint 2023/1678)
    Profile { name: "bumblebee-lan", bytes_per_second: 125e6, round_trip: Duration::from_micros(500) },
    Profile { name: "bumblebee-wan", bytes_per_second: 50e6, round_trip: Duration::from_millis(4) },
    // three-party training after Araki et al., as the outsourced-classification paper measures it
    Profile { name: "three-cloud", bytes_per_second: 27.5e6, round_trip: Duration::from_micros(88_500) },
];

impl Profile {
    /// The profile of this name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.into_iter().find(|profile| profile.name == name)
    }

    /// Whether shaping changes anything.
    pub fn is_shaped(&self) -> bool {
        self.bytes_per_second.is_finite() || !self.round_trip.is_zero()
    }

    /// Seconds that the network alone takes for this traffic, directions one after the other.
    pub fn seconds(&self, bytes: u64, rounds: u64) -> f64 {
        bytes as f64 / self.bytes_per_second + rounds as f64 * self.round_trip.as_secs_f64()
    }
}

/// How far the sender may run ahead of the shaped link before it blocks.
const AHEAD: Duration = Duration::from_millis(20);

/// Wraps a sink so that frames leave at the profile's rate and arrive half a round trip later.
pub struct Shaper {
    queue: Option<Sender<(Instant, Vec<u8>)>>,
    worker: Option<JoinHandle<Result<(), ChannelError>>>,
    free_at: Instant,
    profile: Profile,
}

impl Shaper {
    /// Slows `sink` down to `profile`, with a thread that holds frames until they are due.
    pub fn new(mut sink: impl Sink + 'static, profile: Profile) -> Self {
        let (queue, frames) = unbounded::<(Instant, Vec<u8>)>(); // bounded by AHEAD: `send` blocks
        let worker = thread::spawn(move || {
            for (due, frame) in frames {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                sink.send(frame)?;
            }
            Ok(())
        });
        Self { queue: Some(queue), worker: Some(worker), free_at: Instant::now(), profile }
    }

    /// Ends the worker and tells how it ended.
    fn finish(&mut self) -> Result<(), ChannelError> {
        self.queue = None;
        match self.worker.take() {
            Some(worker) => worker.join().unwrap_or(Err(ChannelError::Closed)),
            None => Err(ChannelError::Closed),
        }
    }
}

impl Sink for Shaper {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        let transmission = Duration::from_secs_f64(frame.len() as f64 / self.profile.bytes_per_second);
        self.free_at = self.free_at.max(Instant::now()) + transmission;
        let due = self.free_at + self.profile.round_trip / 2;
        let queued = self.queue.as_ref().is_some_and(|queue| queue.send((due, frame)).is_ok());
        if !queued {
            return self.finish();
        }
        thread::sleep(self.free_at.saturating_duration_since(Instant::now() + AHEAD));
        Ok(())
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        // What was sent must still arrive; an error has no one left to hear it.
        let _ = self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channel, Source, memory};

    struct Wire(Channel);
    impl Sink for Wire {
        fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
            self.0.send(&frame)?;
            self.0.flush()
        }
    }
    struct Nothing;
    impl Source for Nothing {
        fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
            Err(ChannelError::Closed)
        }
    }

    #[test]
    fn rate_and_delay_are_kept() {
        let (wire, mut far) = memory::pair();
        let profile = Profile { name: "test", bytes_per_second: 10e6, round_trip: Duration::from_millis(40) };
        let mut near = Channel::new(Shaper::new(Wire(wire), profile), Nothing);
        let start = Instant::now();
        near.send(&vec![7; 1_000_000]).unwrap();
        near.flush().unwrap();
        assert_eq!(far.recv(1_000_000).unwrap(), vec![7; 1_000_000]);
        assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
    }

    #[test]
    fn a_dead_peer_is_noticed() {
        let (wire, far) = memory::pair();
        let profile = Profile { name: "test", bytes_per_second: 1e9, round_trip: Duration::ZERO };
        let mut near = Shaper::new(Wire(wire), profile);
        drop(far);
        let outcome = (0..1000).find_map(|_| {
            thread::sleep(Duration::from_millis(1));
            near.send(vec![0; 10]).err()
        });
        assert_eq!(outcome, Some(ChannelError::Closed));
    }
}

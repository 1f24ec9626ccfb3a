//! Two parties in one process.

use crate::{Channel, ChannelError, FRAME, Sink, Source};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::time::Duration;

/// Frames on the way in one direction: as much as a socket's buffers hold, so that tests meet the same waits.
const DEPTH: usize = (4 << 20) / FRAME;

/// Two ends of one in-memory connection, patient for a minute.
pub fn pair() -> (Channel, Channel) {
    pair_with_patience(Duration::from_secs(60))
}

/// Two ends of one in-memory connection that give up after `patience` without progress.
pub fn pair_with_patience(patience: Duration) -> (Channel, Channel) {
    let [a, b] = ends(patience);
    (Channel::new(a.0, a.1), Channel::new(b.0, b.1))
}

/// The bare halves of both ends, for wrappers that shape, record or disturb what passes.
pub fn ends(patience: Duration) -> [(Outbox, Inbox); 2] {
    let (to_b, from_a) = bounded(DEPTH);
    let (to_a, from_b) = bounded(DEPTH);
    let end = |queue, frames| (Outbox { queue, patience }, Inbox { frames, patience });
    [end(to_b, from_b), end(to_a, from_a)]
}

/// The sending half of an in-memory connection.
pub struct Outbox {
    queue: Sender<Vec<u8>>,
    patience: Duration,
}

/// The receiving half of an in-memory connection.
pub struct Inbox {
    frames: Receiver<Vec<u8>>,
    patience: Duration,
}

impl Sink for Outbox {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        self.queue.send_timeout(frame, self.patience).map_err(|error| match error {
            SendTimeoutError::Timeout(_) => ChannelError::Timeout(self.patience),
            SendTimeoutError::Disconnected(_) => ChannelError::Closed,
        })
    }

    fn has_room(&self) -> bool {
        !self.queue.is_full()
    }
}

impl Source for Inbox {
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
        self.frames.recv_timeout(self.patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => ChannelError::Timeout(self.patience),
            RecvTimeoutError::Disconnected => ChannelError::Closed,
        })
    }

    fn is_ready(&self) -> bool {
        !self.frames.is_empty()
    }
}

//! Wall and CPU time.

use std::time::Instant;

/// A stopwatch over wall and CPU time.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), cpu: meter::process_seconds() }
    }

    /// Wall seconds, and CPU seconds of the process, since the start.
    pub(crate) fn read(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), meter::process_seconds() - self.cpu)
    }
}

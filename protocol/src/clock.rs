//! Wall and CPU time.

use std::time::Instant;

/// Ticks per second of `/proc/self/stat`: fixed at 100 for user space on Linux.
const TICKS: f64 = 100.0;

/// CPU seconds of this process so far, all threads, in steps of 10 ms; `None` where the system does not tell.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name may hold spaces; fields count from the closing parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

/// A stopwatch over wall and CPU time.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Option<f64>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Wall and CPU seconds since the start.
    pub(crate) fn read(&self) -> (f64, Option<f64>) {
        let cpu = self.cpu.zip(cpu_seconds()).map(|(start, now)| now - start);
        (self.wall.elapsed().as_secs_f64(), cpu)
    }
}

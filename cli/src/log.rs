//! Logs and the last resort against panics.

use std::io::stderr;
use tracing_subscriber::EnvFilter;

/// Starts the log on standard error, at `level` unless the environment variable `BUNET_LOG` says otherwise, and makes
/// panics end in one line. Call once, first.
pub fn start_log(level: &str) {
    let filter = EnvFilter::try_from_env("BUNET_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(stderr);
    // A second start, in a test, changes nothing.
    let _ = log.try_init();
    std::panic::set_hook(Box::new(|panic| {
        // The message could hold values; the place is enough to find the mistake.
        let place =
            panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        eprintln!("error: this program made a mistake{place}; please report it");
    }));
}

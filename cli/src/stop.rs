//! Stopping: by signals, and with the process that started this one.

use std::io::Read;
use std::process::exit;
use std::thread;
use tokio::signal::unix::{SignalKind, signal};

/// Runs `stop` on the first SIGINT or SIGTERM; on the second, the process ends at once.
pub fn on_stop(stop: impl FnOnce() + Send + 'static) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime.inspect_err(|error| tracing::warn!("signals keep their defaults: {error}"))
        else {
            return;
        };
        runtime.block_on(async {
            let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
            let mut stop = Some(stop);
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                match stop.take() {
                    Some(stop) => stop(),
                    None => exit(super::Kind::Interrupted as i32),
                }
            }
        });
    };
    if let Err(error) = thread::Builder::new().name("signals".into()).spawn(wait) {
        tracing::warn!("signals keep their defaults: {error}");
    }
}

/// Ends this process when the one that holds the other end of its standard input is gone.
pub fn follow_parent() {
    let watch = || {
        let mut end = Vec::new();
        // An error of the pipe means the same as its end.
        let _ = std::io::stdin().read_to_end(&mut end);
        exit(super::Kind::Interrupted as i32);
    };
    if let Err(error) = thread::Builder::new().name("parent".into()).spawn(watch) {
        tracing::warn!("cannot watch the starting process: {error}");
    }
}

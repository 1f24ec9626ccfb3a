//! Two parties on two threads, for tests.

use channels::Channel;
use std::thread;

/// Runs both halves of a protocol to their ends.
pub(crate) fn both<A: Send, B>(
    (a, b): &mut (Channel, Channel),
    left: impl FnOnce(&mut Channel) -> A + Send,
    right: impl FnOnce(&mut Channel) -> B,
) -> (A, B) {
    thread::scope(|scope| {
        let left = scope.spawn(|| left(a));
        let right = right(b);
        (left.join().unwrap(), right)
    })
}

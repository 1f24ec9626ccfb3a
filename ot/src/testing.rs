//! Two parties on two threads, for tests.

use crate::{Block, CotReceive, CotReceiver, CotSend, CotSender, SilentReceiver, SilentSender};
use channels::{Channel, memory};
use prg::Prg;
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

/// A channel and both halves of a source over it.
pub(crate) type Sources = ((Channel, Channel), Box<dyn CotSend + Send>, Box<dyn CotReceive + Send>);

/// The offset of [`sources`].
pub(crate) const DELTA: Block = 0x0123_4567_89ab_cdef_1122_3344_5566_7789;

/// Every kind of source, ready to use.
pub(crate) fn sources() -> Vec<Sources> {
    vec![iknp(), silent()]
}

/// IKNP over a fresh channel.
pub(crate) fn iknp() -> Sources {
    let mut pair = memory::pair();
    let (send, receive) = both(
        &mut pair,
        |a| CotSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
        |b| CotReceiver::setup(b, &mut Prg::from_os()).unwrap(),
    );
    (pair, Box::new(send), Box::new(receive))
}

/// Silent OT over a fresh channel.
pub(crate) fn silent() -> Sources {
    let mut pair = memory::pair();
    let (send, receive) = both(
        &mut pair,
        |a| SilentSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
        |b| SilentReceiver::setup(b, &mut Prg::from_os()).unwrap(),
    );
    (pair, Box::new(send), Box::new(receive))
}

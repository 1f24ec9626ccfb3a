//! Oblivious transfer, one party at a time: what is sent is dropped, what is received is zero. The work does not
//! depend on the bytes; tests check the results.

use crate::bounds::Bounds;
use crate::suite::{Bound, Kernel, Show, Suite};
use channels::{Channel, ChannelError, FRAME, Sink, Source, memory};
use ot::{
    Block, CotReceive, CotReceiver, CotSend, CotSender, RotReceiver, RotSender, SilentReceiver, SilentSender,
    base, packing,
};
use prg::Prg;
use std::hint::black_box;
use std::thread;

/// Transfers per call.
const N: usize = 1 << 20;

const DELTA: Block = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

struct Drain;

impl Sink for Drain {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        black_box(frame);
        Ok(())
    }
}

struct Zeros;

impl Source for Zeros {
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
        Ok(vec![0; FRAME])
    }
}

/// Both halves of a protocol over a fresh channel.
fn both<A: Send, B>(
    left: impl FnOnce(&mut Channel) -> A + Send,
    right: impl FnOnce(&mut Channel) -> B,
) -> (A, B) {
    let (mut a, mut b) = memory::pair();
    thread::scope(|scope| {
        let left = scope.spawn(move || left(&mut a));
        let right = right(&mut b);
        (left.join().unwrap(), right)
    })
}

/// All kernels of transfers. Returns the CPU seconds of both parties per silent transfer, unless they are left out.
pub(crate) fn all(suite: &mut Suite, bounds: &Bounds) -> Option<f64> {
    setups(suite, bounds);
    iknp(suite, bounds);
    let both = silent(suite, bounds);
    packed(suite, bounds);
    both
}

fn kernel(bounds: &Bounds, name: &str, blocks: f64, of: &str, goal: &'static str) -> Kernel {
    Kernel {
        group: "OT",
        name: name.to_owned(),
        show: Show::Rate,
        units: N as f64,
        bound: bounds.aes(blocks, of),
        goal,
    }
}

/// Base OTs and the first trees; both parties.
fn setups(suite: &mut Suite, bounds: &Bounds) {
    let setup = |name: &str| Kernel {
        units: 1.0,
        show: Show::Microseconds,
        bound: Bound::none(),
        ..kernel(bounds, name, 0.0, "", "")
    };
    suite.run(setup("base OTs, both parties"), || {
        black_box(both(
            |a| base::send(a, 128, &mut Prg::from_os()).unwrap(),
            |b| base::receive(b, &[true; 128], &mut Prg::from_os()).unwrap(),
        ));
    });
    suite.run(setup("silent set-up, both parties"), || _ = black_box(silent_pair()));
}

fn iknp(suite: &mut Suite, bounds: &Bounds) {
    let (mut send, mut receive) = both(
        |a| RotSender::new(CotSender::setup(a, DELTA, &mut Prg::from_os()).unwrap()),
        |b| RotReceiver::new(CotReceiver::setup(b, &mut Prg::from_os()).unwrap()),
    );
    let mut channel = Channel::new(Drain, Zeros);
    let [mut zeros, mut ones] = [(); 2].map(|()| vec![0; N]);
    let choices = vec![0x5555_5555_0123_4567; N / 64];
    // Columns from one or two seeds, hashes for one or two messages.
    suite.run(kernel(bounds, "IKNP random, sender", 3.0, "", "≥ 30"), || {
        channel.stream(|_, rx| send.chosen(rx, &mut zeros, &mut ones)).unwrap();
    });
    suite.run(kernel(bounds, "IKNP random, receiver", 3.0, "", "≥ 30"), || {
        channel.stream(|tx, _| receive.chosen(tx, &choices, &mut zeros)).unwrap();
    });
}

fn silent_pair() -> (SilentSender, SilentReceiver) {
    both(
        |a| SilentSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
        |b| SilentReceiver::setup(b, &mut Prg::from_os()).unwrap(),
    )
}

fn silent(suite: &mut Suite, bounds: &Bounds) -> Option<f64> {
    let (mut send, mut receive) = silent_pair();
    let mut channel = Channel::new(Drain, Zeros);
    let [mut left, mut right] = [(); 2].map(|()| vec![0; N / 64]);
    // A tree's node takes one block, half as many again on the way down; then the hash of one or two messages.
    let sent = suite.run(kernel(bounds, "silent random bits, sender", 3.0, ", without its code", ""), || {
        send.random_bits(&mut channel, N, &mut left, &mut right).unwrap();
    });
    let received =
        suite.run(kernel(bounds, "silent random bits, receiver", 2.0, ", without its code", ""), || {
            receive.random_bits(&mut channel, N, &mut left, &mut right).unwrap();
        });
    Some(sent? + received?)
}

/// Values of few bits, packed for the wire.
fn packed(suite: &mut Suite, bounds: &Bounds) {
    let mut values = vec![0; N];
    Prg::from_os().fill_u64(&mut values);
    for bits in [1, 24, 37] {
        let mut bytes = packing::pack(&values, bits);
        let bound = || Bound { seconds: 8.0 * bounds.far, words: "reading memory".into() };
        let kernel =
            |name| Kernel { show: Show::Nanoseconds, bound: bound(), ..kernel(bounds, name, 1.0, "", "") };
        let name = format!("pack {bits} bits");
        suite.run(kernel(&name), || packing::pack_into(black_box(&values), bits, &mut bytes));
        let name = format!("unpack {bits} bits");
        suite.run(kernel(&name), || packing::unpack_into(black_box(&bytes), bits, &mut values));
    }
}

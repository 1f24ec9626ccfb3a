//! Oblivious transfer, one party at a time: what is sent is dropped, what is received is zero. The work does not
//! depend on the bytes; tests check the results. Both parties' figures add up to the CPU time of a transfer.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use benches::cpu_time;
use channels::{Channel, ChannelError, FRAME, Sink, Source, memory};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};
use ot::{
    Block, CotReceive, CotReceiver, CotSend, CotSender, RotReceiver, RotSender, SilentReceiver, SilentSender,
    base, packing,
};
use prg::Prg;
use std::hint::black_box;
use std::thread;

/// Transfers per iteration.
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

fn setups(c: &mut Criterion) {
    let mut group = c.benchmark_group("ot_setup");
    group.sample_size(10);
    group.bench_function("base_128", |bench| {
        bench.iter(|| {
            both(
                |a| base::send(a, 128, &mut Prg::from_os()).unwrap(),
                |b| base::receive(b, &[true; 128], &mut Prg::from_os()).unwrap(),
            )
        });
    });
    group.bench_function("silent", |bench| {
        bench.iter(|| {
            both(
                |a| SilentSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
                |b| SilentReceiver::setup(b, &mut Prg::from_os()).unwrap(),
            )
        });
    });
    group.finish();
}

fn correlated(c: &mut Criterion) {
    let mut group = group(c, "ot_chosen_blocks");
    let (send, receive) = both(
        |a| CotSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
        |b| CotReceiver::setup(b, &mut Prg::from_os()).unwrap(),
    );
    blocks(&mut group, "iknp", send, receive);
    let (send, receive) = silent();
    blocks(&mut group, "silent", send, receive);
    group.finish();
}

fn blocks(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut send: impl CotSend,
    mut receive: impl CotReceive,
) {
    let mut channel = Channel::new(Drain, Zeros);
    let (mut out, choices) = (vec![0; N], vec![0x5555_5555_0123_4567; N / 64]);
    group.bench_function(format!("{name}_sender"), |bench| {
        bench.iter(|| {
            send.reserve(&mut channel, N).unwrap();
            channel.stream(|_, rx| send.chosen(rx, &mut out)).unwrap();
        });
    });
    group.bench_function(format!("{name}_receiver"), |bench| {
        bench.iter(|| {
            receive.reserve(&mut channel, N).unwrap();
            channel.stream(|tx, _| receive.chosen(tx, &choices, &mut out)).unwrap();
        });
    });
}

fn random_bits(c: &mut Criterion) {
    let mut group = group(c, "ot_random_bits");
    let (mut send, mut receive) = silent();
    let mut channel = Channel::new(Drain, Zeros);
    let (mut left, mut right) = (vec![0; N / 64], vec![0; N / 64]);
    group.bench_function("silent_sender", |bench| {
        bench.iter(|| send.random_bits(&mut channel, N, &mut left, &mut right).unwrap());
    });
    group.bench_function("silent_receiver", |bench| {
        bench.iter(|| receive.random_bits(&mut channel, N, &mut left, &mut right).unwrap());
    });
    group.finish();
}

fn packed_values(c: &mut Criterion) {
    let mut group = group(c, "packing");
    let mut values = vec![0; N];
    Prg::from_os().fill_u64(&mut values);
    for bits in [1, 20, 24, 37] {
        let mut bytes = packing::pack(&values, bits);
        group.bench_function(format!("pack_{bits}"), |bench| {
            bench.iter(|| packing::pack_into(black_box(&values), bits, &mut bytes));
        });
        group.bench_function(format!("unpack_{bits}"), |bench| {
            bench.iter(|| packing::unpack_into(black_box(&bytes), bits, &mut values));
        });
    }
    group.finish();
}

fn silent() -> (SilentSender, SilentReceiver) {
    both(
        |a| SilentSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
        |b| SilentReceiver::setup(b, &mut Prg::from_os()).unwrap(),
    )
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(N as u64)).sample_size(10);
    group
}

/// Transfers per CPU second of each party, beside the bare AES of a hash (one block for the receiver, two for the sender).
fn roofline() {
    let mut prg = Prg::from_os();
    let mut buffer = vec![0; 1 << 14];
    let block = cpu_time(|| prg.fill(black_box(&mut buffer))) / 1024.0;
    println!("\nAES in counter mode: {:.0} million blocks per second", 1e-6 / block);
    let line = |name: &str, seconds: f64, blocks: f64| {
        let each = seconds / N as f64;
        println!(
            "{name:<28}{:>5.1} million per second; its hash alone {:.0} % of the time",
            1e-6 / each,
            100.0 * blocks * block / each
        );
        each
    };
    let mut channel = Channel::new(Drain, Zeros);
    let [mut zeros, mut ones] = [(); 2].map(|()| vec![0; N]);
    let choices = vec![0x5555_5555_0123_4567; N / 64];
    let (send, receive) = both(
        |a| RotSender::new(CotSender::setup(a, DELTA, &mut Prg::from_os()).unwrap()),
        |b| RotReceiver::new(CotReceiver::setup(b, &mut Prg::from_os()).unwrap()),
    );
    let (mut send, mut receive) = (send, receive);
    let sent = || channel.stream(|_, rx| send.chosen(rx, &mut zeros, &mut ones)).unwrap();
    line("IKNP random OT, sender", cpu_time(sent), 2.0);
    let received = || channel.stream(|tx, _| receive.chosen(tx, &choices, &mut zeros)).unwrap();
    line("IKNP random OT, receiver", cpu_time(received), 1.0);
    let (mut send, mut receive) = silent();
    let [mut left, mut right] = [(); 2].map(|()| vec![0; N / 64]);
    let sent = cpu_time(|| send.random_bits(&mut channel, N, &mut left, &mut right).unwrap());
    let received = cpu_time(|| receive.random_bits(&mut channel, N, &mut left, &mut right).unwrap());
    let both =
        line("silent OT of bits, sender", sent, 2.0) + line("silent OT of bits, receiver", received, 1.0);
    println!("silent OT of bits, both parties counted: {:.1} million per core-second", 1e-6 / both);
}

criterion_group!(benches, setups, correlated, random_bits, packed_values);

fn main() {
    benches();
    roofline();
}

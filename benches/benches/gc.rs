//! Garbled circuits on one core, local work only: AND gates per second of either party.
//!
//! Roofline: garbling an AND takes 4 blocks of AES-128, evaluating 2, and 10 rounds each. A processor that starts one
//! 512-bit AES round per cycle (4 block rounds, as Zen 4) at 3.7 GHz has room for 370 and 740 million AND gates per
//! second; with AES-NI, 2 rounds per cycle, for 185 and 370. Labels of the garbler's inputs (1 block) and weighted
//! bits of shared outputs (2 or 4, 1) come on top. "aes" is the yardstick on the machine at hand: blocks of counter
//! mode per second.
#![expect(clippy::unwrap_used, reason = "benchmarks are no interface and may fail loudly")]

use benches::cpu_time;
use criterion::{Criterion, Throughput, criterion_group};
use gc::circuits::{ArgMax, MaxPool, Relu, Truncate};
use gc::{Circuit, Isa, LocalChunk, Program};
use ntt::Modulus;
use prg::{Prg, Seed};
use std::hint::black_box;
use std::time::Duration;

fn circuit<C: Circuit>(criterion: &mut Criterion, name: &str, circuit: &C, below: u64) {
    let program = Program::new(circuit);
    let mut local = LocalChunk::new(circuit, below, &mut Prg::new(&Seed::from_bytes([1; 16])));
    let mut group = criterion.benchmark_group(format!("gc {name}"));
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    group.throughput(Throughput::Elements((program.ands() * local.instances()) as u64));
    for isa in Isa::available() {
        group.bench_function(format!("garble {isa:?}"), |bencher| {
            bencher.iter(|| black_box(local.garble(isa)).len());
        });
        group.bench_function(format!("evaluate {isa:?}"), |bencher| {
            bencher.iter(|| black_box(local.evaluate(isa)).0.len());
        });
    }
    group.finish();
}

fn yardstick(criterion: &mut Criterion) {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let mut buffer = vec![0; 4096];
    let mut group = criterion.benchmark_group("gc aes");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    group.throughput(Throughput::Elements(buffer.len() as u64 / 16));
    group.bench_function("blocks", |bencher| bencher.iter(|| prg.fill(black_box(&mut buffer))));
    group.finish();
}

fn circuits(criterion: &mut Criterion) {
    for m in [Modulus::pow2(24), Modulus::prime(737_281)].into_iter().flatten() {
        let (m_in, m_out, shift) = (m, m, 8);
        circuit(criterion, &format!("relu {m}"), &Relu { m_in, m_out, shift }, m.value());
        circuit(criterion, &format!("truncate {m}"), &Truncate { m_in, m_out, shift }, m.value());
        let pool = MaxPool { m_in, m_out, window: 8, relu: true, shift };
        circuit(criterion, &format!("max pool of 8 {m}"), &pool, m.value());
        circuit(criterion, &format!("argmax of 16 {m}"), &ArgMax { m_in, classes: 16 }, m.value());
    }
}

/// AND gates per CPU second, beside what the blocks of AES alone would take: keys of both kinds, hashes and labels.
fn roofline() {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    let mut buffer = vec![0; 1 << 14];
    let block = cpu_time(|| prg.fill(black_box(&mut buffer))) / 1024.0;
    println!("\nAES in counter mode: {:.0} million blocks per second", 1e-6 / block);
    let m = Modulus::pow2(24).unwrap();
    rates("argmax of 16", &ArgMax { m_in: m, classes: 16 }, m.value(), block);
    rates("relu, with its shared output", &Relu { m_in: m, m_out: m, shift: 8 }, m.value(), block);
}

fn rates<C: Circuit>(name: &str, circuit: &C, below: u64, block: f64) {
    let program = Program::new(circuit);
    let mut local = LocalChunk::new(circuit, below, &mut Prg::new(&Seed::from_bytes([1; 16])));
    let ands = (program.ands() * local.instances()) as f64;
    for isa in Isa::available() {
        let garble = cpu_time(|| _ = black_box(local.garble(isa)).len()) / ands;
        let evaluate = cpu_time(|| _ = black_box(local.evaluate(isa)).0.len()) / ands;
        for (role, seconds, blocks) in [("garble", garble, 4.0), ("evaluate", evaluate, 2.0)] {
            println!(
                "{name}, {role} {isa:?}: {:.0} million AND per second; the AES of its ANDs alone {:.0} % of the time",
                1e-6 / seconds,
                100.0 * blocks * block / seconds
            );
        }
    }
}

criterion_group!(benches, yardstick, circuits);

fn main() {
    benches();
    roofline();
}

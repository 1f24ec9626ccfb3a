//! Transforms, pointwise kernels and the multiply-accumulate, each set against what the machine can do.
//!
//! Run with `RAYON_NUM_THREADS=1` for figures of one core. The roofline table at the end gives, per kernel, the time
//! of its 52-bit multiply-adds at the register peak and of its memory traffic at the cache bandwidth measured here,
//! whichever is longer, as a share of the measured time.
#![expect(clippy::unwrap_used, reason = "benchmarks are no interface and may fail loudly")]

use benches::cpu_time as time;
use criterion::{BenchmarkId, Criterion, Throughput};
use ntt::mac::{PairSums, PairTiles, WeightTiles, multiply_accumulate};
use ntt::simd::{Group, Isa, Kernel, LANES, Lanes};
use ntt::{CyclicNtt, Ring, Slots, ntt_primes};
use prg::{Prg, Seed};
use std::hint::black_box;

const N: usize = 4096;

/// Tiles, inputs and outputs of the multiply-accumulate: all larger than any cache.
const SHAPES: [(usize, usize, usize); 4] = [(8, 64, 64), (16, 32, 32), (8, 64, 8), (1, 64, 16)];

fn random(p: u64, len: usize) -> Vec<u64> {
    let mut x = vec![0; len];
    Prg::new(&Seed::from_bytes([1; 16])).fill_below(&mut x, p);
    x
}

fn ring(n: usize, isa: Isa) -> Ring {
    Ring::with_isa(n, ntt_primes(n, 50).next().unwrap(), isa).unwrap()
}

fn transforms(c: &mut Criterion) {
    let mut group = c.benchmark_group("transform");
    for n in [4096, 8192] {
        let ring = ring(n, Isa::detect());
        let mut x = random(ring.modulus(), n);
        group.bench_function(BenchmarkId::new("forward", n), |b| b.iter(|| ring.forward(black_box(&mut x))));
        group.bench_function(BenchmarkId::new("inverse", n), |b| b.iter(|| ring.inverse(black_box(&mut x))));
    }
    let slots = Slots::new(8192, ntt_primes(8192, 20).next().unwrap()).unwrap();
    let (values, mut polynomial) = (random(slots.modulus(), 8192), vec![0; 8192]);
    group.bench_function("slots/8192", |b| b.iter(|| slots.encode_into(black_box(&values), &mut polynomial)));
    let cyclic = CyclicNtt::new(737_281, &[72, 72, 72]).unwrap();
    let mut x = random(737_281, cyclic.volume());
    group.sample_size(10).bench_function("cyclic/72x72x72", |b| b.iter(|| cyclic.forward(black_box(&mut x))));
}

fn pointwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("pointwise");
    for isa in Isa::available() {
        let ring = ring(N, isa);
        let (mut x, y) = (random(ring.modulus(), N), random(ring.modulus(), N));
        let fixed = ring.fixed(y.clone());
        let name = |kernel| BenchmarkId::new(kernel, isa.name());
        group.bench_function(name("add"), |b| b.iter(|| ring.add_assign(black_box(&mut x), &y)));
        group.bench_function(name("fixed"), |b| b.iter(|| ring.mul_fixed_assign(black_box(&mut x), &fixed)));
        group.bench_function(name("product"), |b| b.iter(|| ring.mul_assign(black_box(&mut x), &y)));
        group.bench_function(name("wide"), |b| b.iter(|| ring.add_wide_assign(black_box(&mut x), &y, &y)));
    }
}

/// A block of random operands for the multiply-accumulate.
struct Block {
    rings: Vec<Ring>,
    pairs: PairTiles,
    weights: WeightTiles,
    sums: PairSums,
}

impl Block {
    fn new(isa: Isa, tiles: usize, inputs: usize, outputs: usize) -> Self {
        let limbs: Vec<u64> = ntt_primes(N, 50).take(2).collect();
        let rings: Vec<Ring> = limbs.iter().map(|&p| Ring::with_isa(N, p, isa).unwrap()).collect();
        let mut pairs = PairTiles::new(2, N, tiles, inputs);
        let mut weights = WeightTiles::new(2, N, tiles, inputs, outputs);
        let staged = random(limbs[1], 4 * N);
        (0..tiles * inputs).for_each(|k| pairs.scatter(&[(k / inputs, k % inputs)], &staged));
        (0..inputs * outputs).for_each(|k| weights.scatter(&[(k % inputs, k / inputs)], &staged[..2 * N]));
        Self { rings, pairs, weights, sums: PairSums::new(2, N, tiles, outputs) }
    }

    fn run(&mut self) {
        let rings: Vec<&Ring> = self.rings.iter().collect();
        multiply_accumulate(&rings, &self.pairs, &self.weights, &mut self.sums);
    }
}

fn products(tiles: usize, inputs: usize, outputs: usize) -> u64 {
    (tiles * inputs * outputs * 2 * 2 * N) as u64
}

fn multiply(c: &mut Criterion) {
    let mut group = c.benchmark_group("multiply-accumulate");
    group.sample_size(10);
    for isa in Isa::available() {
        for (tiles, inputs, outputs) in SHAPES {
            let mut block = Block::new(isa, tiles, inputs, outputs);
            group.throughput(Throughput::Elements(products(tiles, inputs, outputs)));
            let shape = format!("{tiles}x{inputs}x{outputs}");
            group.bench_function(BenchmarkId::new(isa.name(), shape), |b| b.iter(|| block.run()));
        }
    }
}

/// Multiply-adds from registers only, 16 independent chains.
struct Peak(u64);

impl Kernel for Peak {
    type Output = u64;
    #[inline(always)]
    fn run<L: Lanes>(self) -> u64 {
        let (a, b) = (L::splat(black_box(3)), L::splat(black_box(5)));
        let mut sums = [L::splat(0); 16];
        for _ in 0..self.0 {
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum = if k % 2 == 0 { sum.madd52_low(a, b) } else { sum.madd52_high(a, b) };
            }
        }
        let mut out = [0; LANES];
        sums.into_iter().reduce(L::add).unwrap().store(&mut out);
        out[0]
    }
}

/// Reads a buffer and adds up its words.
struct Stream<'a>(&'a [Group]);

impl Kernel for Stream<'_> {
    type Output = u64;
    #[inline(always)]
    fn run<L: Lanes>(self) -> u64 {
        let mut sums = [L::splat(0); 8];
        for groups in self.0.as_chunks::<8>().0 {
            for (sum, group) in sums.iter_mut().zip(groups) {
                *sum = sum.add(L::load(&group.0));
            }
        }
        let mut out = [0; LANES];
        sums.into_iter().reduce(L::add).unwrap().store(&mut out);
        out[0]
    }
}

/// Bytes that a multiply-accumulate moves at least: operands in, sums in and out.
fn traffic(tiles: usize, inputs: usize, outputs: usize) -> f64 {
    (2 * 8 * N * (2 * tiles * inputs + inputs * outputs + 4 * tiles * outputs)) as f64
}

fn roofline() {
    let isa = Isa::detect();
    let per_madd = time(|| _ = black_box(isa.run(Peak(20_000)))) / 320_000.0;
    let (x, mut y) = (random(u64::MAX, 1 << 14), vec![0u64; 1 << 14]);
    let copy = || black_box(&mut y).copy_from_slice(black_box(&x));
    let per_byte = time(copy) / (16 << 14) as f64;
    println!(
        "\nroofline, {}: {:.3} ns per multiply-add of 8 lanes, {:.1} GB/s in cache",
        isa.name(),
        per_madd * 1e9,
        1e-9 / per_byte
    );
    let line = |name: &str, seconds: f64, madds: f64, bytes: f64| {
        let bound = (madds * per_madd).max(bytes * per_byte);
        println!(
            "{name:<32} {:>9.2} µs, bound {:>9.2} µs: {:>3.0} %",
            seconds * 1e6,
            bound * 1e6,
            100.0 * bound / seconds
        );
    };
    let ring = ring(N, isa);
    let (mut x, y) = (random(ring.modulus(), N), random(ring.modulus(), N));
    let (fixed, groups, bytes) = (ring.fixed(y.clone()), (N / LANES) as f64, (8 * N) as f64);
    // A butterfly of eight lanes takes three multiply-adds; log2 n levels of n/2.
    line("forward, n = 4096", time(|| ring.forward(&mut x)), 3.0 * 6.0 * groups, 2.0 * bytes);
    line(
        "product with fixed operand",
        time(|| ring.mul_fixed_assign(&mut x, &fixed)),
        3.0 * groups,
        4.0 * bytes,
    );
    line("product", time(|| ring.mul_assign(&mut x, &y)), 10.0 * groups, 3.0 * bytes);
    line("wide sum", time(|| ring.add_wide_assign(&mut x, &y, &y)), 8.0 * groups, 4.0 * bytes);
    let large = vec![Group::default(); 4 << 20];
    let per_far_byte = time(|| _ = black_box(isa.run(Stream(&large)))) / (64 * large.len()) as f64;
    drop(large);
    println!("from memory {:.1} GB/s", 1e-9 / per_far_byte);
    for isa in Isa::available().into_iter().rev() {
        for (tiles, inputs, outputs) in SHAPES {
            let mut block = Block::new(isa, tiles, inputs, outputs);
            let count = products(tiles, inputs, outputs) as f64;
            let seconds = time(|| block.run());
            let name = format!("{} {tiles}×{inputs}×{outputs}", isa.name());
            let (madds, far) =
                (2.0 * count / LANES as f64 * per_madd, traffic(tiles, inputs, outputs) * per_far_byte);
            println!(
                "{name:<32} {:>8.4} ns per product; multiply-adds alone {:.4} ({:.0} %), memory alone {:.4}",
                seconds * 1e9 / count,
                madds * 1e9 / count,
                100.0 * madds.max(far) / seconds,
                far * 1e9 / count
            );
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    transforms(&mut criterion);
    pointwise(&mut criterion);
    multiply(&mut criterion);
    criterion.final_summary();
    roofline();
}

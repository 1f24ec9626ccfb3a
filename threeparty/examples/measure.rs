//! Cost of single operators over three parties in one process: CPU seconds of all parties, bytes per value, rounds.
//!
//! `cargo run --release -p threeparty --example measure -- [log2 of the number of values, default 20]`

use channels::Traffic;
use prg::{Prg, Seed};
use std::time::Instant;
use threeparty::machine::cpu_seconds;
use threeparty::{Error, Party, Shares, local};

fn main() -> Result<(), Error> {
    let log2 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(20);
    let len = 1usize << log2;
    let mut x = vec![0u64; len];
    Prg::new(&Seed::from_bytes([1; 16])).fill_u64(&mut x);
    x.iter_mut().for_each(|x| *x = ((*x as i64) >> 34) as u64); // 30 bits and the sign
    let shares = local::deal(&x, &Seed::from_os());
    println!("{len} values, 64-bit ring, three parties in one process over channels in memory");
    measure("relu, 31-bit values", len, &shares, |party, x| party.relu(x, 31).map(|_| ()))?;
    measure("select", len, &shares, |party, x| {
        let sign = party.negative(x, 2)?;
        party.select(&sign, x).map(|_| ())
    })?;
    measure("multiply", len, &shares, |party, x| party.mul(x, x).map(|_| ()))?;
    measure("multiply and truncate by 16", len, &shares, |party, x| party.mul_fixed(x, x, 16).map(|_| ()))?;
    measure("truncate by 16", len, &shares, |party, x| party.truncate(x, 16).map(|_| ()))?;
    let n = 1 << (log2 / 2).min(8);
    measure(&format!("matrix product {n}×{n}×{n} (per output)"), n * n, &shares, |party, x| {
        let x = x.slice(0, n * n);
        party.matmul(&x, &x, [n, n, n], 16).map(|_| ())
    })
}

fn measure(
    what: &str,
    values: usize,
    shares: &[Shares<u64>; 3],
    body: impl Fn(&mut Party, &Shares<u64>) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (wall, cpu) = (Instant::now(), cpu_seconds().unwrap_or(f64::NAN));
    let traffic: [Traffic; 3] = local::run(|party| {
        let start = party.traffic();
        body(party, &shares[party.id()])?;
        Ok(party.traffic() - start)
    })?;
    let bytes: u64 = traffic.iter().map(|traffic| traffic.sent).sum();
    println!(
        "{what}: {:.3} s wall, {:.2} CPU s, {:.1} B per value, {} rounds",
        wall.elapsed().as_secs_f64(),
        cpu_seconds().unwrap_or(f64::NAN) - cpu,
        bytes as f64 / values as f64,
        traffic[0].rounds
    );
    Ok(())
}

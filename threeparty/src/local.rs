//! Three servers in one process, and a dealer that shares vectors among them: for tests, examples and benchmarks.

use crate::error::Error;
use crate::party::{Party, draw};
use crate::ring::Ring;
use crate::share::Shares;
use channels::{Channel, memory};
use prg::{Prg, Seed};
use std::thread;

/// Runs `body` as all three parties, each on a thread of its own, over channels in memory; results by party.
pub fn run<T: Send>(body: impl Fn(&mut Party) -> Result<T, Error> + Sync) -> Result<[T; 3], Error> {
    run_over([memory::pair(), memory::pair(), memory::pair()], body)
}

/// Like [`run`], over given channels: pair i joins party i (first end) with party i+1.
pub fn run_over<T: Send>(
    pairs: [(Channel, Channel); 3],
    body: impl Fn(&mut Party) -> Result<T, Error> + Sync,
) -> Result<[T; 3], Error> {
    let [(next0, prev1), (next1, prev2), (next2, prev0)] = pairs;
    let ends = [(0, prev0, next0), (1, prev1, next1), (2, prev2, next2)];
    let results = thread::scope(|scope| {
        let work =
            |(id, prev, next)| Party::connect(id, prev, next, [0; 32]).and_then(|mut party| body(&mut party));
        let threads = ends.map(|end| scope.spawn(move || work(end)));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let [a, b, c] = results;
    Ok([a?, b?, c?])
}

/// Shares of `values` for the three parties, under randomness of `seed`.
pub fn deal<R: Ring>(values: &[R], seed: &Seed) -> [Shares<R>; 3] {
    let mut prg = Prg::new(seed);
    let (x0, x1): (Vec<R>, Vec<R>) = (draw(&mut prg, values.len()), draw(&mut prg, values.len()));
    let x2: Vec<R> = values.iter().zip(&x0).zip(&x1).map(|((&x, &a), &b)| x.sub(a).sub(b)).collect();
    let pair = |a: &Vec<R>, b: &Vec<R>| Shares { own: a.clone(), next: b.clone() };
    [pair(&x0, &x1), pair(&x1, &x2), pair(&x2, &x0)]
}

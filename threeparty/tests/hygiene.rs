//! What no run may do: repeat itself, show one party a secret, trust a copy blindly, or hang.
#![expect(clippy::unwrap_used, reason = "tests")]

use channels::{Channel, ChannelError, Sink, Source, memory};
use prg::Seed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use threeparty::{Error, Functions, Party, local};

/// A transport that keeps everything that arrives.
struct Tap {
    inner: Mutex<Channel>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Source for Tap {
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
        let byte = self.inner.lock().unwrap().recv(1)?;
        self.seen.lock().unwrap().extend(&byte);
        Ok(byte)
    }
}

/// The sending half of another channel.
struct Wire(Channel);

impl Sink for Wire {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        self.0.send(&frame)?;
        self.0.flush()
    }
}

/// A one-way-tapped pair: what reaches either end is recorded for that end.
fn tapped(seen: [Arc<Mutex<Vec<u8>>>; 2]) -> (Channel, Channel) {
    let ((a_out, b_in), (b_out, a_in)) = (memory::pair(), memory::pair());
    let [at_a, at_b] = seen;
    let end = |out, inner, seen| Channel::new(Wire(out), Tap { inner: Mutex::new(inner), seen });
    (end(a_out, a_in, at_a), end(b_out, b_in, at_b))
}

/// Everything that reached each party while all operators ran on `x`.
fn views(x: &[u64], dealt: &Seed) -> [Vec<u8>; 3] {
    let seen: [Arc<Mutex<Vec<u8>>>; 3] = Default::default();
    let pair = |i: usize| tapped([seen[i].clone(), seen[(i + 1) % 3].clone()]);
    let shares = local::deal(x, dealt);
    local::run_over([pair(0), pair(1), pair(2)], |party| {
        let x = &shares[party.id()];
        let y = party.mul_fixed(x, x, 8)?;
        let (y, positive) = party.relu(&y, 31)?;
        let y = party.truncate(&y, 4)?;
        let z = party.select(&positive, &y)?;
        let z = party.exp_negative(&z.scale(u64::MAX), 16, 40)?;
        party.reciprocal(&z, 16, 31)?;
        Ok(())
    })
    .unwrap();
    seen.map(|seen| std::mem::take(&mut *seen.lock().unwrap()))
}

#[test]
fn equal_inputs_give_other_views() {
    let (x, seed) = ([77u64; 64], Seed::from_bytes([1; 16]));
    let (first, second) = (views(&x, &seed), views(&x, &seed));
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a.len(), b.len());
        // The greeting (a few dozen bytes from each side) is the same; of the rest one byte in 256 by chance.
        let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert!(equal < 200 + a.len() / 128, "{equal} of {} bytes repeat", a.len());
    }
}

#[test]
fn no_view_tells_the_secret() {
    // Two secrets as different as can be, many runs: whatever byte of a view an adversary looks at, its mean over the
    // runs must not depend on the secret. Shares are dealt anew in every run, as a client does.
    let runs = 48;
    let sums = |secret: u64| -> [Vec<f64>; 3] {
        let mut sums: [Vec<f64>; 3] = Default::default();
        for _ in 0..runs {
            let views = views(&[secret; 8], &Seed::from_os());
            for (sum, view) in sums.iter_mut().zip(views) {
                sum.resize(view.len(), 0.0);
                sum.iter_mut().zip(view).for_each(|(sum, byte)| *sum += f64::from(byte));
            }
        }
        sums
    };
    let (small, large) = (sums(3), sums((-3000i64) as u64));
    let deviation = (2.0 * f64::from(runs) * 65535.0 / 12.0).sqrt();
    for (a, b) in small.iter().zip(&large) {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // 5.6 deviations: one byte in 5·10^7 by chance, and a view has a few ten thousand.
        assert!(worst < 5.6 * deviation, "{worst} against {deviation} of noise over {} bytes", a.len());
    }
}

#[test]
fn copies_that_differ_are_found() {
    let good = local::deal(&[1u64, 2, 3], &Seed::from_os());
    let bad = local::deal(&[1u64, 2, 4], &Seed::from_os());
    let of = |id: usize| if id == 2 { &bad[2] } else { &good[id] };
    let checked = local::run(|party| Ok(party.check(of(party.id()), "input").is_err())).unwrap();
    assert_eq!(checked, [true; 3]);
    let opened = local::run(|party| Ok(party.open(of(party.id())).is_err())).unwrap();
    assert!(opened.iter().any(|&refused| refused));
}

fn connect(id: usize, prev: Channel, next: Channel, agreement: u8) -> Result<Party, Error> {
    Party::connect(id, prev, next, [agreement; 32])
}

#[test]
fn servers_with_other_work_in_mind_do_not_start() {
    let [(next0, prev1), (next1, prev2), (next2, prev0)] = std::array::from_fn(|_| memory::pair());
    let outcomes = thread::scope(|scope| {
        let parties = [(0, prev0, next0, 1), (1, prev1, next1, 1), (2, prev2, next2, 9)];
        let start = |(id, prev, next, job)| scope.spawn(move || connect(id, prev, next, job).err());
        parties.map(start).map(|thread| thread.join().unwrap())
    });
    assert!(outcomes.iter().all(Option::is_some));
    // Who is late finds the others gone; the first to hear the odd one out names it.
    let told = |outcome: &Option<Error>| matches!(outcome, Some(Error::Disagreement { .. }));
    assert!(outcomes.iter().any(told), "{outcomes:?}");
}

/// Party 2 stops after its first operation, by leaving or by doing nothing; the others must notice in time.
fn abandoned(leaves: bool) -> [Error; 2] {
    let patience = Duration::from_millis(300);
    let [(next0, prev1), (next1, prev2), (next2, prev0)] =
        std::array::from_fn(|_| memory::pair_with_patience(patience));
    let shares = local::deal(&[5u64; 10], &Seed::from_os());
    let shares = &shares;
    let start = Instant::now();
    let errors = thread::scope(|scope| {
        let work = move |id: usize, prev, next| {
            let mut party = connect(id, prev, next, 0).unwrap();
            party.relu(&shares[id], 31).unwrap();
            party.relu(&shares[id], 31).err().unwrap()
        };
        let survivors =
            [scope.spawn(move || work(0, prev0, next0)), scope.spawn(move || work(1, prev1, next1))];
        scope.spawn(move || {
            let mut party = connect(2, prev2, next2, 0).unwrap();
            party.relu(&shares[2], 31).unwrap();
            if !leaves {
                thread::sleep(4 * patience);
            }
        });
        survivors.map(|thread| thread.join().unwrap())
    });
    assert!(start.elapsed() < 8 * patience);
    errors
}

#[test]
fn a_party_that_leaves_or_stalls_is_reported() {
    let closed = |error: &Error| matches!(error, Error::Channel { source: ChannelError::Closed, .. });
    let named = |error: &Error| matches!(error, Error::Channel { peer: 2, .. });
    let errors = abandoned(true);
    assert!(errors.iter().all(closed) && errors.iter().any(named), "{errors:?}");
    let errors = abandoned(false);
    let late = |error: &Error| matches!(error, Error::Channel { peer: 2, source: ChannelError::Timeout(_) });
    assert!(errors.iter().any(late), "{errors:?}");
}

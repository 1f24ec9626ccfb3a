//! CPU time by cryptographic primitive: where a run's seconds go.
//!
//! A thread that works on a primitive holds a [`Scope`]; its CPU time since then, less what scopes inside took for
//! themselves, is added to process-wide counters when the scope ends. Threads that serve one primitive alone are
//! [`dedicate`]d and cost nothing while they run. [`read`] tells the sums so far, and differences tell what a layer took.
//!
//! Scopes are for blocks of work of tens of microseconds or more — a batch of ciphertexts, a chunk of garbled gates, a
//! vector of OTs — never for single values: each reads the thread's clock twice, about 0.3 µs. In a parallel loop,
//! `for_each_init(|| meter::scope(..), ..)` makes one for every piece that a thread takes. What happens within no scope
//! is not counted. Times are sums over blocks of public size, and nothing secret chooses a scope.
#![forbid(unsafe_code)]

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{AddAssign, Sub};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

macro_rules! primitives {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A kind of work.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Primitive {
            $($(#[$doc])* $variant,)*
        }

        impl Primitive {
            /// All of them, in the order of tables.
            pub const ALL: [Self; COUNT] = [$(Self::$variant,)*];

            /// Its name in records and tables.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        const COUNT: usize = [$($name,)*].len();
    };
}

primitives! {
    /// Encrypting Alice's shares.
    Encrypt "encrypt",
    /// Bringing uploads, weights and spectra to the domain in which they are multiplied.
    Transform "transform",
    /// Products of ciphertexts and weights, and their sums.
    Hadamard "hadamard",
    /// Rotations of ciphertexts.
    Rotate "rotate",
    /// Sanitising replies.
    Reply "reply",
    /// Decrypting replies.
    Decrypt "decrypt",
    /// Garbling circuits.
    Garble "garble",
    /// Evaluating garbled circuits.
    Evaluate "evaluate",
    /// Making oblivious transfers and using them up.
    Transfer "ot",
    /// Comparing and choosing by bits.
    Compare "compare",
    /// Truncating outside of activations.
    Truncate "truncate",
    /// Squares, products and quadratics, and pairs for them.
    Pairs "pairs",
    /// What a party does to its shares alone.
    Local "local",
    /// Sockets and TLS.
    Transport "transport",
}

/// CPU nanoseconds by primitive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent([u64; COUNT]);

impl Spent {
    /// Seconds of one primitive.
    pub fn seconds(&self, primitive: Primitive) -> f64 {
        self.0[primitive as usize] as f64 / 1e9
    }
}

impl Sub for Spent {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        // The clocks of dedicated threads are read from elsewhere, and may be a tick behind.
        Self(std::array::from_fn(|i| self.0[i].saturating_sub(earlier.0[i])))
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
    }
}

static SPENT: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];
static DEDICATED: Mutex<Vec<(Primitive, PathBuf)>> = Mutex::new(Vec::new());

thread_local! {
    /// What this thread works on, and its clock when that was last written down.
    static CURRENT: Cell<(Option<Primitive>, u64)> = const { Cell::new((None, 0)) };
}

/// CPU seconds of this process so far, all threads.
pub fn process_seconds() -> f64 {
    nanoseconds(ClockId::ProcessCPUTime) as f64 / 1e9
}

/// CPU time of this thread.
fn clock() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Writes down what the current primitive took, and goes over to another; returns the one before.
fn change(next: Option<Primitive>) -> Option<Primitive> {
    let (before, since) = CURRENT.get();
    let now = clock();
    if let Some(primitive) = before {
        SPENT[primitive as usize].fetch_add(now - since, Relaxed);
    }
    CURRENT.set((next, now));
    before
}

/// The calling thread works on a primitive until this is dropped, which must happen on the same thread.
#[must_use = "a scope lasts until it is dropped"]
pub struct Scope {
    outer: Option<Primitive>,
    /// Not for other threads.
    _here: PhantomData<*const ()>,
}

/// Charges what this thread does from now on to a primitive.
pub fn scope(primitive: Primitive) -> Scope {
    Scope { outer: change(Some(primitive)), _here: PhantomData }
}

impl Drop for Scope {
    fn drop(&mut self) {
        change(self.outer);
    }
}

/// Charges all that this thread does, from its beginning to its end, to a primitive. For threads that live as long as
/// their process; where the system does not tell other threads' times, they are not counted.
pub fn dedicate(primitive: Primitive) {
    if let Ok(thread) = std::fs::read_link("/proc/thread-self") {
        let path = PathBuf::from("/proc").join(thread).join("schedstat");
        DEDICATED.lock().unwrap_or_else(PoisonError::into_inner).push((primitive, path));
    }
}

/// What was spent so far in this process. Open scopes count up to where their thread last entered or left one.
pub fn read() -> Spent {
    let mut spent = Spent(std::array::from_fn(|i| SPENT[i].load(Relaxed)));
    for (primitive, path) in &*DEDICATED.lock().unwrap_or_else(PoisonError::into_inner) {
        // The first number is the time on the CPU.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        spent.0[*primitive as usize] +=
            text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends CPU time, however busy the machine is.
    fn work(milliseconds: u64) {
        let end = clock() + milliseconds * 1_000_000;
        while clock() < end {}
    }

    #[test]
    fn inner_scopes_keep_their_time_to_themselves() {
        let before = read();
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let _outer = scope(Primitive::Encrypt);
                work(20);
                {
                    let _inner = scope(Primitive::Decrypt);
                    work(10);
                }
                work(5);
                std::thread::sleep(std::time::Duration::from_millis(30)); // no CPU time
            });
            threads.spawn(|| {
                let _other = scope(Primitive::Encrypt);
                work(5);
            });
        });
        let spent = read() - before;
        let near = |primitive, expected: f64| {
            let seconds = spent.seconds(primitive);
            assert!((expected..expected + 0.01).contains(&seconds), "{primitive:?}: {seconds}");
        };
        near(Primitive::Encrypt, 0.030);
        near(Primitive::Decrypt, 0.010);
    }

    #[test]
    fn a_dedicated_thread_is_counted_whole() {
        if !std::path::Path::new("/proc/thread-self/schedstat").exists() {
            println!("skipped: this system does not tell threads' times");
            return;
        }
        let (to, from) = std::sync::mpsc::channel::<()>();
        let spent = std::thread::scope(|threads| {
            let (ready, done) = std::sync::mpsc::channel();
            threads.spawn(move || {
                work(10);
                dedicate(Primitive::Transport);
                let _ = ready.send(());
                let _ = from.recv();
            });
            let _ = done.recv();
            let spent = read();
            drop(to);
            spent
        });
        assert!(spent.seconds(Primitive::Transport) > 0.009, "{spent:?}");
    }
}

//! What operators cost: bytes sent by all three parties together, and rounds. Tests hold the protocols to it.
//!
//! With ℓ/8 bytes per ring element, s bits truncated, k bits compared and ⌈n/64⌉ words per bit plane of n values:
//!
//! | operator | bytes | rounds |
//! | --- | --- | --- |
//! | reshare (any product) | 3nℓ/8 | 1 |
//! | the same, truncated | n(3ℓ/8 + 4⌈s/8⌉) | 2 |
//! | truncate | n(ℓ/8 + 4⌈s/8⌉) | 1 |
//! | sign | 8⌈n/64⌉(4k − 2 + 3·gates(k−1)) | 1 + ⌈log₂(k−1)⌉ |
//! | select | 6nℓ/8 | 1 |
//! | ReLU, maximum of two | sign + select | 2 + ⌈log₂(k−1)⌉ |

use crate::share::words;
use channels::Traffic;
use serde::Serialize;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Instant;

/// Bytes of all parties, and rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes sent by all three parties together.
    pub bytes: u64,
    /// Rounds.
    pub rounds: u64,
}

/// What a layer took at one party.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spent {
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// Bytes sent to the other two.
    pub bytes_sent: u64,
    /// Rounds.
    pub rounds: u64,
}

impl Spent {
    /// What was spent since `start` with this traffic.
    pub(crate) fn since(start: Instant, traffic: Traffic) -> Self {
        Self { seconds: start.elapsed().as_secs_f64(), bytes_sent: traffic.sent, rounds: traffic.rounds }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.bytes_sent += other.bytes_sent;
        self.rounds += other.rounds;
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, rounds: self.rounds + other.rounds }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// `n` products in a ring of `ring` bits, truncated by `shift` (not at all for 0).
pub fn product(ring: u32, n: usize, shift: u32) -> Cost {
    let reshared = 3 * n * ring as usize / 8;
    match shift {
        0 => Cost { bytes: reshared as u64, rounds: 1 },
        _ => Cost { bytes: (reshared + 4 * n * shift.div_ceil(8) as usize) as u64, rounds: 2 },
    }
}

/// `n` truncations.
pub fn truncate(ring: u32, n: usize, shift: u32) -> Cost {
    match shift {
        0 => Cost::default(),
        _ => Cost { bytes: (n * (ring as usize / 8 + 4 * shift.div_ceil(8) as usize)) as u64, rounds: 1 },
    }
}

/// Signs of `n` values of `bits` bits.
pub fn sign(n: usize, bits: u32) -> Cost {
    let (mut planes, mut gates, mut rounds) = (bits as usize - 1, 0, 1);
    while planes > 1 {
        gates += 2 * (planes / 2) - 1;
        planes = planes.div_ceil(2);
        rounds += 1;
    }
    Cost { bytes: (8 * words(n) * (4 * bits as usize - 2 + 3 * gates)) as u64, rounds }
}

/// `n` selections.
pub fn select(ring: u32, n: usize) -> Cost {
    Cost { bytes: (6 * n * ring as usize / 8) as u64, rounds: 1 }
}

/// `n` ReLUs, or maxima of two.
pub fn relu(ring: u32, n: usize, bits: u32) -> Cost {
    sign(n, bits) + select(ring, n)
}

/// `n` maxima of `candidates`; every vector is padded to whole words.
pub fn maximum(ring: u32, n: usize, candidates: usize, bits: u32) -> Cost {
    levels(candidates).map(|pairs| relu(ring, pairs * 64 * words(n), bits)).sum()
}

/// Indices of `n` winners among `candidates`.
pub fn winner(n: usize, candidates: usize) -> Cost {
    let planes = candidates.next_power_of_two().trailing_zeros().max(1) as usize;
    levels(candidates)
        .map(|pairs| Cost { bytes: (3 * 8 * words(n) * planes * pairs) as u64, rounds: 1 })
        .sum()
}

/// Pairs per level of a tournament.
fn levels(mut candidates: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let pairs = candidates / 2;
        candidates -= pairs;
        (pairs > 0).then_some(pairs)
    })
}

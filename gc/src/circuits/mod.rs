//! Circuits on additive shares of signed fixed-point numbers.
//!
//! The garbler brings a share `a`, the evaluator a share `b`, both reduced modulo `m_in`; the number is the signed
//! integer x with x ≡ a + b. Whoever garbles may hold either share. A shift by s divides by 2^s, half up:
//! floor((x + 2^(s−1)) / 2^s), the plain x for s = 0. Shared outputs are modulo `m_out`, the garbler's share being
//! the mask that it brings. Each circuit is exact on the range that [`range`] gives and wraps outside of it.
//!
//! AND gates and terms of shared outputs, and bytes of both from garbler to evaluator, m_out = m_in, s = 8:
//!
//! | circuit | 2^16 | 2^20 | 2^24 | 2^32 | 737281 |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Truncate`] | 15 + 8, 498 B | 19 + 12, 639 B | 23 + 16, 779 B | 31 + 24, 1068 B | 33 + 15, 1110 B |
//! | [`Relu`] | 15 + 7, 524 B | 19 + 11, 689 B | 23 + 15, 853 B | 31 + 23, 1206 B | 51 + 13, 1746 B |
//! | [`MaxPool`] of 8 with ReLU | 232 + 7 | 320 + 11 | 408 + 15 | 584 + 23 | 534 + 13 |
//! | [`ArgMax`] of 3, no shift | 94 | 118 | 142 | 190 | 196 |
//! | [`ArgMax`] of 256, no shift | 12231 | 15291 | 18351 | 24471 | 21947 |
//! | [`Threshold`] at 0, no shift | 30 | 38 | 46 | 62 | 64 |
//!
//! A power of two costs by its width, and shares modulo 2^k are shares modulo any smaller power of two: pass the
//! narrowest `m_in` that holds x and reduce both shares to it, which is free.

mod readout;
mod reconstruct;
mod reshare;

pub use readout::{ArgMax, Threshold};
pub use reconstruct::range;
pub use reshare::{MaxPool, Relu, Truncate};

use std::ops::Range;

/// The winner of a knock-out among numbered players, who are made when they are due, so that few are there at once;
/// `play` gets the one of lower number first.
fn tournament<S, T>(
    state: &mut S,
    players: Range<usize>,
    make: &impl Fn(&mut S, usize) -> T,
    play: &impl Fn(&mut S, T, T) -> T,
) -> T {
    if players.len() == 1 {
        return make(state, players.start);
    }
    let middle = players.start + players.len().next_power_of_two() / 2;
    let first = tournament(state, players.start..middle, make, play);
    let second = tournament(state, middle..players.end, make, play);
    play(state, first, second)
}

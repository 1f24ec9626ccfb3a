//! The lanes in plain Rust.

use super::{Group, LANES, Lanes, MASK52, WINDOW, Weight};

/// Eight words.
#[derive(Clone, Copy)]
pub(super) struct Portable([u64; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(core::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn map(self, f: impl Fn(u64) -> u64) -> Self {
        Self(self.0.map(f))
    }
}

#[inline(always)]
fn product52(a: u64, b: u64) -> u128 {
    u128::from(a & MASK52) * u128::from(b & MASK52)
}

/// Byte and bit in it where packed value `k` of `width` bits begins.
#[inline(always)]
pub(super) fn place(k: usize, width: u32) -> (usize, u32) {
    let bit = k as u32 * width;
    ((bit / 8) as usize, bit % 8)
}

/// The word that begins with byte `at`.
#[inline(always)]
pub(super) fn word(from: &[u8; WINDOW], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&from[at..at + 8]);
    u64::from_le_bytes(word)
}

/// [`Lanes::pack`]: each word written has the last bits of the value before it in its first byte.
#[inline(always)]
pub(super) fn pack(values: &[u64; LANES], width: u32, to: &mut [u8; WINDOW]) {
    let mut before = 0;
    for (k, value) in values.iter().enumerate() {
        let (at, shift) = place(k, width);
        let word = before | value << shift;
        to[at..at + 8].copy_from_slice(&word.to_le_bytes());
        // Up to eight whole bytes are done: in two steps, as a shift by 64 is none.
        let done = 4 * (place(k + 1, width).0 - at);
        before = word >> done >> done;
    }
}

impl Lanes for Portable {
    type Packing = u32;
    type Unpacking = u32;

    /// 100-bit products leave room for 2^28 of them: no carries are needed.
    type Sum = [u128; LANES];

    #[inline(always)]
    fn splat(x: u64) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    fn load(from: &[u64; LANES]) -> Self {
        Self(*from)
    }
    #[inline(always)]
    fn store(self, to: &mut [u64; LANES]) {
        *to = self.0;
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_add)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_sub)
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, Ord::min)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }
    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        self.map(|a| a << bits)
    }
    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        self.map(|a| a >> bits)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_mul)
    }
    #[inline(always)]
    fn popcount(self) -> Self {
        self.map(|a| u64::from(a.count_ones()))
    }
    #[inline(always)]
    fn madd52_low(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| product52(a, b) as u64 & MASK52))
    }
    #[inline(always)]
    fn madd52_high(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| (product52(a, b) >> 52) as u64))
    }
    #[inline(always)]
    fn sum() -> Self::Sum {
        [0; LANES]
    }
    #[inline(always)]
    fn accumulate(mut sum: Self::Sum, a: Self, b: Self) -> Self::Sum {
        for (sum, (a, b)) in sum.iter_mut().zip(a.0.into_iter().zip(b.0)) {
            *sum += u128::from(a) * u128::from(b);
        }
        sum
    }
    #[inline(always)]
    fn carry(sum: Self::Sum) -> Self::Sum {
        sum
    }
    #[inline(always)]
    fn split(sum: Self::Sum) -> (Self, Self) {
        (Self(sum.map(|s| s as u64 & MASK52)), Self(sum.map(|s| (s >> 52) as u64)))
    }
    #[inline(always)]
    fn packing(width: u32) -> u32 {
        width
    }
    #[inline(always)]
    fn pack(self, width: u32, to: &mut [u8; WINDOW]) {
        pack(&self.0, width, to);
    }
    #[inline(always)]
    fn unpacking(width: u32) -> u32 {
        width
    }
    #[inline(always)]
    fn unpack(width: u32, from: &[u8; WINDOW]) -> Self {
        let mask = (1 << width) - 1;
        Self(core::array::from_fn(|k| {
            let (at, shift) = place(k, width);
            (word(from, at) >> shift) & mask
        }))
    }

    /// Lane by lane and polynomial pair by pair: the sums of an inner loop then stay in registers.
    #[inline(always)]
    fn sum_products<W: Weight, const P: usize, const O: usize>(
        x: &[[Group; P]],
        w: &[[W; O]],
        _ahead: [&[Group]; 2],
    ) -> [[Self::Sum; P]; O] {
        let mut sums = [[Self::sum(); P]; O];
        for (o, sums) in sums.iter_mut().enumerate() {
            for (k, [even, odd]) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                for (lane, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
                    let (mut first, mut second) = (0, 0);
                    for (x, w) in x.iter().zip(w) {
                        let w = u128::from(w[o].group().0[lane]);
                        first += u128::from(x[2 * k].0[lane]) * w;
                        second += u128::from(x[2 * k + 1].0[lane]) * w;
                    }
                    (*even, *odd) = (first, second);
                }
            }
        }
        sums
    }
}

//! The lanes in plain Rust.

use super::{Group, LANES, Lanes, MASK52, Weight};

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

impl Lanes for Portable {
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

//! Eight 64-bit lanes behind one trait, so that each kernel is written once and runs portably, with AVX2 or with AVX-512.
//!
//! A [`Kernel`] is a struct of operands whose `run` is generic over [`Lanes`]. [`Isa::run`] instantiates it for the
//! instruction set of the machine. The AVX-512 lanes need the extensions F, DQ, IFMA (52-bit multiply-add) and
//! VPOPCNTDQ, and BW and VBMI (permutations of bytes); all lanes compute bit for bit the same.
//!
//! All operations are free of secret-dependent branches and addresses.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector instructions")]
mod avx512;
mod portable;

/// Lanes of a vector.
pub const LANES: usize = 8;

/// The low 52 bits of a word, the operand width of the multiply-add instructions.
pub const MASK52: u64 = (1 << 52) - 1;

/// Most bits of a value that is packed with others: with the shift of its first bit it fits into a word.
pub const MAX_WIDTH: u32 = 57;

/// Bytes in which eight packed values lie, and any of them with seven bytes after its first.
pub const WINDOW: usize = 64;

/// Products that a [`Lanes::Sum`] takes between two carries.
pub(crate) const CARRY_EVERY: usize = 4096;

/// Eight words on a cache line of their own: the unit of the tiled layouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct Group(pub [u64; LANES]);

/// What the lanes of an input are multiplied with.
pub trait Weight: Copy + Sync {
    /// Lane by lane.
    fn group(self) -> Group;
}

impl Weight for Group {
    #[inline(always)]
    fn group(self) -> Group {
        self
    }
}

/// The same number for all lanes.
impl Weight for u64 {
    #[inline(always)]
    fn group(self) -> Group {
        Group([self; LANES])
    }
}

/// Eight unsigned 64-bit lanes.
pub trait Lanes: Copy {
    /// A sum of products of 50-bit operands that is not yet reduced.
    ///
    /// Headroom: 4096 products between two [`Lanes::carry`], 32768 products in all.
    type Sum: Copy;
    /// What packing values of one width needs.
    type Packing: Copy;
    /// What unpacking them needs.
    type Unpacking: Copy;

    /// `x` in every lane.
    fn splat(x: u64) -> Self;
    /// Reads eight words.
    fn load(from: &[u64; LANES]) -> Self;
    /// Writes eight words.
    fn store(self, to: &mut [u64; LANES]);
    /// Sum mod 2^64.
    fn add(self, other: Self) -> Self;
    /// Difference mod 2^64.
    fn sub(self, other: Self) -> Self;
    /// Unsigned minimum.
    fn min(self, other: Self) -> Self;
    /// Bitwise and.
    fn and(self, other: Self) -> Self;
    /// Shift left by fewer than 64 bits.
    fn shl(self, bits: u32) -> Self;
    /// Logical shift right by fewer than 64 bits.
    fn shr(self, bits: u32) -> Self;
    /// Product mod 2^64.
    fn mul(self, other: Self) -> Self;
    /// The number of one bits.
    fn popcount(self) -> Self;
    /// self + low 52 bits of the product of the low 52 bits of `a` and `b`.
    fn madd52_low(self, a: Self, b: Self) -> Self;
    /// self + bits 52..104 of the product of the low 52 bits of `a` and `b`.
    fn madd52_high(self, a: Self, b: Self) -> Self;
    /// The empty sum.
    fn sum() -> Self::Sum;
    /// Adds the product of `a` and `b`, both below 2^50.
    fn accumulate(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
    /// Makes room for 4096 more products.
    fn carry(sum: Self::Sum) -> Self::Sum;
    /// The sum as (low, high) with value low + 2^52·high.
    fn split(sum: Self::Sum) -> (Self, Self);

    /// For values of `width` bits, 1 to [`MAX_WIDTH`].
    fn packing(width: u32) -> Self::Packing;
    /// Writes lanes below 2^width side by side, the lowest bits first, to the first `width` bytes of `to`. What becomes of the
    /// others is unspecified.
    fn pack(self, packing: Self::Packing, to: &mut [u8; WINDOW]);
    /// For values of `width` bits, 1 to [`MAX_WIDTH`].
    fn unpacking(width: u32) -> Self::Unpacking;
    /// Reads what [`Lanes::pack`] wrote.
    fn unpack(unpacking: Self::Unpacking, from: &[u8; WINDOW]) -> Self;

    /// Brings groups that are read soon closer, if the instruction set can.
    #[inline(always)]
    fn ask_for(_group: &Group) {}

    /// sums\[o\]\[k\] = Σ_i x\[i\]\[k\]·w\[i\]\[o\] with all sums in registers: `P`·`O` = 8 is meant. Meanwhile it
    /// asks for what comes next.
    #[inline(always)]
    fn sum_products<W: Weight, const P: usize, const O: usize>(
        x: &[[Group; P]],
        w: &[[W; O]],
        ahead: [&[Group]; 2],
    ) -> [[Self::Sum; P]; O] {
        let per_step = (ahead[0].len() + ahead[1].len()).div_ceil(x.len());
        let mut ahead = ahead[0].iter().chain(ahead[1]);
        let mut sums = [[Self::sum(); P]; O];
        for (x, w) in x.chunks(CARRY_EVERY).zip(w.chunks(CARRY_EVERY)) {
            for (x, w) in x.iter().zip(w) {
                ahead.by_ref().take(per_step).for_each(Self::ask_for);
                let x: [Self; P] = core::array::from_fn(|k| Self::load(&x[k].0));
                for o in 0..O {
                    let w = Self::load(&w[o].group().0);
                    for k in 0..P {
                        sums[o][k] = Self::accumulate(sums[o][k], x[k], w);
                    }
                }
            }
            // No `map`: it is not always inlined, and then compiled without the vector instructions.
            for sum in sums.as_flattened_mut() {
                *sum = Self::carry(*sum);
            }
        }
        sums
    }
}

/// A computation over lanes. Implementations of `run` should be `#[inline(always)]`, otherwise they are compiled
/// without the vector instructions.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The computation.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    /// Constructed only after detection, as is the next.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// Plain Rust, available everywhere.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The fastest instruction set of this machine that [`prg::cpu::level`] allows.
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let allowed = prg::cpu::level();
            Self::available().into_iter().rev().find(|isa| isa.level() <= allowed).unwrap_or(Self::PORTABLE)
        })
    }

    /// Every instruction set of this machine, slowest first, for tests and benchmarks.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(avx2::available().then_some(Self(Level::Avx2)));
            all.extend(avx512::available().then_some(Self(Level::Avx512)));
        }
        all
    }

    fn level(self) -> prg::cpu::Level {
        match self.0 {
            Level::Portable => prg::cpu::Level::Portable,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => prg::cpu::Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => prg::cpu::Level::Avx512,
        }
    }

    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512-ifma",
        }
    }

    /// Runs `kernel` with this instruction set.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "vector instructions"))]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run::<portable::Portable>(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level::Avx2` exists only if `avx2::available` found the extension.
            Level::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level::Avx512` exists only if `avx512::available` found the extensions.
            Level::Avx512 => unsafe { avx512::run(kernel) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};

    struct Everything<'a>(&'a [[u64; LANES]; 3]);

    impl Kernel for Everything<'_> {
        type Output = Vec<[u64; LANES]>;
        #[inline(always)]
        fn run<L: Lanes>(self) -> Self::Output {
            let [x, y, z] = self.0.each_ref().map(L::load);
            let mut sum = L::sum();
            for _ in 0..4096 {
                sum = L::accumulate(sum, x.shr(14), y.shr(14));
            }
            sum = L::carry(L::accumulate(L::carry(sum), y.shr(14), y.shr(14)));
            let (low, high) = L::split(sum);
            let low_part = low.and(L::splat(MASK52));
            let results = [
                x.add(y),
                x.sub(y),
                x.min(y),
                x.and(y),
                x.shl(13),
                x.shr(51),
                x.mul(y),
                x.popcount(),
                z.madd52_low(x, y),
                z.madd52_high(x, y),
                low_part,
                high.add(low.shr(52)),
            ];
            results
                .iter()
                .map(|lanes| {
                    let mut out = [0; LANES];
                    lanes.store(&mut out);
                    out
                })
                .collect()
        }
    }

    /// Packs eight values and unpacks them again.
    struct There<'a>(u32, &'a [u64; LANES]);

    impl Kernel for There<'_> {
        type Output = ([u8; WINDOW], [u64; LANES]);
        #[inline(always)]
        fn run<L: Lanes>(self) -> Self::Output {
            let (mut bytes, mut back) = ([0xff; WINDOW], [0; LANES]);
            L::load(self.1).pack(L::packing(self.0), &mut bytes);
            L::unpack(L::unpacking(self.0), &bytes).store(&mut back);
            (bytes, back)
        }
    }

    #[test]
    fn values_lie_side_by_side() {
        let mut prg = Prg::new(&Seed::from_bytes([3; 16]));
        for (width, largest) in (1..=MAX_WIDTH).flat_map(|width| [(width, false), (width, true)]) {
            let mut values = [(1 << width) - 1; LANES];
            if !largest {
                prg.fill_below(&mut values, 1 << width);
            }
            let bits = |i: usize| values[i / width as usize] >> (i % width as usize) & 1;
            let byte = |i: usize| (0..8).fold(0, |byte, b| byte | (bits(8 * i + b) as u8) << b);
            let expected: Vec<_> = (0..width as usize).map(byte).collect();
            for isa in Isa::available() {
                let (bytes, back) = isa.run(There(width, &values));
                assert!(bytes[..width as usize] == expected, "{} {width}", isa.name());
                assert_eq!(back, values, "{} {width}", isa.name());
            }
        }
    }

    #[test]
    fn every_instruction_set_computes_the_same() {
        if Isa::available().len() < 3 {
            println!("skipped: this machine has no AVX-512 IFMA, or not even AVX2; {:?}", Isa::available());
        }
        let mut prg = Prg::new(&Seed::from_bytes([2; 16]));
        for round in 0..50 {
            let mut x = [[0; LANES]; 3];
            x.iter_mut().for_each(|x| prg.fill_u64(x));
            if round == 0 {
                x = [[u64::MAX; LANES]; 3];
            }
            let expected = Isa::PORTABLE.run(Everything(&x));
            let wide = |a: u64, b: u64| u128::from(a & MASK52) * u128::from(b & MASK52);
            for lane in 0..LANES {
                let [a, b, c] = x.map(|x| x[lane]);
                let high = (wide(a, b) >> 52) as u64;
                assert_eq!(expected[9][lane], c.wrapping_add(high));
                let sum = 4096 * wide(a >> 14, b >> 14) + wide(b >> 14, b >> 14);
                assert_eq!(u128::from(expected[10][lane]) + (u128::from(expected[11][lane]) << 52), sum);
            }
            for isa in Isa::available() {
                assert_eq!(isa.run(Everything(&x)), expected, "{}", isa.name());
            }
        }
    }
}

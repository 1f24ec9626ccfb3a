//! Kernels of decryption: the bits of c1 that travelled to residues, c1·s to the torus, and what c0 makes of it to values.
//!
//! Constant time: yes.

use crate::bits::Packed;
use ntt::simd::{Isa, Kernel, LANES, Lanes};
use ntt::{Modular, Modulus, Ring};
use zeroize::Zeroize;

/// out = c1 mod p, for c1 packed as its leading `bits` bits: signed numbers.
pub(crate) fn signed_residues(ring: &Ring, bytes: &[u8], bits: u32, out: &mut [u64]) {
    ring.isa().run(SignedResidues { p: ring.modulus(), bytes, bits, out });
}

/// The leading bits of c1·s as fractions of 2^64, in place of the residue mod p0. It is given by the residue, or by two
/// digits in mixed radix, whose second is `high` with its modulus.
pub(crate) fn product_to_torus(isa: Isa, p0: u64, low: &mut [u64], high: Option<(u64, &[u64])>, bits: u32) {
    isa.run(ProductToTorus { p0, low, high, shift: 64 - bits });
}

/// out = round(t·(c0 + product)/2^64) mod t, for c0 packed as its leading `bits` bits. Of `product` whole lanes are read.
pub(crate) fn round_phase(isa: Isa, t: Modulus, bytes: &[u8], bits: u32, product: &[u64], out: &mut [u64]) {
    isa.run(RoundPhase { t, bytes, bits, product, out });
}

struct SignedResidues<'a> {
    p: u64,
    bytes: &'a [u8],
    bits: u32,
    out: &'a mut [u64],
}

impl Kernel for SignedResidues<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { p, bytes, bits, out } = self;
        let (m, packed) = (Modular::<L>::new(p), Packed::<L>::new(bytes, bits));
        // x plus half the range, mod the range, is x as a signed number plus half the range.
        let half = 1 << (bits - 1);
        let (half_range, mask) = (L::splat(half), L::splat(2 * half - 1));
        let (out, rest) = out.as_chunks_mut::<LANES>();
        assert!(rest.is_empty(), "polynomials have a multiple of eight coefficients");
        if half < p {
            for (i, out) in out.iter_mut().enumerate() {
                m.signed(packed.get(i).add(half_range).and(mask).sub(half_range)).store(out);
            }
        } else {
            let minus_half = L::splat(p - half % p);
            for (i, out) in out.iter_mut().enumerate() {
                let x = packed.get(i).add(half_range).and(mask).add(minus_half);
                m.wide(x, L::splat(0)).store(out);
            }
        }
    }
}

struct ProductToTorus<'a> {
    p0: u64,
    low: &'a mut [u64],
    high: Option<(u64, &'a [u64])>,
    shift: u32,
}

/// The signed number next to zero that x < p stands for.
#[inline(always)]
fn centred<L: Lanes>(m: &Modular<L>, half: L, x: L) -> L {
    m.once(x.add(half)).sub(half)
}

impl Kernel for ProductToTorus<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { p0, low, high, shift } = self;
        let low = low.as_chunks_mut::<LANES>().0;
        if let Some((p1, high)) = high {
            assert_eq!(high.len(), LANES * low.len(), "two digits per coefficient");
            let (m, half, p0) = (Modular::<L>::new(p1), L::splat(p1 / 2), L::splat(p0));
            for (low, high) in low.iter_mut().zip(high.as_chunks::<LANES>().0) {
                let high = centred(&m, half, L::load(high));
                L::load(low).add(p0.mul(high)).shl(shift).store(low);
            }
        } else {
            let (m, half) = (Modular::<L>::new(p0), L::splat(p0 / 2));
            for low in low {
                centred(&m, half, L::load(low)).shl(shift).store(low);
            }
        }
    }
}

struct RoundPhase<'a> {
    t: Modulus,
    bytes: &'a [u8],
    bits: u32,
    product: &'a [u64],
    out: &'a mut [u64],
}

impl Kernel for RoundPhase<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { t, bytes, bits, product, out } = self;
        let (packed, round) = (Packed::<L>::new(bytes, bits), Rounding::<L>::new(t));
        let product = product.as_chunks::<LANES>().0;
        let (whole, tail) = out.as_chunks_mut::<LANES>();
        for (i, out) in whole.iter_mut().enumerate() {
            round.apply(packed.get(i).shl(64 - bits).add(L::load(&product[i]))).store(out);
        }
        if !tail.is_empty() {
            let (mut last, i) = ([0; LANES], whole.len());
            round.apply(packed.get(i).shl(64 - bits).add(L::load(&product[i]))).store(&mut last);
            tail.copy_from_slice(&last[..tail.len()]);
            last.zeroize();
        }
    }
}

/// round(t·x/2^64) mod t.
struct Rounding<L> {
    t: Modulus,
    m: Modular<L>,
}

impl<L: Lanes> Rounding<L> {
    #[inline(always)]
    fn new(t: Modulus) -> Self {
        Self { t, m: Modular::new(t.value()) }
    }

    #[inline(always)]
    fn apply(&self, x: L) -> L {
        match self.t {
            Modulus::Pow2 { bits } => x.add(L::splat(1 << (63 - bits))).shr(64 - bits),
            Modulus::Prime { .. } => {
                // t·x = t·(x >> 12)·2^12 + t·(x mod 2^12).
                let (t, high) = (self.m.p(), x.shr(12));
                let below = x.and(L::splat((1 << 12) - 1)).mul(t).add(L::splat(1 << 63)).shr(12);
                self.m.once(below.madd52_low(high, t).shr(52).madd52_high(high, t))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{pack_into, packed_bytes};
    use ntt::ntt_primes;
    use prg::{Prg, Seed};

    const N: usize = 64;

    /// Random words of `bits` bits, the first of them the largest, the second its half.
    fn random(bits: u32, count: usize) -> Vec<u64> {
        let mut words = vec![0; count];
        Prg::new(&Seed::from_bytes([bits as u8; 16])).fill_below(&mut words, 1 << bits);
        (words[0], words[1]) = ((1 << bits) - 1, 1 << (bits - 1));
        words
    }

    fn packed(values: &[u64], bits: u32) -> Vec<u8> {
        let mut bytes = vec![0; packed_bytes(values.len(), bits)];
        pack_into(values, bits, &mut bytes);
        bytes
    }

    #[test]
    fn packed_numbers_are_signed() {
        for isa in Isa::available() {
            // Limbs above and below the numbers.
            for (p, bits) in
                [50, 30, 20].into_iter().flat_map(|limb| [19, 31, 51, 57].map(|bits| (limb, bits)))
            {
                let ring = Ring::with_isa(N, ntt_primes(N, p).next().unwrap(), isa).unwrap();
                let (values, mut out) = (random(bits, N), vec![0; N]);
                signed_residues(&ring, &packed(&values, bits), bits, &mut out);
                for (&out, &x) in out.iter().zip(&values) {
                    let signed = if x >> (bits - 1) == 1 { x as i64 - (1 << bits) } else { x as i64 };
                    assert_eq!(out as i64, signed.rem_euclid(ring.modulus() as i64), "{} {bits}", isa.name());
                }
            }
        }
    }

    #[test]
    fn products_are_fractions() {
        let mut primes = ntt_primes(N, 50);
        let [p0, p1] = [(); 2].map(|()| primes.next().unwrap());
        let mut prg = Prg::new(&Seed::from_bytes([9; 16]));
        let mut draw = |p: u64| {
            let mut x = vec![0; N];
            prg.fill_below(&mut x, p);
            (x[0], x[1], x[2], x[3]) = (0, p - 1, p / 2, p / 2 + 1);
            x
        };
        let (low, high) = (draw(p0), draw(p1));
        for (isa, bits) in Isa::available().into_iter().flat_map(|isa| [20, 57].map(|bits| (isa, bits))) {
            let [mut one, mut two] = [(); 2].map(|()| low.clone());
            product_to_torus(isa, p0, &mut one, None, bits);
            product_to_torus(isa, p0, &mut two, Some((p1, &high)), bits);
            for i in 0..N {
                let centre = |x: i128, q: i128| if x > q / 2 { x - q } else { x };
                let [p0, p1] = [p0, p1].map(i128::from);
                let (x, y) = (i128::from(low[i]), i128::from(high[i]));
                let fraction = |x: i128| (x << (64 - bits)) as u64;
                assert_eq!(one[i], fraction(centre(x, p0)), "{} {bits}", isa.name());
                assert_eq!(two[i], fraction(centre(x + p0 * y, p0 * p1)), "{} {bits}", isa.name());
            }
        }
    }

    #[test]
    fn phases_are_rounded_to_the_nearest_value() {
        let pow2 = |bits| Modulus::pow2(bits).unwrap();
        let primes = [40_961, 737_281, 1_099_510_054_913].map(|p| Modulus::prime(p).unwrap());
        for t in primes.into_iter().chain([pow2(8), pow2(24), pow2(40)]) {
            for (bits, count) in [(t.bits() + 1, N), (57, N - 5), (50, 3)] {
                let (c0, product) = (random(bits, count), random(63, N));
                let round = |i: usize| {
                    let phase = (c0[i] << (64 - bits)).wrapping_add(product[i]);
                    let t = u128::from(t.value());
                    ((u128::from(phase) * t + (1 << 63)) >> 64) as u64 % t as u64
                };
                let expected: Vec<_> = (0..count).map(round).collect();
                for isa in Isa::available() {
                    let mut out = vec![0; count];
                    round_phase(isa, t, &packed(&c0, bits), bits, &product, &mut out);
                    assert_eq!(out, expected, "{t} {bits} {}", isa.name());
                }
            }
        }
    }
}

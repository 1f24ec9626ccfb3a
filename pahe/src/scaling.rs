//! Kernels between moduli: plaintext to Z_q, Z_q to the torus, mixed-radix digits.

use crate::params::Params;
use ntt::simd::{Isa, Kernel, LANES, Lanes};
use ntt::{Factor, Modular};

/// x = e − x + round(q·m/t) in one limb: the last step of an encryption, whose first part c1·s is in x.
/// `errors` are small two's-complement words, `message` is below t.
///
/// round(q·m/t) is computed as ⌊q/t⌋·m + round(m·(q mod t)/t), the second fraction from its 52 leading bits: the
/// result is within 1/2 + 2^-12 of q·m/t.
pub(crate) fn finish_encryption(
    params: &Params,
    limb: usize,
    x: &mut [u64],
    errors: &[u64],
    message: &[u64],
) {
    let scale = Scale::of(params, limb);
    Isa::detect().run(Encode { scale, x, message, errors: Some(errors) });
}

/// x = x + round(q·m/t) in one limb.
pub(crate) fn add_message(params: &Params, limb: usize, x: &mut [u64], message: &[u64]) {
    let scale = Scale::of(params, limb);
    Isa::detect().run(Encode { scale, x, message, errors: None });
}

/// out = 2^64·(x/q mod 1) for x in limbs: `limbs` holds n words per limb. Off by at most 1.25 per limb.
pub(crate) fn to_torus(params: &Params, limbs: &[u64], out: &mut [u64]) {
    Isa::detect().run(Torus { constants: params.torus(), limbs, out });
}

/// out = 2^64·m/t mod 2^64 for m below t < 2^52, off by at most 2.
pub(crate) fn message_to_torus(t: u64, message: &[u64], out: &mut [u64]) {
    assert_eq!(message.len(), out.len(), "one fraction per value");
    let (high, rest) = ((1u128 << 64) / u128::from(t), (1u128 << 64) % u128::from(t));
    let low = ((rest << 52) / u128::from(t)) as u64;
    let ((out, out_tail), (message, tail)) = (out.as_chunks_mut(), message.as_chunks());
    Isa::detect().run(MessageToTorus { high: high as u64, low, message, out });
    for (out, &m) in out_tail.iter_mut().zip(tail) {
        *out = m.wrapping_mul(high as u64).wrapping_add(((u128::from(m) * u128::from(low)) >> 52) as u64);
    }
}

/// Rounds fractions of 2^64 to their leading `bits` bits, as integers below 2^bits.
pub(crate) fn round_to_bits(values: &mut [u64], bits: u32) {
    let (whole, tail) = values.as_chunks_mut();
    Isa::detect().run(RoundToBits { values: whole, bits });
    tail.iter_mut().for_each(|v| *v = v.wrapping_add(1 << (63 - bits)) >> (64 - bits));
}

/// Residues to mixed-radix digits in place: x = d_0 + p_0·(d_1 + p_1·(d_2 + …)), d_l below p_l. For the first limbs, as
/// many as there are words of.
pub(crate) fn to_digits(params: &Params, limbs: &mut [u64]) {
    let n = params.degree();
    for l in 1..limbs.len() / n {
        let (before, rest) = limbs.split_at_mut(l * n);
        for (j, &inverse) in params.garner(l).iter().enumerate() {
            let p = params.limbs()[l].modulus();
            Isa::detect().run(Digit { p, x: &mut rest[..n], digit: &before[j * n..][..n], inverse });
        }
    }
}

/// Mixed-radix digits to residues in place, from the last limb to the first.
pub(crate) fn from_digits(params: &Params, limbs: &mut [u64]) {
    let n = params.degree();
    for l in (1..params.limbs().len()).rev() {
        let ring = &params.limbs()[l];
        let (before, rest) = limbs.split_at_mut(l * n);
        for j in (0..l).rev() {
            let radix = ring.factor(params.limbs()[j].modulus());
            let (x, digit) = (&mut rest[..n], &before[j * n..][..n]);
            Isa::detect().run(Undigit { p: ring.modulus(), x, digit, radix });
        }
    }
}

/// Whether all values are below `bound` ≤ 2^63.
pub(crate) fn all_below(values: &[u64], bound: u64) -> bool {
    let (whole, tail) = values.as_chunks();
    let outside = |v: u64| (bound - 1).wrapping_sub(v) >> 63 | v >> 63;
    tail.iter().fold(0, |bad, &v| bad | outside(v)) == 0
        && Isa::detect().run(AllBelow { values: whole, bound })
}

struct AllBelow<'a> {
    values: &'a [[u64; LANES]],
    bound: u64,
}

impl Kernel for AllBelow<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<L: Lanes>(self) -> bool {
        let (largest, mut bad) = (L::splat(self.bound - 1), L::splat(0));
        for values in self.values {
            let v = L::load(values);
            // One in either top bit is one too large.
            bad = bad.add(largest.sub(v).shr(63)).add(v.shr(63));
        }
        let mut counts = [0; LANES];
        bad.store(&mut counts);
        counts == [0; LANES]
    }
}

struct MessageToTorus<'a> {
    high: u64,
    low: u64,
    message: &'a [[u64; LANES]],
    out: &'a mut [[u64; LANES]],
}

impl Kernel for MessageToTorus<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (high, low) = (L::splat(self.high), L::splat(self.low));
        for (out, message) in self.out.iter_mut().zip(self.message) {
            let m = L::load(message);
            m.mul(high).madd52_high(m, low).store(out);
        }
    }
}

struct RoundToBits<'a> {
    values: &'a mut [[u64; LANES]],
    bits: u32,
}

impl Kernel for RoundToBits<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let half = L::splat(1 << (63 - self.bits));
        for values in self.values {
            L::load(values).add(half).shr(64 - self.bits).store(values);
        }
    }
}

#[derive(Clone, Copy)]
struct Scale {
    p: u64,
    quotient: Factor,
    fraction: u64,
}

impl Scale {
    fn of(params: &Params, limb: usize) -> Self {
        let p = params.limbs()[limb].modulus();
        Self { p, quotient: params.scale()[limb], fraction: params.scale_fraction() }
    }
}

struct Encode<'a> {
    scale: Scale,
    x: &'a mut [u64],
    message: &'a [u64],
    errors: Option<&'a [u64]>,
}

impl Kernel for Encode<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { scale, x, message, errors } = self;
        let m = Modular::<L>::new(scale.p);
        let quotient = (L::splat(scale.quotient.value), L::splat(scale.quotient.quotient));
        let fraction = L::splat(scale.fraction);
        assert_eq!(x.len(), message.len(), "one polynomial");
        let pairs = x.as_chunks_mut::<LANES>().0.iter_mut().zip(message.as_chunks::<LANES>().0);
        let Some(errors) = errors else {
            for (x, message) in pairs {
                m.add(L::load(x), scaled(&m, L::load(message), quotient, fraction)).store(x);
            }
            return;
        };
        assert_eq!(errors.len(), message.len(), "one polynomial");
        for ((x, message), e) in pairs.zip(errors.as_chunks::<LANES>().0) {
            let e_minus_x = m.sub(m.signed(L::load(e)), L::load(x));
            m.add(e_minus_x, scaled(&m, L::load(message), quotient, fraction)).store(x);
        }
    }
}

/// ⌊q/t⌋·message + round(message·fraction/2^52).
#[inline(always)]
fn scaled<L: Lanes>(m: &Modular<L>, message: L, quotient: (L, L), fraction: L) -> L {
    let carry = L::splat(1 << 51).madd52_low(message, fraction).shr(52);
    m.add(m.mul_fixed(message, quotient), carry.madd52_high(message, fraction))
}

struct Torus<'a> {
    constants: &'a [(u64, u64)],
    limbs: &'a [u64],
    out: &'a mut [u64],
}

impl Kernel for Torus<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { constants, limbs, out } = self;
        let n = out.len();
        assert_eq!(limbs.len(), constants.len() * n, "one polynomial with all limbs");
        for (l, (&(high, low), x)) in constants.iter().zip(limbs.chunks_exact(n)).enumerate() {
            let (high, low) = (L::splat(high), L::splat(low));
            for (out, x) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(x.as_chunks::<LANES>().0) {
                let x = L::load(x);
                let before = if l == 0 { L::splat(0) } else { L::load(out) };
                before.add(x.mul(high)).madd52_high(x, low).store(out);
            }
        }
    }
}

/// x = (x − digit)/radix mod p.
struct Digit<'a> {
    p: u64,
    x: &'a mut [u64],
    digit: &'a [u64],
    inverse: Factor,
}

impl Kernel for Digit<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let m = Modular::<L>::new(self.p);
        let inverse = (L::splat(self.inverse.value), L::splat(self.inverse.quotient));
        for (x, digit) in self.x.as_chunks_mut::<LANES>().0.iter_mut().zip(self.digit.as_chunks::<LANES>().0)
        {
            let digit = m.reduce52(L::load(digit));
            m.mul_fixed(m.sub(L::load(x), digit), inverse).store(x);
        }
    }
}

/// x = x·radix + digit mod p.
struct Undigit<'a> {
    p: u64,
    x: &'a mut [u64],
    digit: &'a [u64],
    radix: Factor,
}

impl Kernel for Undigit<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let m = Modular::<L>::new(self.p);
        let radix = (L::splat(self.radix.value), L::splat(self.radix.quotient));
        for (x, digit) in self.x.as_chunks_mut::<LANES>().0.iter_mut().zip(self.digit.as_chunks::<LANES>().0)
        {
            let digit = m.reduce52(L::load(digit));
            m.add(m.mul_fixed(L::load(x), radix), digit).store(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntt::Modulus;
    use prg::{Prg, Seed};

    fn sets() -> Vec<std::sync::Arc<Params>> {
        let t = |bits| Modulus::pow2(bits).unwrap();
        vec![
            Params::small(t(24)).unwrap(),
            Params::small(Modulus::prime(40_961).unwrap()).unwrap(),
            Params::large(t(40)).unwrap(),
            Params::new(8192, &[50, 45, 48], None, Modulus::prime(737_281).unwrap()).unwrap(),
        ]
    }

    fn random(params: &Params, seed: u8) -> Vec<u64> {
        let mut prg = Prg::new(&Seed::from_bytes([seed; 16]));
        let mut x = vec![0; params.words()];
        for (ring, x) in params.limbs().iter().zip(x.chunks_exact_mut(params.degree())) {
            prg.fill_below(x, ring.modulus());
        }
        x
    }

    #[test]
    fn digits_stand_for_the_same_integer() {
        for params in sets() {
            let n = params.degree();
            let x = random(&params, 1);
            let mut digits = x.clone();
            to_digits(&params, &mut digits);
            for (l, ring) in params.limbs().iter().enumerate() {
                let p = ring.modulus();
                for i in (0..n).step_by(97) {
                    assert!(digits[l * n + i] < p);
                    let horner = params.limbs().iter().enumerate().rev().fold(0, |value, (j, other)| {
                        (ring.mul_scalar(value, other.modulus() % p) + digits[j * n + i] % p) % p
                    });
                    assert_eq!(horner, x[l * n + i]);
                }
            }
            from_digits(&params, &mut digits);
            assert_eq!(digits, x);
        }
    }

    #[test]
    fn the_torus_value_is_the_fraction_of_q() {
        for params in sets() {
            let n = params.degree();
            let x = random(&params, 2);
            let mut digits = x.clone();
            to_digits(&params, &mut digits);
            let mut out = vec![0; n];
            to_torus(&params, &x, &mut out);
            for i in 0..n {
                // x/q from the most significant digit down: (d_0/p_0 + d_1)/p_1 + …
                let exact = params.limbs().iter().enumerate().fold(0u128, |below, (l, ring)| {
                    let numerator = (u128::from(digits[l * n + i]) << 64) + below;
                    numerator / u128::from(ring.modulus())
                });
                let error = out[i].wrapping_sub(exact as u64) as i64;
                assert!(error.abs() <= 4, "{error}");
            }
        }
    }

    #[test]
    fn messages_are_scaled_to_the_nearest_multiple() {
        for params in sets() {
            let (n, t) = (params.degree(), params.plaintext());
            let mut message = vec![0; n];
            t.sample(&mut Prg::new(&Seed::from_bytes([4; 16])), &mut message);
            message[0] = t.value() - 1;
            let mut x = vec![0; params.words()];
            for (l, x) in x.chunks_exact_mut(n).enumerate() {
                add_message(&params, l, x, &message);
            }
            // t·round(q·m/t) − q·m is t times the rounding error, at most t/2 + 1; mod q it is t·x.
            for (ring, x) in params.limbs().iter().zip(x.chunks_exact(n)) {
                for &x in x {
                    let p = ring.modulus();
                    let scaled = ring.mul_scalar(x, t.value());
                    assert!(scaled.min(p - scaled) <= t.value() / 2 + t.value() / 4096 + 1);
                }
            }
            let mut torus = (vec![0; n], vec![0; n]);
            to_torus(&params, &x, &mut torus.0);
            message_to_torus(t.value(), &message, &mut torus.1);
            let difference = |(a, b): (&u64, &u64)| (a.wrapping_sub(*b) as i64).abs();
            assert!(torus.0.iter().zip(&torus.1).map(difference).all(|d| d <= 8));
        }
    }

    #[test]
    fn fractions_are_the_same_with_all_instructions() {
        let mut words = vec![0; 29];
        Prg::new(&Seed::from_bytes([6; 16])).fill_u64(&mut words);
        for t in [40_961, 737_281, 1 << 24, 1 << 40] {
            let message: Vec<_> = words.iter().map(|word| word % t).chain([t - 1]).collect();
            let mut out = vec![0; 30];
            message_to_torus(t, &message, &mut out);
            for (&out, &m) in out.iter().zip(&message) {
                let exact = ((u128::from(m) << 64) / u128::from(t)) as u64;
                assert!((out.wrapping_sub(exact) as i64).abs() <= 2, "{m}/{t}");
            }
            for isa in Isa::available() {
                let (high, rest) = ((1u128 << 64) / u128::from(t), (1u128 << 64) % u128::from(t));
                let low = ((rest << 52) / u128::from(t)) as u64;
                let mut same = vec![[0; LANES]; 3];
                let message = message.as_chunks().0;
                isa.run(MessageToTorus { high: high as u64, low, message, out: &mut same });
                assert_eq!(same.as_flattened(), &out[..24], "{}", isa.name());
            }
        }
        for bits in [8, 33, 57] {
            let rounded =
                |x: u64| ((u128::from(x) + (1 << (63 - bits))) >> (64 - bits)) as u64 & ((1 << bits) - 1);
            let expected: Vec<_> = words.iter().map(|&x| rounded(x)).collect();
            let mut out = words.clone();
            round_to_bits(&mut out, bits);
            assert_eq!(out, expected);
            for isa in Isa::available() {
                let mut values = words.as_chunks().0.to_vec();
                isa.run(RoundToBits { values: &mut values, bits });
                assert_eq!(values.as_flattened(), &expected[..24], "{}", isa.name());
            }
        }
    }

    #[test]
    fn range_checks_see_every_value() {
        assert!(all_below(&[0, 5, 9], 10) && all_below(&[], 10));
        assert!(!all_below(&[0, 10, 9], 10) && !all_below(&[u64::MAX], 10) && !all_below(&[1 << 63], 10));
        for isa in Isa::available() {
            for (place, wrong) in [(0, 10), (13, u64::MAX), (31, 1 << 63), (17, 11)] {
                let mut values: Vec<u64> = (0..32).map(|i| i % 10).collect();
                let all = |values: &[u64]| isa.run(AllBelow { values: values.as_chunks().0, bound: 10 });
                assert!(all(&values));
                values[place] = wrong;
                assert!(
                    !all(&values) && !all_below(&values, 10) && (place == 0 || !all_below(&values[1..], 10))
                );
            }
        }
    }
}

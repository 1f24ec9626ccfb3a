//! Fixed-point functions of secrets: reciprocal, inverse square root, logarithm, exponential, softmax.
//!
//! Numbers have f fractional bits (a parameter); inside, values normalised to [½, 1) have [`GUARD`] fractional bits, so
//! that errors of the iterations stay below those of the result. Every rounding is stochastic and below one unit.
//!
//! * Normalisation: with t the leading bit of x < 2^k, v = 2^(k−1−t) makes x·v/2^k ∈ [½, 1). v is a weighted sum of the
//!   ORs from the top ([`decompose`](crate::decompose)); no table and no secret-dependent branch.
//! * Reciprocal: Goldschmidt, w₀ = 2.9142 − 2c (error ≤ 0.0858), w ← w(1 + e), e ← e²; three steps reach 2^-28.
//! * Inverse square root: linear guess (error ≤ 2.8 %), three Newton steps y ← y(3 − cy²)/2 reach 2^-36.
//! * Logarithm: series in (c − ¾)/¾ to degree 8 (2^-17), plus a weighted sum of the leading bit for the exponent.
//! * Exponential of x ≤ 0: clamped at −16 (e^-16 is below 2^-23), (1 + y + y²/2 + y³/6)^32 with y = x/32.
//!
//! The paper divides by Goldschmidt likewise; degrees and guard bits are chosen here.
//! Error: relative 2^-20 plus one unit for the first two, 2^-15 absolute for the logarithm; exponential 0.4 % relative
//! at −8 and 2·10^-4 at −4, below 2^-14 absolute throughout. Constant time: yes.

use crate::arithmetic::{Arithmetic, Vector};

/// Fractional bits of normalised values.
const GUARD: u32 = 24;

/// What softmax leaves behind for the loss.
pub struct Softmax<V> {
    /// Probabilities `[row, class]`, f fractional bits.
    pub probabilities: V,
    /// z − max z, `[row, class]`.
    pub shifted: V,
    /// Σ exp(z − max z) per row.
    pub sums: V,
}

/// Functions of fixed-point vectors, for every [`Arithmetic`].
pub trait Functions: Arithmetic {
    /// 2^(2f)/x: the reciprocal of x/2^f, for 0 < x < 2^`bits`.
    ///
    /// # Panics
    /// Unless f < `bits` ≤ 36 and 2f ≤ `bits` + 23.
    fn reciprocal(&mut self, x: &Self::Vector, frac: u32, bits: u32) -> Result<Self::Vector, Self::Error> {
        assert!(bits > frac && bits <= 36 && 2 * frac < GUARD + bits, "{bits} bits, {frac} fractional");
        let [c, v, _] = normalise(self, x, bits, &|_| 0)?;
        let mut w = self.add_public(&c.scale(2u64.wrapping_neg()), guarded(2.9142));
        let mut e = self.mul_fixed(&c, &w, GUARD)?;
        e = self.add_public(&e.scale(1u64.wrapping_neg()), guarded(1.0));
        for step in 0..3 {
            let both = Vector::concat([&w, &e]);
            let times = Vector::concat([&e, &e]);
            let len = if step < 2 { both.len() } else { w.len() };
            let product = self.mul_fixed(&both.slice(0, len), &times.slice(0, len), GUARD)?;
            w = w.add(&product.slice(0, w.len()));
            if step < 2 {
                e = product.slice(w.len(), w.len());
            }
        }
        self.mul_fixed(&w, &v, GUARD + bits - 2 * frac)
    }

    /// 1/√(x/2^f) with `out` fractional bits, for 0 < x < 2^`bits`.
    ///
    /// # Panics
    /// Unless `bits` ≤ 58, f ≤ 40 and `out` ≤ 20.
    fn inverse_sqrt(
        &mut self,
        x: &Self::Vector,
        frac: u32,
        bits: u32,
        out: u32,
    ) -> Result<Self::Vector, Self::Error> {
        assert!(bits <= 58 && frac <= 40 && out <= 20, "{bits} bits, {frac} and {out} fractional");
        let scale_bits = 24.min(60 - GUARD - frac / 2 - 1);
        let exponent = |j: u32| (f64::from(frac) - f64::from(j) - 1.0) / 2.0;
        let scale = |j: u32| (exponent(j) + f64::from(scale_bits)).exp2().round() as u64;
        let [c, _, scale] = normalise(self, x, bits, &scale)?;
        let slope = self.truncate(&c.scale(guarded(0.8062)), GUARD)?;
        let mut y = self.add_public(&slope.scale(1u64.wrapping_neg()), guarded(1.7908));
        for _ in 0..3 {
            let square = self.square_fixed(&y, GUARD)?;
            let near_one = self.mul_fixed(&c, &square, GUARD)?;
            let factor = self.add_public(&near_one.scale(1u64.wrapping_neg()), guarded(3.0));
            y = self.mul_fixed(&y, &factor, GUARD + 1)?;
        }
        self.mul_fixed(&y, &scale, GUARD + scale_bits - out)
    }

    /// ln(x/2^f) with f fractional bits, for 0 < x < 2^`bits`.
    ///
    /// # Panics
    /// Unless f ≤ 24 and `bits` ≤ 36.
    fn ln(&mut self, x: &Self::Vector, frac: u32, bits: u32) -> Result<Self::Vector, Self::Error> {
        assert!(frac <= GUARD && bits <= 36, "{bits} bits, {frac} fractional");
        let unit = f64::from(1 << frac);
        let exponent =
            |j: u32| ((f64::from(j + 1) - f64::from(frac)) * std::f64::consts::LN_2 * unit).round() as i64;
        let [c, _, exponent] = normalise(self, x, bits, &|j| exponent(j) as u64)?;
        let u = self.truncate(&c.scale(guarded(4.0 / 3.0)), GUARD)?;
        let u1 = self.add_public(&u, guarded(-1.0));
        let u2 = self.square_fixed(&u1, GUARD)?;
        let len = u1.len();
        let u34 = self.mul_fixed(&Vector::concat([&u1, &u2]), &Vector::concat([&u2, &u2]), GUARD)?;
        let low = Vector::concat([&u1, &u2, &u34]);
        let fourth = u34.slice(len, len);
        let high = self.mul_fixed(&low, &Vector::concat([&fourth; 4]), GUARD)?;
        let powers = Vector::concat([&low, &high]);
        let mut sum = Self::Vector::zeros(len);
        for k in 0..8 {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            sum = sum.add(&powers.slice(k * len, len).scale(guarded(sign / (k + 1) as f64)));
        }
        let series = self.truncate(&sum, 2 * GUARD - frac)?;
        let constant = (0.75f64.ln() * unit).round() as i64 as u64;
        Ok(self.add_public(&series.add(&exponent), constant))
    }

    /// exp(x/2^f) with f fractional bits for x ≤ 0 of `bits` bits; e^-16 below −16.
    ///
    /// # Panics
    /// Unless f ≤ 19.
    fn exp_negative(&mut self, x: &Self::Vector, frac: u32, bits: u32) -> Result<Self::Vector, Self::Error> {
        assert!(frac <= GUARD - 5, "{frac} fractional bits");
        let floor = 16u64 << frac;
        let above = self.clip(&self.add_public(x, floor), bits)?;
        let y = self.add_public(&above, floor.wrapping_neg()).scale(1 << (GUARD - 5 - frac));
        let sixth = self.truncate(&y.scale(guarded(1.0 / 6.0)), GUARD)?;
        let square = self.square_fixed(&y, GUARD)?;
        let quadratic = self.add_public(&square.add(&y.scale(3)), guarded(6.0));
        let mut power = self.mul_fixed(&sixth, &quadratic, GUARD)?;
        power = self.add_public(&power, guarded(1.0));
        for _ in 0..4 {
            power = self.square_fixed(&power, GUARD)?;
        }
        self.square_fixed(&power, 2 * GUARD - frac)
    }

    /// Softmax of each row of `[row, class]`; differences of two scores have `bits` bits.
    fn softmax(
        &mut self,
        z: &Self::Vector,
        classes: usize,
        frac: u32,
        bits: u32,
    ) -> Result<Softmax<Self::Vector>, Self::Error> {
        let rows = z.len() / classes;
        let column = |c: usize| (0..rows).map(|r| r * classes + c).collect::<Vec<_>>();
        let columns: Vec<_> = (0..classes).map(|c| z.gather(&column(c))).collect();
        let largest = self.largest(&columns, bits)?;
        let spread: Vec<usize> = (0..z.len()).map(|i| i / classes).collect();
        let shifted = z.sub(&largest.gather(&spread));
        let exp = self.exp_negative(&shifted, frac, bits)?;
        let sums = (0..classes).fold(Self::Vector::zeros(rows), |sum, c| sum.add(&exp.gather(&column(c))));
        let sum_bits = frac + 1 + usize::BITS - classes.leading_zeros();
        let inverse = self.reciprocal(&sums, frac, sum_bits.max(2 * frac - GUARD + 1))?;
        let probabilities = self.mul_fixed(&exp, &inverse.gather(&spread), frac)?;
        Ok(Softmax { probabilities, shifted, sums })
    }
}

impl<A: Arithmetic> Functions for A {}

/// c = x/2^(t+1) ∈ [½, 1) with GUARD fractional bits for t the leading bit of x, 2^(bits−1−t), and `table(t)`.
fn normalise<A: Arithmetic>(
    arithmetic: &mut A,
    x: &A::Vector,
    bits: u32,
    table: &dyn Fn(u32) -> u64,
) -> Result<[A::Vector; 3], A::Error> {
    let [up, looked_up] = arithmetic.by_leading_bit(x, bits, [&|j| 1 << (bits - 1 - j), table])?;
    let c = if bits > GUARD {
        arithmetic.mul_fixed(x, &up, bits - GUARD)?
    } else {
        arithmetic.mul_fixed(x, &up, 0)?.scale(1 << (GUARD - bits))
    };
    Ok([c, up, looked_up])
}

/// A constant with GUARD fractional bits.
fn guarded(value: f64) -> u64 {
    (value * f64::from(1u32 << GUARD)).round() as i64 as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::local::{deal, run};
    use crate::party::Party;
    use crate::share::Shares;
    use prg::Seed;

    const FRAC: u32 = 16;

    fn apply(
        x: &[f64],
        f: impl Fn(&mut Party, &Shares<u64>) -> Result<Shares<u64>, Error> + Sync,
    ) -> Vec<f64> {
        let fixed: Vec<u64> = x.iter().map(|x| (x * 65536.0).round() as i64 as u64).collect();
        let shares = deal(&fixed, &Seed::from_os());
        let [y, ..] = run(|party| {
            let y = f(party, &shares[party.id()])?;
            party.open(&y)
        })
        .unwrap();
        y.iter().map(|&y| y as i64 as f64 / 65536.0).collect()
    }

    fn positive() -> Vec<f64> {
        (0..14)
            .map(|i| 2f64.powi(i))
            .flat_map(|x| [x, x * 1.37, x * 1.999])
            .chain([0.5, 0.01, 2f64.powi(-16)])
            .collect()
    }

    #[test]
    fn reciprocals_and_inverse_roots() {
        let x = positive();
        let inverse = apply(&x, |party, x| party.reciprocal(x, FRAC, 31));
        let root = apply(&x, |party, x| party.inverse_sqrt(x, FRAC, 31, FRAC));
        for ((x, inverse), root) in x.iter().zip(inverse).zip(root) {
            let x = (x * 65536.0).round() / 65536.0;
            assert!((inverse - 1.0 / x).abs() <= 1.0 / x * 2e-6 + 1.1 / 65536.0, "1/{x} = {inverse}");
            assert!((root - x.powf(-0.5)).abs() <= x.powf(-0.5) * 2e-6 + 1.1 / 65536.0, "1/√{x} = {root}");
        }
    }

    #[test]
    fn logarithms_and_exponentials() {
        let x = positive();
        let y = apply(&x, |party, x| party.ln(x, FRAC, 31));
        for (x, y) in x.iter().zip(y) {
            let x = (x * 65536.0).round() / 65536.0;
            assert!((y - x.ln()).abs() < 6e-5, "ln {x} = {y}");
        }
        let x: Vec<f64> = (0..80).map(|i| f64::from(i * i) * -0.01).collect();
        let y = apply(&x, |party, x| party.exp_negative(x, FRAC, 31));
        for (x, y) in x.iter().zip(y) {
            assert!((y - x.max(-16.0).exp()).abs() < 6e-5, "exp {x} = {y}");
        }
    }

    #[test]
    fn softmax_of_rows() {
        let z = [0.5, -1.0, 3.25, 2.0, 2.0, 2.0, -100.0, 40.0, 39.0];
        let p = apply(&z, |party, z| Ok(party.softmax(z, 3, FRAC, 31)?.probabilities));
        for (z, p) in z.chunks(3).zip(p.chunks(3)) {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            z.iter().zip(p).for_each(|(z, p)| assert!((p - z.exp() / sum).abs() < 1.5e-4, "{p}"));
        }
    }
}

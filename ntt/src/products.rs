//! A few products in cache: sums\[o\] += Σ_i x\[i\]·w\[i\]\[o\], pointwise in the NTT domain of one limb.
//!
//! The counterpart of [`crate::mac`] for plaintexts that are used once or twice: laying them out for later would cost
//! more than multiplying them where they were made. Polynomials keep their natural order and lie a pitch apart; pitches
//! should be no powers of two, for the sake of the cache's sets. Four outputs share each load of a pair.
//!
//! Products of a call are summed unreduced, and calls leave representatives that grow by less than 2^53 each:
//! [`reduce`] follows after at most [`CALLS`] of them.
//! Cost: inputs × 8 × n products; 0.3 ns each with AVX-512 in a layer of 512 inputs, whose pairs come from memory. Constant
//! time: yes.

use crate::ring::{Modular, Ring};
use crate::simd::{Kernel, LANES, Lanes};

/// Outputs of one call.
pub const OUTPUTS: usize = 4;

/// Most inputs of one call: their high halves stay below 2^51.
pub const INPUTS: usize = 4;

/// Calls until sums must be reduced.
pub const CALLS: usize = 1 << 10;

/// Polynomials at equal distances.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The words of all, from the first one on.
    pub words: &'a [u64],
    /// Words from one polynomial to the next, a multiple of eight.
    pub pitch: usize,
}

/// sums += x · w over `ring` up to multiples of the modulus, for as many inputs as `x` has pairs of polynomials: pair i is rows 2i and 2i + 1 of `x`, its
/// weight for output o is row i·[`OUTPUTS`] + o of `w`, and sum o adds up in the polynomials that begin at
/// `at[o][0]` and `at[o][1]` of `sums`.
///
/// # Panics
/// If something lies outside of its slice, or there are too many inputs.
pub fn add_products(
    ring: &Ring,
    inputs: usize,
    x: Rows<'_>,
    w: Rows<'_>,
    sums: &mut [u64],
    at: [[usize; 2]; OUTPUTS],
) {
    assert!(inputs <= INPUTS, "{inputs} inputs at once");
    assert!([x.pitch, w.pitch].iter().all(|pitch| pitch.is_multiple_of(LANES)), "rows of whole lanes");
    assert!(at.as_flattened().iter().all(|start| start.is_multiple_of(LANES)), "sums of whole lanes");
    ring.isa().run(AddProducts { p: ring.modulus(), groups: ring.degree() / LANES, inputs, x, w, sums, at });
}

struct AddProducts<'a> {
    p: u64,
    groups: usize,
    inputs: usize,
    x: Rows<'a>,
    w: Rows<'a>,
    sums: &'a mut [u64],
    at: [[usize; 2]; OUTPUTS],
}

impl Kernel for AddProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { p, groups, inputs, x, w, sums, at } = self;
        let m = Modular::<L>::new(p);
        let (x_pitch, w_pitch) = (x.pitch / LANES, w.pitch / LANES);
        let (x, w) = (x.words.as_chunks::<LANES>().0, w.words.as_chunks::<LANES>().0);
        let sums = sums.as_chunks_mut::<LANES>().0;
        for group in 0..groups {
            let mut products = [[L::sum(); 2]; OUTPUTS];
            for i in 0..inputs {
                let pair = [L::load(&x[2 * i * x_pitch + group]), L::load(&x[(2 * i + 1) * x_pitch + group])];
                for (o, products) in products.iter_mut().enumerate() {
                    let w = L::load(&w[(i * OUTPUTS + o) * w_pitch + group]);
                    for (product, x) in products.iter_mut().zip(pair) {
                        *product = L::accumulate(*product, x, w);
                    }
                }
            }
            for (&products, at) in products.as_flattened().iter().zip(at.as_flattened()) {
                let (low, high) = L::split(products);
                let sum = &mut sums[at / LANES + group];
                L::load(sum).add(m.fold(low, high)).store(sum);
            }
        }
    }
}

/// Residues of any words, in place.
///
/// # Panics
/// If there is a part of a lane.
pub fn reduce(ring: &Ring, words: &mut [u64]) {
    assert!(words.len().is_multiple_of(LANES), "words of whole lanes");
    ring.isa().run(Reduce { p: ring.modulus(), words });
}

/// Residues of any words, a multiple of eight.
pub(crate) struct Reduce<'a> {
    pub(crate) p: u64,
    pub(crate) words: &'a mut [u64],
}

impl Kernel for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let (m, zero) = (Modular::<L>::new(self.p), L::splat(0));
        // No closure: it is not always inlined, and then every instruction is a call.
        for words in self.words.as_chunks_mut().0 {
            m.wide(L::load(words), zero).store(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::ntt_primes;
    use crate::simd::Isa;
    use prg::{Prg, Seed};

    #[test]
    fn sums_are_those_of_integers() {
        let (n, p) = (64, ntt_primes(64, 50).next().unwrap());
        let mut prg = Prg::new(&Seed::from_bytes([8; 16]));
        for isa in Isa::available() {
            let ring = Ring::with_isa(n, p, isa).unwrap();
            for (inputs, largest) in [(1, false), (3, false), (INPUTS, true)] {
                let mut random = |len: usize| {
                    let mut words = vec![p - 1; len];
                    if !largest {
                        prg.fill_below(&mut words, p);
                    }
                    words
                };
                let (x_pitch, w_pitch) = (n + 8, n + 16);
                let (x, w) = (random(2 * inputs * x_pitch), random(OUTPUTS * inputs * w_pitch));
                let before = random(2 * OUTPUTS * n);
                let at = std::array::from_fn(|o| [o * n, (OUTPUTS + o) * n]);
                let mut sums = before.clone();
                let [x_rows, w_rows] =
                    [Rows { words: &x, pitch: x_pitch }, Rows { words: &w, pitch: w_pitch }];
                for _ in 0..CALLS {
                    add_products(&ring, inputs, x_rows, w_rows, &mut sums, at);
                }
                reduce(&ring, &mut sums);
                for (o, at) in at.iter().enumerate() {
                    for (k, start) in at.iter().enumerate() {
                        for c in 0..n {
                            let term = |i: usize| {
                                let a = x[(2 * i + k) * x_pitch + c];
                                let b = w[(i * OUTPUTS + o) * w_pitch + c];
                                u128::from(a) * u128::from(b) % u128::from(p)
                            };
                            let once = (0..inputs).map(term).sum::<u128>();
                            let all = u128::from(before[start + c]) + CALLS as u128 * once;
                            let name = isa.name();
                            assert_eq!(
                                u128::from(sums[start + c]),
                                all % u128::from(p),
                                "{name} {o} {k} {c}"
                            );
                        }
                    }
                }
            }
        }
    }
}

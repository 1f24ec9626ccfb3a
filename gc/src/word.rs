//! Arithmetic on words of wires: each function says how many AND gates it costs.

use crate::gates::{Gates, Word};

/// A public number of `bits` bits. Free.
pub fn constant<G: Gates>(g: &mut G, value: u64, bits: usize) -> Word<G> {
    (0..bits).map(|i| g.constant(i < 64 && value >> i & 1 == 1)).collect()
}

/// a ∨ b. One AND.
pub fn or<G: Gates>(g: &mut G, a: G::Wire, b: G::Wire) -> G::Wire {
    let (a, b) = (g.not(a), g.not(b));
    let neither = g.and(a, b);
    g.not(neither)
}

/// Majority of a, b, c: the carry of a + b + c. One AND.
fn majority<G: Gates>(g: &mut G, a: G::Wire, b: G::Wire, c: G::Wire) -> G::Wire {
    let (ac, bc) = (g.xor(a, c), g.xor(b, c));
    let t = g.and(ac, bc);
    g.xor(t, c)
}

/// a + b + carry and the carry out, for words of k equal bits. k ANDs; the carry out is one of them, and
/// vanishes if it is not used.
pub fn add_with_carry<G: Gates>(
    g: &mut G,
    a: &[G::Wire],
    b: &[G::Wire],
    mut carry: G::Wire,
) -> (Word<G>, G::Wire) {
    assert_eq!(a.len(), b.len(), "words of equal width");
    let mut sum = Vec::with_capacity(a.len());
    for (&a, &b) in a.iter().zip(b) {
        let ab = g.xor(a, b);
        sum.push(g.xor(ab, carry));
        carry = majority(g, a, b, carry);
    }
    (sum, carry)
}

/// a + b modulo 2^k. k − 1 ANDs.
pub fn add<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire]) -> Word<G> {
    let zero = g.constant(false);
    add_with_carry(g, a, b, zero).0
}

/// a − b modulo 2^k, and whether a ≥ b as unsigned numbers. k ANDs, k − 1 if the comparison is not used.
pub fn sub<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire]) -> (Word<G>, G::Wire) {
    let not_b: Vec<_> = b.iter().map(|&b| g.not(b)).collect();
    let one = g.constant(true);
    add_with_carry(g, a, &not_b, one)
}

/// a ≥ b, unsigned. k ANDs; fewer if bits of either are public.
pub fn at_least<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire]) -> G::Wire {
    assert_eq!(a.len(), b.len(), "words of equal width");
    let mut carry = g.constant(true);
    for (&a, &b) in a.iter().zip(b) {
        let b = g.not(b);
        carry = majority(g, a, b, carry);
    }
    carry
}

/// a ≥ b for a public b: k − 1 − (trailing zeros of b) ANDs. True for b = 0, false for b ≥ 2^k.
pub fn at_least_constant<G: Gates>(g: &mut G, a: &[G::Wire], b: u64) -> G::Wire {
    if a.len() < 64 && b >> a.len() != 0 {
        return g.constant(false);
    }
    let b = constant(g, b, a.len());
    at_least(g, a, &b)
}

/// `a` if `choice`, else `b`. k ANDs.
pub fn mux<G: Gates>(g: &mut G, choice: G::Wire, a: &[G::Wire], b: &[G::Wire]) -> Word<G> {
    assert_eq!(a.len(), b.len(), "words of equal width");
    let pick = |(&a, &b): (&G::Wire, &G::Wire)| {
        let ab = g.xor(a, b);
        let t = g.and(choice, ab);
        g.xor(t, b)
    };
    a.iter().zip(b).map(pick).collect()
}

/// a ∧ bit on every bit. k ANDs.
pub fn mask<G: Gates>(g: &mut G, bit: G::Wire, a: &[G::Wire]) -> Word<G> {
    a.iter().map(|&a| g.and(bit, a)).collect()
}

/// The larger of two unsigned numbers. 2k ANDs.
pub fn max<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire]) -> Word<G> {
    let keep = at_least(g, a, b);
    mux(g, keep, a, b)
}

/// a + b modulo m for reduced a, b of k = ⌈log2 m⌉ bits. 3k − 1 ANDs or fewer: a + b, minus m, and a choice.
pub fn add_mod<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire], m: u64) -> Word<G> {
    let zero = g.constant(false);
    let (mut sum, carry) = add_with_carry(g, a, b, zero);
    sum.push(carry);
    let m = constant(g, m, sum.len());
    let (reduced, wraps) = sub(g, &sum, &m);
    mux(g, wraps, &reduced[..a.len()], &sum[..a.len()])
}

/// a − b modulo m for reduced a, b of k = ⌈log2 m⌉ bits. 2k − 1 ANDs: a − b, plus m where it is negative.
pub fn sub_mod<G: Gates>(g: &mut G, a: &[G::Wire], b: &[G::Wire], m: u64) -> Word<G> {
    let (difference, no_borrow) = sub(g, a, b);
    let borrow = g.not(no_borrow);
    let zero = g.constant(false);
    let m: Vec<_> = (0..a.len()).map(|i| if m >> i & 1 == 1 { borrow } else { zero }).collect();
    add(g, &difference, &m)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Clear;

    /// All pairs of numbers of `bits` bits, as planes for [`Clear`], in batches of 64.
    fn exhaust(bits: usize, check: impl Fn(&[u64], &[u64], &dyn Fn(&[u64], usize) -> u64, &[(u64, u64)])) {
        let pairs: Vec<_> = (0..1u64 << (2 * bits)).map(|i| (i >> bits, i & ((1 << bits) - 1))).collect();
        for pairs in pairs.chunks(64) {
            let planes = |number: &dyn Fn(&(u64, u64)) -> u64| -> Vec<u64> {
                let plane = |bit: usize| {
                    pairs
                        .iter()
                        .enumerate()
                        .fold(0, |plane, (lane, pair)| plane | (number(pair) >> bit & 1) << lane)
                };
                (0..bits).map(plane).collect()
            };
            let read = |word: &[u64], lane: usize| {
                word.iter().enumerate().fold(0, |number, (bit, plane)| number | (plane >> lane & 1) << bit)
            };
            check(&planes(&|pair| pair.0), &planes(&|pair| pair.1), &read, pairs);
        }
    }

    #[test]
    fn words_are_numbers() {
        for bits in 1..=5 {
            let all = (1u64 << bits) - 1;
            exhaust(bits, |x, y, read, pairs| {
                let g = &mut Clear;
                let (sum, carry) = add_with_carry(g, x, y, 0);
                let (difference, no_borrow) = sub(g, x, y);
                let (modular, larger, picked) = (add(g, x, y), max(g, x, y), mux(g, x[0], x, y));
                let (masked, either, least) = (mask(g, x[0], y), or(g, x[0], y[0]), at_least(g, x, y));
                for (lane, &(a, b)) in pairs.iter().enumerate() {
                    let bit = |plane: u64| plane >> lane & 1;
                    assert_eq!(read(&sum, lane) + (bit(carry) << bits), a + b);
                    assert_eq!(read(&modular, lane), (a + b) & all);
                    assert_eq!(
                        (read(&difference, lane), bit(no_borrow)),
                        (a.wrapping_sub(b) & all, u64::from(a >= b))
                    );
                    assert_eq!((read(&larger, lane), bit(least)), (a.max(b), u64::from(a >= b)));
                    assert_eq!(read(&picked, lane), if a & 1 == 1 { a } else { b });
                    assert_eq!(
                        (read(&masked, lane), bit(either)),
                        (if a & 1 == 1 { b } else { 0 }, (a | b) & 1)
                    );
                }
                for bound in 0..=all + 2 {
                    let least = at_least_constant(g, x, bound);
                    assert!(
                        pairs
                            .iter()
                            .enumerate()
                            .all(|(lane, pair)| least >> lane & 1 == u64::from(pair.0 >= bound))
                    );
                }
            });
        }
    }

    #[test]
    fn words_are_residues() {
        for m in 2..=31u64 {
            let bits = 64 - (m - 1).leading_zeros() as usize;
            exhaust(bits, |x, y, read, pairs| {
                let (sum, difference) = (add_mod(&mut Clear, x, y, m), sub_mod(&mut Clear, x, y, m));
                for (lane, &(a, b)) in pairs.iter().enumerate().filter(|(_, (a, b))| *a < m && *b < m) {
                    assert_eq!(read(&sum, lane), (a + b) % m, "{a} + {b} mod {m}");
                    assert_eq!(read(&difference, lane), (a + m - b) % m, "{a} - {b} mod {m}");
                }
            });
        }
    }
}

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

//! Truncation that never fails: stochastic rounding with an exact correction of the wrap.
//!
//! Functionality: shares of x, −2^(ℓ−2) ≤ x ≤ 2^(ℓ−2) − 2^s in the ring 2^ℓ, to shares of y with y ∈ {⌊x/2^s⌋, ⌈x/2^s⌉}: the
//! error is below one unit in the last place, the expectation over the shares is x/2^s exactly, and multiples of 2^s
//! (zero among them) are exact. Within the range the *failure probability is zero*, not merely small: nothing depends
//! on a gap between the value and the ring.
//!
//! Method (own; the two-party identity is that of SIRNN, ePrint 2021/459, and Cheetah, 2022/207; the sharing is
//! Araki et al.). Read the sharing as X = a + b mod 2^ℓ with X = x + 2^(ℓ−2) + 2^s − 1 ∈ [0, 2^(ℓ−1)), where a is
//! known to the lone party L and b to both others, R = L+1 and M = L+2. As X < 2^(ℓ−1), the sum wraps exactly when a
//! or b has its top bit set: w = u ∨ v = 1 − ūv̄. Then
//!
//! y = ⌊a/2^s⌋ + ⌊b/2^s⌋ − w·2^(ℓ−s) − 2^(ℓ−2−s),   short of ⌊X/2^s⌋ − 2^(ℓ−2−s) by the carry c ∈ {0, 1} of the low parts.
//!
//! Only ūv̄ mod 2^s needs the others, as it is multiplied by 2^(ℓ−s). With masks ρ₁ (L, R), ρ₂ (L, M), m, m' (R, M):
//!
//! ```text
//! L → R, M : e = ū − ρ₁ − ρ₂ mod 2^s          L → M : ⌊a/2^s⌋ − 2^(ℓ−2−s) − r, r (L, R)
//! R → L    : A = ρ₁·v̄ + m mod 2^s             M → L : B = ρ₂·v̄ + m' mod 2^s
//! components: L: (L→M message) + 2^(ℓ−s)·B     L+1: r + 2^(ℓ−s)·A
//!             L+2: ⌊b/2^s⌋ + 2^(ℓ−s)·(e·v̄ − m − m' − 1)
//! ```
//!
//! After a product the additive zᵢ first become that form: R and M send zᵢ minus masks known to both, L adds up.
//! The functionality's carry c is a function of the low s bits of a and b, as SECURITY of two-party truncation.
//! Security: semi-honest; every message is masked by a stream that its receiver does not know; the component that a
//! party lacks is the output minus its own two, so opening y reveals y alone.
//! Cost per value, all parties: ℓ/8 + 4⌈s/8⌉ bytes, one round; fused with a product 3ℓ/8 + 4⌈s/8⌉ bytes (32 for
//! ℓ = 64, s = 16), two rounds. Constant time: yes.

use crate::error::Error;
use crate::party::{Party, Role, add_stream, draw};
use crate::ring::Ring;
use crate::share::Shares;

impl Party {
    /// x/2^`shift`, rounded stochastically (see the module); |x| ≤ 2^(BITS−2) − 2^shift. One round; none for shift 0.
    ///
    /// # Panics
    /// If `shift` exceeds BITS − 3.
    pub fn truncate<R: Ring>(&mut self, x: &Shares<R>, shift: u32) -> Result<Shares<R>, Error> {
        if shift == 0 {
            return Ok(x.clone());
        }
        let role = self.next_role();
        let half = match role {
            Role::Lone => x.own.iter().zip(&x.next).map(|(&p, &q)| p.add(q)).collect(),
            Role::Right => x.next.clone(),
            Role::Left => x.own.clone(),
        };
        self.truncate_halves(role, half, shift)
    }

    /// Additive shares of a product to replicated shares of the truncated product. Two rounds; one for shift 0.
    pub(crate) fn reshare_truncated<R: Ring>(
        &mut self,
        mut z: Vec<R>,
        shift: u32,
    ) -> Result<Shares<R>, Error> {
        if shift == 0 {
            return self.reshare(z);
        }
        let role = self.next_role();
        let len = z.len();
        if role == Role::Lone {
            let (mut from_right, mut from_left) = (vec![R::default(); len], vec![R::default(); len]);
            let into = [bytemuck::cast_slice_mut(&mut from_right), bytemuck::cast_slice_mut(&mut from_left)];
            self.star(role, [&[], &[]], into)?;
            let others = from_right.iter().zip(&from_left);
            z.iter_mut().zip(others).for_each(|(z, (&p, &q))| *z = z.add(p).add(q));
            return self.truncate_halves(role, z, shift);
        }
        let key = if role == Role::Right { &mut self.next_key } else { &mut self.own_key };
        let (mut b, second): (Vec<R>, Vec<R>) = (draw(key, len), draw(key, len));
        let mine = if role == Role::Right { &b } else { &second };
        z.iter_mut().zip(mine).for_each(|(z, &mask)| *z = z.sub(mask));
        b.iter_mut().zip(&second).for_each(|(b, &other)| *b = b.add(other));
        self.star(role, [bytemuck::cast_slice(&z), &[]], [&mut [], &mut []])?;
        self.truncate_halves(role, b, shift)
    }

    /// The truncation proper, from a at the lone party and b at the others (`half`).
    fn truncate_halves<R: Ring>(&mut self, role: Role, half: Vec<R>, shift: u32) -> Result<Shares<R>, Error> {
        assert!(shift >= 1 && shift + 3 <= R::BITS, "truncation by {shift} of {} bits", R::BITS);
        match role {
            Role::Lone => self.truncate_lone(half, shift),
            Role::Right => {
                let rho = draw_top::<R>(&mut self.own_key, half.len(), shift);
                let m = draw_top::<R>(&mut self.next_key, half.len(), shift);
                let m_left = draw_top::<R>(&mut self.next_key, half.len(), shift);
                let reply = masked_products(&half, &rho, &m);
                let mut e = vec![0; half.len() * width(shift)];
                self.star(role, [&pack(&reply, shift), &[]], [&mut e, &mut []])?;
                let mut own = reply;
                add_stream(&mut self.own_key, &mut own, R::add);
                Ok(Shares { own, next: finish_pair(half, &unpack(&e, shift), &m, &m_left, shift) })
            }
            Role::Left => {
                let rho = draw_top::<R>(&mut self.next_key, half.len(), shift);
                let m_right = draw_top::<R>(&mut self.own_key, half.len(), shift);
                let m = draw_top::<R>(&mut self.own_key, half.len(), shift);
                let reply = masked_products(&half, &rho, &m);
                let split = half.len() * width(shift);
                let mut message = vec![0; split + half.len() * size_of::<R>()];
                self.star(role, [&pack(&reply, shift), &[]], [&mut message, &mut []])?;
                let (e, share) = message.split_at(split);
                let share = share.chunks_exact(size_of::<R>()).map(bytemuck::pod_read_unaligned::<R>);
                let next = share.zip(reply).map(|(share, reply)| share.add(reply)).collect();
                Ok(Shares { own: finish_pair(half, &unpack(e, shift), &m_right, &m, shift), next })
            }
        }
    }

    fn truncate_lone<R: Ring>(&mut self, mut a: Vec<R>, shift: u32) -> Result<Shares<R>, Error> {
        let one = R::from_u64(1);
        let offset = one.shl(R::BITS - 2).add(one.shl(shift)).sub(one);
        let mut e = draw_top::<R>(&mut self.next_key, a.len(), shift);
        let rho_left = draw_top::<R>(&mut self.own_key, a.len(), shift);
        let mut share = vec![R::default(); a.len()];
        for (((a, e), &rho), share) in a.iter_mut().zip(&mut e).zip(&rho_left).zip(&mut share) {
            *a = a.add(offset);
            *e = not_top(*a, shift).sub(*e).sub(rho);
            *share = a.shr(shift).sub(one.shl(R::BITS - 2 - shift));
        }
        let mut next = vec![R::default(); a.len()];
        add_stream(&mut self.next_key, &mut next, R::add);
        share.iter_mut().zip(&next).for_each(|(share, &r)| *share = share.sub(r));
        let e = pack(&e, shift);
        let (mut from_right, mut from_left) = (vec![0; e.len()], vec![0; e.len()]);
        let to_left = [&e, bytemuck::cast_slice::<R, u8>(&share)].concat();
        self.star(Role::Lone, [&e, &to_left], [&mut from_right, &mut from_left])?;
        let add = |side: &mut [R], reply: &[u8]| {
            side.iter_mut()
                .zip(unpack::<R>(reply, shift))
                .for_each(|(value, reply)| *value = value.add(reply));
        };
        add(&mut next, &from_right);
        add(&mut share, &from_left);
        Ok(Shares { own: share, next })
    }
}

/// 2^(ℓ−s) times the negated top bit. Values modulo 2^s stand in the top s bits throughout this module.
fn not_top<R: Ring>(x: R, shift: u32) -> R {
    R::from_u64(1).sub(x.shr(R::BITS - 1)).shl(R::BITS - shift)
}

/// All ones where the top bit is clear, else zero.
fn clear_top_mask<R: Ring>(x: R) -> R {
    x.shr(R::BITS - 1).sub(R::from_u64(1))
}

/// ρ·v̄ + m.
fn masked_products<R: Ring>(b: &[R], rho: &[R], m: &[R]) -> Vec<R> {
    let values = b.iter().zip(rho).zip(m);
    values.map(|((&b, &rho), &m)| and(clear_top_mask(b), rho).add(m)).collect()
}

/// The component of the pair: ⌊b/2^s⌋ + 2^(ℓ−s)·(e·v̄ − m − m' − 1).
fn finish_pair<R: Ring>(mut b: Vec<R>, e: &[R], m: &[R], m_left: &[R], shift: u32) -> Vec<R> {
    let one = R::from_u64(1).shl(R::BITS - shift);
    for (((b, &e), &m), &m_left) in b.iter_mut().zip(e).zip(m).zip(m_left) {
        *b = b.shr(shift).add(and(clear_top_mask(*b), e)).sub(m).sub(m_left).sub(one);
    }
    b
}

fn and<R: Ring>(a: R, b: R) -> R {
    R::from_u64(a.to_u64() & b.to_u64())
}

/// Bytes in which a value modulo 2^`shift` travels.
fn width(shift: u32) -> usize {
    shift.div_ceil(8) as usize
}

/// Random values modulo 2^`shift`, in the top bits.
fn draw_top<R: Ring>(key: &mut prg::Prg, len: usize, shift: u32) -> Vec<R> {
    let mut bytes = vec![0; len * width(shift)];
    key.fill(&mut bytes);
    unpack(&bytes, shift)
}

/// Values from the top bits to bytes.
fn pack<R: Ring>(values: &[R], shift: u32) -> Vec<u8> {
    match width(shift) {
        1 => values.iter().map(|x| x.shr(R::BITS - shift).to_u64() as u8).collect(),
        2 => values.iter().flat_map(|x| (x.shr(R::BITS - shift).to_u64() as u16).to_le_bytes()).collect(),
        bytes => {
            let mut out = Vec::with_capacity(values.len() * bytes);
            values.iter().for_each(|x| {
                out.extend_from_slice(&x.shr(R::BITS - shift).to_u64().to_le_bytes()[..bytes]);
            });
            out
        }
    }
}

/// Bytes to values in the top bits; excess high bits of a byte string fall out.
fn unpack<R: Ring>(bytes: &[u8], shift: u32) -> Vec<R> {
    let top = R::BITS - shift;
    match width(shift) {
        1 => bytes.iter().map(|&x| R::from_u64(x.into()).shl(top)).collect(),
        2 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&x| R::from_u64(u16::from_le_bytes(x).into()).shl(top))
            .collect(),
        bytes_each => bytes
            .chunks_exact(bytes_each)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..bytes_each].copy_from_slice(chunk);
                R::from_u64(u64::from_le_bytes(word)).shl(top)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use prg::Seed;

    /// Values at the ends of the range, around zero and around multiples of 2^shift.
    fn edge_values(bits: u32, shift: u32) -> Vec<i64> {
        let unit = 1i64 << shift;
        let (low, high) = (-1i64 << (bits - 2), (1i64 << (bits - 2)) - unit);
        let near = [0, unit, -unit, 3 * unit, low, high, low + unit, high - unit];
        near.iter().flat_map(|&x| [x - 1, x, x + 1]).filter(|x| (low..=high).contains(x)).collect()
    }

    fn truncates<R: Ring>(shift: u32) {
        let edges = edge_values(R::BITS, shift);
        let x: Vec<i64> = edges.iter().copied().cycle().take(edges.len() * 40).collect();
        let elements: Vec<R> = x.iter().map(|&x| R::from_i64(x)).collect();
        let shares = deal(&elements, &Seed::from_os());
        let ones = deal(&vec![R::from_u64(1); x.len()], &Seed::from_os());
        // three operations in a row, so that every party is the lone one once, alone and after a product
        let results = run(|party| {
            let id = party.id();
            let mut opened = Vec::new();
            for _ in 0..3 {
                let y = party.truncate(&shares[id], shift)?;
                opened.push(party.open(&y)?);
            }
            for _ in 0..3 {
                let y = party.mul_fixed(&shares[id], &ones[id], shift)?;
                opened.push(party.open(&y)?);
            }
            Ok(opened)
        })
        .unwrap();
        for opened in &results[2] {
            for (&x, &y) in x.iter().zip(opened) {
                let (floor, y) = (x >> shift, y.to_i64());
                let exact = x & ((1 << shift) - 1) == 0;
                assert!(y == floor || (!exact && y == floor + 1), "{x} / 2^{shift} gave {y}");
            }
        }
    }

    #[test]
    fn never_fails_up_to_the_ends_of_the_range() {
        for shift in [1, 5, 8, 16, 29] {
            truncates::<u32>(shift);
        }
        for shift in [1, 8, 13, 16, 24, 40, 61] {
            truncates::<u64>(shift);
        }
    }

    #[test]
    fn rounding_is_unbiased() {
        let x = vec![3u64 << 12; 40_000]; // 0.75 units of 2^14
        let shares = deal(&x, &Seed::from_os());
        let [y, ..] = run(|party| {
            let y = party.truncate(&shares[party.id()], 14)?;
            party.open(&y)
        })
        .unwrap();
        let mean = y.iter().sum::<u64>() as f64 / y.len() as f64;
        assert!((mean - 0.75).abs() < 0.012, "{mean}"); // 5.5 standard deviations
    }

    #[test]
    fn cost_is_as_declared() {
        let len = 100;
        let shares = deal(&vec![5u64; len], &Seed::from_os());
        let costs = run(|party| {
            let start = party.traffic();
            party.truncate(&shares[party.id()], 16)?;
            let middle = party.traffic();
            party.mul_fixed(&shares[party.id()], &shares[party.id()], 16)?;
            let (alone, fused) = (middle - start, party.traffic() - middle);
            Ok([alone.sent, alone.rounds, fused.sent, fused.rounds])
        })
        .unwrap();
        let sum = |i: usize| costs.iter().map(|cost| cost[i]).sum::<u64>();
        assert_eq!((sum(0), sum(2)), (16 * len as u64, 32 * len as u64));
        assert!(costs.iter().all(|cost| (cost[1], cost[3]) == (1, 2)));
    }
}

//! Comparison of secrets, ReLU and selection by a secret bit.
//!
//! Functionality: the sign of x as a Boolean share, where −2^(k−1) ≤ x < 2^(k−1) for a public k; d·x for a Boolean
//! share d. Both are exact.
//!
//! Sign: Algorithm 1 of the paper (arithmetic to Boolean shares, most significant bit by an adder, bit injection
//! back), with three departures. (1) x mod 2^k is read as a + b with a = x_L + x_{L+1} known to the lone party and
//! b = x_{L+2} known to both others, so one adder on *two* numbers suffices, and a known k narrows it from the ring's
//! 64 bits. (2) Sharing a's bits and the first layer of the adder, g = a ∧ b, take one message together: with masks
//! ρ₁ (L, R), ρ₂ (L, M), m, m' (R, M),
//!
//! ```text
//! L → R, M : e = a ⊕ ρ₁ ⊕ ρ₂        R → L : A = ρ₁∧b ⊕ m        M → L : B = ρ₂∧b ⊕ m'
//! g = (B, A, e∧b ⊕ m ⊕ m')   p = a ⊕ b = (ρ₂, ρ₁, e ⊕ b)   as components L, L+1, L+2
//! ```
//!
//! (3) Only the carry into bit k−1 is computed, by a tree of ⌈log₂(k−1)⌉ levels (2(k−1) − 2 − log₂(k−1) gates or so).
//!
//! Injection: d = c ⊕ d₂ with c known to L, d₂ to both others. With Z = c·(x_L + x_{L+1}) and σ = 1 − 2d₂,
//!
//! d·x = σ·(Z + c·x₂) + d₂·x,
//!
//! a sum of products of values known to L with values known to R and M, by the same exchange over the ring:
//!
//! ```text
//! L → R, M : Z − ρ₁ − ρ₂, c − κ₁ − κ₂     R → L : σ(ρ₁ + κ₁x₂) + d₂x_{L+1} + m     M → L : σ(ρ₂ + κ₂x₂) + d₂x_L + m'
//! ```
//!
//! Security: semi-honest; e and all differences are masked by a stream that the receiver lacks, as are the replies.
//! Cost per value, all parties: sign (4k − 2)/8 bytes and ⌈3·gates/8⌉, 1 + ⌈log₂(k−1)⌉ rounds; injection 6ℓ/8 bytes, one
//! round. ReLU of 31-bit values in the 64-bit ring: 83.1 bytes, 7 rounds. Constant time: yes.

use crate::bits::slice;
use crate::error::Error;
use crate::party::{Party, Role, draw};
use crate::ring::Ring;
use crate::share::{Bits, Shares, words};

impl Party {
    /// 1 where x < 0, for −2^(`bits`−1) ≤ x < 2^(`bits`−1).
    ///
    /// # Panics
    /// Unless 2 ≤ `bits` ≤ BITS.
    pub fn negative<R: Ring>(&mut self, x: &Shares<R>, bits: u32) -> Result<Bits, Error> {
        assert!((2..=R::BITS).contains(&bits), "{bits} bits of {}", R::BITS);
        let (g, mut p) = self.carries(x, bits as usize)?;
        let top = split_planes(&mut p, bits as usize - 1);
        let p = split_planes(&mut p, 1);
        Ok(self.carry_out(g, p)?.xor(&top))
    }

    /// max(0, x) and the bit [x ≥ 0], for values of `bits` bits.
    pub fn relu<R: Ring>(&mut self, x: &Shares<R>, bits: u32) -> Result<(Shares<R>, Bits), Error> {
        let negative = self.negative(x, bits)?;
        let positive = self.not(&negative);
        Ok((self.select(&positive, x)?, positive))
    }

    /// The larger of each pair, the first where they are equal, and the bit [y > x]; differences of `bits` bits.
    pub fn max<R: Ring>(
        &mut self,
        x: &Shares<R>,
        y: &Shares<R>,
        bits: u32,
    ) -> Result<(Shares<R>, Bits), Error> {
        let second = self.negative(&x.sub(y), bits)?;
        Ok((x.add(&self.select(&second, &y.sub(x))?), second))
    }

    /// d·x for a secret bit d and a secret x. One round.
    ///
    /// # Panics
    /// If `d` is not one plane of as many values as x.
    pub fn select<R: Ring>(&mut self, d: &Bits, x: &Shares<R>) -> Result<Shares<R>, Error> {
        assert!(d.planes == 1 && d.len == x.len(), "one bit per value");
        match self.next_role() {
            Role::Lone => self.select_lone(d, x),
            role => self.select_pair(role, d, x),
        }
    }

    fn select_lone<R: Ring>(&mut self, d: &Bits, x: &Shares<R>) -> Result<Shares<R>, Error> {
        let len = x.len();
        let mut e: Vec<R> = Vec::with_capacity(2 * len);
        for start in (0..len).step_by(BLOCK) {
            let size = BLOCK.min(len - start);
            let (rho, kappa) = (block(&mut self.next_key), block(&mut self.next_key));
            let (rho_left, kappa_left) = (block(&mut self.own_key), block(&mut self.own_key));
            let mask = |i: usize| bit_mask(&d.own, i) ^ bit_mask(&d.next, i);
            let values = x.own[start..].iter().zip(&x.next[start..]);
            e.extend(values.take(size).enumerate().map(|(i, (&p, &q))| {
                R::from_u64(p.add(q).to_u64() & mask(start + i)).sub(rho[i]).sub(rho_left[i])
            }));
            e.extend((0..size).map(|i| R::from_u64(mask(start + i) & 1).sub(kappa[i]).sub(kappa_left[i])));
        }
        let (mut next, mut own) = (vec![R::default(); len], vec![R::default(); len]);
        let e = bytemuck::cast_slice(&e);
        self.star(
            Role::Lone,
            [e, e],
            [bytemuck::cast_slice_mut(&mut next), bytemuck::cast_slice_mut(&mut own)],
        )?;
        Ok(Shares { own, next })
    }

    fn select_pair<R: Ring>(&mut self, role: Role, d: &Bits, x: &Shares<R>) -> Result<Shares<R>, Error> {
        let len = x.len();
        // Names as for R; for M the streams and components swap sides.
        let (bits, common, single) = match role {
            Role::Right => (&d.next, &x.next, &x.own),
            _ => (&d.own, &x.own, &x.next),
        };
        let (mut reply, mut unmask) = (Vec::with_capacity(len), Vec::with_capacity(len));
        for start in (0..len).step_by(BLOCK) {
            let size = BLOCK.min(len - start);
            let (lone_key, pair_key) = match role {
                Role::Right => (&mut self.own_key, &mut self.next_key),
                _ => (&mut self.next_key, &mut self.own_key),
            };
            let (rho, kappa) = (block::<R>(lone_key), block::<R>(lone_key));
            let (m_right, m_left) = (block::<R>(pair_key), block::<R>(pair_key));
            let m = if role == Role::Right { &m_right } else { &m_left };
            for i in 0..size {
                let (mask, common) = (bit_mask(bits, start + i), common[start + i]);
                let single = R::from_u64(single[start + i].to_u64() & mask);
                reply.push(negate_if(mask, rho[i].add(kappa[i].mul(common))).add(single).add(m[i]));
                unmask.push(R::from_u64(common.to_u64() & mask).sub(m_right[i]).sub(m_left[i]));
            }
        }
        let mut e = vec![R::default(); 2 * len];
        let into = [bytemuck::cast_slice_mut(&mut e), &mut []];
        self.star(role, [bytemuck::cast_slice(&reply), &[]], into)?;
        for (start, e) in (0..len).step_by(BLOCK).zip(e.chunks(2 * BLOCK)) {
            let (e, e_bit) = e.split_at(e.len() / 2);
            for (i, (&e, &e_bit)) in e.iter().zip(e_bit).enumerate() {
                let (mask, common) = (bit_mask(bits, start + i), common[start + i]);
                unmask[start + i] = unmask[start + i].add(negate_if(mask, e.add(e_bit.mul(common))));
            }
        }
        Ok(match role {
            Role::Right => Shares { own: reply, next: unmask },
            _ => Shares { own: unmask, next: reply },
        })
    }

    /// Generate bits of planes 0..bits−1 and propagate bits of planes 0..bits of a + b = x mod 2^bits. One round.
    pub(crate) fn carries<R: Ring>(&mut self, x: &Shares<R>, bits: usize) -> Result<(Bits, Bits), Error> {
        let (len, stride) = (x.len(), words(x.len()));
        let (all, generating) = (bits * stride, (bits - 1) * stride);
        let boolean = |planes, own, next| Bits { planes, len, own, next };
        let xor = |mut a: Vec<u64>, b: &[u64]| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
            a
        };
        let role = self.next_role();
        if role == Role::Lone {
            let a = slice(x.own.iter().zip(&x.next).map(|(&p, &q)| p.add(q)), bits);
            let (right, left) = (draw::<u64>(&mut self.next_key, all), draw(&mut self.own_key, all));
            let e = xor(xor(a, &right), &left);
            let (mut from_right, mut from_left) = (vec![0u64; generating], vec![0u64; generating]);
            let e = bytemuck::cast_slice(&e);
            let into = [bytemuck::cast_slice_mut(&mut from_right), bytemuck::cast_slice_mut(&mut from_left)];
            self.star(role, [e, e], into)?;
            return Ok((boolean(bits - 1, from_left, from_right), boolean(bits, left, right)));
        }
        let right = role == Role::Right;
        let b = slice(if right { &x.next } else { &x.own }.iter().copied(), bits);
        let (lone_key, pair_key) = match right {
            true => (&mut self.own_key, &mut self.next_key),
            false => (&mut self.next_key, &mut self.own_key),
        };
        let rho = draw::<u64>(lone_key, all);
        let (m_right, m_left) = (draw::<u64>(pair_key, generating), draw::<u64>(pair_key, generating));
        let masks = if right { &m_right } else { &m_left }.iter();
        let reply: Vec<u64> = rho.iter().zip(&b).zip(masks).map(|((rho, b), m)| (rho & b) ^ m).collect();
        let mut e = vec![0u64; all];
        self.star(role, [bytemuck::cast_slice(&reply), &[]], [bytemuck::cast_slice_mut(&mut e), &mut []])?;
        let masks = m_right.iter().zip(&m_left);
        let generate = e.iter().zip(&b).zip(masks).map(|((e, b), (m, n))| (e & b) ^ m ^ n).collect();
        let propagate = xor(e, &b);
        Ok(match right {
            true => (boolean(bits - 1, reply, generate), boolean(bits, rho, propagate)),
            false => (boolean(bits - 1, generate, reply), boolean(bits, propagate, rho)),
        })
    }

    /// The carry out of all planes of `g`; `p` lacks the lowest plane, which nothing is carried into.
    fn carry_out(&mut self, mut g: Bits, mut p: Bits) -> Result<Bits, Error> {
        while g.planes > 1 {
            let pairs = g.planes / 2;
            let carry = (0..pairs).map(|j| (p.plane(2 * j), g.plane(2 * j)));
            let pass = (1..pairs).map(|j| (p.plane(2 * j), p.plane(2 * j - 1)));
            let gates: Vec<_> = carry.chain(pass).collect();
            let mut carried = self.and_planes(g.len, &gates)?;
            let mut passed = split_planes(&mut carried, pairs);
            let stride = words(g.len);
            let add = |side: &mut [u64], generate: &[u64]| {
                for (j, plane) in side.chunks_mut(stride.max(1)).enumerate() {
                    let above = &generate[(2 * j + 1) * stride..][..stride];
                    plane.iter_mut().zip(above).for_each(|(word, bit)| *word ^= bit);
                }
            };
            add(&mut carried.own, &g.own);
            add(&mut carried.next, &g.next);
            if g.planes % 2 == 1 {
                carried = carried.stack(&g.select_plane(g.planes - 1));
                passed = passed.stack(&p.select_plane(p.planes - 1));
            }
            (g, p) = (carried, passed);
        }
        Ok(g)
    }
}

/// Values whose masks are drawn together; both holders of a key draw in this order.
const BLOCK: usize = 512;

fn block<R: Ring>(key: &mut prg::Prg) -> [R; BLOCK] {
    let mut out = [R::default(); BLOCK];
    key.fill(bytemuck::cast_slice_mut(&mut out));
    out
}

/// All ones where the bit of value `i` is set, else zero.
pub(crate) fn bit_mask(plane: &[u64], i: usize) -> u64 {
    0u64.wrapping_sub(plane[i / 64] >> (i % 64) & 1)
}

/// −x where the mask is set, else x.
fn negate_if<R: Ring>(mask: u64, x: R) -> R {
    R::from_u64(x.to_u64() ^ mask).sub(R::from_u64(mask))
}

/// Splits the planes from `at` on off.
pub(crate) fn split_planes(bits: &mut Bits, at: usize) -> Bits {
    let words = at * words(bits.len);
    let planes = bits.planes - at;
    bits.planes = at;
    Bits { planes, len: bits.len, own: bits.own.split_off(words), next: bits.next.split_off(words) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use prg::{Prg, Seed};

    /// Random values of every magnitude and both ends of the range.
    fn values(bits: u32) -> Vec<i64> {
        let mut words = vec![0; 300];
        Prg::new(&Seed::from_bytes([bits as u8; 16])).fill_u64(&mut words);
        let random = words.iter().enumerate().map(|(i, &w)| (w as i64) >> (64 - bits + i as u32 % bits));
        let limit = i64::MAX >> (64 - bits);
        random.chain([limit, -limit - 1, 0, 1, -1]).collect()
    }

    fn check<R: Ring>(bits: u32) {
        let x = values(bits);
        let shares = deal(&x.iter().map(|&x| R::from_i64(x)).collect::<Vec<_>>(), &Seed::from_os());
        let results = run(|party| {
            let mut opened = Vec::new();
            for _ in 0..3 {
                let (y, positive) = party.relu(&shares[party.id()], bits)?;
                opened.push((party.open(&y)?, party.open_bits(&positive)?));
            }
            Ok(opened)
        })
        .unwrap();
        for (y, positive) in results.iter().flatten() {
            for ((&x, y), &positive) in x.iter().zip(y).zip(positive) {
                assert_eq!((y.to_i64(), positive), (x.max(0), u64::from(x >= 0)), "{x} of {bits} bits");
            }
        }
    }

    #[test]
    fn relu_is_exact_over_the_whole_range() {
        [2, 3, 4, 9, 31, 32].iter().for_each(|&bits| check::<u32>(bits));
        [2, 17, 31, 32, 33, 48, 64].iter().for_each(|&bits| check::<u64>(bits));
    }

    #[test]
    fn the_larger_of_two_and_ties() {
        let pairs = [(5i64, -7i64), (-7, 5), (3, 3), (0, -1), (-1 << 29, (1 << 29) - 1)];
        let side = |f: fn(&(i64, i64)) -> i64| pairs.iter().map(|pair| f(pair) as u64).collect::<Vec<_>>();
        let (x, y) = (deal(&side(|p| p.0), &Seed::from_os()), deal(&side(|p| p.1), &Seed::from_os()));
        let [(largest, second), ..] = run(|party| {
            let (largest, second) = party.max(&x[party.id()], &y[party.id()], 31)?;
            Ok((party.open(&largest)?, party.open_bits(&second)?))
        })
        .unwrap();
        assert_eq!(largest, side(|p| p.0.max(p.1)));
        assert_eq!(second, [0, 1, 0, 0, 1]);
    }

    #[test]
    fn relu_of_31_bit_values_stays_within_its_budget() {
        let len = 640;
        let shares = deal(&vec![7u64; len], &Seed::from_os());
        let costs = run(|party| {
            let start = party.traffic();
            party.relu(&shares[party.id()], 31)?;
            Ok(party.traffic() - start)
        })
        .unwrap();
        let bits = 2 * 31 + 2 * 30 + 3 * 53 + 6 * 64;
        assert_eq!(costs.iter().map(|cost| cost.sent).sum::<u64>(), (bits * len / 8) as u64);
        assert!(bits <= 92 * 8 && costs.iter().all(|cost| cost.rounds == 7));
    }
}

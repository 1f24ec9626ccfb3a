//! Between arithmetic and Boolean shares: all bits of a value, its leading bit, and weighted sums of secret bits.
//!
//! Functionality: x mod 2^k as k Boolean planes; ORs from the top, which are 1 at and below the leading bit of x;
//! Σⱼ wⱼ·bⱼ over the ring for secret bits bⱼ and public weights wⱼ.
//! Method: the adder of [`compare`](crate::compare) as a full prefix network (Sklansky 1960); the sum of bits extends
//! its injection: with b = c + d − 2cd, c known to the lone party, d to the others, wⱼbⱼ = cⱼ·wⱼ(1 − 2dⱼ) + wⱼdⱼ, and
//! the replies of all planes travel as one element:
//!
//! ```text
//! L → R, M : eⱼ = cⱼ − ρⱼ − κⱼ      R → L : Σⱼ ρⱼwⱼ(1−2dⱼ) + m      M → L : Σⱼ κⱼwⱼ(1−2dⱼ) + m'
//! third component: Σⱼ (eⱼwⱼ(1−2dⱼ) + wⱼdⱼ) − m − m'
//! ```
//!
//! Several weightings of the same bits share e. Security: as there.
//! Cost: bits (4k−2)/8 bytes and 3·gates/8, 1 + ⌈log₂(k−1)⌉ rounds; ORs ⌈log₂ k⌉ rounds; weighted sums 16 bytes per
//! plane and 16 per weighting over all parties, one round. Constant time: yes.

use crate::compare::{bit_mask, split_planes};
use crate::error::Error;
use crate::party::{Party, Role, add_stream, draw};
use crate::share::{Bits, Shares, words};

impl Party {
    /// The low `bits` bits of every value, lowest plane first.
    pub fn decompose(&mut self, x: &Shares<u64>, bits: u32) -> Result<Bits, Error> {
        let (mut g, sum) = self.carries(x, bits as usize)?;
        let mut p = sum.clone();
        split_planes(&mut p, g.planes);
        for level in 0..usize::BITS - (g.planes - 1).leading_zeros() {
            let low = |i: usize| (i >> level << level) - 1;
            let joined: Vec<usize> = (0..g.planes).filter(|i| i >> level & 1 == 1).collect();
            let inner: Vec<usize> = joined.iter().copied().filter(|i| i >> (level + 1) > 0).collect();
            let carry = joined.iter().map(|&i| (p.plane(i), g.plane(low(i))));
            let pass = inner.iter().map(|&i| (p.plane(i), p.plane(low(i))));
            let gates: Vec<_> = carry.chain(pass).collect();
            let results = self.and_planes(g.len, &gates)?;
            joined.iter().enumerate().for_each(|(at, &i)| merge(&mut g, i, &results, at, |a, b| a ^ b));
            inner
                .iter()
                .enumerate()
                .for_each(|(at, &i)| merge(&mut p, i, &results, joined.len() + at, |_, b| b));
        }
        let mut sum = sum;
        (0..g.planes).for_each(|i| merge(&mut sum, i + 1, &g, i, |a, b| a ^ b));
        Ok(sum)
    }

    /// Plane j of the result is the OR of planes j and above.
    pub fn or_from_top(&mut self, x: &Bits) -> Result<Bits, Error> {
        let mut x = x.clone();
        let top = x.planes - 1;
        for level in 0..usize::BITS - top.leading_zeros() {
            let joined: Vec<usize> = (0..=top).filter(|i| i >> level & 1 == 1).collect();
            let pairs: Vec<(usize, usize)> =
                joined.iter().map(|&i| (top - i, top - ((i >> level << level) - 1))).collect();
            let gates: Vec<_> = pairs.iter().map(|&(i, j)| (x.plane(i), x.plane(j))).collect();
            let both = self.and_planes(x.len, &gates)?;
            for (at, &(i, j)) in pairs.iter().enumerate() {
                let above = x.select_plane(j);
                merge(&mut x, i, &both, at, |a, b| a ^ b);
                merge(&mut x, i, &above, 0, |a, b| a ^ b);
            }
        }
        Ok(x)
    }

    /// Σⱼ wⱼ·bⱼ over the planes of `bits`, for each weighting. One round.
    ///
    /// # Panics
    /// If a weighting has another number of planes.
    pub fn weighted(&mut self, bits: &Bits, weightings: &[Vec<u64>]) -> Result<Vec<Shares<u64>>, Error> {
        assert!(weightings.iter().all(|w| w.len() == bits.planes), "one weight per plane");
        let (len, all) = (bits.len, bits.planes * bits.len);
        let role = self.next_role();
        let plane = |side: &[u64], j: usize| side[j * words(len)..].to_vec();
        if role == Role::Lone {
            let mut e: Vec<u64> = (0..bits.planes)
                .flat_map(|j| {
                    let (own, next) = (plane(&bits.own, j), plane(&bits.next, j));
                    (0..len).map(move |i| (bit_mask(&own, i) ^ bit_mask(&next, i)) & 1)
                })
                .collect();
            add_stream(&mut self.next_key, &mut e, u64::wrapping_sub);
            add_stream(&mut self.own_key, &mut e, u64::wrapping_sub);
            let (mut right, mut left) =
                (vec![0u64; weightings.len() * len], vec![0u64; weightings.len() * len]);
            let e = bytemuck::cast_slice(&e);
            let into = [bytemuck::cast_slice_mut(&mut right), bytemuck::cast_slice_mut(&mut left)];
            self.star(role, [e, e], into)?;
            let sides = left.chunks(len.max(1)).zip(right.chunks(len.max(1)));
            return Ok(sides.map(|(own, next)| Shares { own: own.to_vec(), next: next.to_vec() }).collect());
        }
        let (lone_key, pair_key, side) = match role {
            Role::Right => (&mut self.own_key, &mut self.next_key, &bits.next),
            _ => (&mut self.next_key, &mut self.own_key, &bits.own),
        };
        let rho: Vec<u64> = draw(lone_key, all);
        let m: [Vec<u64>; 2] = std::array::from_fn(|_| draw(pair_key, weightings.len() * len));
        let mut reply = m[usize::from(role == Role::Left)].clone();
        let mut third: Vec<u64> =
            m[0].iter().zip(&m[1]).map(|(a, b)| 0u64.wrapping_sub(a.wrapping_add(*b))).collect();
        let mut e = vec![0u64; all];
        for_each_weight(side, len, weightings, |at, from, _, signed| {
            reply[at] = reply[at].wrapping_add(rho[from].wrapping_mul(signed));
        });
        let into = [bytemuck::cast_slice_mut(&mut e), &mut []];
        self.star(role, [bytemuck::cast_slice(&reply), &[]], into)?;
        for_each_weight(side, len, weightings, |at, from, constant, signed| {
            third[at] = third[at].wrapping_add(e[from].wrapping_mul(signed)).wrapping_add(constant);
        });
        let pairs = reply.chunks(len.max(1)).zip(third.chunks(len.max(1)));
        Ok(pairs
            .map(|(reply, third)| match role {
                Role::Right => Shares { own: reply.to_vec(), next: third.to_vec() },
                _ => Shares { own: third.to_vec(), next: reply.to_vec() },
            })
            .collect())
    }
}

/// Calls `f(output index, bit index, w·d, w·(1−2d))` for all weightings, planes and values.
fn for_each_weight(
    side: &[u64],
    len: usize,
    weightings: &[Vec<u64>],
    mut f: impl FnMut(usize, usize, u64, u64),
) {
    for (which, weights) in weightings.iter().enumerate() {
        for (j, &w) in weights.iter().enumerate() {
            let plane = &side[j * words(len)..];
            for i in 0..len {
                let mask = bit_mask(plane, i);
                f(which * len + i, j * len + i, w & mask, (w ^ mask).wrapping_sub(mask));
            }
        }
    }
}

/// Combines plane `i` of `x` with plane `j` of `y`.
fn merge(x: &mut Bits, i: usize, y: &Bits, j: usize, f: impl Fn(u64, u64) -> u64) {
    let stride = words(x.len);
    for (x, y) in [(&mut x.own, &y.own), (&mut x.next, &y.next)] {
        let plane = x[i * stride..][..stride].iter_mut().zip(&y[j * stride..][..stride]);
        plane.for_each(|(x, &y)| *x = f(*x, y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{deal, run};
    use prg::{Prg, Seed};

    #[test]
    fn bits_leading_bits_and_their_sums() {
        for bits in [2, 5, 16, 31, 64] {
            let mut x = vec![0; 90];
            Prg::new(&Seed::from_bytes([bits as u8; 16])).fill_u64(&mut x);
            x.iter_mut().enumerate().for_each(|(i, x)| *x >>= i % 64);
            let shares = deal(&x, &Seed::from_os());
            let weights: Vec<u64> = (0..bits as u64).map(|j| j * j + 3).collect();
            let [(planes, tops, sums), ..] = run(|party| {
                let planes = party.decompose(&shares[party.id()], bits)?;
                let tops = party.or_from_top(&planes)?;
                let powers = (0..bits).map(|j| 1u64 << j).collect();
                let sums = party.weighted(&planes, &[weights.clone(), powers])?;
                Ok((party.open_bits(&planes)?, party.open_bits(&tops)?, party.open(&Shares::concat(&sums))?))
            })
            .unwrap();
            for (i, &x) in x.iter().enumerate() {
                let low = x & (u64::MAX >> (64 - bits));
                assert_eq!((planes[i], sums[90 + i]), (low, low));
                assert_eq!(tops[i], u64::MAX.checked_shr(low.leading_zeros()).unwrap_or(0));
                let sum = (0..bits as u64).map(|j| (low >> j & 1) * (j * j + 3)).sum::<u64>();
                assert_eq!(sums[i], sum);
            }
        }
    }
}

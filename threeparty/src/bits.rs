//! Bit slicing, and logic on bit-sliced Boolean shares.
//!
//! Functionality: conjunctions of shared planes, one bit sent per party and gate, all gates of a call in one round
//! (Araki et al., CCS 2016, over 𝔽₂); exclusive or and negation are local.
//! Layout: see [`Bits`]; slicing transposes 32×32 bit blocks, two at a time in 64-bit words.
//! Constant time: yes.

use crate::error::Error;
use crate::party::{Party, add_stream, digest};
use crate::ring::Ring;
use crate::share::{Bits, words};

/// Both components of one plane.
pub(crate) type Plane<'a> = (&'a [u64], &'a [u64]);

impl Party {
    /// Conjunction of each pair of planes, in one round.
    pub(crate) fn and_planes(&mut self, len: usize, gates: &[(Plane<'_>, Plane<'_>)]) -> Result<Bits, Error> {
        let mut own = Vec::with_capacity(gates.len() * words(len));
        for ((x0, x1), (y0, y1)) in gates {
            let (x, y) = (x0.iter().zip(*x1), y0.iter().zip(*y1));
            own.extend(x.zip(y).map(|((x0, x1), (y0, y1))| (x0 & (y0 ^ y1)) ^ (x1 & y0)));
        }
        let xor = |a: u64, b: u64| a ^ b;
        add_stream(&mut self.own_key, &mut own, xor);
        add_stream(&mut self.next_key, &mut own, xor);
        let mut next = vec![0; own.len()];
        self.round(bytemuck::cast_slice(&own), &[], &mut [], bytemuck::cast_slice_mut(&mut next))?;
        Ok(Bits { planes: gates.len(), len, own, next })
    }

    /// Conjunction, plane by plane. One round.
    pub fn and(&mut self, x: &Bits, y: &Bits) -> Result<Bits, Error> {
        assert!(x.planes == y.planes && x.len == y.len, "Boolean shares of different shapes");
        let gates: Vec<_> = (0..x.planes).map(|j| (x.plane(j), y.plane(j))).collect();
        self.and_planes(x.len, &gates)
    }

    /// Negation of every bit, local.
    pub fn not(&self, x: &Bits) -> Bits {
        let mut x = x.clone();
        match self.id() {
            0 => x.own.iter_mut().for_each(|word| *word = !*word),
            2 => x.next.iter_mut().for_each(|word| *word = !*word),
            _ => {}
        }
        x
    }

    /// Reveals Boolean shares to all three parties, as one integer per value; copies are compared. One round.
    ///
    /// # Panics
    /// If there are more than 64 planes.
    pub fn open_bits(&mut self, x: &Bits) -> Result<Vec<u64>, Error> {
        let mut missing = vec![0u64; x.own.len()];
        let (mine, mut theirs) = (digest(&x.next), [0; 32]);
        let own = bytemuck::cast_slice(&x.own);
        self.round(&mine, own, bytemuck::cast_slice_mut(&mut missing), &mut theirs)?;
        if digest(&missing) != theirs {
            return Err(Error::Inconsistent { peer: (self.id() + 1) % 3, what: "opening" });
        }
        let planes: Vec<u64> = x.own.iter().zip(&x.next).zip(&missing).map(|((a, b), c)| a ^ b ^ c).collect();
        Ok(unslice(&planes, x.planes, x.len))
    }
}

/// The low `planes` bits of all values, plane after plane.
pub(crate) fn slice<R: Ring>(values: impl ExactSizeIterator<Item = R>, planes: usize) -> Vec<u64> {
    assert!(planes <= R::BITS as usize, "{planes} planes of {} bits", R::BITS);
    let stride = words(values.len());
    let mut sliced = vec![0; planes * stride];
    let mut values = values.fuse();
    for word in 0..stride {
        let mut block = [0u64; 64];
        block.iter_mut().zip(&mut values).for_each(|(out, value)| *out = value.to_u64());
        for (low, planes) in [(0, planes.min(32)), (32, planes.saturating_sub(32))] {
            if planes > 0 {
                let columns = transpose_half(&block, low);
                for (j, column) in columns[..planes].iter().enumerate() {
                    sliced[(low + j) * stride + word] = *column;
                }
            }
        }
    }
    sliced
}

/// The inverse of [`slice`]: `len` integers from their planes.
pub(crate) fn unslice(sliced: &[u64], planes: usize, len: usize) -> Vec<u64> {
    assert!(planes <= 64, "{planes} planes do not fit an integer");
    let stride = words(len);
    let bit = |i: usize| move |j: usize| (sliced[j * stride + i / 64] >> (i % 64) & 1) << j;
    (0..len).map(|i| (0..planes).map(bit(i)).sum()).collect()
}

/// Word j of the result holds bit `low` + j of all 64 values.
fn transpose_half(values: &[u64; 64], low: usize) -> [u64; 32] {
    let mut a: [u64; 32] = core::array::from_fn(|i| {
        let half = |value: u64| (value >> low) & 0xffff_ffff;
        half(values[i]) | half(values[i + 32]) << 32
    });
    for (step, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        for start in (0..32).step_by(2 * step) {
            for k in start..start + step {
                let swap = ((a[k] >> step) ^ a[k + step]) & mask;
                a[k] ^= swap << step;
                a[k + step] ^= swap;
            }
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::run;
    use prg::{Prg, Seed};

    #[test]
    fn slicing_and_back() {
        let mut values = vec![0u64; 200];
        Prg::new(&Seed::from_bytes([2; 16])).fill_u64(&mut values);
        for planes in [1, 17, 32, 33, 64] {
            let sliced = slice(values.iter().copied(), planes);
            let mask = u64::MAX >> (64 - planes);
            let expected: Vec<u64> = values.iter().map(|value| value & mask).collect();
            assert_eq!(unslice(&sliced, planes, 200), expected);
        }
        let narrow: Vec<u32> = values.iter().map(|&value| value as u32).collect();
        let sliced = slice(narrow.iter().copied(), 32);
        assert!(unslice(&sliced, 32, 200).iter().zip(&narrow).all(|(&a, &b)| a == b as u64));
    }

    #[test]
    fn the_truth_table() {
        let opened = run(|party| {
            let bit = |value: u64| {
                let mut bits = Bits { planes: 1, len: 4, own: vec![0], next: vec![0] };
                match party.id() {
                    0 => bits.own[0] = value,
                    2 => bits.next[0] = value,
                    _ => {}
                }
                bits
            };
            let (x, y) = (bit(0b1100), bit(0b1010));
            let z = party.and(&x, &y)?;
            let negated = party.not(&z);
            Ok([party.open_bits(&z)?, party.open_bits(&negated)?, party.open_bits(&x.xor(&y))?])
        })
        .unwrap();
        for [and, nand, xor] in opened {
            assert_eq!((and, nand, xor), (vec![0, 0, 0, 1], vec![1, 1, 1, 0], vec![0, 1, 1, 0]));
        }
    }
}

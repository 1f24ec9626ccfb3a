//! Alice's decryption of sanitised replies.
//!
//! A reply is a pair of torus fractions: value = round(t·(c0 + c1·s)) with c0 and c1 given by their leading bits.
//! c1·s is a product of a k-bit integer polynomial (k = `c1_bits`) with a ternary one, wanted mod 2^k only. It is
//! computed in as many limbs as its centred magnitude needs: one for k up to about 41, otherwise two.
//! Cost: two transforms per limb used. Constant time: yes.

use crate::bits::{packed_bytes, unpack_into};
use crate::keys::SecretKey;
use crate::noise::{nonzero_bound, tail_factor};
use crate::reply::{Positions, ReplyError, ReplyFormat};
use meter::Primitive;
use ntt::Modulus;
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Decrypts replies of one format.
pub struct Decryptor {
    key: Arc<SecretKey>,
    format: ReplyFormat,
    limbs: usize,
}

impl Decryptor {
    /// For replies of `format` to uploads under `key`.
    ///
    /// # Panics
    /// If the format was derived for other parameters, with a single limb too small for it.
    pub fn new(key: &Arc<SecretKey>, format: ReplyFormat) -> Self {
        let params = key.params();
        // Coefficients of c1 are uniform in ±2^(k−1): sub-Gaussian with variance proxy 2^(2k−2)/3. 100 bits of tail.
        let spread = (f64::from(format.c1_bits()) - 1.0).exp2() * (nonzero_bound(params) / 3.0).sqrt();
        let magnitude = tail_factor(100.0 + (params.degree() as f64).log2()) * spread;
        let first = params.limbs()[0].modulus() as f64;
        let limbs = if magnitude < first / 2.0 { 1 } else { 2 };
        assert!(limbs <= params.limbs().len(), "the format fits the parameters");
        Self { key: Arc::clone(key), format, limbs }
    }

    /// Decrypts one reply per element of `positions` and appends the values at those positions, below t, to `values`.
    /// Runs on the threads of the current rayon pool.
    ///
    /// # Panics
    /// If a position is not below n.
    pub fn decrypt(
        &self,
        bytes: &[u8],
        positions: &[Positions<'_>],
        values: &mut Vec<u64>,
    ) -> Result<(), ReplyError> {
        let params = self.key.params();
        let n = params.degree();
        let lengths = positions.iter().map(|p| self.format.reply_bytes(params, p.count(n)));
        let expected = lengths.sum();
        if bytes.len() != expected {
            return Err(ReplyError::Length { expected, got: bytes.len() });
        }
        let start = values.len();
        values.resize(start + positions.iter().map(|p| p.count(n)).sum::<usize>(), 0);
        let (mut bytes, mut values) = (bytes, &mut values[start..]);
        let mut tasks = Vec::with_capacity(positions.len());
        for &positions in positions {
            let (reply, rest) = bytes.split_at(self.format.reply_bytes(params, positions.count(n)));
            let (out, others) = values.split_at_mut(positions.count(n));
            (bytes, values) = (rest, others);
            tasks.push((reply, positions, out));
        }
        let buffer = || Zeroizing::new(vec![0; self.limbs * n]);
        tasks.into_par_iter().for_each_init(
            || (Zeroizing::new(vec![0; n]), buffer(), meter::scope(Primitive::Decrypt)),
            |(c1, product, _), (reply, positions, out)| self.decrypt_one(reply, positions, out, c1, product),
        );
        Ok(())
    }

    fn decrypt_one(
        &self,
        reply: &[u8],
        positions: Positions<'_>,
        out: &mut [u64],
        c1: &mut [u64],
        product: &mut [u64],
    ) {
        let (c0_bits, c1_bits) = (self.format.c0_bits(), self.format.c1_bits());
        let (c1_bytes, c0_bytes) = reply.split_at(packed_bytes(c1.len(), c1_bits));
        unpack_into(c1_bytes, c1_bits, c1);
        unpack_into(c0_bytes, c0_bits, out);
        let shift = 64 - c1_bits;
        c1.iter_mut().for_each(|c| *c = ((*c << shift) as i64 >> shift) as u64);
        self.multiply_by_secret(c1, product);
        let t = self.key.params().plaintext();
        let finish = |value: &mut u64, product: u64| {
            *value = round_torus(t, (*value << (64 - c0_bits)).wrapping_add(product << shift));
        };
        match positions {
            Positions::All => out.iter_mut().zip(&*c1).for_each(|(value, &c)| finish(value, c)),
            Positions::List(list) => out.iter_mut().zip(list).for_each(|(v, &i)| finish(v, c1[i as usize])),
        }
    }

    /// c1 = c1·s mod 2^64, for small signed c1.
    fn multiply_by_secret(&self, c1: &mut [u64], product: &mut [u64]) {
        let params = self.key.params();
        let n = c1.len();
        for (l, product) in product.chunks_exact_mut(n).enumerate() {
            let ring = &params.limbs()[l];
            ring.reduce_signed_into(product, c1);
            ring.forward(product);
            ring.mul_fixed_assign(product, self.key.scaled(l));
            ring.inverse_unscaled(product);
        }
        let p0 = params.limbs()[0].modulus();
        let (first, rest) = product.split_at_mut(n);
        if self.limbs == 1 {
            let centre = |x: u64| x.wrapping_sub(if x > p0 / 2 { p0 } else { 0 });
            c1.iter_mut().zip(first).for_each(|(c, &mut x)| *c = centre(x));
            return;
        }
        let ring = &params.limbs()[1];
        let (p1, inverse) = (ring.modulus(), params.garner(1)[0]);
        rest.iter_mut().zip(&*first).for_each(|(x, &d)| *x = (*x + (p1 - d % p1)) % p1);
        ring.scale_assign(rest, inverse);
        for ((c, &mut low), &mut high) in c1.iter_mut().zip(first).zip(rest) {
            // low + p0·high, less p0·p1 in the upper half; all mod 2^64.
            let high = high.wrapping_sub(if high > p1 / 2 { p1 } else { 0 });
            *c = low.wrapping_add(p0.wrapping_mul(high));
        }
    }
}

/// round(t·x/2^64) mod t.
#[inline]
fn round_torus(t: Modulus, x: u64) -> u64 {
    match t {
        Modulus::Pow2 { bits } => (x.wrapping_add(1 << (63 - bits))) >> (64 - bits),
        Modulus::Prime { p } => {
            let value = ((u128::from(x) * u128::from(p) + (1 << 63)) >> 64) as u64;
            value.min(value.wrapping_sub(p))
        }
    }
}

//! Alice's decryption of sanitised replies.
//!
//! A reply is a pair of torus fractions: value = round(t·(c0 + c1·s)) with c0 and c1 given by their leading bits.
//! c1·s is a product of a k-bit integer polynomial (k = `c1_bits`) with a ternary one, wanted mod 2^k only. It is
//! computed in as many limbs as its centred magnitude needs: one for k up to about 41, otherwise two.
//! Cost: two transforms per limb used. Constant time: yes.

use crate::bits::packed_bytes;
use crate::keys::SecretKey;
use crate::noise::{nonzero_bound, tail_factor};
use crate::phase::{product_to_torus, round_phase, signed_residues};
use crate::reply::{Positions, ReplyError, ReplyFormat};
use crate::scaling::to_digits;
use meter::Primitive;
use ntt::Words;
use ntt::simd::Isa;
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
        let buffer = |words| Zeroizing::new(Words::zeros(words));
        tasks.into_par_iter().for_each_init(
            || (buffer(self.limbs * n), buffer(n), meter::scope(Primitive::Decrypt)),
            |(product, listed, _), (reply, positions, out)| {
                self.decrypt_one(reply, positions, out, product, listed);
            },
        );
        Ok(())
    }

    fn decrypt_one(
        &self,
        reply: &[u8],
        positions: Positions<'_>,
        out: &mut [u64],
        product: &mut [u64],
        listed: &mut [u64],
    ) {
        let (t, isa) = (self.key.params().plaintext(), Isa::detect());
        let (c0_bits, c1_bits) = (self.format.c0_bits(), self.format.c1_bits());
        let (c1, c0) = reply.split_at(packed_bytes(listed.len(), c1_bits));
        self.multiply_by_secret(c1, product);
        let (low, high) = product.split_at_mut(listed.len());
        let [p0, p1] = [0, self.limbs - 1].map(|l| self.key.params().limbs()[l].modulus());
        product_to_torus(isa, p0, low, (self.limbs > 1).then_some((p1, &*high)), c1_bits);
        let product = match positions {
            Positions::All => low,
            Positions::List(list) => {
                listed.iter_mut().zip(list).for_each(|(to, &i)| *to = low[i as usize]);
                listed
            }
        };
        round_phase(isa, t, c0, c0_bits, product, out);
    }

    /// c1·s as mixed-radix digits in as many limbs as it needs, for packed c1.
    fn multiply_by_secret(&self, c1: &[u8], product: &mut [u64]) {
        let params = self.key.params();
        for (l, (ring, product)) in
            params.limbs().iter().zip(product.chunks_exact_mut(params.degree())).enumerate()
        {
            signed_residues(ring, c1, self.format.c1_bits(), product);
            ring.forward(product);
            ring.mul_fixed_assign(product, self.key.scaled(l));
            ring.inverse_unscaled(product);
        }
        to_digits(params, product);
    }
}

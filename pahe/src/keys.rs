//! Secret and public keys.

use crate::bits::{pack_into, packed_bytes, unpack_into};
use crate::params::Params;
use crate::sampling::{error_into, ternary_into};
use crate::scaling::all_below;
use ntt::{Fixed, Ring};
use prg::{Prg, Seed};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Key bytes of a peer that are malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the length that the parameters imply.
    #[error("a key of {got} bytes where {expected} were expected")]
    Length {
        /// What the parameters imply.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// A residue is not below its limb.
    #[error("a key holds a residue that is not below its modulus")]
    Range,
}

/// Alice's ternary secret, wiped when dropped. Shared by her encryptor and decryptor.
pub struct SecretKey {
    params: Arc<Params>,
    secret: Arc<Secret>,
}

struct Secret {
    /// The coefficients as two's-complement words.
    signed: Zeroizing<Vec<u64>>,
    /// s/n per limb, in the NTT domain: a product with it needs no scaling after the inverse transform.
    scaled: Vec<Fixed>,
}

impl SecretKey {
    /// Draws a fresh secret.
    pub fn generate(params: &Arc<Params>, prg: &mut Prg) -> Arc<Self> {
        let mut signed = Zeroizing::new(vec![0; params.degree()]);
        ternary_into(prg, &mut signed);
        Self::from_signed(params, signed)
    }

    /// The same secret for another plaintext modulus: keys depend on the rings only.
    ///
    /// # Panics
    /// If `params` has other rings.
    pub fn with_params(&self, params: &Arc<Params>) -> Arc<Self> {
        assert!(self.params.same_rings(params), "a key serves the rings it was made for");
        Arc::new(Self { params: Arc::clone(params), secret: Arc::clone(&self.secret) })
    }

    /// The secret as bytes, for a store of its owner's: one per coefficient.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.secret.signed.iter().map(|x| x.wrapping_add(1) as u8).collect())
    }

    /// Reads what [`SecretKey::to_bytes`] wrote.
    pub fn from_bytes(params: &Arc<Params>, bytes: &[u8]) -> Result<Arc<Self>, KeyError> {
        if bytes.len() != params.degree() {
            return Err(KeyError::Length { expected: params.degree(), got: bytes.len() });
        }
        if bytes.iter().any(|&byte| byte > 2) {
            return Err(KeyError::Range);
        }
        let signed = bytes.iter().map(|&byte| u64::from(byte).wrapping_sub(1)).collect();
        Ok(Self::from_signed(params, Zeroizing::new(signed)))
    }

    fn from_signed(params: &Arc<Params>, signed: Zeroizing<Vec<u64>>) -> Arc<Self> {
        let scaled = params.limbs().iter().map(|ring| scaled_key(ring, &signed)).collect();
        Arc::new(Self { params: Arc::clone(params), secret: Arc::new(Secret { signed, scaled }) })
    }

    /// The parameter set.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    pub(crate) fn scaled(&self, limb: usize) -> &Fixed {
        &self.secret.scaled[limb]
    }

    pub(crate) fn signed(&self) -> &[u64] {
        &self.secret.signed
    }
}

/// s/n in the NTT domain of `ring`, for s as two's-complement words.
pub(crate) fn scaled_key(ring: &Ring, signed: &[u64]) -> Fixed {
    let mut s = vec![0; signed.len()];
    ring.from_signed_into(&mut s, signed);
    ring.forward(&mut s);
    ring.scale_assign(&mut s, ring.inverse_degree());
    ring.fixed(s)
}

/// The public polynomial a of stream `nonce` of `seed`, uniform in the NTT domain of `ring`.
pub(crate) fn expand_uniform(ring: &Ring, seed: &[u8; 16], nonce: u64, out: &mut [u64]) {
    Prg::with_nonce(&Seed::from_bytes(*seed), nonce).fill_below(out, ring.modulus());
}

/// (b, a) with b = e − a·s, by which Bob re-randomises. Only the seed of a and b travel.
pub struct PublicKey {
    params: Arc<Params>,
    seed: [u8; 16],
    /// (b, a) per limb, in the NTT domain.
    pairs: Arc<Vec<[Fixed; 2]>>,
}

impl PublicKey {
    /// A public key for `key`.
    pub fn generate(key: &SecretKey, prg: &mut Prg) -> Self {
        let params = &key.params;
        let seed = *prg.seed().as_bytes();
        let mut errors = Zeroizing::new(vec![0; params.degree()]);
        error_into(prg, &mut errors);
        let mut b = vec![0; params.words()];
        for (l, (ring, b)) in params.limbs().iter().zip(b.chunks_exact_mut(params.degree())).enumerate() {
            expand_uniform(ring, &seed, l as u64, b);
            ring.mul_fixed_assign(b, key.scaled(l));
            ring.inverse_unscaled(b);
            let mut e = Zeroizing::new(vec![0; params.degree()]);
            ring.from_signed_into(&mut e, &errors);
            ring.sub_from_assign(b, &e);
            ring.forward(b);
        }
        Self::from_parts(params, seed, &b)
    }

    fn from_parts(params: &Arc<Params>, seed: [u8; 16], b: &[u64]) -> Self {
        let pair = |(l, (ring, b)): (usize, (&Ring, &[u64]))| {
            let mut a = vec![0; params.degree()];
            expand_uniform(ring, &seed, l as u64, &mut a);
            [ring.fixed(b.to_vec()), ring.fixed(a)]
        };
        let limbs = params.limbs().iter().zip(b.chunks_exact(params.degree()));
        let pairs = Arc::new(limbs.enumerate().map(pair).collect());
        Self { params: Arc::clone(params), seed, pairs }
    }

    /// The same key for another plaintext modulus.
    ///
    /// # Panics
    /// If `params` has other rings.
    pub fn with_params(&self, params: &Arc<Params>) -> Self {
        assert!(self.params.same_rings(params), "a key serves the rings it was made for");
        Self { params: Arc::clone(params), seed: self.seed, pairs: Arc::clone(&self.pairs) }
    }

    /// The parameter set.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// b and a of one limb.
    pub(crate) fn pair(&self, limb: usize) -> &[Fixed; 2] {
        &self.pairs[limb]
    }

    /// Bytes of a key: the seed, then b limb by limb.
    pub fn byte_len(params: &Params) -> usize {
        16 + params.limbs().iter().map(packed_limb_bytes).sum::<usize>()
    }

    /// The key as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.seed.to_vec();
        for (ring, [b, _]) in self.params.limbs().iter().zip(&*self.pairs) {
            append_limb(ring, b.values(), &mut bytes);
        }
        bytes
    }

    /// Reads a peer's key.
    pub fn from_bytes(params: &Arc<Params>, bytes: &[u8]) -> Result<Self, KeyError> {
        let expected = Self::byte_len(params);
        if bytes.len() != expected {
            return Err(KeyError::Length { expected, got: bytes.len() });
        }
        let (seed, mut rest) = bytes.split_at(16);
        let mut b = vec![0; params.words()];
        for (ring, b) in params.limbs().iter().zip(b.chunks_exact_mut(params.degree())) {
            rest = read_limb(ring, rest, b)?;
        }
        let mut seed_bytes = [0; 16];
        seed_bytes.copy_from_slice(seed);
        Ok(Self::from_parts(params, seed_bytes, &b))
    }
}

/// Bits of a residue of `ring`.
pub(crate) fn limb_bits(ring: &Ring) -> u32 {
    64 - ring.modulus().leading_zeros()
}

/// Bytes of one polynomial of `ring`.
pub(crate) fn packed_limb_bytes(ring: &Ring) -> usize {
    packed_bytes(ring.degree(), limb_bits(ring))
}

/// Appends one polynomial of reduced residues.
pub(crate) fn append_limb(ring: &Ring, values: &[u64], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + packed_limb_bytes(ring), 0);
    pack_into(values, limb_bits(ring), &mut bytes[start..]);
}

/// Reads one polynomial from the front of `bytes`, which has been checked to be long enough; returns the rest.
pub(crate) fn read_limb<'a>(ring: &Ring, bytes: &'a [u8], out: &mut [u64]) -> Result<&'a [u8], KeyError> {
    let (head, rest) = bytes.split_at(packed_limb_bytes(ring));
    unpack_into(head, limb_bits(ring), out);
    if all_below(out, ring.modulus()) { Ok(rest) } else { Err(KeyError::Range) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntt::Modulus;

    #[test]
    fn public_keys_travel_and_malformed_ones_do_not() {
        let params = Params::small(Modulus::pow2(16).unwrap()).unwrap();
        let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
        let secret = SecretKey::generate(&params, &mut prg);
        let key = PublicKey::generate(&secret, &mut prg);
        let mut bytes = key.to_bytes();
        assert_eq!(bytes.len(), PublicKey::byte_len(&params));
        let back = PublicKey::from_bytes(&params, &bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        for l in 0..2 {
            assert!((0..2).all(|k| back.pair(l)[k].values() == key.pair(l)[k].values()));
        }
        let short = PublicKey::from_bytes(&params, &bytes[1..]).err();
        assert!(matches!(short, Some(KeyError::Length { .. })));
        bytes[16..24].fill(0xff);
        assert_eq!(PublicKey::from_bytes(&params, &bytes).err(), Some(KeyError::Range));
    }

    #[test]
    fn a_secret_key_is_kept_and_read() {
        let params = Params::small(Modulus::pow2(16).unwrap()).unwrap();
        let secret = SecretKey::generate(&params, &mut Prg::new(&Seed::from_bytes([3; 16])));
        let mut bytes = secret.to_bytes();
        let back = SecretKey::from_bytes(&params, &bytes).unwrap();
        assert_eq!(back.signed(), secret.signed());
        assert!((0..2).all(|l| back.scaled(l).values() == secret.scaled(l).values()));
        let short = SecretKey::from_bytes(&params, &bytes[1..]).err();
        assert!(matches!(short, Some(KeyError::Length { .. })));
        bytes[7] = 3;
        assert_eq!(SecretKey::from_bytes(&params, &bytes).err(), Some(KeyError::Range));
    }

    #[test]
    fn the_public_key_encrypts_zero() {
        let params = Params::small(Modulus::pow2(16).unwrap()).unwrap();
        let mut prg = Prg::new(&Seed::from_bytes([2; 16]));
        let secret = SecretKey::generate(&params, &mut prg);
        let key = PublicKey::generate(&secret, &mut prg);
        for (l, ring) in params.limbs().iter().enumerate() {
            let mut phase = key.pair(l)[1].values().to_vec();
            ring.mul_fixed_assign(&mut phase, secret.scaled(l));
            ring.scale_assign(&mut phase, ring.factor(params.degree() as u64));
            ring.add_assign(&mut phase, key.pair(l)[0].values());
            ring.inverse(&mut phase);
            assert!(phase.iter().all(|&e| e.min(ring.modulus() - e) <= 21), "b + a·s is a small error");
        }
    }
}

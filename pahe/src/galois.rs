//! Rotation of slots: Galois automorphisms followed by a switch back to the secret key.
//!
//! X → X^g turns an encryption under s into one under s(X^g). The key of a rotation holds, for each limb j, an
//! encryption under s of P·s(X^g) on limb j alone (zero mod the other limbs and mod the special prime P):
//! b_j = e_j − a_j·s + P·[limb j]·s(X^g) mod q·P. Bob splits c1(X^g) into its centred residues d_j mod p_j, forms
//! Σ d_j·(b_j, a_j) mod q·P, divides by P with rounding and adds c0(X^g) (hybrid key switching: Gentry, Halevi and
//! Smart, ePrint 2012/099; the digits are those of Bajard et al., SAC 2016).
//!
//! The key relies on circular security, as all key switching to s does. The modulus q·P is the one held to the
//! guidelines. Noise: [`crate::Noise::rotated`]. Cost: a key has 16 bytes of seed and limbs·(limbs + 1)·n residues;
//! a rotation takes limbs·(limbs + 4) + 2 transforms. Constant time: yes.

use crate::ciphertext::Ciphertext;
use crate::keys::{
    KeyError, SecretKey, append_limb, expand_uniform, packed_limb_bytes, read_limb, scaled_key,
};
use crate::params::{ParamError, Params};
use crate::sampling::error_into;
use meter::Primitive;
use ntt::{Fixed, Ring, Slots};
use prg::Prg;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What Bob needs to rotate both rows by one step. Keys are independent of each other and travel one by one.
pub struct GaloisKey {
    params: Arc<Params>,
    step: isize,
    seed: [u8; 16],
    /// (b, a) per digit and ring (limbs, then special prime), in the NTT domain.
    digits: Arc<Vec<Vec<[Fixed; 2]>>>,
}

impl GaloisKey {
    /// The key for rotations by `step` slots to the left (to the right if negative).
    pub fn generate(key: &SecretKey, step: isize, prg: &mut Prg) -> Result<Self, ParamError> {
        let params = key.params();
        let special = params.special().ok_or(ParamError::NoSpecialPrime)?;
        let seed = *prg.seed().as_bytes();
        let rotated =
            Zeroizing::new(rotate_signed(key.signed(), Slots::rotation_exponent(params.degree(), step)));
        let mut errors = Zeroizing::new(vec![0; params.degree()]);
        let mut digits = Vec::new();
        for digit in 0..params.limbs().len() {
            error_into(prg, &mut errors);
            let ring_b = |(i, ring): (usize, &Ring)| {
                let mut b = vec![0; params.degree()];
                expand_uniform(ring, &seed, nonce(digit, i), &mut b);
                ring.mul_fixed_assign(&mut b, &scaled_key(ring, key.signed()));
                ring.inverse_unscaled(&mut b);
                let mut term = Zeroizing::new(vec![0; params.degree()]);
                ring.from_signed_into(&mut term, &errors);
                ring.sub_from_assign(&mut b, &term);
                if i == digit {
                    ring.from_signed_into(&mut term, &rotated);
                    ring.scale_assign(&mut term, ring.factor(special.modulus()));
                    ring.add_assign(&mut b, &term);
                }
                ring.forward(&mut b);
                b
            };
            digits.push(params.key_rings().enumerate().map(ring_b).collect());
        }
        Ok(Self::from_parts(params, step, seed, digits))
    }

    fn from_parts(params: &Arc<Params>, step: isize, seed: [u8; 16], digits: Vec<Vec<Vec<u64>>>) -> Self {
        let digit = |(j, rows): (usize, Vec<Vec<u64>>)| {
            let pair = |(i, (ring, b)): (usize, (&Ring, Vec<u64>))| {
                let mut a = vec![0; params.degree()];
                expand_uniform(ring, &seed, nonce(j, i), &mut a);
                [ring.fixed(b), ring.fixed(a)]
            };
            params.key_rings().zip(rows).enumerate().map(pair).collect()
        };
        let digits = Arc::new(digits.into_iter().enumerate().map(digit).collect());
        Self { params: Arc::clone(params), step, seed, digits }
    }

    /// The same key for another plaintext modulus.
    ///
    /// # Panics
    /// If `params` has other rings.
    pub fn with_params(&self, params: &Arc<Params>) -> Self {
        assert!(self.params.same_rings(params), "a key serves the rings it was made for");
        Self {
            params: Arc::clone(params),
            step: self.step,
            seed: self.seed,
            digits: Arc::clone(&self.digits),
        }
    }

    /// The step to the left.
    pub fn step(&self) -> isize {
        self.step
    }

    /// Bytes of one key.
    pub fn byte_len(params: &Params) -> usize {
        16 + params.limbs().len() * params.key_rings().map(packed_limb_bytes).sum::<usize>()
    }

    /// The key as bytes; the step is agreed apart.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.seed.to_vec();
        for digit in &*self.digits {
            for (ring, [b, _]) in self.params.key_rings().zip(digit) {
                append_limb(ring, b.values(), &mut bytes);
            }
        }
        bytes
    }

    /// Reads a peer's key for `step`.
    pub fn from_bytes(params: &Arc<Params>, step: isize, bytes: &[u8]) -> Result<Self, KeyError> {
        let expected = Self::byte_len(params);
        if bytes.len() != expected || params.special().is_none() {
            return Err(KeyError::Length { expected, got: bytes.len() });
        }
        let (seed, mut rest) = bytes.split_at(16);
        let mut digits = Vec::new();
        for _ in params.limbs() {
            let mut rows = Vec::new();
            for ring in params.key_rings() {
                let mut b = vec![0; params.degree()];
                rest = read_limb(ring, rest, &mut b)?;
                rows.push(b);
            }
            digits.push(rows);
        }
        let mut seed_bytes = [0; 16];
        seed_bytes.copy_from_slice(seed);
        Ok(Self::from_parts(params, step, seed_bytes, digits))
    }
}

/// Which part of the seed's stream belongs to `ring` of `digit`.
fn nonce(digit: usize, ring: usize) -> u64 {
    (16 * digit + ring) as u64
}

/// s(X^g) for signed coefficients.
fn rotate_signed(s: &[u64], g: usize) -> Vec<u64> {
    let n = s.len();
    let mut out = vec![0; n];
    for (i, &c) in s.iter().enumerate() {
        let k = i * g % (2 * n);
        out[k % n] = if k < n { c } else { c.wrapping_neg() };
    }
    out
}

/// For each word of the transform of x(X^g), the word of the transform of x that it equals: word i is the value at
/// ζ^(2·rev(i)+1).
fn word_permutation(n: usize, g: usize) -> Vec<usize> {
    let reverse = |i: usize| i.reverse_bits() >> (usize::BITS - n.trailing_zeros());
    (0..n).map(|i| reverse(((2 * reverse(i) + 1) * g % (2 * n)) / 2)).collect()
}

impl Ciphertext {
    /// The ciphertext whose slot rows are rotated left by the step of `key`.
    ///
    /// # Panics
    /// If the key belongs to another parameter set.
    pub fn rotated(&self, key: &GaloisKey) -> Self {
        let _metered = meter::scope(Primitive::Rotate);
        let params = self.params();
        assert!(params.same_rings(&key.params), "key and ciphertext of one parameter set");
        let n = params.degree();
        let words = word_permutation(n, Slots::rotation_exponent(n, key.step));
        let permute = |x: &[u64]| -> Vec<u64> {
            x.chunks_exact(n).flat_map(|x| words.iter().map(|&word| x[word])).collect()
        };
        let (c0, c1) = self.words();
        let (mut c0, mut digits) = (permute(c0), permute(c1));
        for (ring, digit) in params.limbs().iter().zip(digits.chunks_exact_mut(n)) {
            ring.inverse(digit);
            centre(digit, ring.modulus());
        }
        let [first, c1] = switch_key(params, &digits, key);
        for (ring, (c0, first)) in
            params.limbs().iter().zip(c0.chunks_exact_mut(n).zip(first.chunks_exact(n)))
        {
            ring.add_assign(c0, first);
        }
        Self::from_words(params, c0, c1)
    }

    /// The sum of self and its rotation: with keys of steps 1, 2, 4, … sums over windows by doubling.
    pub fn rotated_sum(&self, key: &GaloisKey) -> Self {
        let mut sum = self.rotated(key);
        sum.add_assign(self);
        sum
    }
}

/// Residues to two's-complement words in (−p/2, p/2].
fn centre(x: &mut [u64], p: u64) {
    x.iter_mut().for_each(|x| *x = x.wrapping_sub(if *x > p / 2 { p } else { 0 }));
}

/// Σ_j digits_j·(b_j, a_j)/P, rounded; digits are centred coefficients, the result is in the NTT domain.
fn switch_key(params: &Params, digits: &[u64], key: &GaloisKey) -> [Vec<u64>; 2] {
    let n = params.degree();
    let mut sums = [Vec::new(), Vec::new()];
    let (mut digit, mut product) = (vec![0; n], vec![0; n]);
    for (i, ring) in params.key_rings().enumerate() {
        let mut acc = [vec![0; n], vec![0; n]];
        for (coefficients, row) in digits.chunks_exact(n).zip(&*key.digits) {
            ring.reduce_signed_into(&mut digit, coefficients);
            ring.forward(&mut digit);
            for (acc, key) in acc.iter_mut().zip(&row[i]) {
                ring.mul_fixed_into(&mut product, &digit, key);
                ring.add_assign(acc, &product);
            }
        }
        let [b, a] = acc;
        sums[0].extend(b);
        sums[1].extend(a);
    }
    sums.map(|sum| divide_by_special(params, sum))
}

/// Drops the special prime, which stands last: (x − [x mod P])/P mod each limb, with the centred residue.
fn divide_by_special(params: &Params, mut x: Vec<u64>) -> Vec<u64> {
    let mut residue = x.split_off(params.words());
    let Some(special) = params.special() else { unreachable!("Galois keys exist only with a special prime") };
    special.inverse(&mut residue);
    centre(&mut residue, special.modulus());
    let mut work = vec![0; params.degree()];
    for (ring, x) in params.limbs().iter().zip(x.chunks_exact_mut(params.degree())) {
        ring.reduce_signed_into(&mut work, &residue);
        ring.forward(&mut work);
        ring.sub_assign(x, &work);
        ring.scale_assign(x, ring.factor(ring.invert_scalar(special.modulus() % ring.modulus())));
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Alice;
    use crate::{Noise, UploadFormat};
    use ntt::Modulus;

    #[test]
    fn rotations_move_slots_within_the_predicted_noise() {
        let params = Params::rotating(Modulus::prime(737_281).unwrap()).unwrap();
        let mut alice = Alice::new(&params, 1);
        let slots = params.slots().unwrap();
        let values = alice.values();
        let mut polynomial = vec![0; params.degree()];
        slots.encode_into(&values, &mut polynomial);
        let ciphertext = alice.encrypt(UploadFormat::FULL, &polynomial);
        let noise = Noise::fresh(UploadFormat::FULL).rotated(&params);
        for step in [1, 64, -5] {
            let key = GaloisKey::generate(&alice.key, step, &mut alice.prg).unwrap();
            let key = GaloisKey::from_bytes(&params, step, &key.to_bytes()).unwrap();
            let rotated = ciphertext.rotated(&key);
            let mut expected = values.clone();
            for row in expected.chunks_mut(params.degree() / 2) {
                row.rotate_left(step.rem_euclid(params.degree() as isize / 2) as usize);
            }
            slots.encode_into(&expected, &mut polynomial);
            let deviation = alice.check_noise((&rotated).into(), &polynomial, noise);
            assert!(deviation > 0.7, "the prediction is not far above the truth: {deviation}");
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let params = Params::new(2048, &[20], Some(25), Modulus::pow2(8).unwrap()).unwrap();
        let mut alice = Alice::new(&params, 2);
        let mut bytes = GaloisKey::generate(&alice.key, 1, &mut alice.prg).unwrap().to_bytes();
        assert_eq!(bytes.len(), GaloisKey::byte_len(&params));
        assert!(GaloisKey::from_bytes(&params, 1, &bytes).is_ok());
        assert!(matches!(GaloisKey::from_bytes(&params, 1, &bytes[1..]), Err(KeyError::Length { .. })));
        bytes[16..32].fill(0xff);
        assert_eq!(GaloisKey::from_bytes(&params, 1, &bytes).err(), Some(KeyError::Range));
        let without = Params::small(Modulus::pow2(8).unwrap()).unwrap();
        let alice = Alice::new(&without, 3);
        let refused = GaloisKey::generate(&alice.key, 1, &mut Prg::from_os()).err();
        assert_eq!(refused, Some(ParamError::NoSpecialPrime));
    }
}

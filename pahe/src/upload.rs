//! Alice's uploads: seeded symmetric encryptions.
//!
//! Functionality: Alice has polynomials of n values mod t, Bob gets their encryptions (c0, a).
//! Format: a stream has a public 16-byte seed, sent once. Ciphertext number i of the stream has
//! a = PRG(seed, 8·i + limb), uniform in the NTT domain, and c0 = e − a·s + round(q·m/t) in coefficients. Only c0
//! travels, as mixed-radix digits (least significant first, n values each); the first loses `drop_bits` low bits,
//! and Bob takes the middle of what remains.
//! Security: RLWE with a ternary secret; index i is used once, because [`Encryptor`] counts. Dropping bits of c0 is a
//! public function of the ciphertext.
//! Noise: variance 10.5 + 1/12 + 4^drop_bits/12 per coefficient ([`crate::Noise::fresh`]).
//! Cost: [`UploadFormat::ciphertext_bytes`] = Σ n·bits(p_l)/8 − n·drop_bits/8 bytes per ciphertext and 16 per stream.
//! Constant time: yes.

use crate::bits::{pack_into, packed_bytes, unpack_into};
use crate::keys::{SecretKey, expand_uniform, limb_bits};
use crate::params::{ParamError, Params};
use crate::sampling::error_into;
use crate::scaling::{add_message, all_below, finish_encryption, from_digits, to_digits};
use meter::Primitive;
use ntt::Words;
use prg::{Prg, Seed};
use rayon::prelude::*;
use std::sync::Arc;
use zeroize::Zeroizing;

/// How ciphertexts travel from Alice to Bob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadFormat {
    drop_bits: u32,
}

/// A peer's upload that is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Not the length that the format implies.
    #[error("an upload of {got} bytes where {expected} were expected")]
    Length {
        /// What the format implies.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// A digit is not below its limb.
    #[error("an upload holds a digit that is not below its modulus")]
    Range,
}

impl UploadFormat {
    /// Everything travels.
    pub const FULL: Self = Self { drop_bits: 0 };

    /// The lowest `drop_bits` bits of every coefficient of c0 stay behind.
    pub fn new(params: &Params, drop_bits: u32) -> Result<Self, ParamError> {
        let bits = limb_bits(&params.limbs()[0]);
        if drop_bits + 2 > bits {
            Err(ParamError::DropBits { drop_bits, bits })
        } else {
            Ok(Self { drop_bits })
        }
    }

    /// Bits dropped.
    pub fn drop_bits(self) -> u32 {
        self.drop_bits
    }

    /// Exact bytes of one ciphertext.
    pub fn ciphertext_bytes(self, params: &Params) -> usize {
        self.digit_widths(params).map(|width| packed_bytes(params.degree(), width)).sum()
    }

    fn digit_widths(self, params: &Params) -> impl Iterator<Item = u32> + '_ {
        let limbs = params.limbs().iter().enumerate();
        limbs.map(move |(l, ring)| limb_bits(ring) - if l == 0 { self.drop_bits } else { 0 })
    }
}

/// The public side of a stream of uploads: parameters, format and the seed of its a.
#[derive(Clone)]
pub struct UploadStream {
    params: Arc<Params>,
    format: UploadFormat,
    seed: [u8; 16],
}

impl UploadStream {
    /// Bytes of [`UploadStream::header`].
    pub const HEADER_BYTES: usize = 16;

    /// Bob's side of the stream whose header Alice sent.
    pub fn from_header(params: &Arc<Params>, format: UploadFormat, header: [u8; 16]) -> Self {
        Self { params: Arc::clone(params), format, seed: header }
    }

    /// What Alice sends before the first ciphertext.
    pub fn header(&self) -> [u8; 16] {
        self.seed
    }

    /// The parameter set.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Exact bytes of one ciphertext.
    pub fn ciphertext_bytes(&self) -> usize {
        self.format.ciphertext_bytes(&self.params)
    }

    /// `count` ciphertexts' bytes, or the error of another length.
    pub(crate) fn split<'a>(&self, bytes: &'a [u8], count: usize) -> Result<Vec<&'a [u8]>, UploadError> {
        let expected = count * self.ciphertext_bytes();
        if bytes.len() != expected {
            return Err(UploadError::Length { expected, got: bytes.len() });
        }
        Ok(bytes.chunks_exact(self.ciphertext_bytes()).collect())
    }

    /// Reads ciphertext `index`, adds Bob's share to it and writes c0 and a in the NTT domain, all limbs each.
    pub(crate) fn read_into(
        &self,
        index: u64,
        bytes: &[u8],
        share: Option<&[u64]>,
        c0: &mut [u64],
        c1: &mut [u64],
    ) -> Result<(), UploadError> {
        self.read_digits(bytes, c0)?;
        from_digits(&self.params, c0);
        let n = self.params.degree();
        let limbs = c0.chunks_exact_mut(n).zip(c1.chunks_exact_mut(n)).zip(self.params.limbs());
        for (l, ((c0, c1), ring)) in limbs.enumerate() {
            if let Some(share) = share {
                add_message(&self.params, l, c0, share);
            }
            ring.forward(c0);
            expand_uniform(ring, &self.seed, nonce(index, l), c1);
        }
        Ok(())
    }

    /// Unpacks and checks the digits; the bits dropped from the first are replaced by half their range.
    fn read_digits(&self, bytes: &[u8], digits: &mut [u64]) -> Result<(), UploadError> {
        let (params, drop, mut rest) = (&self.params, self.format.drop_bits, bytes);
        let limbs = params.limbs().iter().zip(digits.chunks_exact_mut(params.degree()));
        for ((l, (ring, digits)), width) in limbs.enumerate().zip(self.format.digit_widths(params)) {
            let (head, tail) = rest.split_at(packed_bytes(params.degree(), width));
            rest = tail;
            unpack_into(head, width, digits);
            let p = ring.modulus();
            if l == 0 && drop > 0 {
                if !all_below(digits, ((p - 1) >> drop) + 1) {
                    return Err(UploadError::Range);
                }
                // The middle may pass p in the topmost cell: a change of less than the dropped range.
                digits.iter_mut().for_each(|d| *d = ((*d << drop) + (1 << (drop - 1))).min(p - 1));
            } else if !all_below(digits, p) {
                return Err(UploadError::Range);
            }
        }
        Ok(())
    }
}

/// Which part of the seed's stream belongs to limb `limb` of ciphertext `index`.
fn nonce(index: u64, limb: usize) -> u64 {
    8 * index + limb as u64
}

/// Alice's side of a stream: encrypts under the secret key, counting.
pub struct Encryptor {
    key: Arc<SecretKey>,
    stream: UploadStream,
    errors: Seed,
    next: u64,
}

impl Encryptor {
    /// A fresh stream; `prg` gives its public seed and its secret error seed.
    pub fn new(key: &Arc<SecretKey>, format: UploadFormat, prg: &mut Prg) -> Self {
        let stream = UploadStream::from_header(key.params(), format, *prg.seed().as_bytes());
        Self { key: Arc::clone(key), stream, errors: prg.seed(), next: 0 }
    }

    /// The public side.
    pub fn stream(&self) -> &UploadStream {
        &self.stream
    }

    /// Appends `count` ciphertexts to `out` and returns the index of the first. `fill` is called once for each with
    /// its number (from 0) and n zeros to replace by values below t, on the threads of the current rayon pool.
    ///
    /// # Panics
    /// If a value is not below t.
    pub fn encrypt(
        &mut self,
        count: usize,
        fill: impl Fn(usize, &mut [u64]) + Sync,
        out: &mut Vec<u8>,
    ) -> u64 {
        let first = self.next;
        self.next += count as u64;
        let (start, bytes) = (out.len(), self.stream.ciphertext_bytes());
        out.resize(start + count * bytes, 0);
        let this = &*self;
        let parts = out[start..].par_chunks_exact_mut(bytes).enumerate();
        parts.for_each_init(
            || (Scratch::new(&this.stream.params), meter::scope(Primitive::Encrypt)),
            |(scratch, _), (k, bytes)| {
                scratch.message.fill(0);
                fill(k, &mut scratch.message);
                this.encrypt_one(first + k as u64, scratch, bytes);
            },
        );
        first
    }

    fn encrypt_one(&self, index: u64, scratch: &mut Scratch, bytes: &mut [u8]) {
        let (params, Scratch { message, errors, c0 }) = (&self.stream.params, scratch);
        assert!(all_below(message, params.plaintext().value()), "values are reduced mod t");
        error_into(&mut Prg::with_nonce(&self.errors, index), errors);
        for (l, (ring, c0)) in params.limbs().iter().zip(c0.chunks_exact_mut(params.degree())).enumerate() {
            expand_uniform(ring, &self.stream.seed, nonce(index, l), c0);
            ring.mul_fixed_assign(c0, self.key.scaled(l));
            ring.inverse_unscaled(c0);
            finish_encryption(params, l, c0, errors, message);
        }
        to_digits(params, c0);
        let drop = self.stream.format.drop_bits;
        if drop > 0 {
            c0[..params.degree()].iter_mut().for_each(|d| *d >>= drop);
        }
        let mut rest = bytes;
        let digits = c0.chunks_exact(params.degree()).zip(self.stream.format.digit_widths(params));
        for (digits, width) in digits {
            let (head, tail) = rest.split_at_mut(packed_bytes(params.degree(), width));
            pack_into(digits, width, head);
            rest = tail;
        }
    }
}

/// Buffers of one encryption, wiped when dropped.
struct Scratch {
    message: Zeroizing<Words>,
    errors: Zeroizing<Words>,
    c0: Zeroizing<Words>,
}

impl Scratch {
    fn new(params: &Params) -> Self {
        let buffer = |words| Zeroizing::new(Words::zeros(words));
        Self { message: buffer(params.degree()), errors: buffer(params.degree()), c0: buffer(params.words()) }
    }
}

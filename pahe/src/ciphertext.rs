//! Single ciphertexts and plaintexts in natural layout: Hadamard products, sums, and the operands of rotations.

use crate::block::transform_signed;
use crate::params::Params;
use crate::upload::{UploadError, UploadStream};
use std::sync::Arc;

/// A plaintext polynomial in the NTT domain of all limbs.
pub struct Plaintext {
    words: Vec<u64>,
}

impl Plaintext {
    /// From n signed coefficients, smaller in absolute value than every limb.
    ///
    /// # Panics
    /// If there are not n coefficients.
    pub fn from_coefficients(params: &Params, coefficients: &[i64]) -> Self {
        assert_eq!(coefficients.len(), params.degree(), "n coefficients");
        let mut words = vec![0; params.words()];
        transform_signed(params, coefficients, &mut words);
        Self { words }
    }

    /// From n slots mod t; the coefficients are dense and at most t/2 in absolute value. None without slots.
    ///
    /// # Panics
    /// If there are not n values.
    pub fn from_slots(params: &Params, values: &[u64]) -> Option<Self> {
        let (slots, t) = (params.slots()?, params.plaintext());
        let mut polynomial = vec![0; params.degree()];
        slots.encode_into(values, &mut polynomial);
        let coefficients: Vec<i64> = polynomial.iter().map(|&c| t.lift(c)).collect();
        Some(Self::from_coefficients(params, &coefficients))
    }
}

/// A ciphertext (c0, c1) in the NTT domain that Bob works on. It is public until it meets his values; afterwards it
/// can leave only through a [`crate::Sanitiser`].
#[derive(Clone)]
pub struct Ciphertext {
    params: Arc<Params>,
    c0: Vec<u64>,
    c1: Vec<u64>,
}

impl Ciphertext {
    /// Reads ciphertext `index` of `stream` and adds Bob's `share` (n values below t).
    pub fn read(
        stream: &UploadStream,
        index: u64,
        bytes: &[u8],
        share: Option<&[u64]>,
    ) -> Result<Self, UploadError> {
        let params = Arc::clone(stream.params());
        let (mut c0, mut c1) = (vec![0; params.words()], vec![0; params.words()]);
        stream.split(bytes, 1)?;
        stream.read_into(index, bytes, share, &mut c0, &mut c1)?;
        Ok(Self { params, c0, c1 })
    }

    /// The parameter set.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// self += other.
    ///
    /// # Panics
    /// If the parameter sets differ.
    pub fn add_assign(&mut self, other: &Self) {
        assert!(self.params.matches(&other.params), "ciphertexts of one parameter set");
        self.for_each_limb(|ring, x, l| ring.add_assign(x, l), &other.c0, &other.c1);
    }

    /// self *= plaintext: the product of polynomials, hence of slots.
    pub fn mul_assign(&mut self, plaintext: &Plaintext) {
        self.for_each_limb(|ring, x, w| ring.mul_assign(x, w), &plaintext.words, &plaintext.words);
    }

    fn for_each_limb(&mut self, f: impl Fn(&ntt::Ring, &mut [u64], &[u64]), with0: &[u64], with1: &[u64]) {
        let n = self.params.degree();
        for (words, with) in [(&mut self.c0, with0), (&mut self.c1, with1)] {
            let limbs = words.chunks_exact_mut(n).zip(with.chunks_exact(n)).zip(self.params.limbs());
            limbs.for_each(|((x, with), ring)| f(ring, x, with));
        }
    }

    /// From c0 and c1, all limbs each, in the NTT domain.
    pub(crate) fn from_words(params: &Arc<Params>, c0: Vec<u64>, c1: Vec<u64>) -> Self {
        Self { params: Arc::clone(params), c0, c1 }
    }

    /// c0 and c1, all limbs each.
    pub(crate) fn words(&self) -> (&[u64], &[u64]) {
        (&self.c0, &self.c1)
    }
}

//! Single ciphertexts and plaintexts in natural layout: Hadamard products, sums, and the operands of rotations.

use crate::block::transform_signed;
use crate::params::Params;
use crate::upload::{UploadError, UploadStream};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A plaintext polynomial in the NTT domain of all limbs, wiped when dropped.
pub struct Plaintext {
    words: Zeroizing<Vec<u64>>,
}

impl Plaintext {
    /// The polynomial zero.
    pub fn zero(params: &Params) -> Self {
        Self { words: Zeroizing::new(vec![0; params.words()]) }
    }

    /// From n signed coefficients, smaller in absolute value than every limb.
    ///
    /// # Panics
    /// If there are not n coefficients.
    pub fn from_coefficients(params: &Params, coefficients: &[i64]) -> Self {
        assert_eq!(coefficients.len(), params.degree(), "n coefficients");
        let mut this = Self::zero(params);
        transform_signed(params, coefficients, &mut this.words);
        this
    }

    /// From n slots mod t; the coefficients are dense and at most t/2 in absolute value. None without slots.
    ///
    /// # Panics
    /// If there are not n values.
    pub fn from_slots(params: &Params, values: &[u64]) -> Option<Self> {
        params.slots()?;
        let (mut this, mut polynomial) = (Self::zero(params), Zeroizing::new(vec![0; params.degree()]));
        this.set_slots(params, values, &mut polynomial);
        Some(this)
    }

    /// [`Plaintext::from_slots`] in the same memory, with n words of scratch.
    ///
    /// # Panics
    /// If there are not n values, or no slots.
    pub fn set_slots(&mut self, params: &Params, values: &[u64], polynomial: &mut [u64]) {
        let t = params.plaintext();
        params.slots().expect("parameters with slots").encode_into(values, polynomial);
        polynomial.iter_mut().for_each(|c| *c = t.lift(*c) as u64);
        transform_signed(params, bytemuck::cast_slice(polynomial), &mut self.words);
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
    /// An encryption of zero that hides nothing: where sums begin.
    pub fn zero(params: &Arc<Params>) -> Self {
        let [c0, c1] = [(); 2].map(|()| vec![0; params.words()]);
        Self { params: Arc::clone(params), c0, c1 }
    }

    /// Back to zero, keeping the memory.
    pub fn clear(&mut self) {
        self.c0.fill(0);
        self.c1.fill(0);
    }

    /// Reads ciphertext `index` of `stream` and adds Bob's `share` (n values below t).
    pub fn read(
        stream: &UploadStream,
        index: u64,
        bytes: &[u8],
        share: Option<&[u64]>,
    ) -> Result<Self, UploadError> {
        let mut this = Self::zero(stream.params());
        this.refill(stream, index, bytes, share)?;
        Ok(this)
    }

    /// [`Ciphertext::read`] in the same memory, which is unspecified after an error.
    ///
    /// # Panics
    /// If the stream belongs to another parameter set.
    pub fn refill(
        &mut self,
        stream: &UploadStream,
        index: u64,
        bytes: &[u8],
        share: Option<&[u64]>,
    ) -> Result<(), UploadError> {
        assert!(self.params.matches(stream.params()), "ciphertext and stream of one parameter set");
        stream.split(bytes, 1)?;
        stream.read_into(index, bytes, share, &mut self.c0, &mut self.c1)
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
        let n = self.params.degree();
        for (x, y) in [(&mut self.c0, &other.c0), (&mut self.c1, &other.c1)] {
            let limbs = x.chunks_exact_mut(n).zip(y.chunks_exact(n)).zip(self.params.limbs());
            limbs.for_each(|((x, y), ring)| ring.add_assign(x, y));
        }
    }

    /// self += ciphertext · plaintext.
    ///
    /// # Panics
    /// If the parameter sets differ.
    pub fn multiply_add(&mut self, ciphertext: &Self, plaintext: &Plaintext) {
        assert!(self.params.matches(&ciphertext.params), "ciphertexts of one parameter set");
        let n = self.params.degree();
        for (sum, x) in [(&mut self.c0, &ciphertext.c0), (&mut self.c1, &ciphertext.c1)] {
            let operands = x.chunks_exact(n).zip(plaintext.words.chunks_exact(n));
            for ((sum, (x, w)), ring) in sum.chunks_exact_mut(n).zip(operands).zip(self.params.limbs()) {
                ring.multiply_add(sum, x, w);
            }
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

//! Replicated shares: x = x₀ + x₁ + x₂, party i holds xᵢ and xᵢ₊₁ (indices modulo 3).
//!
//! Araki, Furukawa, Lindell, Nof, Ohara: "High-Throughput Semi-Honest Secure Three-Party Computation with an Honest
//! Majority" (CCS 2016), in the form of additive components. Any two parties hold all three components, one party's
//! two components are uniform whatever x is, so shares carry no secret by themselves and are not wiped.
//!
//! Linear operations with public coefficients are local. Boolean shares ([`Bits`]) are bit-sliced: word w of plane
//! j holds bit j of the values 64·w..64·w+64, so that one 64-bit instruction works on 64 values.

use crate::ring::Ring;

/// One party's replicated shares of a vector over [`Ring`] `R`.
#[derive(Clone)]
pub struct Shares<R> {
    /// Component i of party i.
    pub(crate) own: Vec<R>,
    /// Component i+1 of party i.
    pub(crate) next: Vec<R>,
}

impl<R: Ring> Shares<R> {
    /// Shares of zeros.
    pub fn zeros(len: usize) -> Self {
        Self { own: vec![R::default(); len], next: vec![R::default(); len] }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Value-wise sum.
    ///
    /// # Panics
    /// Like all operations on two vectors: if the lengths differ.
    pub fn add(&self, other: &Self) -> Self {
        self.zip(other, R::add)
    }

    /// Value-wise difference.
    pub fn sub(&self, other: &Self) -> Self {
        self.zip(other, R::sub)
    }

    /// Value-wise product with one public constant.
    pub fn scale(&self, factor: R) -> Self {
        self.map(|x| x.mul(factor))
    }

    /// Value-wise product with public constants.
    pub fn scale_each(&self, factors: &[R]) -> Self {
        assert_eq!(self.len(), factors.len(), "one factor per value");
        let product = |side: &[R]| side.iter().zip(factors).map(|(x, &f)| x.mul(f)).collect();
        Self { own: product(&self.own), next: product(&self.next) }
    }

    /// The values at `index`, in that order.
    pub fn gather(&self, index: &[usize]) -> Self {
        let pick = |side: &[R]| index.iter().map(|&i| side[i]).collect();
        Self { own: pick(&self.own), next: pick(&self.next) }
    }

    /// The values at these places, in this order.
    pub fn pick(&self, places: impl Iterator<Item = usize> + Clone) -> Self {
        let side = |x: &[R]| places.clone().map(|i| x[i]).collect();
        Self { own: side(&self.own), next: side(&self.next) }
    }

    /// The values from `start` on, `len` of them.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        Self { own: self.own[start..start + len].to_vec(), next: self.next[start..start + len].to_vec() }
    }

    /// All values of all parts, one part after the other.
    pub fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::zeros(0);
        for part in parts {
            all.own.extend_from_slice(&part.own);
            all.next.extend_from_slice(&part.next);
        }
        all
    }

    /// Applies the same linear map to both components.
    pub(crate) fn map(&self, f: impl Fn(R) -> R + Copy) -> Self {
        Self {
            own: self.own.iter().map(|&x| f(x)).collect(),
            next: self.next.iter().map(|&x| f(x)).collect(),
        }
    }

    /// Applies the same linear map of two vectors to both components.
    pub(crate) fn zip(&self, other: &Self, f: impl Fn(R, R) -> R + Copy) -> Self {
        assert_eq!(self.len(), other.len(), "vectors of different lengths");
        let side = |a: &[R], b: &[R]| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect();
        Self { own: side(&self.own, &other.own), next: side(&self.next, &other.next) }
    }
}

/// One party's replicated Boolean shares of a bit-sliced vector: `planes` bits of each of `len` values.
#[derive(Clone)]
pub struct Bits {
    pub(crate) planes: usize,
    pub(crate) len: usize,
    pub(crate) own: Vec<u64>,
    pub(crate) next: Vec<u64>,
}

impl Bits {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bits per value.
    pub fn planes(&self) -> usize {
        self.planes
    }

    /// Both components of plane `j`.
    pub(crate) fn plane(&self, j: usize) -> (&[u64], &[u64]) {
        let range = j * words(self.len)..(j + 1) * words(self.len);
        (&self.own[range.clone()], &self.next[range])
    }

    /// Plane `j` as shares of their own.
    pub fn select_plane(&self, j: usize) -> Self {
        let (own, next) = self.plane(j);
        Self { planes: 1, len: self.len, own: own.to_vec(), next: next.to_vec() }
    }

    /// Exclusive or.
    pub fn xor(&self, other: &Self) -> Self {
        assert!(self.planes == other.planes && self.len == other.len, "Boolean shares of different shapes");
        let side = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
        Self { own: side(&self.own, &other.own), next: side(&self.next, &other.next), ..*self }
    }

    /// Appends the planes of `other`.
    pub fn stack(mut self, other: &Self) -> Self {
        assert_eq!(self.len, other.len, "Boolean shares of different lengths");
        self.own.extend_from_slice(&other.own);
        self.next.extend_from_slice(&other.next);
        self.planes += other.planes;
        self
    }
}

/// Words of a plane of `len` values.
pub(crate) fn words(len: usize) -> usize {
    len.div_ceil(64)
}

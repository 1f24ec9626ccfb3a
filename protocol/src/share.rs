//! Additive shares of a tensor, and what a party can do to them alone.

use models::Shape;
use ntt::Modulus;
use zeroize::Zeroize;

/// One party's additive share of a tensor: residues mod `modulus`, `[channel, depth, height, width]`, row-major.
/// Wiped when dropped; it has no `Debug`, for a share must not reach a log.
pub struct Share {
    /// The modulus of this edge.
    pub modulus: Modulus,
    /// The tensor's shape.
    pub shape: Shape,
    /// The residues.
    pub values: Vec<u64>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl Share {
    /// A share of these residues.
    pub fn new(modulus: Modulus, shape: Shape, values: Vec<u64>) -> Self {
        assert_eq!(values.len(), shape.len(), "a share has as many values as its shape");
        Self { modulus, shape, values }
    }

    /// The share of a party that holds nothing of a value the other party knows whole.
    pub fn zero(modulus: Modulus, shape: Shape) -> Self {
        Self { modulus, shape, values: vec![0; shape.len()] }
    }

    /// Takes the residues out.
    pub fn into_values(mut self) -> Vec<u64> {
        std::mem::take(&mut self.values)
    }
}

//! Values of `bits` bits each, packed without gaps: value `i` fills bits `i·bits ..` of the byte string, low
//! bit first.
//!
//! Openings and OT messages travel in this form; [`packed_len`] is their exact size. Eight values fill exactly
//! `bits` bytes, so that a stream may be cut at any multiple of eight values.

use crate::OtError;
use ntt::Modulus;

/// Bytes of `n` packed values.
pub fn packed_len(n: usize, bits: u32) -> usize {
    (n * bits as usize).div_ceil(8)
}

/// Packs the low `bits` bits (1 to 64) of every value; higher bits are dropped.
pub fn pack(values: &[u64], bits: u32) -> Vec<u8> {
    let mut bytes = vec![0; packed_len(values.len(), bits)];
    pack_into(values, bits, &mut bytes);
    bytes
}

/// [`pack`] into a buffer of exactly [`packed_len`] bytes.
pub fn pack_into(values: &[u64], bits: u32, bytes: &mut [u8]) {
    check(values.len(), bits, bytes.len());
    let (mask, group) = (u64::MAX >> (64 - bits), bits as usize);
    for (values, bytes) in values.chunks(8).zip(bytes.chunks_mut(group)) {
        let (mut pending, mut filled, mut at) = (0u128, 0, 0);
        for value in values {
            pending |= u128::from(value & mask) << filled;
            filled += bits;
            if filled >= 64 {
                bytes[at..at + 8].copy_from_slice(&(pending as u64).to_le_bytes());
                (pending, filled, at) = (pending >> 64, filled - 64, at + 8);
            }
        }
        let tail = bytes.len() - at;
        bytes[at..].copy_from_slice(&(pending as u64).to_le_bytes()[..tail]);
    }
}

/// The first `n` values of a packed string of exactly [`packed_len`] bytes.
pub fn unpack(bytes: &[u8], bits: u32, n: usize) -> Vec<u64> {
    let mut values = vec![0; n];
    unpack_into(bytes, bits, &mut values);
    values
}

/// [`unpack`] into a buffer; the number of values is its length.
pub fn unpack_into(bytes: &[u8], bits: u32, values: &mut [u64]) {
    check(values.len(), bits, bytes.len());
    let (mask, group) = (u64::MAX >> (64 - bits), bits as usize);
    let mut padded = [0; 72]; // the longest group and one word more
    for (values, bytes) in values.chunks_mut(8).zip(bytes.chunks(group)) {
        padded[..bytes.len()].copy_from_slice(bytes);
        for (i, value) in values.iter_mut().enumerate() {
            let (byte, shift) = (i * group / 8, i * group % 8);
            let mut word = [0; 16];
            word[..9].copy_from_slice(&padded[byte..byte + 9]);
            *value = (u128::from_le_bytes(word) >> shift) as u64 & mask;
        }
    }
}

/// [`unpack_into`] for residues of `modulus` from a peer: a value that is not below it is an error.
pub fn unpack_residues(bytes: &[u8], modulus: Modulus, values: &mut [u64]) -> Result<(), OtError> {
    unpack_into(bytes, modulus.bits(), values);
    check_below(values, modulus.value())
}

/// An error naming the first value that is not below `bound`.
pub(crate) fn check_below(values: &[u64], bound: u64) -> Result<(), OtError> {
    match values.iter().position(|&value| value >= bound) {
        Some(index) => Err(OtError::OutOfRange { index, value: values[index], modulus: bound }),
        None => Ok(()),
    }
}

fn check(n: usize, bits: u32, len: usize) {
    assert!((1..=64).contains(&bits), "a packed value has 1 to 64 bits");
    assert_eq!(len, packed_len(n, bits), "the packed string's length belongs to the number of values");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpacking_reverts_packing(values: Vec<u64>, bits in 1u32..=64) {
            let bytes = pack(&values, bits);
            let kept: Vec<u64> = values.iter().map(|v| v & (u64::MAX >> (64 - bits))).collect();
            prop_assert_eq!(unpack(&bytes, bits, values.len()), kept);
        }

        #[test]
        fn every_bit_has_its_place(values: Vec<u64>, bits in 1u32..=64) {
            let bytes = pack(&values, bits);
            prop_assert_eq!(bytes.len(), (values.len() * bits as usize).div_ceil(8));
            for i in 0..8 * bytes.len() {
                let (value, bit) = (i / bits as usize, i % bits as usize);
                let expected = values.get(value).is_some_and(|v| v >> bit & 1 == 1);
                prop_assert_eq!(bytes[i / 8] >> (i % 8) & 1 == 1, expected);
            }
        }
    }

    #[test]
    fn residues_out_of_range_are_refused() {
        let p = Modulus::prime(40_961).unwrap();
        let mut values = [0; 3];
        unpack_residues(&pack(&[0, 40_960, 5], 16), p, &mut values).unwrap();
        assert_eq!(values, [0, 40_960, 5]);
        let error = unpack_residues(&pack(&[0, 1, 40_961], 16), p, &mut values);
        assert_eq!(error, Err(OtError::OutOfRange { index: 2, value: 40_961, modulus: 40_961 }));
    }
}

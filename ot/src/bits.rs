//! Packed bit vectors: bit `i` is bit `i % 64` of word `i / 64`. Bits past the end of a vector have no meaning.

/// Words that hold `n` bits.
pub fn words(n: usize) -> usize {
    n.div_ceil(64)
}

/// Bit `i`.
#[inline]
pub fn get(bits: &[u64], i: usize) -> bool {
    bits[i / 64] >> (i % 64) & 1 == 1
}

/// Sets bit `i` to `value`.
#[inline]
pub fn set(bits: &mut [u64], i: usize, value: bool) {
    let word = &mut bits[i / 64];
    *word = *word & !(1 << (i % 64)) | u64::from(value) << (i % 64);
}

/// Packs bools.
pub fn from_bools(bools: &[bool]) -> Vec<u64> {
    let word = |chunk: &[bool]| chunk.iter().rev().fold(0, |word, &bit| word << 1 | u64::from(bit));
    bools.chunks(64).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_they_were_put() {
        let bools: Vec<bool> = (0..131).map(|i| i % 3 == 0 || i % 7 == 2).collect();
        let mut packed = from_bools(&bools);
        assert_eq!(packed.len(), words(131));
        assert!((0..131).all(|i| get(&packed, i) == bools[i]));
        set(&mut packed, 130, !bools[130]);
        set(&mut packed, 1, bools[1]);
        assert!(
            get(&packed, 130) != bools[130] && get(&packed, 1) == bools[1] && get(&packed, 129) == bools[129]
        );
    }
}

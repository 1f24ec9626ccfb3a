//! Packing of values of up to 57 bits into bytes, little endian, without gaps.

use zeroize::Zeroize;

/// Bytes of `count` values of `width` bits.
pub(crate) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs `values`, each below 2^`width`, into `out`.
///
/// # Panics
/// If `width` is not in 1..=57 or `out` has another length than [`packed_bytes`].
pub(crate) fn pack_into(values: &[u64], width: u32, out: &mut [u8]) {
    assert!((1..=57).contains(&width) && out.len() == packed_bytes(values.len(), width), "packed length");
    let (mut pending, mut filled, mut at) = (0u64, 0, 0);
    for &value in values {
        debug_assert!(value >> width == 0, "a value exceeds its width");
        pending |= value << filled;
        filled += width;
        if filled >= 64 {
            out[at..at + 8].copy_from_slice(&pending.to_le_bytes());
            at += 8;
            filled -= 64;
            pending = value.checked_shr(width - filled).unwrap_or(0);
        }
    }
    let rest = out.len() - at;
    out[at..].copy_from_slice(&pending.to_le_bytes()[..rest]);
    pending.zeroize();
}

/// Unpacks values of `width` bits from `bytes` into `out`. Padding bits after the last value are ignored.
///
/// # Panics
/// If `width` is not in 1..=57 or `bytes` has another length than [`packed_bytes`].
pub(crate) fn unpack_into(bytes: &[u8], width: u32, out: &mut [u64]) {
    assert!((1..=57).contains(&width) && bytes.len() == packed_bytes(out.len(), width), "packed length");
    let mask = (1 << width) - 1;
    // Values whose eight bytes lie inside are read directly, the last few from a padded copy.
    let direct = out.len().min((bytes.len().saturating_sub(7) * 8).div_ceil(width as usize));
    let read = |bytes: &[u8], bit: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[bit / 8..bit / 8 + 8]);
        (u64::from_le_bytes(word) >> (bit % 8)) & mask
    };
    let (head, tail) = out.split_at_mut(direct);
    for (i, value) in head.iter_mut().enumerate() {
        *value = read(bytes, i * width as usize);
    }
    let start = direct * width as usize / 8;
    let mut padded = bytes[start..].to_vec();
    padded.resize(padded.len() + 8, 0);
    for (i, value) in tail.iter_mut().enumerate() {
        *value = read(&padded, (direct + i) * width as usize - start * 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prg::{Prg, Seed};

    #[test]
    fn every_width_and_length_survives() {
        let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
        for width in 1..=57 {
            for count in [0, 1, 2, 7, 8, 9, 63, 64, 65, 200] {
                let mut values = vec![0; count];
                prg.fill_below(&mut values, 1 << width);
                let mut bytes = vec![0xff; packed_bytes(count, width)];
                pack_into(&values, width, &mut bytes);
                let bit = |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
                let slow =
                    (0..count).map(|i| (0..width as usize).map(|b| bit(i * width as usize + b) << b).sum());
                assert_eq!(slow.collect::<Vec<u64>>(), values);
                let mut back = vec![u64::MAX; count];
                unpack_into(&bytes, width, &mut back);
                assert_eq!(back, values, "width {width}, count {count}");
            }
        }
    }
}

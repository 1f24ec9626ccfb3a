//! Packing of values of up to 57 bits into bytes, little endian, without gaps. Eight of them fill whole bytes.
//!
//! Constant time: yes.

use ntt::simd::{Isa, Kernel, LANES, Lanes, MAX_WIDTH, WINDOW};

/// Bytes of `count` values of `width` bits.
pub(crate) fn packed_bytes(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Packs `values`, each below 2^`width`, into `out`.
///
/// # Panics
/// If `width` is not in 1..=57 or `out` has another length than [`packed_bytes`].
pub(crate) fn pack_into(values: &[u64], width: u32, out: &mut [u8]) {
    check(values.len(), width, out.len());
    debug_assert!(values.iter().all(|value| value >> width == 0), "a value exceeds its width");
    Isa::detect().run(Pack { values, width, out });
}

/// Unpacks values of `width` bits from `bytes` into `out`. Padding bits after the last value are ignored.
///
/// # Panics
/// If `width` is not in 1..=57 or `bytes` has another length than [`packed_bytes`].
pub(crate) fn unpack_into(bytes: &[u8], width: u32, out: &mut [u64]) {
    check(out.len(), width, bytes.len());
    Isa::detect().run(Unpack { bytes, width, out });
}

fn check(count: usize, width: u32, bytes: usize) {
    assert!((1..=MAX_WIDTH).contains(&width) && bytes == packed_bytes(count, width), "packed length");
}

/// Packed values, eight at a time.
pub(crate) struct Packed<'a, L: Lanes> {
    bytes: &'a [u8],
    width: usize,
    unpacking: L::Unpacking,
}

impl<'a, L: Lanes> Packed<'a, L> {
    /// Values of `width` bits.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], width: u32) -> Self {
        Self { bytes, width: width as usize, unpacking: L::unpacking(width) }
    }

    /// Values 8·`group` and following; zeros after the last.
    #[inline(always)]
    pub(crate) fn get(&self, group: usize) -> L {
        let rest = &self.bytes[group * self.width..];
        if let Some(window) = rest.first_chunk() {
            return L::unpack(self.unpacking, window);
        }
        let mut window = [0; WINDOW];
        window[..rest.len()].copy_from_slice(rest);
        L::unpack(self.unpacking, &window)
    }
}

struct Unpack<'a> {
    bytes: &'a [u8],
    width: u32,
    out: &'a mut [u64],
}

impl Kernel for Unpack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let packed = Packed::<L>::new(self.bytes, self.width);
        let (whole, tail) = self.out.as_chunks_mut::<LANES>();
        for (group, out) in whole.iter_mut().enumerate() {
            packed.get(group).store(out);
        }
        if !tail.is_empty() {
            let mut last = [0; LANES];
            packed.get(whole.len()).store(&mut last);
            tail.copy_from_slice(&last[..tail.len()]);
        }
    }
}

struct Pack<'a> {
    values: &'a [u64],
    width: u32,
    out: &'a mut [u8],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { values, width, out } = self;
        let (packing, bytes) = (L::packing(width), width as usize);
        let (whole, tail) = values.as_chunks::<LANES>();
        for (group, values) in whole.iter().enumerate() {
            put(L::load(values), packing, bytes, &mut out[group * bytes..]);
        }
        if !tail.is_empty() {
            let mut last = [0; LANES];
            last[..tail.len()].copy_from_slice(tail);
            put(L::load(&last), packing, bytes, &mut out[whole.len() * bytes..]);
        }
    }
}

/// Packs eight values into `bytes` bytes at the front of `out`, or as many as there are. Bytes after them may change, too:
/// later values fill them.
#[inline(always)]
fn put<L: Lanes>(values: L, packing: L::Packing, bytes: usize, out: &mut [u8]) {
    if let Some(window) = out.first_chunk_mut() {
        return values.pack(packing, window);
    }
    let mut window = [0; WINDOW];
    values.pack(packing, &mut window);
    let there = out.len().min(bytes);
    out[..there].copy_from_slice(&window[..there]);
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
                for isa in Isa::available() {
                    let mut same = vec![0xff; bytes.len()];
                    isa.run(Pack { values: &values, width, out: &mut same });
                    assert!(same == bytes, "{} {width} {count}", isa.name());
                }
                let bit = |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
                let slow =
                    (0..count).map(|i| (0..width as usize).map(|b| bit(i * width as usize + b) << b).sum());
                assert_eq!(slow.collect::<Vec<u64>>(), values);
                for isa in Isa::available() {
                    let mut back = vec![u64::MAX; count];
                    isa.run(Unpack { bytes: &bytes, width, out: &mut back });
                    assert_eq!(back, values, "{} {width} {count}", isa.name());
                }
            }
        }
    }
}

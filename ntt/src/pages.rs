//! Buffers of words on cache lines of their own, large ones on huge pages where the system has them.
//!
//! A register of eight words that begins between two lines takes two accesses.
//! The tiled layouts touch one cache line in each of thousands of distant places; with 4 KiB pages every touch would
//! miss the address cache. Linux gives 2 MiB pages on request.

use crate::simd::{Group, LANES};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// Buffers below this size stay on ordinary pages.
const LARGE: usize = 4 << 20;

/// Unused groups after a polynomial. Polynomials have powers of two, and without a margin equal places of several would meet
/// in one set of the cache, and what is written to one would seem to be read from the next.
const MARGIN: usize = 17;

/// Words of polynomials: a multiple of eight, the first at the beginning of a cache line.
#[derive(Default)]
pub struct Words {
    groups: Vec<Group>,
    len: usize,
}

impl Words {
    /// `len` zeros.
    ///
    /// # Panics
    /// If `len` is no multiple of eight.
    pub fn zeros(len: usize) -> Self {
        assert!(len.is_multiple_of(LANES), "whole groups of words");
        let (count, small) = (len / LANES + MARGIN, len * size_of::<u64>() < LARGE);
        Self { groups: if small { vec![Group::default(); count] } else { zeroed(count) }, len }
    }

    /// Another length in the same memory where it is large enough; elsewhere what was there is wiped. What the words are is left
    /// open.
    ///
    /// # Panics
    /// If `len` is no multiple of eight.
    pub fn resize(&mut self, len: usize) {
        assert!(len.is_multiple_of(LANES), "whole groups of words");
        if self.groups.len() < len / LANES {
            self.zeroize();
            self.groups = Vec::new(); // before there is more
            *self = Self::zeros(len);
        }
        self.len = len;
    }
}

impl Deref for Words {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        &bytemuck::cast_slice(&self.groups)[..self.len]
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut bytemuck::cast_slice_mut(&mut self.groups)[..self.len]
    }
}

impl Zeroize for Words {
    /// Wipes all memory, that of longer words before, too.
    fn zeroize(&mut self) {
        bytemuck::cast_slice_mut::<_, u64>(&mut self.groups).zeroize();
    }
}

/// `len` zero groups. The first touch of a page is dear, so the threads of the current rayon pool share them.
#[expect(unsafe_code, reason = "memory that several threads fill")]
pub(crate) fn zeroed(len: usize) -> Vec<Group> {
    let mut groups = Vec::with_capacity(len);
    let memory = &mut groups.spare_capacity_mut()[..len];
    if len * size_of::<Group>() >= LARGE {
        request_huge_pages(memory);
    }
    memory.par_chunks_mut(LARGE / size_of::<Group>()).for_each(|part| {
        part.fill(MaybeUninit::new(Group::default()));
    });
    // SAFETY: the first `len` elements were just written.
    unsafe { groups.set_len(len) };
    groups
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "system call")]
fn request_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    const PAGE: usize = 4096;
    let range = memory.as_mut_ptr_range();
    let start = (range.start as usize).next_multiple_of(PAGE);
    let end = range.end as usize / PAGE * PAGE;
    if start < end {
        let offset = start - range.start as usize;
        // SAFETY: the pages from `start` to `end` lie inside of `memory`, which is borrowed exclusively. MADV_HUGEPAGE
        // changes neither contents nor protection; if it is refused, ordinary pages serve, so the result is ignored.
        let _ =
            unsafe { libc::madvise(range.start.byte_add(offset).cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn request_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_on_a_line_and_are_wiped() {
        let mut words = Words::zeros(24);
        words.fill(7);
        assert!(words.len() == 24 && words.as_ptr().addr().is_multiple_of(64));
        words.resize(8);
        words.zeroize();
        words.resize(24);
        assert!(words.iter().all(|&word| word == 0));
        for len in [8, 0, LARGE / 4, 16] {
            words.resize(len);
            assert!(words.len() == len && words.as_ptr().addr().is_multiple_of(64));
        }
        assert!(Words::zeros(LARGE / 4).iter().all(|&word| word == 0));
    }

    #[test]
    fn buffers_of_every_size_are_zero() {
        for len in [0, 1, 1000, (LARGE >> 6) + 1, 3 * (LARGE >> 6)] {
            let groups = zeroed(len);
            assert!(groups.len() == len && groups.iter().all(|g| *g == Group::default()));
        }
    }
}

//! Large buffers on huge pages, where the system has them.
//!
//! The tiled layouts touch one cache line in each of thousands of distant places; with 4 KiB pages every touch would
//! miss the address cache. Linux gives 2 MiB pages on request.

use crate::simd::Group;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Buffers below this size stay on ordinary pages.
const LARGE: usize = 4 << 20;

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
    fn buffers_of_every_size_are_zero() {
        for len in [0, 1, 1000, (LARGE >> 6) + 1, 3 * (LARGE >> 6)] {
            let groups = zeroed(len);
            assert!(groups.len() == len && groups.iter().all(|g| *g == Group::default()));
        }
    }
}

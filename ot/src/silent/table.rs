//! The table that a code is applied to: 13 MB that is read at random, so it asks for huge pages.
//!
//! With pages of 4 KiB every access also misses the translation buffers; in a virtual machine that costs
//! several times the access itself.

use crate::Block;
use std::ops::Deref;
use zeroize::Zeroizing;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// A vector of blocks that starts at a huge page and is wiped when dropped.
pub(super) struct Table {
    storage: Zeroizing<Vec<Block>>,
    start: usize,
}

impl Table {
    /// An empty table with room for `n` blocks.
    pub(super) fn with_capacity(n: usize) -> Self {
        let bytes = (n * size_of::<Block>()).next_multiple_of(HUGE);
        let mut storage: Vec<Block> = Vec::with_capacity((bytes + HUGE) / size_of::<Block>());
        let start = (storage.as_ptr() as usize).wrapping_neg() % HUGE / size_of::<Block>();
        advise(&mut storage.spare_capacity_mut()[start..start + bytes / size_of::<Block>()]);
        storage.resize(start, 0);
        Self { storage: Zeroizing::new(storage), start }
    }

    /// Appends blocks, within the capacity.
    pub(super) fn extend_from_slice(&mut self, blocks: &[Block]) {
        assert!(self.storage.len() + blocks.len() <= self.storage.capacity(), "a table does not move");
        self.storage.extend_from_slice(blocks);
    }

    /// Forgets the blocks from `n` on.
    pub(super) fn truncate(&mut self, n: usize) {
        self.storage.truncate(self.start + n);
    }
}

impl Deref for Table {
    type Target = [Block];
    fn deref(&self) -> &[Block] {
        &self.storage[self.start..]
    }
}

/// Asks the kernel to back this memory with huge pages; without them everything works, slower.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "madvise has no safe form")]
fn advise(memory: &mut [std::mem::MaybeUninit<Block>]) {
    // SAFETY: the range is memory of ours, borrowed for the call, and the advice does not change its contents.
    unsafe { libc::madvise(memory.as_mut_ptr().cast(), size_of_val(memory), libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_memory: &mut [std::mem::MaybeUninit<Block>]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_its_blocks_at_a_huge_page() {
        for n in [1, 1000, 200_000] {
            let mut table = Table::with_capacity(n);
            let blocks: Vec<Block> = (0..n as Block).collect();
            table.extend_from_slice(&blocks[..n / 2]);
            table.extend_from_slice(&blocks[n / 2..]);
            assert!(table[..] == blocks && (table.as_ptr() as usize).is_multiple_of(HUGE));
            table.truncate(n / 3);
            assert!(table[..] == blocks[..n / 3]);
        }
    }
}

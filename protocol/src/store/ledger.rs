//! Which items a pool ever had, and which were used: a small authenticated file that is replaced whole.

use super::disk;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Version of the files, items included.
pub(super) const FORMAT: u32 = 1;

/// Most bytes of a ledger.
const LIMIT: u64 = 256;

/// More items than any pool ever has.
const MOST: u64 = 1 << 40;

/// A party's marks; they only grow, and the parties compare them before they use or add anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The pool: random, drawn by Alice when it was begun.
    pub pool: [u8; 16],
    /// Number of the next item: those below were made.
    pub next: u64,
    /// High-water mark: items below are used up, or were passed over.
    pub spent: u64,
    /// Alice's: Bob's mark as he last told it.
    pub acknowledged: u64,
}

/// Why the two halves of a pool do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PoolMismatch {
    /// Bob keeps no pools.
    #[error("Bob keeps no pools: he starts with `bob serve --pool FOLDER`, or Alice runs without")]
    NotKept,
    /// Bob has no such pool.
    #[error(
        "Bob does not have Alice's pool for this plan: it was deleted or replaced; delete Alice's and prepare again"
    )]
    Unknown,
    /// Alice's marks are lower than Bob's.
    #[error(
        "Alice's pool is an older copy (her mark is {alice}, Bob's {bob}): its items may have been used; delete the pool on \
         both sides and prepare again"
    )]
    AliceRestored {
        /// Her mark.
        alice: u64,
        /// His.
        bob: u64,
    },
    /// Bob's marks are lower than those that he told Alice.
    #[error(
        "Bob's pool is an older copy (he told mark {told}, and has {bob}): its items may have been used; delete the pool on \
         both sides and prepare again"
    )]
    BobRestored {
        /// What he told before.
        told: u64,
        /// What he has.
        bob: u64,
    },
    /// Bob's half of an item is gone or damaged.
    #[error("Bob's half of item {item} is missing or damaged; the next run takes the next item")]
    Missing {
        /// The item.
        item: u64,
    },
    /// Another run has hold of Bob's pool.
    #[error("Bob's half of the pool is in use by another connection of Alice's; try again when that is done")]
    Busy,
}

impl Marks {
    /// A new pool.
    pub(super) fn new(pool: [u8; 16]) -> Self {
        Self { pool, next: 0, spent: 0, acknowledged: 0 }
    }

    /// Whether a peer's marks can be any pool's at all.
    pub(crate) fn plausible(&self) -> bool {
        self.acknowledged <= self.spent && self.spent <= self.next && self.next <= MOST
    }

    /// Whether nothing was ever made.
    pub(crate) fn is_new(&self) -> bool {
        (self.next, self.spent, self.acknowledged) == (0, 0, 0)
    }

    /// Whether Alice's and Bob's marks can be those of one history: Alice marks an item first, then Bob does and tells
    /// her; Bob stores an item first, then Alice does. Whoever was restored from an older copy breaks that order.
    pub(crate) fn agree(alice: &Self, bob: &Self) -> Result<(), PoolMismatch> {
        if alice.pool != bob.pool {
            return Err(PoolMismatch::Unknown);
        }
        if bob.spent < alice.acknowledged {
            return Err(PoolMismatch::BobRestored { told: alice.acknowledged, bob: bob.spent });
        }
        if bob.next < alice.next {
            return Err(PoolMismatch::BobRestored { told: alice.next, bob: bob.next });
        }
        if alice.spent < bob.spent {
            return Err(PoolMismatch::AliceRestored { alice: alice.spent, bob: bob.spent });
        }
        Ok(())
    }

    /// Brings the file's successor to disk; moving that into place leaves the old file or the new one after a crash.
    pub(super) fn write(&self, path: &Path, key: &[u8; 32]) -> io::Result<PathBuf> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes = postcard::to_extend(self, bytes).map_err(io::Error::other)?;
        let seal = blake3::keyed_hash(key, &bytes);
        bytes.extend(seal.as_bytes());
        let draft = path.with_extension("draft");
        let mut file = disk::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Reads the file; `None` if there is none.
    pub(super) fn read(path: &Path, key: &[u8; 32]) -> io::Result<Option<Self>> {
        let bytes = match disk::read(path, LIMIT) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let marks = || {
            let (body, seal) = bytes.split_last_chunk::<32>()?;
            if blake3::keyed_hash(key, body) != *seal {
                return None; // compared in constant time
            }
            let (format, body) = body.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*format) == FORMAT).then(|| postcard::from_bytes(body).ok())?
        };
        marks().map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
    }
}

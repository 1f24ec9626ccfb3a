//! Pools on disk: what runs need that does not depend on the scan, made beforehand, each item used at most once.
//!
//! ```text
//!   FOLDER/<peer>-<plan>/        one pool: a peer's certificate and a plan
//!     ledger                     marks: how many items were made, which are used up
//!     <pool>-<number>.item       one item: everything that one run needs; sealed
//!     *.draft                    being written; a leftover is removed
//!     lock                       held by the process that works with the pool
//! ```
//!
//! An item is marked as used, on disk, before it is offered to the peer or accepted from it, and wiped when it was
//! read. Marks only grow; both sides compare theirs before anything else ([`Marks::agree`]), so that a side restored
//! from an older copy is found out, and items that either side has marked never run again.
//!
//! Items become usable by Alice's last step alone. Bob stores his half and says so, then she renames hers into place:
//! whatever is interrupted before leaves at most a half of Bob's that nobody will ask for, and that is removed when
//! the mark passes it.
//!
//! Files are sealed with a key that the caller derives from the party's identity; names and marks are no secrets.
//! Everything in a file is bound to format, party, peer, network, plan, pool and item.

pub(crate) mod codec;
mod disk;
mod item;
mod ledger;
mod sealed;

use crate::clock::Stopwatch;
use crate::party::Role;
use crate::plan::Plan;
use crate::report::Side;
use ledger::FORMAT;
use sealed::{Opener, Sealer};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

pub use item::{Item, KeyRing};
pub(crate) use item::{keeps_transfers, save_prepared, save_rest};
pub use ledger::{Marks, PoolMismatch};

/// Why a pool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or folder cannot be read or written.
    #[error("pool: {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that was changed, cut, or made with another key, for another peer or plan.
    #[error(
        "pool: {path} is damaged, or was not written with this identity for this peer and plan; delete its folder on both \
         sides and prepare again"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// Another process has hold of the pool.
    #[error("pool: {folder} is in use by another run; wait for its end, or run without a pool")]
    Busy {
        /// The pool's folder.
        folder: PathBuf,
    },
}

/// Steps after which a process may be interrupted, told to whoever watches a store.
pub type Watch = Arc<dyn Fn(&'static str) + Send + Sync>;

/// Where one party keeps its pools with one peer.
#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
    key: Arc<Zeroizing<[u8; 32]>>,
    side: Side,
    peer: [u8; 32],
    watch: Watch,
}

/// One party's half of a pool, in its hands until dropped.
pub struct Pool {
    folder: PathBuf,
    item_key: Zeroizing<[u8; 32]>,
    ledger_key: Zeroizing<[u8; 32]>,
    marks: Marks,
    watch: Watch,
    _lock: File,
}

/// An item that is being written.
pub(crate) struct Draft {
    path: PathBuf,
    out: Sealer<BufWriter<File>>,
}

/// An item that is on disk, but not in its place yet.
pub(crate) struct Stored {
    path: PathBuf,
    item: u64,
}

impl Store {
    /// Pools in a folder, sealed with a key of the party's, shared with the peer of this certificate's fingerprint.
    pub fn new(folder: impl Into<PathBuf>, key: Zeroizing<[u8; 32]>, side: Side, peer: [u8; 32]) -> Self {
        Self { folder: folder.into(), key: Arc::new(key), side, peer, watch: Arc::new(|_| {}) }
    }

    /// The same, telling of every step; tests interrupt processes there.
    pub fn watched(mut self, watch: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        self.watch = Arc::new(watch);
        self
    }

    /// The pool for a plan, if there is one.
    pub fn open(&self, plan: &Plan) -> Result<Option<Pool>, StoreError> {
        let folder = self.folder_of(plan);
        if !folder.is_dir() {
            return Ok(None);
        }
        let mut pool = self.hold(folder, plan)?;
        let path = pool.ledger_path();
        let Some(marks) = Marks::read(&path, &pool.ledger_key).map_err(|error| failed(&path, error))? else {
            return Ok(None);
        };
        pool.marks = marks;
        // An item may have come into place without being counted.
        pool.marks.next = pool.items()?.last().map_or(0, |last| last + 1).max(marks.next);
        pool.sweep()?;
        Ok(Some(pool))
    }

    /// A new pool for a plan; what was in its place is removed.
    pub(crate) fn create(&self, plan: &Plan, id: [u8; 16]) -> Result<Pool, StoreError> {
        let folder = self.folder_of(plan);
        disk::create_folder(&folder).map_err(|error| failed(&folder, error))?;
        let mut pool = self.hold(folder, plan)?;
        pool.marks = Marks::new(id);
        pool.write_marks("pool begun")?;
        pool.sweep()?;
        Ok(pool)
    }

    /// A new pool for a plan with a random name.
    pub fn begin(&self, plan: &Plan) -> Result<Pool, StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| failed(&self.folder, io::Error::other(error)))?;
        self.create(plan, id)
    }

    pub(crate) fn step(&self, name: &'static str) {
        (self.watch)(name);
    }

    fn folder_of(&self, plan: &Plan) -> PathBuf {
        let hex = crate::session::hex;
        self.folder.join(format!("{}-{}", hex(&self.peer[..8]), hex(&plan.hash()[..8])))
    }

    /// Takes hold of a folder.
    fn hold(&self, folder: PathBuf, plan: &Plan) -> Result<Pool, StoreError> {
        let path = folder.join("lock");
        let lock = disk::create(&path).map_err(|error| failed(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy { folder }),
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
        }
        // What a file is for goes into the key that it is sealed with.
        let derive = |purpose: &str| {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            let side = if self.side == Side::Alice { 0 } else { 1 };
            let number = |n: usize| (n as u64).to_le_bytes();
            hasher.update(&number(purpose.len())).update(purpose.as_bytes());
            hasher.update(&FORMAT.to_le_bytes()).update(&[side]).update(&self.peer);
            hasher.update(&plan.manifest().hash()).update(&plan.hash());
            Zeroizing::new(*hasher.finalize().as_bytes())
        };
        let (item_key, ledger_key) = (derive("items"), derive("ledger"));
        let marks = Marks::new([0; 16]);
        Ok(Pool { folder, item_key, ledger_key, marks, watch: Arc::clone(&self.watch), _lock: lock })
    }
}

impl Pool {
    /// This side's marks.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The items that are there and not used up, lowest first.
    pub fn items(&self) -> Result<Vec<u64>, StoreError> {
        let mut items: Vec<u64> = self.files()?.iter().filter_map(|path| self.number(path)).collect();
        items.retain(|item| *item >= self.marks.spent);
        items.sort_unstable();
        Ok(items)
    }

    /// Bytes of all items on disk.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let len = |item| {
            let path = self.item_path(item);
            fs::metadata(&path).map(|file| file.len()).map_err(|error| failed(&path, error))
        };
        self.items()?.into_iter().map(len).sum()
    }

    /// Marks everything up to an item as used, for good.
    pub(crate) fn spend(&mut self, item: u64) -> Result<(), StoreError> {
        self.marks.spent = self.marks.spent.max(item + 1);
        self.write_marks("item marked")
    }

    /// Notes the mark that Bob has.
    pub(crate) fn acknowledge(&mut self, mark: u64) -> Result<(), StoreError> {
        self.marks.acknowledged = mark;
        self.write_marks("mark acknowledged")
    }

    /// Passes over what the peer has passed over.
    pub(crate) fn pass(&mut self, mark: u64) -> Result<(), StoreError> {
        if mark <= self.marks.spent {
            return Ok(());
        }
        self.marks.spent = mark;
        self.write_marks("items passed over")?;
        self.sweep()
    }

    /// Reads an item that was marked, and wipes it.
    pub(crate) fn take<R: Role>(&self, plan: &Plan, item: u64) -> Result<Item<R>, StoreError> {
        assert!(item < self.marks.spent, "an item is marked before it is read");
        let (path, watch) = (self.item_path(item), Stopwatch::start());
        let read = || {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            let associated = self.associated(item);
            let mut opener =
                Opener::new(BufReader::with_capacity(1 << 16, file), &self.item_key, &associated)?;
            let loaded = Item::load(plan, item, len, &mut opener)?;
            opener.finish().map(|()| loaded)
        };
        let mut loaded = read().map_err(|error| failed(&path, error))?;
        (self.watch)("item read");
        disk::wipe(&path).map_err(|error| failed(&path, error))?;
        (self.watch)("item wiped");
        loaded.taken = watch.read();
        Ok(loaded)
    }

    /// Begins an item.
    pub(crate) fn draft(&self, item: u64) -> Result<Draft, StoreError> {
        let path = self.item_path(item).with_extension("draft");
        let create = || {
            let out = BufWriter::with_capacity(1 << 16, disk::create(&path)?);
            Sealer::new(out, &self.item_key, &self.associated(item))
        };
        let out = create().map_err(|error| failed(&path, error))?;
        Ok(Draft { path, out })
    }

    /// Brings a draft to the disk.
    pub(crate) fn store(&self, draft: Draft, item: u64) -> Result<Stored, StoreError> {
        let Draft { path, out } = draft;
        let sync = || out.finish()?.into_inner().map_err(|error| error.into_error())?.sync_all();
        sync().map_err(|error| failed(&path, error))?;
        (self.watch)("draft stored");
        Ok(Stored { path, item })
    }

    /// Puts an item in its place, for good.
    pub(crate) fn keep(&mut self, stored: Stored) -> Result<(), StoreError> {
        let path = self.item_path(stored.item);
        disk::rename(&stored.path, &path).map_err(|error| failed(&path, error))?;
        (self.watch)("item in place");
        self.marks.next = self.marks.next.max(stored.item + 1);
        self.write_marks("item counted")
    }

    pub(crate) fn step(&self, name: &'static str) {
        (self.watch)(name);
    }

    fn write_marks(&self, step: &'static str) -> Result<(), StoreError> {
        let path = self.ledger_path();
        let write = || {
            let draft = self.marks.write(&path, &self.ledger_key)?;
            (self.watch)("marks drafted");
            disk::rename(&draft, &path)
        };
        write().map_err(|error| failed(&path, error))?;
        (self.watch)(step);
        Ok(())
    }

    /// Removes drafts, items that are used up, and those of another pool.
    fn sweep(&self) -> Result<(), StoreError> {
        for path in self.files()? {
            let ours = path.extension().is_some_and(|kind| kind == "item" || kind == "draft");
            if ours && self.number(&path).is_none_or(|item| item < self.marks.spent) {
                disk::wipe(&path).map_err(|error| failed(&path, error))?;
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        let list =
            || -> io::Result<_> { fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect() };
        list().map_err(|error| failed(&self.folder, error))
    }

    /// The number of an item of this pool.
    fn number(&self, path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?.strip_suffix(".item")?;
        name.strip_prefix(&self.prefix())?.parse().ok()
    }

    fn prefix(&self) -> String {
        format!("{}-", crate::session::hex(&self.marks.pool[..8]))
    }

    fn item_path(&self, item: u64) -> PathBuf {
        self.folder.join(format!("{}{item:06}.item", self.prefix()))
    }

    fn ledger_path(&self) -> PathBuf {
        self.folder.join("ledger")
    }

    /// What an item is bound to beyond what its key is.
    fn associated(&self, item: u64) -> Vec<u8> {
        [&self.marks.pool[..], &item.to_le_bytes()].concat()
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display()));
        self.out.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => StoreError::Damaged { path: path.into() },
        _ => StoreError::File { path: path.into(), source },
    }
}

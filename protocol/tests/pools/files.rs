//! Files that were changed, moved, or restored from older copies.

use crate::{make, network, open, quick, segment, store, with_bob};
use models::manifest::Model;
use ndarray::Array4;
use protocol::report::Side;
use protocol::store::{PoolMismatch, Store, StoreError};
use protocol::{Plan, ProtocolError};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zeroize::Zeroizing;

/// Two parties with a pool of some items.
struct Place {
    folder: TempDir,
    model: Model,
    input: Array4<i64>,
    plan: Plan,
}

impl Place {
    fn with(items: usize) -> Self {
        let (model, input) = network();
        let plan = Plan::derive(&model.manifest, &quick()).unwrap();
        let place = Self { folder: tempfile::tempdir().unwrap(), model, input, plan };
        place.make(items).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self, side: Side) -> Store {
        store(self.path(), side)
    }

    fn make(&self, items: usize) -> Result<(), ProtocolError> {
        let (alice, bob) = (self.store(Side::Alice), self.store(Side::Bob));
        let (made, served, _) =
            with_bob(&self.model, Some(&bob), |channel| make(channel, &self.plan, &alice, items).map(drop));
        made.and(served.map(drop))
    }

    /// A run: the item that it took, and what Bob made of it.
    fn run(&self) -> (Result<Option<u64>, ProtocolError>, Result<(), ProtocolError>) {
        self.run_with(&self.store(Side::Alice), Some(&self.store(Side::Bob)))
    }

    fn run_with(
        &self,
        alice: &Store,
        bob: Option<&Store>,
    ) -> (Result<Option<u64>, ProtocolError>, Result<(), ProtocolError>) {
        let run = |channel| segment(channel, &self.plan, alice, &self.input, |_| {});
        let (done, served, _) = with_bob(&self.model, bob, run);
        (done.map(|done| done.item), served.map(drop))
    }

    /// The folder of a side's only pool.
    fn pool(&self, name: &str) -> PathBuf {
        let mut folders = fs::read_dir(self.path().join(name)).unwrap();
        folders.next().unwrap().unwrap().path()
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        let mut files: Vec<_> =
            fs::read_dir(self.pool(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap().to_str().unwrap().ends_with(kind));
        files.sort();
        files.remove(0)
    }

    /// Copies a side's folder away, or back.
    fn copy(&self, from: &str, to: &str) {
        let target = self.path().join(to);
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
        }
        let pool = self.pool(from);
        let target = target.join(pool.file_name().unwrap());
        fs::create_dir_all(&target).unwrap();
        for file in fs::read_dir(pool).unwrap().map(|file| file.unwrap()) {
            fs::copy(file.path(), target.join(file.file_name())).unwrap();
        }
    }
}

fn mismatch<T>(result: Result<T, ProtocolError>) -> PoolMismatch {
    match result.err() {
        Some(ProtocolError::Pool(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    }
}

fn damaged<T>(result: Result<T, ProtocolError>) -> PathBuf {
    match result.err() {
        Some(ProtocolError::Store(StoreError::Damaged { path })) => path,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_side_restored_from_an_older_copy_is_refused_with_the_remedy() {
    for (side, copy) in [("alice", "alice-copy"), ("bob", "bob-copy")] {
        let place = Place::with(3);
        place.copy(side, copy);
        assert_eq!(place.run().0.unwrap(), Some(0));
        place.copy(copy, side);
        let attempts = [place.make(1), place.run().0.map(drop), place.run().1];
        for told in attempts.into_iter().take(if side == "alice" { 2 } else { 3 }).map(mismatch) {
            assert!(told.to_string().contains("on both sides"), "{told}");
            match side {
                "alice" => assert_eq!(told, PoolMismatch::AliceRestored { alice: 0, bob: 1 }),
                _ => assert_eq!(told, PoolMismatch::BobRestored { told: 1, bob: 0 }),
            }
        }
        // The remedy works.
        fs::remove_dir_all(place.pool("alice")).unwrap();
        fs::remove_dir_all(place.pool("bob")).unwrap();
        place.make(1).unwrap();
        assert_eq!(place.run().0.unwrap(), Some(0));
    }
}

#[test]
fn a_restored_alice_never_runs_an_item_that_bob_has_marked() {
    let place = Place::with(2);
    place.copy("alice", "alice-copy");
    for used in [Some(0), Some(1), None] {
        assert_eq!(place.run().0.unwrap(), used);
    }
    place.copy("alice-copy", "alice");
    for _ in 0..2 {
        assert!(matches!(mismatch(place.run().0), PoolMismatch::AliceRestored { .. }));
    }
    assert_eq!(place.run().0.unwrap(), None, "what is left is made now");
}

#[test]
fn items_that_were_made_after_a_copy_are_not_mixed_up() {
    let place = Place::with(1);
    place.copy("bob", "bob-copy");
    place.make(1).unwrap();
    place.copy("bob-copy", "bob");
    assert_eq!(mismatch(place.run().0), PoolMismatch::BobRestored { told: 2, bob: 1 });
    assert_eq!(mismatch(place.make(1)), PoolMismatch::BobRestored { told: 2, bob: 1 });
}

#[test]
fn a_changed_file_is_not_used() {
    let change = |path: &Path, at: fn(usize) -> usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at(bytes.len());
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    for at in [(|_| 3) as fn(usize) -> usize, |len| len / 2, |len| len - 1] {
        let place = Place::with(2);
        let path = place.file("alice", ".item");
        change(&path, at);
        assert_eq!(damaged(place.run().0), path);
        assert_eq!(place.run().0.unwrap(), Some(1), "the next one is whole");
    }
    let place = Place::with(2);
    let path = place.file("alice", ".item");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    assert_eq!(damaged(place.run().0), path);

    let place = Place::with(2);
    change(&place.file("bob", ".item"), |len| len / 2);
    let (alice, bob) = place.run();
    assert_eq!([mismatch(alice), mismatch(bob)], [PoolMismatch::Missing { item: 0 }; 2]);
    assert_eq!(place.run().0.unwrap(), Some(1));

    // One item in another's place.
    let place = Place::with(2);
    let (first, second) = (place.file("alice", "0.item"), place.file("alice", "1.item"));
    fs::rename(second, &first).unwrap();
    assert_eq!(damaged(place.run().0), first);

    for broken in [|bytes: &mut Vec<u8>| bytes[5] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(20)] {
        let place = Place::with(1);
        let ledger = place.file("alice", "ledger");
        let mut bytes = fs::read(&ledger).unwrap();
        broken(&mut bytes);
        fs::write(&ledger, bytes).unwrap();
        assert_eq!(damaged(place.run().0), ledger);
    }
    // Bob's ledger in place of Alice's.
    let place = Place::with(1);
    fs::copy(place.file("bob", "ledger"), place.file("alice", "ledger")).unwrap();
    damaged(place.run().0);
}

#[test]
fn another_key_peer_or_plan_does_not_open_a_pool() {
    let place = Place::with(1);
    let with = |key: u8, peer: u8| {
        Store::new(place.path().join("alice"), Zeroizing::new([key; 32]), Side::Alice, [peer; 32])
    };
    let bob = place.store(Side::Bob);
    damaged(place.run_with(&with(9, 2), Some(&bob)).0);
    // Another peer or plan has a folder of its own; a pool that is moved there does not open.
    let (own, hex) = (place.pool("alice"), |peer: u8| format!("{peer:02x}").repeat(8));
    let name = own.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(place.run_with(&with(1, 3), Some(&bob)).0.unwrap(), None);
    fs::rename(&own, own.with_file_name(name.replacen(&hex(2), &hex(3), 1))).unwrap();
    damaged(place.run_with(&with(1, 3), Some(&bob)).0);

    let place = Place::with(1);
    let config = protocol::Config { preset: protocol::Preset::Gc, ..quick() };
    let other = Plan::derive(&place.model.manifest, &config).unwrap();
    assert!(place.store(Side::Alice).open(&other).unwrap().is_none());
    let own = place.pool("alice");
    let suffix = protocol::session::hex(&other.hash()[..8]);
    fs::rename(&own, own.with_file_name(format!("{}-{suffix}", hex(2)))).unwrap();
    let opened = place.store(Side::Alice).open(&other).map(drop);
    damaged(opened.map_err(ProtocolError::from));
}

#[test]
fn halves_that_are_not_there_are_told_apart() {
    let place = Place::with(2);
    let (alice, bob) = (place.store(Side::Alice), place.store(Side::Bob));
    assert_eq!(mismatch(place.run_with(&alice, None).0), PoolMismatch::NotKept);
    let held = open(&bob, &place.plan).unwrap();
    assert_eq!(mismatch(place.make(1)), PoolMismatch::Busy);
    drop(held);
    let held = open(&alice, &place.plan).unwrap();
    assert!(matches!(place.make(1), Err(ProtocolError::Store(StoreError::Busy { .. }))));
    drop(held);
    assert_eq!(place.run().0.unwrap(), Some(1));
    place.make(1).unwrap();
    fs::remove_dir_all(place.pool("bob")).unwrap();
    let (told, known) = place.run();
    assert_eq!([mismatch(told), mismatch(known)], [PoolMismatch::Unknown; 2]);
    assert_eq!(mismatch(place.make(1)), PoolMismatch::Unknown);
    // A pool that Alice begins anew replaces Bob's.
    fs::remove_dir_all(place.pool("alice")).unwrap();
    place.make(1).unwrap();
    fs::remove_dir_all(place.pool("alice")).unwrap();
    place.make(1).unwrap();
    assert_eq!(open(&bob, &place.plan).unwrap().items().unwrap(), [0]);
    assert_eq!(place.run().0.unwrap(), Some(0));
}

#[test]
fn only_the_owner_reads_and_no_draft_stays() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with(1);
    for side in ["alice", "bob"] {
        let pool = place.pool(side);
        assert_eq!(fs::metadata(&pool).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(pool.join("left.draft"), b"over").unwrap();
        for file in fs::read_dir(&pool).unwrap().map(|file| file.unwrap()) {
            if file.file_name() != "left.draft" {
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
            }
        }
    }
    place.run().0.unwrap();
    for side in ["alice", "bob"] {
        let mut names: Vec<_> =
            fs::read_dir(place.pool(side)).unwrap().map(|file| file.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ledger", "lock"]);
    }
}

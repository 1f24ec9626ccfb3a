//! Agreeing on items of a pool: making one on both sides, and using one on both sides, at most once.
//!
//! ```text
//!   Alice                                              Bob
//!   Making an item
//!                                --Prepare: plan, marks-->
//!                                                      compares marks; begins a pool if hers is new
//!   compares marks               <--Pool: his marks--
//!   draft                        <--set-up, offline--> draft
//!   brings the draft to disk                           brings his to disk, and into place
//!                                <--Stored--
//!   renames hers into place: from here on the item can be used
//!
//!   Using an item
//!   marks it, reads it, wipes it
//!                                --Run: plan, marks before, item-->
//!                                                      compares marks; marks it, reads it, wipes it
//!   compares marks, notes his    <--Pool: his marks before--
//! ```
//!
//! The number of a new item is the larger of both sides' next ones, so that a half whose making was interrupted is
//! never mistaken for another. Security: an item runs only after both have marked it on disk; hence never twice unless
//! both sides are restored from older copies at once.

use super::{Claim, Proposal, Reply, Request, another_question, refuse, reply, send};
use crate::engine::{self, Measurements, Observer};
use crate::error::ProtocolError;
use crate::party::{Alice, Bob, DataHolder, Provider};
use crate::plan::Plan;
use crate::store::{Item, Marks, Pool, PoolMismatch, Store, StoreError};
use channels::Channel;

/// Where Bob's half of an item is to go.
pub struct Slot {
    pool: Pool,
    item: u64,
}

/// Alice has an item made, both halves of it, and stores hers; yields what it cost.
pub fn make(
    alice: &mut Alice,
    plan: &Plan,
    pool: &mut Pool,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    send(&mut alice.channel, &Request::Prepare { proposal: Proposal::of(plan), marks: *pool.marks() })?;
    pool.step("making proposed");
    let item = match reply(&mut alice.channel)? {
        Reply::Pool(bob) => {
            compare(pool.marks(), &bob, &bob)?;
            pool.marks().next.max(bob.next)
        }
        _ => return Err(another_question()),
    };
    let mut draft = pool.draft(item)?;
    let made = engine::prepare(plan, alice, &mut draft, observer)?;
    let stored = pool.store(draft, item)?;
    match reply(&mut alice.channel)? {
        Reply::Stored => pool.keep(stored)?,
        _ => return Err(another_question()),
    }
    Ok(made)
}

/// Bob makes and stores his half of an item; yields what it cost.
pub fn store_item(
    bob: &mut Bob,
    plan: &Plan,
    slot: Slot,
    observer: &mut dyn Observer,
) -> Result<Measurements, ProtocolError> {
    let Slot { mut pool, item } = slot;
    let mut draft = pool.draft(item)?;
    let made = engine::prepare(plan, bob, &mut draft, observer)?;
    let stored = pool.store(draft, item)?;
    pool.keep(stored)?;
    send(&mut bob.channel, &Reply::Stored)?;
    pool.step("storing told");
    Ok(made)
}

/// Alice marks the next item of a pool and proposes a run with it; without an item nothing is sent.
pub fn propose_item(
    channel: &mut Channel,
    plan: &Plan,
    pool: &mut Pool,
) -> Result<Option<Item<DataHolder>>, ProtocolError> {
    let Some(&item) = pool.items()?.first() else { return Ok(None) };
    let marks = *pool.marks();
    pool.spend(item)?;
    let taken = pool.take(plan, item)?;
    let claim = Claim { marks, item };
    send(channel, &Request::Run { proposal: Proposal::of(plan), item: Some(claim) })?;
    pool.step("run proposed");
    match reply(channel)? {
        Reply::Pool(bob) => {
            compare(&marks, &bob, &bob)?;
            pool.acknowledge(item + 1)?;
            Ok(Some(taken))
        }
        _ => Err(another_question()),
    }
}

/// Bob accepts a run with an item that Alice has marked, once he has marked it too.
pub(super) fn grant(
    channel: &mut Channel,
    store: Option<&Store>,
    plan: &Plan,
    claim: Claim,
) -> Result<Item<Provider>, ProtocolError> {
    let granted = || {
        let mut pool = kept(store)?.open(plan)?.ok_or(PoolMismatch::Unknown)?;
        let marks = *pool.marks();
        compare(&claim.marks, &marks, &claim.marks)?;
        if claim.item < claim.marks.spent || !pool.items()?.contains(&claim.item) {
            return Err(PoolMismatch::Missing { item: claim.item }.into());
        }
        pool.spend(claim.item)?;
        match pool.take(plan, claim.item) {
            Ok(item) => Ok((marks, item)),
            Err(StoreError::Damaged { .. }) => Err(PoolMismatch::Missing { item: claim.item }.into()),
            Err(error) => Err(error.into()),
        }
    };
    let (marks, item) = granted().map_err(|error| decline(channel, error))?;
    send(channel, &Reply::Pool(marks))?;
    kept(store)?.step("run granted");
    Ok(item)
}

/// Bob finds the place for his half of a new item.
pub(super) fn reserve(
    channel: &mut Channel,
    store: Option<&Store>,
    plan: &Plan,
    alice: &Marks,
) -> Result<Slot, ProtocolError> {
    let found = || {
        let store = kept(store)?;
        let known = store.open(plan)?.filter(|pool| pool.marks().pool == alice.pool);
        let mut pool = match known {
            Some(pool) => pool,
            None if alice.is_new() => store.create(plan, alice.pool)?,
            None => return Err(PoolMismatch::Unknown.into()),
        };
        compare(alice, pool.marks(), alice)?;
        let marks = *pool.marks();
        pool.pass(alice.spent)?;
        Ok((marks, pool))
    };
    let (marks, pool) = found().map_err(|error| decline(channel, error))?;
    let item = alice.next.max(marks.next);
    send(channel, &Reply::Pool(marks))?;
    pool.step("making agreed");
    Ok(Slot { pool, item })
}

/// Compares Alice's and Bob's marks; those of `peer` came over the wire.
fn compare(alice: &Marks, bob: &Marks, peer: &Marks) -> Result<(), ProtocolError> {
    if !peer.plausible() {
        return Err(ProtocolError::Peer("marks that no pool can have".into()));
    }
    Ok(Marks::agree(alice, bob)?)
}

fn kept(store: Option<&Store>) -> Result<&Store, ProtocolError> {
    store.ok_or(PoolMismatch::NotKept.into())
}

/// Tells Alice why not, in words that say nothing of this machine.
fn decline(channel: &mut Channel, error: ProtocolError) -> ProtocolError {
    let told = match &error {
        ProtocolError::Pool(mismatch) => send(channel, &Reply::Mismatch(*mismatch)),
        ProtocolError::Store(StoreError::Busy { .. }) => send(channel, &Reply::Mismatch(PoolMismatch::Busy)),
        _ => {
            refuse(
                channel,
                "these marks, or Bob's half of the pool, cannot be used; his log tells why".into(),
            );
            Ok(())
        }
    };
    told.err().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::Silent;
    use crate::report::Side;
    use crate::session::{MAX_REPLY, answer, receive};
    use channels::memory;
    use models::graph::Shape;
    use models::manifest::Model;
    use models::quantise::QuantiseOptions;
    use models::unet::{Pooling, UNet, activations};
    use prg::Prg;
    use zeroize::Zeroizing;

    fn network() -> (Model, Plan) {
        let unet = UNet {
            rank: 1,
            input: Shape { channels: 1, dims: [1, 1, 8] },
            channels: vec![2],
            pooling: Pooling::Avg,
            activations: activations("relu", 1).unwrap(),
            labels: 2,
            seed: 3,
        };
        let (model, _) = unet.build_quantised(&QuantiseOptions::default()).unwrap();
        let plan = Plan::derive(&model.manifest, &Config::default()).unwrap();
        (model, plan)
    }

    fn store(folder: &tempfile::TempDir, side: Side) -> Store {
        Store::new(folder.path(), Zeroizing::new([5; 32]), side, [6; 32])
    }

    #[test]
    fn answers_that_do_not_fit_are_errors_of_their_kind() {
        type Judge = fn(&ProtocolError) -> bool;
        let (_, plan) = network();
        let folder = tempfile::tempdir().unwrap();
        let mut pool = store(&folder, Side::Alice).begin(&plan).unwrap();
        let own = *pool.marks();
        let marks = |next, spent, acknowledged| Reply::Pool(Marks { next, spent, acknowledged, ..own });
        let peer: Judge = |error| matches!(error, ProtocolError::Peer(_));
        let cases: [(Reply, Judge); 8] = [
            (Reply::Accepted, peer),
            (Reply::Stored, peer),
            (Reply::Manifest("{}".into()), peer),
            (marks(u64::MAX, 0, 0), peer),
            (marks(3, 4, 0), peer),
            (marks(4, 3, 0), |error| {
                matches!(error, ProtocolError::Pool(PoolMismatch::AliceRestored { alice: 0, bob: 3 }))
            }),
            (Reply::Refused("no".into()), |error| matches!(error, ProtocolError::Refused(_))),
            (Reply::Mismatch(PoolMismatch::Busy), |error| {
                matches!(error, ProtocolError::Pool(PoolMismatch::Busy))
            }),
        ];
        for (reply, judge) in cases {
            let (a, mut b) = memory::pair();
            send(&mut b, &reply).unwrap();
            let error =
                make(&mut Alice::new(a, Prg::from_os()), &plan, &mut pool, &mut Silent).err().unwrap();
            assert!(judge(&error), "{error}");
        }
        assert_eq!(*pool.marks(), own, "nothing was counted");
    }

    #[test]
    fn requests_that_do_not_fit_are_refused_in_their_kind() {
        let (model, plan) = network();
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, Side::Bob);
        let own = *store.begin(&plan).unwrap().marks();
        let ask = |request: &Request| {
            let (mut a, mut b) = memory::pair();
            send(&mut a, request).unwrap();
            let error = answer(&mut b, &model, Some(&store)).err().unwrap();
            (error, receive::<Reply>(&mut a, MAX_REPLY).unwrap())
        };
        let claim =
            |marks, item| Request::Run { proposal: Proposal::of(&plan), item: Some(Claim { marks, item }) };
        let prepare = |marks| Request::Prepare { proposal: Proposal::of(&plan), marks };
        for item in [0, 7, u64::MAX] {
            let (error, told) = ask(&claim(own, item));
            assert!(matches!(error, ProtocolError::Pool(PoolMismatch::Missing { item: i }) if i == item));
            assert!(matches!(told, Reply::Mismatch(PoolMismatch::Missing { item: i }) if i == item));
        }
        for marks in
            [Marks { next: u64::MAX, ..own }, Marks { spent: 1, ..own }, Marks { acknowledged: 1, ..own }]
        {
            for request in [claim(marks, 0), prepare(marks)] {
                let (error, told) = ask(&request);
                assert!(matches!(error, ProtocolError::Peer(_)), "{error}");
                assert!(matches!(told, Reply::Refused(_)));
            }
        }
        let other = Marks { pool: [9; 16], next: 1, ..own };
        for request in [claim(other, 0), prepare(other)] {
            assert!(matches!(ask(&request).0, ProtocolError::Pool(PoolMismatch::Unknown)));
        }
        let ahead = Marks { next: 2, ..own };
        let told = ask(&prepare(ahead)).1;
        assert!(matches!(told, Reply::Mismatch(PoolMismatch::BobRestored { told: 2, bob: 0 })));
        assert_eq!(*store.open(&plan).unwrap().unwrap().marks(), own, "nothing was marked");
    }
}

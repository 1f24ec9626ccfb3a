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
            Marks::agree(pool.marks(), &bob)?;
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
            Marks::agree(&marks, &bob)?;
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
        Marks::agree(&claim.marks, &marks)?;
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
        Marks::agree(alice, pool.marks())?;
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

fn kept(store: Option<&Store>) -> Result<&Store, ProtocolError> {
    store.ok_or(PoolMismatch::NotKept.into())
}

/// Tells Alice why not, in words that say nothing of this machine.
fn decline(channel: &mut Channel, error: ProtocolError) -> ProtocolError {
    let told = match &error {
        ProtocolError::Pool(mismatch) => send(channel, &Reply::Mismatch(*mismatch)),
        ProtocolError::Store(StoreError::Busy { .. }) => send(channel, &Reply::Mismatch(PoolMismatch::Busy)),
        _ => {
            refuse(channel, "Bob's half of the pool cannot be read or written; his log tells why".into());
            Ok(())
        }
    };
    told.err().unwrap_or(error)
}

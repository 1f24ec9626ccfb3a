//! Before the first layer: agreeing on a plan, and setting up keys and oblivious transfer.
//!
//! ```text
//!   Alice                                              Bob
//!   [fetch a manifest]           --Request::Manifest-->
//!                                <--Reply::Manifest--
//!   [learns how fast the way is] --Request::Probe-->
//!                                <--as many bytes as asked for--
//!   derives the plan itself      --Request::Run: manifest and plan hash, configuration-->
//!                                                      derives the plan itself, compares
//!                                <--Reply::Accepted, or Refused with the reason--
//!   keys per KeySpec             --public key, Galois keys-->
//!   base OTs                     <------------------->
//! ```
//!
//! Neither side takes parameters from the other: what travels is which strategies were asked for, and hashes. A run
//! from a pool, and the making of its items, begin in the same way: see [`pools`].

mod pools;

use crate::PROTOCOL_VERSION;
use crate::config::Config;
use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::ots;
use crate::party::{Party, Provider, Role};
use crate::plan::Plan;
use crate::store::{Item, Marks, PoolMismatch, Store};
use crate::strategy::Prepared;
use channels::{Channel, Profile};
use models::{Manifest, Model};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub use pools::{Slot, make, propose_item, store_item};

/// Every control message begins with this and the protocol version.
const MAGIC: [u8; 4] = *b"BUNT";

/// Longest request: a configuration with a name per layer.
const MAX_REQUEST: usize = 1 << 20;

/// Longest reply: a manifest.
const MAX_REPLY: usize = 16 << 20;

/// Bytes asked for to learn the rate: the first lets TCP find its window, the second is timed.
const PROBES: [u32; 2] = [1 << 20, 4 << 20];

/// A first probe slower than this is good enough: the way is so slow that its start does not matter.
const SLOW: Duration = Duration::from_millis(500);

/// What Alice asks for.
#[derive(Serialize, Deserialize)]
enum Request {
    /// A manifest.
    Manifest { model: Option<String> },
    /// So many bytes, to see how long they take.
    Probe { bytes: u32 },
    /// A run.
    Run { proposal: Proposal, item: Option<Claim> },
    /// An item for a pool.
    Prepare { proposal: Proposal, marks: Marks },
}

/// The plan that Alice derived, and what she derived it from.
#[derive(Serialize, Deserialize)]
struct Proposal {
    manifest: [u8; 32],
    config: Config,
    plan: [u8; 32],
}

/// The item that a run is to take, which Alice has marked; her marks are those before.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Claim {
    marks: Marks,
    item: u64,
}

/// What Bob answers.
#[derive(Serialize, Deserialize)]
enum Reply {
    Manifest(String),
    Accepted,
    Refused(String),
    /// He accepts; his marks before.
    Pool(Marks),
    /// The halves of the pool do not fit together.
    Mismatch(PoolMismatch),
    /// His half of an item is on disk.
    Stored,
}

/// What Bob agreed to do.
pub struct Agreed<'m> {
    /// The network.
    pub model: &'m Model,
    /// The plan that he derived.
    pub plan: Plan,
    /// What it is to be used for.
    pub task: Task,
}

/// What a plan was agreed on for.
pub enum Task {
    /// A run, from an item of a pool if there is one.
    Run(Option<Item<Provider>>),
    /// The making of an item.
    Prepare(Slot),
}

/// The networks that Bob serves.
pub trait Catalogue {
    /// The network of this name; without a name, the only or the first one.
    fn by_name(&self, name: Option<&str>) -> Option<&Model>;

    /// The network with this manifest hash.
    fn by_hash(&self, hash: &[u8; 32]) -> Option<&Model>;

    /// The names that exist, for a helpful refusal.
    fn names(&self) -> Vec<String>;

    /// Whether clients may learn scores where they ask for them, and not labels alone: scores tell more about the weights.
    fn opens_scores(&self) -> bool {
        false
    }
}

impl Catalogue for Model {
    fn by_name(&self, name: Option<&str>) -> Option<&Model> {
        name.is_none_or(|name| name == self.manifest.name).then_some(self)
    }

    fn by_hash(&self, hash: &[u8; 32]) -> Option<&Model> {
        (self.manifest.hash() == *hash).then_some(self)
    }

    fn names(&self) -> Vec<String> {
        vec![self.manifest.name.clone()]
    }
}

/// Alice asks for the public manifest of a network.
pub fn fetch_manifest(channel: &mut Channel, model: Option<&str>) -> Result<Manifest, ProtocolError> {
    send(channel, &Request::Manifest { model: model.map(str::to_owned) })?;
    match reply(channel)? {
        Reply::Manifest(json) => serde_json::from_str(&json)
            .map_err(|error| ProtocolError::Peer(format!("a manifest that does not parse: {error}"))),
        _ => Err(another_question()),
    }
}

/// Alice measures the way to Bob and back: the round trip, the least of four, and the rate from him to her.
pub fn measure(channel: &mut Channel) -> Result<Profile, ProtocolError> {
    let mut probe = |bytes: u32| -> Result<Duration, ProtocolError> {
        let start = Instant::now();
        send(channel, &Request::Probe { bytes })?;
        let answer = channel.recv_control(bytes as usize)?;
        if answer.len() != bytes as usize {
            return Err(another_question());
        }
        Ok(start.elapsed())
    };
    let mut round_trip = probe(0)?;
    for _ in 0..3 {
        round_trip = round_trip.min(probe(0)?);
    }
    let mut bytes_per_second = f64::INFINITY;
    for bytes in PROBES {
        let taken = probe(bytes)?;
        let sending = taken.saturating_sub(round_trip).max(Duration::from_micros(1));
        bytes_per_second = f64::from(bytes) / sending.as_secs_f64();
        if taken > SLOW {
            break;
        }
    }
    Ok(Profile { name: "measured", bytes_per_second, round_trip })
}

/// Alice proposes her plan; returns once Bob has derived the same.
pub fn propose(channel: &mut Channel, plan: &Plan) -> Result<(), ProtocolError> {
    send(channel, &Request::Run { proposal: Proposal::of(plan), item: None })?;
    match reply(channel)? {
        Reply::Accepted => Ok(()),
        _ => Err(another_question()),
    }
}

/// Bob answers Alice until she has proposed a plan that he derives too; yields the network, the plan and what for.
/// Without a store he keeps no pools.
pub fn answer<'m>(
    channel: &mut Channel,
    catalogue: &'m dyn Catalogue,
    store: Option<&Store>,
) -> Result<Agreed<'m>, ProtocolError> {
    loop {
        match receive(channel, MAX_REQUEST)? {
            Request::Manifest { model } => {
                let Some(model) = catalogue.by_name(model.as_deref()) else {
                    let names = catalogue.names().join(", ");
                    return Err(refuse(channel, format!("no such network here; there are: {names}")));
                };
                let json = serde_json::to_string(&model.manifest)
                    .map_err(|error| ProtocolError::Disagreement(error.to_string()))?;
                send(channel, &Reply::Manifest(json))?;
            }
            Request::Probe { bytes } => {
                let bytes = bytes.min(PROBES[1]) as usize;
                channel.send_control(&vec![0; bytes])?;
            }
            Request::Run { proposal, item: None } => {
                let (model, plan) = examine(channel, catalogue, proposal)?;
                send(channel, &Reply::Accepted)?;
                return Ok(Agreed { model, plan, task: Task::Run(None) });
            }
            Request::Run { proposal, item: Some(claim) } => {
                let (model, plan) = examine(channel, catalogue, proposal)?;
                let task = Task::Run(Some(pools::grant(channel, store, &plan, claim)?));
                return Ok(Agreed { model, plan, task });
            }
            Request::Prepare { proposal, marks } => {
                let (model, plan) = examine(channel, catalogue, proposal)?;
                let task = Task::Prepare(pools::reserve(channel, store, &plan, &marks)?);
                return Ok(Agreed { model, plan, task });
            }
        }
    }
}

impl Proposal {
    fn of(plan: &Plan) -> Self {
        Self { manifest: plan.manifest().hash(), config: plan.config().clone(), plan: plan.hash() }
    }
}

/// Bob derives the plan himself and compares.
fn examine<'m>(
    channel: &mut Channel,
    catalogue: &'m dyn Catalogue,
    proposal: Proposal,
) -> Result<(&'m Model, Plan), ProtocolError> {
    let Some(model) = catalogue.by_hash(&proposal.manifest) else {
        let hash = hex(&proposal.manifest[..8]);
        let reason = format!(
            "no network with manifest {hash}… is served here; fetch the current manifest and try again"
        );
        return Err(refuse(channel, reason));
    };
    match Plan::derive(&model.manifest, &proposal.config) {
        Ok(own) if own.opens_scores() && !catalogue.opens_scores() => {
            let reason = "it shows labels alone, no scores; ask its operator for `bob serve --allow-scores`, or go \
                          without --scores";
            Err(refuse(channel, reason.to_owned()))
        }
        Ok(own) if own.hash() == proposal.plan => Ok((model, own)),
        Ok(_) => {
            let reason = "the two sides derive different plans from the same manifest and \
                          configuration; run the same version on both";
            Err(refuse(channel, reason.to_owned()))
        }
        Err(error) => Err(refuse(channel, error.to_string())),
    }
}

/// Tells the peer why there will be no run.
fn refuse(channel: &mut Channel, reason: String) -> ProtocolError {
    match send(channel, &Reply::Refused(reason.clone())) {
        Ok(()) => ProtocolError::Disagreement(reason),
        Err(error) => error,
    }
}

/// Bob's answer; a refusal is an error.
fn reply(channel: &mut Channel) -> Result<Reply, ProtocolError> {
    match receive(channel, MAX_REPLY)? {
        Reply::Refused(reason) => Err(ProtocolError::Refused(reason)),
        Reply::Mismatch(reason) => Err(ProtocolError::Pool(reason)),
        reply => Ok(reply),
    }
}

fn another_question() -> ProtocolError {
    ProtocolError::Peer("an answer to another question".into())
}

fn send(channel: &mut Channel, message: &impl Serialize) -> Result<(), ProtocolError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(PROTOCOL_VERSION.to_le_bytes());
    let bytes = postcard::to_extend(message, bytes)
        .map_err(|error| ProtocolError::Disagreement(format!("a message does not encode: {error}")))?;
    Ok(channel.send_control(&bytes)?)
}

fn receive<T: for<'de> Deserialize<'de>>(channel: &mut Channel, limit: usize) -> Result<T, ProtocolError> {
    let bytes = channel.recv_control(limit)?;
    let Some((header, body)) = bytes.split_first_chunk::<8>() else {
        return Err(ProtocolError::Peer("a message without a header".into()));
    };
    let [a, b, c, d, version @ ..] = *header;
    if [a, b, c, d] != MAGIC {
        return Err(ProtocolError::Peer("a message of another protocol".into()));
    }
    let version = u32::from_le_bytes(version);
    if version != PROTOCOL_VERSION {
        return Err(ProtocolError::Disagreement(format!(
            "this side speaks protocol version {PROTOCOL_VERSION}, the peer {version}; update the older one"
        )));
    }
    postcard::from_bytes(body)
        .map_err(|error| ProtocolError::Peer(format!("a message that does not parse: {error}")))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the keys that the plan needs, and sets up oblivious transfer.
pub(crate) fn set_up<R: Role>(plan: &Plan, party: &mut Party<R>) -> Result<(), ProtocolError> {
    for spec in plan.keys() {
        party.exchange_keys(&spec)?;
    }
    party.set_up_ot(plan.config().ot, plan.ot_directions())
}

/// Takes up an item; transfers of a source that cannot be kept are set up now.
pub(crate) fn resume<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    item: Item<R>,
) -> Result<Vec<Prepared>, ProtocolError> {
    party.keys = item.keys;
    match item.transfers {
        Some(transfers) => party.transfers = *transfers,
        None => party.set_up_ot(plan.config().ot, plan.ot_directions())?,
    }
    Ok(item.prepared)
}

/// What the set-up of a run costs: keys, and oblivious transfers.
pub(crate) fn setup_cost(plan: &Plan) -> [Flow; 2] {
    let mut keys = Flow::default();
    for spec in plan.keys() {
        keys.alice_to_bob += spec.bytes().unwrap_or(0); // a plan has no specification without parameters
    }
    [keys, ots::setup_cost(plan.config().ot, plan.ot_directions())]
}

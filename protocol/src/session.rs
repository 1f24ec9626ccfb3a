//! Before the first layer: agreeing on a plan, and setting up keys and oblivious transfer.
//!
//! ```text
//!   Alice                                              Bob
//!   [fetch a manifest]           --Request::Manifest-->
//!                                <--Reply::Manifest--
//!   derives the plan itself      --Request::Run: manifest and plan hash, configuration-->
//!                                                      derives the plan itself, compares
//!                                <--Reply::Accepted, or Refused with the reason--
//!   keys per KeySpec             --public key, Galois keys-->
//!   base OTs                     <------------------->
//! ```
//!
//! Neither side takes parameters from the other: what travels is which strategies were asked for, and hashes.

use crate::PROTOCOL_VERSION;
use crate::config::Config;
use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::ots;
use crate::party::{Alice, Bob};
use crate::plan::Plan;
use channels::Channel;
use models::{Manifest, Model};
use serde::{Deserialize, Serialize};

/// Every control message begins with this and the protocol version.
const MAGIC: [u8; 4] = *b"BUNT";

/// Longest request: a configuration with a name per layer.
const MAX_REQUEST: usize = 1 << 20;

/// Longest reply: a manifest.
const MAX_REPLY: usize = 16 << 20;

/// What Alice asks for.
#[derive(Serialize, Deserialize)]
enum Request {
    Manifest { model: Option<String> },
    Run { manifest: [u8; 32], config: Config, plan: [u8; 32] },
}

/// What Bob answers.
#[derive(Serialize, Deserialize)]
enum Reply {
    Manifest(String),
    Accepted,
    Refused(String),
}

/// The networks that Bob serves.
pub trait Catalogue {
    /// The network of this name; without a name, the only or the first one.
    fn by_name(&self, name: Option<&str>) -> Option<&Model>;

    /// The network with this manifest hash.
    fn by_hash(&self, hash: &[u8; 32]) -> Option<&Model>;

    /// The names that exist, for a helpful refusal.
    fn names(&self) -> Vec<String>;
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
    match receive(channel, MAX_REPLY)? {
        Reply::Manifest(json) => serde_json::from_str(&json)
            .map_err(|error| ProtocolError::Peer(format!("a manifest that does not parse: {error}"))),
        Reply::Refused(reason) => Err(ProtocolError::Refused(reason)),
        Reply::Accepted => Err(ProtocolError::Peer("an answer to another question".into())),
    }
}

/// Alice proposes her plan; returns once Bob has derived the same.
pub fn propose(channel: &mut Channel, plan: &Plan) -> Result<(), ProtocolError> {
    let (manifest, config) = (plan.manifest().hash(), plan.config().clone());
    send(channel, &Request::Run { manifest, config, plan: plan.hash() })?;
    match receive(channel, MAX_REPLY)? {
        Reply::Accepted => Ok(()),
        Reply::Refused(reason) => Err(ProtocolError::Refused(reason)),
        Reply::Manifest(_) => Err(ProtocolError::Peer("an answer to another question".into())),
    }
}

/// Bob answers Alice until she has proposed a plan that he derives too; yields the network and the plan.
pub fn answer<'m>(
    channel: &mut Channel,
    catalogue: &'m dyn Catalogue,
) -> Result<(&'m Model, Plan), ProtocolError> {
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
            Request::Run { manifest, config, plan } => {
                let Some(model) = catalogue.by_hash(&manifest) else {
                    let hash = hex(&manifest[..8]);
                    let reason = format!(
                        "no network with manifest {hash}… is served here; fetch the current manifest and try again"
                    );
                    return Err(refuse(channel, reason));
                };
                let own = match Plan::derive(&model.manifest, &config) {
                    Ok(own) => own,
                    Err(error) => return Err(refuse(channel, error.to_string())),
                };
                if own.hash() != plan {
                    let reason = "the two sides derive different plans from the same manifest and \
                                  configuration; run the same version on both"
                        .to_owned();
                    return Err(refuse(channel, reason));
                }
                send(channel, &Reply::Accepted)?;
                return Ok((model, own));
            }
        }
    }
}

/// Tells the peer why there will be no run.
fn refuse(channel: &mut Channel, reason: String) -> ProtocolError {
    match send(channel, &Reply::Refused(reason.clone())) {
        Ok(()) => ProtocolError::Disagreement(reason),
        Err(error) => error,
    }
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

/// Alice's set-up: makes and sends the keys that the plan needs, and prepares oblivious transfer.
pub(crate) fn setup_alice(plan: &Plan, alice: &mut Alice) -> Result<(), ProtocolError> {
    for spec in plan.keys() {
        alice.make_keys(&spec)?;
    }
    alice.set_up_ot(plan.config().ot, plan.ot_directions())?;
    Ok(alice.channel.flush()?)
}

/// Bob's set-up.
pub(crate) fn setup_bob(plan: &Plan, bob: &mut Bob) -> Result<(), ProtocolError> {
    for spec in plan.keys() {
        bob.take_keys(&spec)?;
    }
    bob.set_up_ot(plan.config().ot, plan.ot_directions())?;
    Ok(bob.channel.flush()?)
}

/// What the set-up costs.
pub(crate) fn setup_cost(plan: &Plan) -> Flow {
    let mut flow = Flow::default();
    for spec in plan.keys() {
        flow.alice_to_bob += spec.bytes().unwrap_or(0); // a plan has no specification without parameters
    }
    flow + ots::setup_cost(plan.config().ot, plan.ot_directions())
}

//! The run record: one JSON object for every command that runs a protocol.
//!
//! Bytes count payload and framing as handed to TLS, both directions apart; control messages are in them. CPU
//! seconds of a party include all its threads. A party's own record holds what it can know and null elsewhere.
//! Later versions add keys and keep these.

use crate::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The command that ran.
    pub command: String,
    /// Version of the software.
    pub version: String,
    /// Commit it was built from, where known.
    pub commit: Option<String>,
    /// The network.
    pub model: ModelId,
    /// Backend: `two-party`, `three-party`, `clear`, …
    pub backend: String,
    /// Preset of strategies.
    pub preset: String,
    /// Cryptographic parameters.
    pub parameters: Parameters,
    /// The machine, in words.
    pub machine: String,
    /// Threads per party.
    pub threads: usize,
    /// Network profile.
    pub profile: String,
    /// Cost by phase.
    pub phases: Phases,
    /// Where runs took what was made beforehand; that is in none of the phases.
    #[serde(default)]
    pub pool: Option<PoolRecord>,
    /// CPU time by primitive, and waits, by phase.
    #[serde(default)]
    pub efforts: ByPhase<Effort>,
    /// Cost by layer, in order.
    pub layers: Vec<LayerRecord>,
    /// Peak resident memory.
    pub peak_memory_bytes: PerParty<Option<u64>>,
    /// Agreement with the integer reference, where one process may hold both inputs.
    pub agreement: Option<Agreement>,
    /// Dice per label, where a reference segmentation was given.
    pub dice: Option<BTreeMap<String, f64>>,
    /// Files written.
    pub outputs: Vec<String>,
}

/// Which network ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelId {
    /// Its name.
    pub name: String,
    /// Hash of its public manifest, in hex.
    pub manifest_hash: String,
}

/// Cryptographic parameters of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Share moduli that ran, e.g. `2^20`, `prime 737281`.
    pub moduli: Vec<String>,
    /// Widest share modulus in bits.
    pub share_bits: u32,
    /// Ring degrees that ran.
    pub degrees: Vec<usize>,
    /// log2 of the largest ciphertext or key modulus, per degree.
    pub log2_q: Vec<f64>,
    /// Estimated security of the lattice parameters, bits.
    pub security_bits: u32,
    /// Statistical security of the whole run, bits.
    pub statistical_bits: u32,
}

/// A value per party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerParty<T> {
    /// Alice's.
    pub alice: T,
    /// Bob's.
    pub bob: T,
}

/// The three phases of a run.
pub type Phases = ByPhase<PhaseRecord>;

/// Cost of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Wall-clock time.
    pub seconds: f64,
    /// Alice's CPU time.
    pub cpu_seconds_alice: Option<f64>,
    /// Bob's CPU time.
    pub cpu_seconds_bob: Option<f64>,
    /// Bytes from Alice to Bob.
    pub bytes_alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bytes_bob_to_alice: u64,
    /// Rounds, as Alice counts them.
    pub rounds: u64,
}

/// Runs from a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Items that were used up, one per run.
    pub items: u64,
    /// Runs that found no item and made everything themselves.
    pub live: u64,
    /// What making the items cost this party, beforehand.
    pub prepared: PhaseRecord,
}

/// Cost of one layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The layer's name.
    pub name: String,
    /// Kind of operator.
    pub kind: String,
    /// Strategy that ran.
    pub strategy: String,
    /// Shape of the result `[channels, depth, height, width]`.
    pub shape: [usize; 4],
    /// Wall-clock time.
    pub seconds: f64,
    /// Bytes from Alice to Bob.
    pub bytes_alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bytes_bob_to_alice: u64,
    /// Rounds, as Alice counts them.
    pub rounds: u64,
    /// What the plan predicted from Alice to Bob.
    pub predicted_bytes_alice_to_bob: u64,
    /// What the plan predicted from Bob to Alice.
    pub predicted_bytes_bob_to_alice: u64,
    /// CPU time by primitive, and waits.
    #[serde(flatten)]
    pub effort: Effort,
    /// All of this, offline and online apart; null where the backend has no such phases, and in records of old.
    #[serde(default)]
    pub phases: Option<LayerPhases>,
}

/// What a layer cost in each phase that works on layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerPhases {
    /// What does not depend on the scan.
    pub offline: LayerPart,
    /// The rest.
    pub online: LayerPart,
}

/// What a layer cost in one phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerPart {
    /// Wall-clock time.
    pub seconds: f64,
    /// Bytes from Alice to Bob.
    pub bytes_alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bytes_bob_to_alice: u64,
    /// Rounds, as Alice counts them.
    pub rounds: u64,
    /// CPU time by primitive, and waits.
    #[serde(flatten)]
    pub effort: Effort,
}

/// A value per phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByPhase<T> {
    /// Keys and base OTs.
    pub setup: T,
    /// What does not depend on the scan.
    pub offline: T,
    /// The rest.
    pub online: T,
}

/// What the parties did and what they waited for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Effort {
    /// CPU seconds, all threads.
    pub cpu_seconds: PerParty<Option<f64>>,
    /// Seconds on each party's own clock; one may begin and end a layer before the other.
    pub clock_seconds: PerParty<Option<f64>>,
    /// CPU seconds by primitive; what belongs to none is missing.
    pub primitives: PerParty<Option<BTreeMap<String, f64>>>,
    /// Seconds in which a thread of the party stood still.
    pub waits: PerParty<Option<Waits>>,
    /// Seconds in which the whole party stood still: of the waits, those in which no other thread of it worked. What is
    /// left of its clock it worked, or had work and got no core.
    pub idle: PerParty<Option<Waits>>,
}

/// Seconds that a party waited on its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// For bytes of the peer: it still computed, or they were on the way.
    pub for_peer: f64,
    /// For room in the queue of outgoing bytes: the peer or the network took them too slowly.
    pub for_room: f64,
}

/// Agreement with the integer reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Voxels compared.
    pub total: u64,
    /// Voxels whose label differs.
    pub different: u64,
}

impl ModelId {
    /// The name and hash of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let hash = manifest.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: manifest.name.clone(), manifest_hash: hash }
    }
}

/// Peak resident memory of this process in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

//! Audit: proof that a run computed what the integer reference says, carries included.
//!
//! A ±1-ulp strategy equals the reference up to carries that only both shares together determine. A process that
//! may see both parties' shares — a test, a demo on synthetic trust, a benchmark — lets each party hand the input
//! shares of such layers to an [`Audit`]; [`expected`] then computes every carry and the exact labels that must come
//! out. A run between two machines has no audit: its shares never leave the party.

use crate::cost::Exactness;
use crate::plan::Plan;
use crate::share::Share;
use models::reference::{self, ReferenceError};
use models::{Model, NodeId};
use ndarray::{Array3, Array4};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// Takes a party's input shares of layers that are exact only up to carries.
pub trait Audit: Send {
    /// One layer's input share.
    fn record(&mut self, layer: NodeId, share: &Share) -> io::Result<()>;
}

/// Shares by layer.
pub type Shares = BTreeMap<NodeId, Vec<u64>>;

/// An audit in memory, for both parties in one process.
#[derive(Clone, Default)]
pub struct MemoryAudit(Arc<Mutex<Shares>>);

impl MemoryAudit {
    /// Everything recorded so far.
    pub fn take(&self) -> Shares {
        std::mem::take(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl Audit for MemoryAudit {
    fn record(&mut self, layer: NodeId, share: &Share) -> io::Result<()> {
        let mut shares = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        shares.insert(layer, share.values.clone());
        Ok(())
    }
}

/// An audit in a file, for parties in two processes of one owner.
pub struct FileAudit<W: Write + Send>(pub W);

impl<W: Write + Send> Audit for FileAudit<W> {
    fn record(&mut self, layer: NodeId, share: &Share) -> io::Result<()> {
        let header = [layer as u64, share.values.len() as u64];
        let words = header.iter().chain(&share.values);
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        self.0.write_all(&bytes)?;
        self.0.flush()
    }
}

/// Reads what [`FileAudit`] wrote for this plan.
pub fn read(plan: &Plan, file: impl Read) -> io::Result<Shares> {
    let mut file = io::BufReader::new(file);
    let mut word = || -> io::Result<u64> {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let mut shares = Shares::new();
    for layer in plan.layers().iter().filter(|layer| layer.step.exactness() == Exactness::Carry) {
        let input = plan.manifest().graph.node(layer.id).inputs[0];
        let len = plan.manifest().graph.node(input).shape.len();
        if (word()?, word()?) != (layer.id as u64, len as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the audit file is of another plan"));
        }
        shares.insert(layer.id, (0..len).map(|_| word()).collect::<io::Result<_>>()?);
    }
    Ok(shares)
}

/// The labels that the integer reference yields with the carries that these shares imply.
pub fn expected(
    plan: &Plan,
    model: &Model,
    input: &Array4<i64>,
    alice: &Shares,
    bob: &Shares,
) -> Result<Array3<u8>, ReferenceError> {
    let graph = &plan.manifest().graph;
    let layer = |id: NodeId| plan.layers().iter().find(|layer| layer.id == id);
    let modulus = |id: NodeId| layer(id).map_or(plan.input_modulus(), |layer| layer.modulus);
    reference::run_with(model, input, |id, inputs, exact| {
        let carries = layer(id).and_then(|layer| layer.step.carries());
        let (Some(carries), Some(a), Some(b)) = (carries, alice.get(&id), bob.get(&id)) else {
            return exact();
        };
        let (from, mut y) = (modulus(graph.node(id).inputs[0]), inputs[0].clone());
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            assert_eq!(from.lift(from.add(a, b)), *y, "the shares of layer {id} hold the reference's value");
            *y = carries.value(a, b);
        }
        Ok(y)
    })
}

//! Audit: proof that a run computed what the integer reference says, carries included.
//!
//! A ±1-ulp strategy equals the reference up to carries that only both shares together determine. A process that
//! may see both parties' shares — a test, a demo on synthetic trust, a benchmark — lets each party hand the input
//! shares of such layers, and of further ones if it likes, to an [`Audit`]; [`check`] then compares the values that they
//! hold with the reference's, computes every carry and the exact labels that must come out. A run between two machines
//! has no audit: its shares never leave the party.

use crate::plan::Plan;
use crate::share::Share;
use models::record::Agreement;
use models::reference::{self, ReferenceError};
use models::{Model, NodeId};
use ndarray::{Array3, Array4};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// Takes a party's input shares of layers that are exact only up to carries, and of others that it wants.
pub trait Audit: Send {
    /// Whether it also wants the input of this layer, which is exact.
    fn wants(&self, _layer: NodeId) -> bool {
        false
    }

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

/// An audit in a file, for parties in two processes of one owner: per layer its number, how many values, how many bytes
/// each, all as eight bytes, then the values.
pub struct FileAudit<W: Write + Send> {
    file: W,
    also: BTreeSet<NodeId>,
}

/// Values written or read at a time.
const CHUNK: usize = 1 << 16;

impl<W: Write + Send> FileAudit<W> {
    /// Records to this file, the inputs of layers `also` even where these are exact.
    pub fn new(file: W, also: impl IntoIterator<Item = NodeId>) -> Self {
        Self { file, also: also.into_iter().collect() }
    }
}

impl<W: Write + Send> Audit for FileAudit<W> {
    fn wants(&self, layer: NodeId) -> bool {
        self.also.contains(&layer)
    }

    fn record(&mut self, layer: NodeId, share: &Share) -> io::Result<()> {
        let width = share.modulus.bits().div_ceil(8) as usize;
        for word in [layer, share.values.len(), width] {
            self.file.write_all(&(word as u64).to_le_bytes())?;
        }
        let mut bytes = Vec::with_capacity(CHUNK * width);
        for values in share.values.chunks(CHUNK) {
            bytes.clear();
            values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()[..width]));
            self.file.write_all(&bytes)?;
        }
        self.file.flush()
    }
}

/// What one party recorded, handed out in the order of the plan.
pub trait Recorded {
    /// The share of a layer's input, which has `len` values; `None` if it was not recorded.
    fn take(&mut self, layer: NodeId, len: usize) -> io::Result<Option<Vec<u64>>>;
}

impl Recorded for Shares {
    fn take(&mut self, layer: NodeId, _len: usize) -> io::Result<Option<Vec<u64>>> {
        Ok(self.remove(&layer))
    }
}

/// Reads what [`FileAudit`] wrote, one layer at a time.
pub struct AuditFile<R> {
    file: R,
    next: Option<[u64; 3]>,
}

impl<R: Read> AuditFile<R> {
    /// From the beginning of the file.
    pub fn new(file: R) -> Self {
        Self { file, next: None }
    }

    /// The header of the next layer; `None` at the end.
    fn header(&mut self) -> io::Result<Option<[u64; 3]>> {
        if self.next.is_none() {
            let mut bytes = Vec::with_capacity(24);
            self.file.by_ref().take(24).read_to_end(&mut bytes)?;
            let (words, rest) = bytes.as_chunks::<8>();
            self.next = match (words, rest) {
                ([], []) => None,
                ([layer, len, width], []) => Some([layer, len, width].map(|word| u64::from_le_bytes(*word))),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        Ok(self.next)
    }
}

impl<R: Read> Recorded for AuditFile<R> {
    fn take(&mut self, layer: NodeId, len: usize) -> io::Result<Option<Vec<u64>>> {
        let Some([next, count, width]) = self.header()? else { return Ok(None) };
        if next != layer as u64 {
            return Ok(None);
        }
        if count != len as u64 || !(1..=8).contains(&width) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the audit file is of another plan"));
        }
        self.next = None;
        let width = width as usize;
        let (mut values, mut bytes) = (Vec::with_capacity(len), vec![0; CHUNK * width]);
        while values.len() < len {
            let bytes = &mut bytes[..width * CHUNK.min(len - values.len())];
            self.file.read_exact(bytes)?;
            values.extend(
                bytes
                    .chunks_exact(width)
                    .map(|value| value.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))),
            );
        }
        Ok(Some(values))
    }
}

/// What [`check`] found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The labels that the integer reference yields with the carries that the shares imply.
    pub labels: Array3<u16>,
    /// Per recorded layer, whether its input held the reference's values.
    pub inputs: Vec<(NodeId, Agreement)>,
}

impl Checked {
    /// All recorded values together.
    pub fn values(&self) -> Agreement {
        self.inputs.iter().fold(Agreement::default(), |sum, (_, layer)| Agreement {
            total: sum.total + layer.total,
            different: sum.different + layer.different,
        })
    }
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The reference has no result.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// What was recorded cannot be read.
    #[error("recorded shares: {0}")]
    Shares(#[from] io::Error),
}

/// Evaluates the integer reference with the carries of a run, and compares on the way; `see` is shown every value.
pub fn check(
    plan: &Plan,
    model: &Model,
    input: &Array4<i64>,
    alice: &mut dyn Recorded,
    bob: &mut dyn Recorded,
    see: &mut dyn FnMut(NodeId, &Array4<i64>),
) -> Result<Checked, AuditError> {
    let graph = &plan.manifest().graph;
    let layer = |id: NodeId| plan.layers().iter().find(|layer| layer.id == id);
    let modulus = |id: NodeId| layer(id).map_or(plan.input_modulus(), |layer| layer.modulus);
    let (mut compared, mut failed) = (Vec::new(), None);
    let labels = reference::run_with(model, input, |id, inputs, exact| {
        let shares = |party: &mut dyn Recorded| party.take(id, inputs[0].len());
        let recorded = shares(alice).and_then(|a| Ok(a.zip(shares(bob)?)));
        let value = match recorded.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            None
        }) {
            None => exact()?,
            Some((a, b)) => {
                let from = modulus(graph.node(id).inputs[0]);
                let pairs = || a.iter().zip(&b);
                let holds = |((&a, &b), &x): ((&u64, &u64), &i64)| from.lift(from.add(a, b)) == x;
                let different = pairs().zip(inputs[0]).filter(|&pair| !holds(pair)).count() as u64;
                compared.push((id, Agreement { total: a.len() as u64, different }));
                match layer(id).and_then(|layer| layer.step.carries()) {
                    None => exact()?,
                    Some(carries) => {
                        let mut value = inputs[0].clone();
                        value.iter_mut().zip(pairs()).for_each(|(y, (&a, &b))| *y = carries.value(a, b));
                        value
                    }
                }
            }
        };
        see(id, &value);
        Ok(value)
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Checked { labels, inputs: compared }),
    }
}

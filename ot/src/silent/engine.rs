//! What both parties do alike: batches of trees over a table, trees that wait, and the stock of bits.

use super::params::{Lpn, MAIN, SETUP};
use super::table::Table;
use crate::hash::{Hash, cipher, derive};
use crate::kernel::{Code, Kernel};
use crate::{Block, OtError, bits};
use aes::Aes128;
use prg::Seed;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Blocks that are wiped when dropped.
pub(super) type Secret = Zeroizing<Vec<Block>>;

/// What the parties do differently.
pub(super) trait Role {
    /// The half of the channel that trees go over.
    type Half;

    /// What has to be kept of a tree to expand it later.
    type Tree;

    /// Whether [`Role::start`] leaves the expanded tree in `nodes`.
    const EXPANDS: bool;

    /// Transfers a tree, with one correlated OT of `inputs` per level.
    fn start(
        &mut self,
        kernel: Kernel,
        key: Block,
        inputs: &[Block],
        half: &mut Self::Half,
        nodes: &mut [Block],
    ) -> Result<Self::Tree, OtError>;

    /// Expands a tree into `nodes`.
    fn expand(&self, kernel: Kernel, key: Block, tree: &Self::Tree, nodes: &mut [Block]);

    /// Writes the choice bits of the leaves into their lowest bits, which are otherwise zero on both sides.
    fn mark(&self, tree: &Self::Tree, nodes: &mut [Block]);

    /// Hashes correlated OTs to this party's two vectors of bits.
    fn hash_bits(&self, hash: &Hash, first: u64, blocks: &[Block], out: [&mut [u64]; 2]);

    /// Writes what [`Role::load_tree`] reads.
    fn save_tree(tree: &Self::Tree, out: &mut dyn Write) -> io::Result<()>;

    /// Reads a tree that was saved.
    fn load_tree(input: &mut dyn Read) -> io::Result<Self::Tree>;
}

/// Bits of the number of a tree below those of its instance.
const TREE_BITS: u32 = 32;

/// Positions of hashes to bits start here: those of blocks count from 0.
const BIT_POSITIONS: u64 = 1 << 63;

/// Trees at the end of a batch that are spent on the next one's table.
pub(super) const KEPT: usize = MAIN.inputs().div_ceil(MAIN.leaves());

/// One party's state.
pub(super) struct Engine<R: Role> {
    pub(super) role: R,
    pub(super) session: Seed,
    hash: Hash,
    kernel: Kernel,
    pub(super) code_key: Block,
    /// None in an engine that was saved: it hands out what was reserved, and starts no trees.
    batch: Option<Batch>,
    pub(super) waiting: VecDeque<Waiting<R::Tree>>,
    pub(super) current: Stock,
    nodes: Secret,
    pub(super) position: u64,
    bit_trees: u64,
    bits: [Zeroizing<Vec<u64>>; 2],
    bits_used: usize,
}

/// An LPN instance in use.
struct Batch {
    lpn: Lpn,
    instance: u64,
    table: Arc<Table>,
    pool: Secret,
    next: usize,
    tree_keys: Aes128,
}

/// A tree that was transferred and not yet expanded.
pub(super) struct Waiting<T> {
    pub(super) tree: T,
    pub(super) key: Block,
    pub(super) instance: u64,
    pub(super) first: u64,
    pub(super) table: Arc<Table>,
}

/// Blocks of which the first ones were handed out.
pub(super) struct Stock {
    pub(super) blocks: Secret,
    pub(super) used: usize,
}

impl Batch {
    /// Takes the unknowns first, then the OTs for the trees.
    fn new(lpn: Lpn, instance: u64, mut inputs: Table, tree_keys: Aes128) -> Self {
        let pool = Zeroizing::new(inputs[lpn.unknowns..lpn.inputs()].to_vec());
        inputs.truncate(lpn.unknowns);
        Self { lpn, instance, table: Arc::new(inputs), pool, next: 0, tree_keys }
    }
}

impl<R: Role> Engine<R> {
    /// Goes from the OTs that [`SETUP`] starts with, lowest bits marked, to the first batch.
    pub(super) fn setup(
        role: R,
        session: &Seed,
        kernel: Kernel,
        inputs: &[Block],
        half: &mut R::Half,
    ) -> Result<Self, OtError> {
        let mut first = Table::with_capacity(inputs.len());
        first.extend_from_slice(inputs);
        let tree_keys = cipher(&session.derive("silent OT trees", 0));
        let code_key = Block::from_le_bytes(*session.derive("silent OT code", 0).as_bytes());
        let mut engine = Self::empty(role, session.derive("silent OT hash", 0), kernel, code_key);
        engine.batch = Some(Batch::new(SETUP[0], 0, first, tree_keys));
        for next in SETUP[1..].iter().chain([&MAIN]) {
            engine.next_batch(*next, half)?;
        }
        Ok(engine)
    }

    /// An engine with nothing in stock.
    pub(super) fn empty(role: R, session: Seed, kernel: Kernel, code_key: Block) -> Self {
        Self {
            role,
            hash: Hash::with_kernel(&session, kernel),
            session,
            kernel,
            code_key,
            batch: None,
            waiting: VecDeque::new(),
            current: Stock { blocks: Zeroizing::new(vec![0; MAIN.leaves()]), used: MAIN.leaves() },
            nodes: Zeroizing::new(vec![0; MAIN.leaves()]),
            position: 0,
            bit_trees: 0,
            bits: [(); 2].map(|()| Zeroizing::new(vec![0; bits::words(MAIN.leaves())])),
            bits_used: bits::words(MAIN.leaves()),
        }
    }

    /// How many blocks were handed out.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many blocks can be handed out.
    pub(super) fn in_stock(&self) -> usize {
        self.current.left() + self.waiting.len() * MAIN.leaves()
    }

    /// Transfers trees until `n` blocks can be handed out.
    pub(super) fn reserve(&mut self, half: &mut R::Half, n: usize) -> Result<(), OtError> {
        while self.in_stock() < n {
            let tree = self.start(half)?;
            self.waiting.push_back(tree);
        }
        Ok(())
    }

    /// Hands out blocks that were reserved.
    pub(super) fn take(&mut self, mut out: &mut [Block]) {
        self.position += out.len() as u64;
        while !out.is_empty() {
            if self.current.left() == 0 {
                self.expand_waiting();
            }
            let len = out.len().min(self.current.left());
            let (head, rest) = out.split_at_mut(len);
            head.copy_from_slice(&self.current.blocks[self.current.used..][..len]);
            self.current.used += len;
            out = rest;
        }
    }

    /// Makes random bits, whole words of them, in two vectors of equal length.
    pub(super) fn take_bits(&mut self, half: &mut R::Half, mut out: [&mut [u64]; 2]) -> Result<(), OtError> {
        let (mut at, words) = (0, out[0].len());
        while at < words {
            if self.bits_used == self.bits[0].len() {
                self.make_bits(half)?;
            }
            let len = (words - at).min(self.bits[0].len() - self.bits_used);
            for (out, bits) in out.iter_mut().zip(&self.bits) {
                out[at..at + len].copy_from_slice(&bits[self.bits_used..][..len]);
            }
            self.bits_used += len;
            at += len;
        }
        Ok(())
    }

    /// One tree, straight to bits.
    fn make_bits(&mut self, half: &mut R::Half) -> Result<(), OtError> {
        let tree = self.start(half)?;
        self.finish(&tree, R::EXPANDS);
        let first = BIT_POSITIONS + self.bit_trees * MAIN.leaves() as u64;
        let [left, right] = &mut self.bits;
        self.role.hash_bits(&self.hash, first, &self.nodes, [left, right]);
        self.bit_trees += 1;
        self.bits_used = 0;
        Ok(())
    }

    /// The next tree that was reserved, into `current`.
    #[expect(clippy::expect_used, reason = "documented: callers reserve before they take")]
    fn expand_waiting(&mut self) {
        let tree = self.waiting.pop_front().expect("enough OTs were reserved");
        self.finish(&tree, false);
        if self.current.blocks.len() != self.nodes.len() {
            self.current.blocks = Zeroizing::new(vec![0; self.nodes.len()]); // what was saved may be of any length
        }
        std::mem::swap(&mut self.current.blocks, &mut self.nodes);
        self.current.used = 0;
    }

    /// Transfers the next tree of the batch, or of a new one.
    fn start(&mut self, half: &mut R::Half) -> Result<Waiting<R::Tree>, OtError> {
        let batch = self.batch.as_ref().ok_or(OtError::Exhausted)?;
        if batch.next + KEPT == batch.lpn.trees {
            self.next_batch(MAIN, half)?;
        }
        self.start_in_batch(half)
    }

    fn start_in_batch(&mut self, half: &mut R::Half) -> Result<Waiting<R::Tree>, OtError> {
        let batch = self.batch.as_mut().ok_or(OtError::Exhausted)?;
        let Batch { lpn, instance, table, pool, next, tree_keys } = batch;
        let key = tree_key(tree_keys, *instance, *next);
        let inputs = &pool[*next * lpn.depth..][..lpn.depth];
        let tree = self.role.start(self.kernel, key, inputs, half, &mut self.nodes[..lpn.leaves()])?;
        let first = (*next * lpn.leaves()) as u64;
        *next += 1;
        Ok(Waiting { tree, key, instance: *instance, first, table: table.clone() })
    }

    /// Spends the rest of this batch on a new one.
    fn next_batch(&mut self, next: Lpn, half: &mut R::Half) -> Result<(), OtError> {
        let batch = self.batch.as_ref().ok_or(OtError::Exhausted)?;
        let (leaves, rest) = (batch.lpn.leaves(), batch.lpn.trees - batch.next);
        let (instance, tree_keys) = (batch.instance + 1, batch.tree_keys.clone());
        let mut inputs = Table::with_capacity(rest * leaves);
        for _ in 0..rest {
            let tree = self.start_in_batch(half)?;
            self.finish(&tree, R::EXPANDS);
            inputs.extend_from_slice(&self.nodes[..leaves]);
        }
        self.batch = Some(Batch::new(next, instance, inputs, tree_keys));
        Ok(())
    }

    /// Turns a transferred tree, expanded in `nodes` or not, into correlated OTs there.
    fn finish(&mut self, waiting: &Waiting<R::Tree>, expanded: bool) {
        let Waiting { tree, key, instance, first, table } = waiting;
        let lpn = if *instance < SETUP.len() as u64 { SETUP[*instance as usize] } else { MAIN };
        let nodes = &mut self.nodes[..lpn.leaves()];
        if !expanded {
            self.role.expand(self.kernel, *key, tree, nodes);
        }
        nodes.iter_mut().for_each(|node| *node &= !1);
        self.role.mark(tree, nodes);
        let code = Code { key: self.code_key, instance: *instance, weight: lpn.weight, lanes: lpn.lanes };
        self.kernel.encode(&code, *first, table, nodes);
    }
}

impl Stock {
    fn left(&self) -> usize {
        self.blocks.len() - self.used
    }

    /// What was not handed out yet.
    pub(super) fn rest(&self) -> &[Block] {
        &self.blocks[self.used..]
    }
}

/// A key for every tree: at most 13 hashes of unknown inputs are ever made under one.
fn tree_key(keys: &Aes128, instance: u64, tree: usize) -> Block {
    derive(keys, instance << TREE_BITS | tree as u64)
}

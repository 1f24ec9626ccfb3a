//! Silent OT extension: correlated OTs with random choice bits for 0.03 bytes each.
//!
//! Functionality: that of [`CotSend`] and [`CotReceive`]; the sender's blocks have lowest bit 0 and the
//! receiver's lowest bit is its choice, because `delta` is odd. Chosen bits are had for one further bit from
//! receiver to sender.
//!
//! Ferret (Yang, Weng, Lan, Zhang, Wang, ePrint 2020/924) in its semi-honest form: t correlated trees give
//! COTs whose choice bits are 1 once per block of leaves; adding a sparse linear code of k further COTs hides
//! where (regular LPN, see [`params`]).
//! Deviations: trees are those of Half-Tree (ePrint 2022/1431), so the sums of a level's two sides differ by
//! delta and one correlated OT per level carries them unhashed; the hidden leaf follows from the random choice
//! bits of those OTs, so the receiver sends nothing; a batch is not made at once, but tree by tree as OTs are
//! wanted; the first batch comes from IKNP through smaller LPN instances; parameters are larger than Ferret's.
//!
//! ```text
//!   sender (delta)                                   receiver
//!   for every tree, with COTs q_i                      t_i = q_i ^ r_i·delta, r_i random
//!   k_i = sum of left nodes of level i
//!                             --k_i ^ q_i-->         sum of side r_i of level i = k_i ^ q_i ^ t_i
//!   leaves v                                         leaves w = v ^ delta·[j = alpha], alpha_i = 1 ^ r_i
//!   y = v + A·(table)                                z = w + A·(table)
//!   the last trees of a batch make the table of the next
//! ```
//!
//! Security: semi-honest, LPN with regular noise as estimated in [`params`]; H of the trees is circular
//! correlation robust, each tree having a key of its own.
//! Cost: [`setup_bytes`], then [`extend_bytes`] from sender to receiver for both kinds of use;
//! [`correction_bytes`] from receiver to sender for chosen bits. Reserving is one message; so is making bits.
//! Memory per party: 13 MB, 26 MB while a batch gives way to the next, and 300 bytes for every 8192 OTs
//! reserved.
//! Constant time, except that the receiver's hidden leaf decides which of 8192 blocks in cache it overwrites.

mod engine;
pub mod params;
mod saved;
mod table;
mod tree;

use crate::hash::Hash;
use crate::kernel::Kernel;
use crate::source::{CotReceive, CotSend};
use crate::{Block, CotReceiver, CotSender, OtError, bits, iknp, rot};
use channels::{Channel, Rx, Tx};
use engine::{Engine, Role};
use params::{MAIN, SETUP};
use prg::{Prg, Seed};
use std::io::{self, Read, Write};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the set-up: from sender to receiver, and from receiver to sender.
pub fn setup_bytes() -> (usize, usize) {
    let (to_receiver, to_sender) = iknp::setup_bytes();
    let trees: usize = SETUP.iter().map(|lpn| lpn.trees * lpn.tree_bytes()).sum();
    (to_receiver + trees, to_sender + iknp::extend_bytes(SETUP[0].inputs()))
}

/// OTs of one tree: reservations, and calls for bits, are served in such portions, and what is left over is
/// kept.
pub const PORTION: usize = MAIN.leaves();

/// Bytes from sender to receiver for the first `portions` portions after the set-up.
pub fn extend_bytes(portions: u64) -> u64 {
    let kept = engine::KEPT as u64;
    let batches = portions.saturating_sub(1) / (MAIN.trees as u64 - kept);
    (portions + batches * kept) * MAIN.tree_bytes() as u64
}

/// Bytes from receiver to sender to turn `n` random choice bits into chosen ones in one call.
pub fn correction_bytes(n: usize) -> usize {
    n.div_ceil(8)
}

/// The sender of silent OT.
pub struct SilentSender(Engine<Sender>);

/// The receiver of silent OT.
pub struct SilentReceiver(Engine<Receiver>);

impl SilentSender {
    /// Reads what [`CotSend::save`] wrote: a sender that delivers what was reserved then, and no more.
    pub fn load(input: &mut dyn Read) -> io::Result<Self> {
        let delta = Zeroizing::new(saved::read_block(input)?);
        let role = Sender { delta: *delta, roots: None };
        Ok(Self(Engine::load(role, input)?))
    }
}

impl SilentReceiver {
    /// Reads what [`CotReceive::save`] wrote: a receiver that gets what was reserved then, and no more.
    pub fn load(input: &mut dyn Read) -> io::Result<Self> {
        Ok(Self(Engine::load(Receiver, input)?))
    }
}

impl SilentSender {
    /// Sets up with this offset, which must be odd.
    ///
    /// # Panics
    /// If `delta` is even.
    pub fn setup(channel: &mut Channel, delta: Block, prg: &mut Prg) -> Result<Self, OtError> {
        Self::setup_with(channel, delta, prg, Kernel::best())
    }

    fn setup_with(
        channel: &mut Channel,
        delta: Block,
        prg: &mut Prg,
        kernel: Kernel,
    ) -> Result<Self, OtError> {
        assert!(delta & 1 == 1, "the offset of silent OT is odd");
        let mut iknp = CotSender::setup(channel, delta, prg)?;
        let mut inputs = Zeroizing::new(vec![0; SETUP[0].inputs()]);
        channel.stream(|tx, rx| {
            iknp.extend(rx, &mut inputs)?;
            inputs.iter_mut().for_each(|block| *block &= !1);
            let role = Sender { delta, roots: Some(Prg::new(&prg.seed())) };
            Ok(Self(Engine::setup(role, iknp.session(), kernel, &inputs, tx)?))
        })
    }
}

impl SilentReceiver {
    /// Sets up with the sender.
    pub fn setup(channel: &mut Channel, prg: &mut Prg) -> Result<Self, OtError> {
        Self::setup_with(channel, prg, Kernel::best())
    }

    fn setup_with(channel: &mut Channel, prg: &mut Prg, kernel: Kernel) -> Result<Self, OtError> {
        let mut iknp = CotReceiver::setup(channel, prg)?;
        let mut inputs = Zeroizing::new(vec![0; SETUP[0].inputs()]);
        let mut choices = Zeroizing::new(vec![0; bits::words(inputs.len())]);
        prg.fill_u64(&mut choices);
        channel.stream(|tx, rx| {
            iknp.extend(tx, &choices, &mut inputs)?;
            for (i, block) in inputs.iter_mut().enumerate() {
                *block = *block & !1 | Block::from(bits::get(&choices, i));
            }
            Ok(Self(Engine::setup(Receiver, iknp.session(), kernel, &inputs, rx)?))
        })
    }
}

impl CotSend for SilentSender {
    fn delta(&self) -> Block {
        self.0.role.delta
    }

    fn session(&self) -> &Seed {
        &self.0.session
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        channel.stream(|tx, _| self.0.reserve(tx, n))
    }

    fn random(&mut self, _rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        self.0.take(out);
        Ok(())
    }

    fn chosen(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        self.0.take(out);
        let delta = self.0.role.delta;
        let mut flips = [0u64; PORTION / 64];
        for out in out.chunks_mut(PORTION) {
            rx.recv_into(&mut bytemuck::cast_slice_mut(&mut flips)[..correction_bytes(out.len())])?;
            for (i, block) in out.iter_mut().enumerate() {
                *block ^= delta & Block::from(bits::get(&flips, i)).wrapping_neg();
            }
        }
        Ok(())
    }

    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        zeros: &mut [u64],
        ones: &mut [u64],
    ) -> Result<(), OtError> {
        let out = [zeros, ones].map(|out| &mut out[..bits::words(n)]);
        channel.stream(|tx, _| self.0.take_bits(tx, out))
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(bytemuck::bytes_of(&self.0.role.delta))?;
        self.0.save(n, out)
    }
}

impl CotReceive for SilentReceiver {
    fn session(&self) -> &Seed {
        &self.0.session
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        channel.stream(|_, rx| self.0.reserve(rx, n))
    }

    fn random(&mut self, _tx: &mut Tx, choices: &mut [u64], out: &mut [Block]) -> Result<(), OtError> {
        self.0.take(out);
        rot::keep_low_bits(out, choices);
        Ok(())
    }

    fn chosen(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError> {
        assert!(choices.len() >= bits::words(out.len()), "one choice bit per transfer");
        self.0.take(out);
        let mut flips = Zeroizing::new([0; PORTION / 64]);
        for (out, choices) in out.chunks(PORTION).zip(choices.chunks(PORTION / 64)) {
            rot::keep_low_bits(out, &mut flips[..]);
            flips.iter_mut().zip(choices).for_each(|(flip, choice)| *flip ^= choice);
            tx.send(&bytemuck::cast_slice(&flips[..])[..correction_bytes(out.len())])?;
        }
        Ok(tx.flush()?)
    }

    fn random_bits(
        &mut self,
        channel: &mut Channel,
        n: usize,
        choices: &mut [u64],
        out: &mut [u64],
    ) -> Result<(), OtError> {
        let out = [choices, out].map(|out| &mut out[..bits::words(n)]);
        channel.stream(|_, rx| self.0.take_bits(rx, out))
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        self.0.save(n, out)
    }
}

/// The deepest tree.
const DEPTH: usize = MAIN.depth;

/// What the sender has of its own.
struct Sender {
    delta: Block,
    /// Where roots of new trees come from; none in one that was saved.
    roots: Option<Prg>,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl Role for Sender {
    type Half = Tx;
    type Tree = Zeroizing<Block>;
    const EXPANDS: bool = true;

    fn start(
        &mut self,
        kernel: Kernel,
        key: Block,
        inputs: &[Block],
        tx: &mut Tx,
        nodes: &mut [Block],
    ) -> Result<Self::Tree, OtError> {
        let roots = self.roots.as_mut().ok_or(OtError::Exhausted)?;
        let root = Zeroizing::new(Block::from_le_bytes(*roots.seed().as_bytes()));
        let mut sums = Zeroizing::new([0; DEPTH]);
        let sums = &mut sums[..inputs.len()];
        tree::send(kernel, key, *root, self.delta, nodes, sums);
        sums.iter_mut().zip(inputs).for_each(|(sum, q)| *sum ^= q);
        tx.send(bytemuck::cast_slice(sums))?;
        Ok(root)
    }

    fn expand(&self, kernel: Kernel, key: Block, root: &Self::Tree, nodes: &mut [Block]) {
        let mut sums = Zeroizing::new([0; DEPTH]);
        tree::send(kernel, key, **root, self.delta, nodes, &mut sums[..nodes.len().ilog2() as usize]);
    }

    fn mark(&self, _root: &Self::Tree, _nodes: &mut [Block]) {}

    fn hash_bits(&self, hash: &Hash, first: u64, blocks: &[Block], [zeros, ones]: [&mut [u64]; 2]) {
        hash.bits(first, 0, blocks, zeros);
        hash.bits(first, self.delta, blocks, ones);
    }

    fn save_tree(root: &Self::Tree, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(bytemuck::bytes_of(&**root))
    }

    fn load_tree(input: &mut dyn Read) -> io::Result<Self::Tree> {
        saved::read_block(input).map(Zeroizing::new)
    }
}

/// What the receiver has of its own: nothing.
struct Receiver;

/// The hidden leaf of a tree, and the sums that lead around it.
struct Punctured {
    alpha: usize,
    sums: [Block; DEPTH],
}

impl Drop for Punctured {
    fn drop(&mut self) {
        self.alpha.zeroize();
        self.sums.zeroize();
    }
}

impl Role for Receiver {
    type Half = Rx;
    type Tree = Punctured;
    const EXPANDS: bool = false;

    fn start(
        &mut self,
        _kernel: Kernel,
        _key: Block,
        inputs: &[Block],
        rx: &mut Rx,
        _nodes: &mut [Block],
    ) -> Result<Self::Tree, OtError> {
        let mut tree = Punctured { alpha: 0, sums: [0; DEPTH] };
        let sums = &mut tree.sums[..inputs.len()];
        rx.recv_into(bytemuck::cast_slice_mut(sums))?;
        for (level, (sum, t)) in sums.iter_mut().zip(inputs).enumerate() {
            *sum ^= t;
            tree.alpha |= ((!t & 1) as usize) << level;
        }
        Ok(tree)
    }

    fn expand(&self, kernel: Kernel, key: Block, tree: &Self::Tree, nodes: &mut [Block]) {
        tree::receive(kernel, key, tree.alpha, &tree.sums[..nodes.len().ilog2() as usize], nodes);
    }

    fn mark(&self, tree: &Self::Tree, nodes: &mut [Block]) {
        nodes[tree.alpha] |= 1;
    }

    fn hash_bits(&self, hash: &Hash, first: u64, blocks: &[Block], [choices, out]: [&mut [u64]; 2]) {
        rot::keep_low_bits(blocks, choices);
        hash.bits(first, 0, blocks, out);
    }

    fn save_tree(tree: &Self::Tree, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&(tree.alpha as u64).to_le_bytes())?;
        out.write_all(bytemuck::cast_slice(&tree.sums))
    }

    fn load_tree(input: &mut dyn Read) -> io::Result<Self::Tree> {
        let mut tree = Punctured { alpha: saved::read_count(input, MAIN.leaves() - 1)?, sums: [0; DEPTH] };
        input.read_exact(bytemuck::cast_slice_mut(&mut tree.sums))?;
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DELTA, both};
    use channels::{ChannelError, memory};

    type Parties = ((Channel, Channel), SilentSender, SilentReceiver);

    fn setup(kernels: [Kernel; 2]) -> Parties {
        let mut pair = memory::pair();
        let (sender, receiver) = both(
            &mut pair,
            |a| SilentSender::setup_with(a, DELTA, &mut Prg::from_os(), kernels[0]).unwrap(),
            |b| SilentReceiver::setup_with(b, &mut Prg::from_os(), kernels[1]).unwrap(),
        );
        let traffic = pair.0.traffic();
        assert_eq!((traffic.sent as usize, traffic.received as usize), setup_bytes());
        (pair, sender, receiver)
    }

    fn check_blocks((pair, sender, receiver): &mut Parties, n: usize, chosen: Option<&[u64]>) -> Vec<u64> {
        let (mut q, mut t) = (vec![0; n], vec![0; n]);
        let mut choices = chosen.map_or(vec![0; bits::words(n)], <[u64]>::to_vec);
        both(
            pair,
            |a| {
                match chosen {
                    None => a.stream(|_, rx| sender.random(rx, &mut q)),
                    Some(_) => a.stream(|_, rx| sender.chosen(rx, &mut q)),
                }
                .unwrap()
            },
            |b| {
                match chosen {
                    None => b.stream(|tx, _| receiver.random(tx, &mut choices, &mut t)),
                    Some(choices) => b.stream(|tx, _| receiver.chosen(tx, choices, &mut t)),
                }
                .unwrap()
            },
        );
        assert!((0..n).all(|i| t[i] == q[i] ^ if bits::get(&choices, i) { DELTA } else { 0 }));
        q.sort_unstable();
        assert!(q.windows(2).all(|pair| pair[0] != pair[1]), "blocks repeat");
        choices
    }

    fn reserve((pair, sender, receiver): &mut Parties, n: usize) {
        both(pair, |a| sender.reserve(a, n).unwrap(), |b| receiver.reserve(b, n).unwrap());
    }

    #[test]
    fn random_and_chosen_blocks_are_correlated_at_the_stated_cost() {
        for kernels in [[Kernel::best(); 2], [Kernel::Portable, Kernel::best()]] {
            let mut parties = setup(kernels);
            let before = parties.0.1.traffic();
            reserve(&mut parties, 3 * PORTION + 1);
            assert_eq!((parties.0.1.traffic() - before).received, extend_bytes(4));
            let choices = check_blocks(&mut parties, 2 * PORTION - 5, None);
            let weight = choices.iter().map(|word| word.count_ones() as usize).sum::<usize>();
            assert!(weight.abs_diff(PORTION) < 6 * 64, "{weight}"); // six standard deviations
            let before = parties.0.1.traffic();
            let mut wanted = vec![0; bits::words(PORTION + 6)];
            Prg::from_os().fill_u64(&mut wanted);
            check_blocks(&mut parties, PORTION + 6, Some(&wanted));
            assert_eq!((parties.0.1.traffic() - before).sent as usize, correction_bytes(PORTION + 6));
            reserve(&mut parties, PORTION - 1); // still in stock
            check_blocks(&mut parties, PORTION - 1, None);
            assert_eq!((parties.0.1.traffic() - before).received, 0);
            assert_eq!(parties.1.position(), 4 * PORTION as u64);
        }
    }

    #[test]
    fn batches_follow_each_other_and_bits_are_cheap() {
        let mut parties = setup([Kernel::best(); 2]);
        let first_batch = MAIN.trees - engine::KEPT;
        reserve(&mut parties, 2 * PORTION);
        let words = (first_batch + 1) * PORTION / 64;
        let mut vectors = [(); 4].map(|()| vec![0; words]);
        let [zeros, ones, choices, out] = &mut vectors;
        let (pair, sender, receiver) = &mut parties;
        for part in [0..5, 5..words - 64, words - 64..words] {
            let n = 64 * part.len();
            both(
                pair,
                |a| sender.random_bits(a, n, &mut zeros[part.clone()], &mut ones[part.clone()]).unwrap(),
                |b| receiver.random_bits(b, n, &mut choices[part.clone()], &mut out[part.clone()]).unwrap(),
            );
        }
        let traffic = pair.1.traffic();
        let (setup_sent, setup_received) = setup_bytes();
        assert_eq!(traffic.sent as usize, setup_received);
        assert_eq!(traffic.received, setup_sent as u64 + extend_bytes(first_batch as u64 + 3));
        for i in 0..words {
            assert_eq!(out[i], zeros[i] & !choices[i] | ones[i] & choices[i]);
        }
        let total = 64.0 * words as f64;
        for words in &vectors {
            let ones = words.iter().map(|word| f64::from(word.count_ones())).sum::<f64>();
            assert!((ones - total / 2.0).abs() < 3.0 * total.sqrt(), "{ones} of {total}"); // six standard deviations
        }
        check_blocks(&mut parties, 2 * PORTION, None); // reserved under the first batch's table
    }

    #[test]
    fn bytes_per_transfer_stay_below_a_twentieth() {
        let n = 1u64 << 24;
        let (to_receiver, to_sender) = setup_bytes();
        let total = to_receiver as u64 + to_sender as u64 + extend_bytes(n / PORTION as u64);
        println!("{} B set-up, {:.4} B per transfer", to_receiver + to_sender, total as f64 / n as f64);
        assert!(20 * total <= n);
    }

    #[test]
    fn a_truncated_tree_is_an_error() {
        let ((mut a, mut b), _, mut receiver) = setup([Kernel::best(); 2]);
        a.send(&[0; 207]).unwrap();
        a.flush().unwrap();
        drop(a);
        assert_eq!(receiver.reserve(&mut b, 1), Err(OtError::Channel(ChannelError::Closed)));
    }
}

//! Transfers on disk: what was reserved, written once and resumed once.
//!
//! Either expanded, 16 bytes per OT, or as the trees that they come from with the tables of their batches, 13 MB
//! per 17 million OTs; whichever is shorter. Integers are little-endian; who keeps the bytes keeps them secret.

use super::engine::{Engine, Role, Secret, Stock, Waiting};
use super::params::MAIN;
use super::table::Table;
use crate::Block;
use crate::kernel::Kernel;
use prg::Seed;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Blocks read at a time.
const CHUNK: usize = 4096;

impl<R: Role> Engine<R> {
    /// Writes the next `n` blocks and hands them out to nobody else.
    pub(super) fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        assert!(self.in_stock() >= n, "no more is kept than was reserved");
        out.write_all(self.session.as_bytes())?;
        out.write_all(bytemuck::bytes_of(&self.code_key))?;
        write_count(out, self.position as usize)?;
        let tables = self.tables();
        if n <= tables * MAIN.unknowns {
            let mut blocks = Zeroizing::new(vec![0; n]);
            self.take(&mut blocks);
            return write_blocks(out, &blocks).and_then(|()| write_count(out, 0));
        }
        write_blocks(out, self.current.rest())?;
        write_count(out, tables)?;
        let waiting: Vec<_> = std::mem::take(&mut self.waiting).into();
        for batch in waiting.chunk_by(|a, b| a.instance == b.instance) {
            write_count(out, batch[0].instance as usize)?;
            out.write_all(bytemuck::cast_slice(&batch[0].table[..]))?;
            write_count(out, batch.len())?;
            for Waiting { tree, key, first, .. } in batch {
                out.write_all(bytemuck::bytes_of(key))?;
                write_count(out, *first as usize)?;
                R::save_tree(tree, out)?;
            }
        }
        self.current.used = self.current.blocks.len();
        self.position += n as u64;
        Ok(())
    }

    /// Reads what [`Engine::save`] wrote.
    pub(super) fn load(role: R, input: &mut dyn Read) -> io::Result<Self> {
        let session = Seed::from_bytes(read_block(input)?.to_le_bytes());
        let code_key = read_block(input)?;
        let mut engine = Self::empty(role, session, Kernel::best(), code_key);
        engine.position = read_count(input, usize::MAX)? as u64;
        let len = read_count(input, usize::MAX)?;
        engine.current = Stock { blocks: read_blocks(input, len)?, used: 0 };
        for _ in 0..read_count(input, usize::MAX)? {
            let instance = read_count(input, usize::MAX)? as u64;
            let mut table = Table::with_capacity(MAIN.unknowns);
            let mut left = MAIN.unknowns;
            while left > 0 {
                let blocks = read_blocks(input, left.min(CHUNK))?;
                table.extend_from_slice(&blocks);
                left -= blocks.len();
            }
            let table = Arc::new(table);
            for _ in 0..read_count(input, MAIN.trees)? {
                let key = read_block(input)?;
                let first = read_count(input, MAIN.samples() - MAIN.leaves())? as u64;
                let tree = R::load_tree(input)?;
                engine.waiting.push_back(Waiting { tree, key, instance, first, table: table.clone() });
            }
        }
        Ok(engine)
    }

    /// How many tables the waiting trees need.
    fn tables(&self) -> usize {
        let instances = self.waiting.iter().map(|waiting| waiting.instance);
        let before = [None].into_iter().chain(self.waiting.iter().map(|waiting| Some(waiting.instance)));
        instances.zip(before).filter(|(own, before)| Some(*own) != *before).count()
    }
}

fn write_count(out: &mut dyn Write, count: usize) -> io::Result<()> {
    out.write_all(&(count as u64).to_le_bytes())
}

fn write_blocks(out: &mut dyn Write, blocks: &[Block]) -> io::Result<()> {
    write_count(out, blocks.len())?;
    out.write_all(bytemuck::cast_slice(blocks))
}

/// A number of at most `most`.
pub(super) fn read_count(input: &mut dyn Read, most: usize) -> io::Result<usize> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    let count = usize::try_from(u64::from_le_bytes(bytes)).ok().filter(|count| *count <= most);
    count.ok_or_else(|| ErrorKind::InvalidData.into())
}

pub(super) fn read_block(input: &mut dyn Read) -> io::Result<Block> {
    let mut bytes = Zeroizing::new([0; size_of::<Block>()]);
    input.read_exact(&mut bytes[..])?;
    Ok(Block::from_le_bytes(*bytes))
}

/// Blocks, with memory for no more than were there.
fn read_blocks(input: &mut dyn Read, len: usize) -> io::Result<Secret> {
    let mut blocks: Secret = Zeroizing::new(Vec::new());
    while blocks.len() < len {
        let (start, end) = (blocks.len(), len.min(2 * blocks.len() + CHUNK));
        // Growing in place would leave copies behind.
        let mut grown = Zeroizing::new(vec![0; end]);
        grown[..start].copy_from_slice(&blocks);
        input.read_exact(bytemuck::cast_slice_mut(&mut grown[start..]))?;
        blocks = grown;
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::silent::{PORTION, SilentReceiver, SilentSender};
    use crate::testing::{DELTA, both};
    use crate::{CotReceive, CotSend, OtError, bits};
    use channels::memory;
    use prg::Prg;

    #[test]
    fn what_was_saved_is_resumed_and_goes_no_further() {
        let mut pair = memory::pair();
        let (mut sender, mut receiver) = both(
            &mut pair,
            |a| SilentSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
            |b| SilentReceiver::setup(b, &mut Prg::from_os()).unwrap(),
        );
        // A handful, and so many that trees and table are shorter; some of the reserved ones are used before.
        for n in [1000, MAIN.unknowns + 3 * PORTION] {
            let reserved = n + 70;
            both(
                &mut pair,
                |a| sender.reserve(a, reserved).unwrap(),
                |b| receiver.reserve(b, reserved).unwrap(),
            );
            let mut early = [0; 70];
            pair.0.stream(|_, rx| sender.random(rx, &mut early)).unwrap();
            pair.1.stream(|tx, _| receiver.random(tx, &mut [0; 2], &mut early)).unwrap();
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            let position = sender.position();
            sender.save(n, &mut sent).unwrap();
            receiver.save(n, &mut received).unwrap();
            assert_eq!((sender.position(), receiver.position()), (position + n as u64, position + n as u64));
            println!("{n} transfers: {} and {} bytes", sent.len(), received.len());
            assert!(sent.len().max(received.len()) <= 16 * MAIN.unknowns + 1_000_000);
            let mut resumed = SilentSender::load(&mut &sent[..]).unwrap();
            let mut resuming = SilentReceiver::load(&mut &received[..]).unwrap();
            assert_eq!((resumed.position(), resuming.position()), (position, position));
            assert_eq!(resumed.session().as_bytes(), resuming.session().as_bytes());
            let mut wanted = vec![0; bits::words(n)];
            Prg::from_os().fill_u64(&mut wanted);
            let (mut q, mut t) = (vec![0; n], vec![0; n]);
            both(
                &mut pair,
                |a| a.stream(|_, rx| resumed.chosen(rx, &mut q)).unwrap(),
                |b| b.stream(|tx, _| resuming.chosen(tx, &wanted, &mut t)).unwrap(),
            );
            assert!((0..n).all(|i| t[i] == q[i] ^ if bits::get(&wanted, i) { DELTA } else { 0 }));
            q.sort_unstable();
            assert!(q.windows(2).all(|pair| pair[0] != pair[1]), "blocks repeat");
            assert_eq!(resumed.reserve(&mut pair.0, 2 * PORTION), Err(OtError::Exhausted));
            assert_eq!(resuming.reserve(&mut pair.1, 2 * PORTION), Err(OtError::Exhausted));
            for len in [0, 20, sent.len() / 2, sent.len() - 1] {
                assert!(SilentSender::load(&mut &sent[..len]).is_err());
            }
            assert!(SilentReceiver::load(&mut &received[..received.len() - 1]).is_err());
        }
    }
}

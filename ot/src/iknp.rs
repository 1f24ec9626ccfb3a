//! IKNP extension: any number of correlated OTs with chosen bits from 128 base OTs.
//!
//! Functionality: the sender holds `delta`; for every choice bit `b` of the receiver the sender gets a
//! pseudo-random block `q` and the receiver `q ^ b·delta`.
//!
//! Ishai, Kilian, Nissim, Petrank (CRYPTO 2003), section 3, with one message per OT as in Asharov, Lindell,
//! Schneider, Zohner (CCS 2013); without the final hash, because the correlation itself is what callers want.
//!
//! ```text
//!   sender (delta)                                receiver (choices b)
//!   base OTs as receiver, choices = bits of delta   base OTs as sender: seeds k_j0, k_j1
//!                                    <--u_j--     t_j = G(k_j0), u_j = t_j ^ G(k_j1) ^ b
//!   q_j = G(k_j,delta_j) ^ delta_j·u_j
//!   row i of (q_j)                                row i of (t_j) = row i of (q_j) ^ b_i·delta
//! ```
//!
//! Security: semi-honest; `u_j` is masked by a stream whose seed the sender does not have, so nothing about `b`
//! leaks, and nothing travels to the receiver. Streams never restart.
//! Cost: set-up is [`crate::base`]'s; an extension by n is 16·⌈n/128⌉·128 bytes from receiver to sender, one
//! message. Batches of [`BATCH`] rows stream through cache; memory does not depend on n. Constant time.

use crate::base;
use crate::transpose::BitMatrix;
use crate::{Block, KAPPA, OtError, bits};
use channels::{Channel, Rx, Tx};
use prg::{Prg, Seed};
use zeroize::{Zeroize, Zeroizing};

/// Rows worked on at a time: one kibibyte of every column, a batch of the generator.
pub const BATCH: usize = 8192;

/// Every call of `extend` is padded to a multiple of this many OTs.
pub const GRANULE: usize = KAPPA;

/// Bytes from receiver to sender for one call of `extend` by `n`.
pub fn extend_bytes(n: usize) -> usize {
    n.next_multiple_of(GRANULE) * size_of::<Block>()
}

/// Bytes of the set-up: from sender to receiver, and from receiver to sender.
pub fn setup_bytes() -> (usize, usize) {
    let (to_base_receiver, to_base_sender) = base::bytes(KAPPA);
    (to_base_sender, to_base_receiver)
}

/// The party that holds the offset.
pub struct CotSender {
    delta: Block,
    columns: Vec<Prg>,
    matrix: BitMatrix,
    session: Seed,
    position: u64,
}

/// The party that chooses.
pub struct CotReceiver {
    columns: Vec<[Prg; 2]>,
    matrix: BitMatrix,
    session: Seed,
    position: u64,
    choices: Prg,
}

impl Drop for CotSender {
    fn drop(&mut self) {
        self.delta.zeroize();
    }
}

impl CotSender {
    /// Base OTs with the bits of `delta`, which is the offset from here on.
    pub fn setup(channel: &mut Channel, delta: Block, prg: &mut Prg) -> Result<Self, OtError> {
        let choices = Zeroizing::new(std::array::from_fn::<_, KAPPA, _>(|j| delta >> j & 1 == 1));
        let ots = base::receive(channel, &choices[..], prg)?;
        let columns = ots.keys.iter().map(Prg::new).collect();
        Ok(Self { delta, columns, matrix: BitMatrix::new(BATCH), session: ots.session, position: 0 })
    }

    /// The offset.
    pub fn delta(&self) -> Block {
        self.delta
    }

    /// A public value that both parties share and no other session has.
    pub fn session(&self) -> &Seed {
        &self.session
    }

    /// How many OTs were made so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The sender's blocks of the next `out.len()` OTs.
    pub fn extend(&mut self, rx: &mut Rx, out: &mut [Block]) -> Result<(), OtError> {
        let mut masked = [0u64; BATCH / 64];
        self.position += out.len() as u64;
        for out in out.chunks_mut(BATCH) {
            let rows = out.len().next_multiple_of(GRANULE);
            let masked = &mut masked[..rows / 64];
            for (j, stream) in self.columns.iter_mut().enumerate() {
                let column = self.matrix.column_mut(j, rows);
                stream.fill(bytemuck::cast_slice_mut(column));
                rx.recv_into(bytemuck::cast_slice_mut(masked))?;
                let keep = ((self.delta >> j & 1) as u64).wrapping_neg();
                column.iter_mut().zip(&*masked).for_each(|(q, u)| *q ^= u & keep);
            }
            self.matrix.rows_into(out);
        }
        Ok(())
    }
}

impl CotReceiver {
    /// Base OTs, so that the sender may extend under its offset.
    pub fn setup(channel: &mut Channel, prg: &mut Prg) -> Result<Self, OtError> {
        let ots = base::send(channel, KAPPA, prg)?;
        let columns = ots.keys.iter().map(|pair| [Prg::new(&pair[0]), Prg::new(&pair[1])]).collect();
        Ok(Self {
            columns,
            matrix: BitMatrix::new(BATCH),
            session: ots.session,
            position: 0,
            choices: Prg::new(&prg.seed()),
        })
    }

    /// A public value that both parties share and no other session has.
    pub fn session(&self) -> &Seed {
        &self.session
    }

    /// How many OTs were made so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Fills `choices` with random bits.
    pub(crate) fn draw_choices(&mut self, choices: &mut [u64]) {
        self.choices.fill_u64(choices);
    }

    /// The receiver's blocks of the next `out.len()` OTs, with as many packed choice bits.
    ///
    /// # Panics
    /// If `choices` is too short.
    pub fn extend(&mut self, tx: &mut Tx, choices: &[u64], out: &mut [Block]) -> Result<(), OtError> {
        assert!(choices.len() >= bits::words(out.len()), "one choice bit per transfer");
        self.position += out.len() as u64;
        let mut masked = [0u64; BATCH / 64];
        for (out, choices) in out.chunks_mut(BATCH).zip(choices.chunks(BATCH / 64)) {
            let rows = out.len().next_multiple_of(GRANULE);
            let masked = &mut masked[..rows / 64];
            for (j, [zero, one]) in self.columns.iter_mut().enumerate() {
                let column = self.matrix.column_mut(j, rows);
                zero.fill(bytemuck::cast_slice_mut(column));
                one.fill(bytemuck::cast_slice_mut(masked));
                masked.iter_mut().zip(&*column).for_each(|(u, t)| *u ^= t);
                masked.iter_mut().zip(choices).for_each(|(u, b)| *u ^= b);
                tx.send(bytemuck::cast_slice(masked))?;
            }
            self.matrix.rows_into(out);
        }
        tx.flush()?;
        masked.zeroize();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::both;
    use channels::{ChannelError, memory};
    use proptest::prelude::*;

    const DELTA: Block = 0x0123_4567_89ab_cdef_1122_3344_5566_7789;

    fn setup() -> ((Channel, Channel), CotSender, CotReceiver) {
        let mut pair = memory::pair();
        let (sender, receiver) = both(
            &mut pair,
            |a| CotSender::setup(a, DELTA, &mut Prg::from_os()).unwrap(),
            |b| CotReceiver::setup(b, &mut Prg::from_os()).unwrap(),
        );
        let traffic = pair.0.traffic();
        assert_eq!((traffic.sent as usize, traffic.received as usize), setup_bytes());
        (pair, sender, receiver)
    }

    fn check(sizes: &[usize], random: &mut Prg) {
        let (mut pair, mut sender, mut receiver) = setup();
        for &n in sizes {
            let (mut q, mut t, mut choices) = (vec![0; n], vec![0; n], vec![0; bits::words(n)]);
            random.fill_u64(&mut choices);
            let before = pair.1.traffic();
            both(
                &mut pair,
                |a| a.stream(|_, rx| sender.extend(rx, &mut q)).unwrap(),
                |b| b.stream(|tx, _| receiver.extend(tx, &choices, &mut t)).unwrap(),
            );
            let b = &pair.1;
            assert_eq!((b.traffic() - before).sent, extend_bytes(n) as u64);
            assert_eq!((b.traffic() - before).received, 0);
            for i in 0..n {
                assert_eq!(t[i], q[i] ^ if bits::get(&choices, i) { DELTA } else { 0 });
            }
            if n > 1000 {
                let ones = t.iter().map(|block| block.count_ones()).sum::<u32>() as f64;
                let (mean, deviation) = (64.0 * n as f64, (32.0 * n as f64).sqrt());
                assert!((ones - mean).abs() < 6.0 * deviation, "{ones} of {mean}");
                q.sort_unstable();
                assert!(q.windows(2).all(|pair| pair[0] != pair[1]), "blocks repeat");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn any_sequence_of_sizes_is_correlated(sizes in prop::collection::vec(0usize..20_000, 1..5), seed: [u8; 16]) {
            check(&sizes, &mut Prg::new(&Seed::from_bytes(seed)));
        }
    }

    #[test]
    fn sizes_around_the_batch_are_correlated() {
        check(&[1, 128, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH], &mut Prg::from_os());
    }

    #[test]
    fn a_truncated_extension_is_an_error() {
        let ((mut a, mut b), mut sender, _receiver) = setup();
        b.send(&[0; 1000]).unwrap();
        b.flush().unwrap();
        drop(b);
        let error = a.stream(|_, rx| sender.extend(rx, &mut [0; 128])).err();
        assert_eq!(error, Some(OtError::Channel(ChannelError::Closed)));
    }
}

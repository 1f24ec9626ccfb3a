//! One of the three servers: its connections, its correlated randomness, and the traffic patterns of all protocols.
//!
//! Keys. Component j of every sharing is known to parties j and j−1, and so is key kⱼ: an AES-128 stream that both
//! draw from in the same order. Party j draws it at the start of every session and sends it to party j−1, so every
//! run, and every resumed run, has fresh keys and counters that start anew.
//!
//! Zero shares: αᵢ = F(kᵢ) − F(kᵢ₊₁) sum to zero and need no message (Araki et al., CCS 2016, section 3.2).
//!
//! Patterns. [`Party::round`] sends to and receives from both neighbours at once, so it cannot deadlock whatever the
//! sizes, and a round lasts one latency plus its bytes. Sharing patterns built on it:
//!
//! ```text
//! reshare         Pᵢ → Pᵢ₋₁ : zᵢ + αᵢ                additive zᵢ become replicated
//! star (lone L)   L → both : e      both → L : A, B   a value known to L meets one known to L+1 and L+2
//! ```
//!
//! The lone party of a star rotates from one operation to the next, which balances traffic and work.
//! Security: semi-honest, at most one corrupted party. Every message is masked by a key stream that its receiver
//! does not know, or is a uniform share itself.

use crate::error::Error;
use crate::ring::Ring;
use crate::share::Shares;
use channels::{Channel, ChannelError, FRAME, Rx, Traffic, Tx};
use prg::{Prg, Seed};
use std::thread;
use zeroize::Zeroize;

/// A server's place in the operation at hand, relative to the lone party L.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// L itself: knows components L and L+1.
    Lone,
    /// L+1: knows components L+1 and L+2.
    Right,
    /// L+2: knows components L+2 and L.
    Left,
}

/// A connection that a party may own: a bare channel, or one with a transport around it.
pub trait Link: Send {
    /// The byte stream to and from the neighbour.
    fn channel(&mut self) -> &mut Channel;
}

impl Link for Channel {
    fn channel(&mut self) -> &mut Channel {
        self
    }
}

impl Link for net::Connection {
    fn channel(&mut self) -> &mut Channel {
        net::Connection::channel(self)
    }
}

/// What servers say first: the protocol and its version.
const GREETING: &[u8; 16] = b"three-party/1\0\0\0";

/// One of the three servers.
pub struct Party {
    id: usize,
    prev: Box<dyn Link>,
    next: Box<dyn Link>,
    /// Stream of kᵢ, shared with party i−1.
    pub(crate) own_key: Prg,
    /// Stream of kᵢ₊₁, shared with party i+1.
    pub(crate) next_key: Prg,
    turn: usize,
    rounds: u64,
}

impl Party {
    /// Joins the two neighbours over `prev` (to party id−1) and `next` (to party id+1) and agrees on fresh keys.
    /// All three must name the same `agreement`: a digest of everything public about the work ahead.
    ///
    /// # Panics
    /// If `id` is not 0, 1 or 2.
    pub fn connect(
        id: usize,
        prev: impl Link + 'static,
        next: impl Link + 'static,
        agreement: [u8; 32],
    ) -> Result<Self, Error> {
        assert!(id < 3, "there are three parties");
        let seed = Seed::from_os();
        let unset = Seed::from_bytes([0; 16]);
        let (own_key, next_key) = (Prg::new(&seed), Prg::new(&unset));
        let (prev, next) = (Box::new(prev), Box::new(next));
        let mut party = Self { id, prev, next, own_key, next_key, turn: 0, rounds: 0 };
        party.greet(agreement)?;
        let mut theirs = [0; 16];
        party.round(seed.as_bytes(), &[], &mut [], &mut theirs)?;
        party.next_key = Prg::new(&Seed::from_bytes(theirs));
        theirs.zeroize();
        Ok(party)
    }

    /// Both neighbours must be who they should be and have the same work in mind.
    fn greet(&mut self, agreement: [u8; 32]) -> Result<(), Error> {
        let greeting = |id: usize| [GREETING, agreement.as_slice(), &[id as u8]].concat();
        let (before, after) = ((self.id + 2) % 3, (self.id + 1) % 3);
        let ours = greeting(self.id);
        for (link, peer) in [(&mut self.prev, before), (&mut self.next, after)] {
            link.channel().send_control(&ours).map_err(|source| Error::Channel { peer, source })?;
        }
        for (link, peer) in [(&mut self.prev, before), (&mut self.next, after)] {
            let theirs = link.channel().recv_control(ours.len());
            let theirs = theirs.map_err(|source| Error::Channel { peer, source })?;
            if theirs != greeting(peer) {
                return Err(Error::Disagreement { peer });
            }
        }
        Ok(())
    }

    /// Which party this is.
    pub fn id(&self) -> usize {
        self.id
    }

    /// What went to and came from both neighbours; `rounds` counts rounds of the protocol, not of a connection.
    pub fn traffic(&mut self) -> Traffic {
        let mut sum = self.prev.channel().traffic();
        sum += self.next.channel().traffic();
        Traffic { rounds: self.rounds, ..sum }
    }

    /// The lone party of the next operation, and this party's role in it.
    pub(crate) fn next_role(&mut self) -> Role {
        let lone = self.turn % 3;
        self.turn += 1;
        match (3 + self.id - lone) % 3 {
            0 => Role::Lone,
            1 => Role::Right,
            _ => Role::Left,
        }
    }

    /// Sends to and receives from both neighbours at once: large messages leave on a thread of their own, so that
    /// neither a full queue nor the network's latency holds up the other direction.
    pub(crate) fn round(
        &mut self,
        to_prev: &[u8],
        to_next: &[u8],
        from_prev: &mut [u8],
        from_next: &mut [u8],
    ) -> Result<(), Error> {
        self.rounds += 1;
        let (before, after) = ((self.id + 2) % 3, (self.id + 1) % 3);
        let next = self.next.channel();
        let result = self.prev.channel().stream(|prev_tx, prev_rx| {
            next.stream(|next_tx, next_rx| {
                let outgoing = [(prev_tx, to_prev, before), (next_tx, to_next, after)];
                let incoming = [(prev_rx, from_prev, before), (next_rx, from_next, after)];
                if to_prev.len() + to_next.len() <= FRAME {
                    return send_both(outgoing).and_then(|()| receive_both(incoming));
                }
                thread::scope(|scope| {
                    let sender = scope.spawn(move || send_both(outgoing));
                    let received = receive_both(incoming);
                    let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    received.and(sent)
                })
            })
        });
        result.map_err(|Failure { peer, source }| Error::Channel { peer, source })
    }

    /// The traffic of a star: the lone party sends `to_right` and `to_left` and receives (from Right, from Left);
    /// the others send `reply` and receive into the first buffer.
    pub(crate) fn star(&mut self, role: Role, out: [&[u8]; 2], into: [&mut [u8]; 2]) -> Result<(), Error> {
        let [first, second] = into;
        match role {
            Role::Lone => self.round(out[1], out[0], second, first),
            Role::Right => self.round(out[0], &[], first, &mut []),
            Role::Left => self.round(&[], out[0], &mut [], first),
        }
    }

    /// Additive shares to replicated ones: adds a zero share, sends one element per value, one round.
    pub fn reshare<R: Ring>(&mut self, mut additive: Vec<R>) -> Result<Shares<R>, Error> {
        add_stream(&mut self.own_key, &mut additive, R::add);
        add_stream(&mut self.next_key, &mut additive, R::sub);
        let mut next = vec![R::default(); additive.len()];
        self.round(bytemuck::cast_slice(&additive), &[], &mut [], bytemuck::cast_slice_mut(&mut next))?;
        Ok(Shares { own: additive, next })
    }

    /// Reveals a vector to all three parties; the copy held by the third one is compared. One round.
    pub fn open<R: Ring>(&mut self, x: &Shares<R>) -> Result<Vec<R>, Error> {
        let mut missing = vec![R::default(); x.len()];
        let (mine, mut theirs) = (digest(&x.next), [0; 32]);
        let own = bytemuck::cast_slice(&x.own);
        self.round(&mine, own, bytemuck::cast_slice_mut(&mut missing), &mut theirs)?;
        if digest(&missing) != theirs {
            return Err(Error::Inconsistent { peer: (self.id + 1) % 3, what: "opening" });
        }
        let sums = x.own.iter().zip(&x.next).zip(&missing);
        Ok(sums.map(|((&a, &b), &c)| a.add(b).add(c)).collect())
    }

    /// The least of three public numbers, one from each party. One round.
    pub(crate) fn least(&mut self, number: u64) -> Result<u64, Error> {
        let ours = number.to_le_bytes();
        let (mut at_prev, mut at_next) = ([0; 8], [0; 8]);
        self.round(&ours, &ours, &mut at_prev, &mut at_next)?;
        Ok(number.min(u64::from_le_bytes(at_prev)).min(u64::from_le_bytes(at_next)))
    }

    /// Compares the copies of all components with both neighbours. One round of 32 bytes each way.
    pub fn check<R: Ring>(&mut self, x: &Shares<R>, what: &'static str) -> Result<(), Error> {
        let (own, next) = (digest(&x.own), digest(&x.next));
        let (mut at_prev, mut at_next) = ([0; 32], [0; 32]);
        self.round(&own, &next, &mut at_prev, &mut at_next)?;
        for (ours, theirs, peer) in [(own, at_prev, (self.id + 2) % 3), (next, at_next, (self.id + 1) % 3)] {
            if ours != theirs {
                return Err(Error::Inconsistent { peer, what });
            }
        }
        Ok(())
    }

    /// Shares of public values, without communication.
    pub fn public<R: Ring>(&self, values: &[R]) -> Shares<R> {
        let mut shares = Shares::zeros(values.len());
        if self.id == 0 {
            shares.own.copy_from_slice(values);
        } else if self.id == 2 {
            shares.next.copy_from_slice(values);
        }
        shares
    }

    /// Adds one public constant to every value.
    pub fn add_public<R: Ring>(&self, x: &Shares<R>, constant: R) -> Shares<R> {
        let mut sum = x.clone();
        let side = match self.id {
            0 => &mut sum.own,
            2 => &mut sum.next,
            _ => return sum,
        };
        side.iter_mut().for_each(|value| *value = value.add(constant));
        sum
    }
}

/// A failed connection inside [`Party::round`].
struct Failure {
    peer: usize,
    source: ChannelError,
}

/// Sends to both neighbours, a frame at a time in turns.
fn send_both(messages: [(&mut Tx, &[u8], usize); 2]) -> Result<(), Failure> {
    let mut rest = messages.map(|(tx, bytes, peer)| (tx, bytes.chunks(FRAME), peer));
    let mut busy = true;
    while busy {
        busy = false;
        for (tx, frames, peer) in &mut rest {
            if let Some(bytes) = frames.next() {
                let sent = tx.send(bytes).and_then(|()| tx.flush());
                sent.map_err(|source| Failure { peer: *peer, source })?;
                busy = true;
            }
        }
    }
    Ok(())
}

/// Receives from both neighbours, a frame at a time in turns.
fn receive_both(messages: [(&mut Rx, &mut [u8], usize); 2]) -> Result<(), Failure> {
    let mut rest = messages.map(|(rx, bytes, peer)| (rx, bytes.chunks_mut(FRAME), peer));
    let mut busy = true;
    while busy {
        busy = false;
        for (rx, frames, peer) in &mut rest {
            if let Some(bytes) = frames.next() {
                rx.recv_into(bytes).map_err(|source| Failure { peer: *peer, source })?;
                busy = true;
            }
        }
    }
    Ok(())
}

impl From<ChannelError> for Failure {
    /// A stream's last flush, which finds nothing left to send: every frame was flushed with its peer known.
    fn from(source: ChannelError) -> Self {
        Self { peer: usize::MAX, source }
    }
}

/// What two holders of the same component compare; it tells neither anything that it does not hold.
pub(crate) fn digest<R: Ring>(component: &[R]) -> [u8; 32] {
    *blake3::hash(bytemuck::cast_slice(component)).as_bytes()
}

/// The next `len` elements of a stream.
pub(crate) fn draw<R: Ring>(key: &mut Prg, len: usize) -> Vec<R> {
    let mut out = vec![R::default(); len];
    key.fill(bytemuck::cast_slice_mut(&mut out));
    out
}

/// Elements drawn at a time where they are used up at once: they stay in the first-level cache.
const BLOCK: usize = 512;

/// Combines `values` with the next elements of a stream.
pub(crate) fn add_stream<R: Ring>(key: &mut Prg, values: &mut [R], op: impl Fn(R, R) -> R) {
    let mut block = [R::default(); BLOCK];
    for chunk in values.chunks_mut(BLOCK) {
        let block = &mut block[..chunk.len()];
        key.fill(bytemuck::cast_slice_mut(block));
        chunk.iter_mut().zip(block).for_each(|(value, &mut mask)| *value = op(*value, mask));
    }
}

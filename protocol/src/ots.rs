//! The oblivious transfers of a run: where they come from, and what they cost.
//!
//! A step says which OTs it takes ([`Take`]); the plan charges them to the run's [`Source`] with a [`Ledger`], layer by
//! layer, so that a strategy's own cost formula is the same over every source. Before the online phase both parties
//! reserve what a layer takes, so that online only the OTs' own messages travel.
//!
//! ```text
//!                      silent                                       IKNP
//!   reserving          trees, sender to receiver                    nothing
//!   choosing n bits    ⌈n/8⌉ bytes, receiver to sender              16·⌈n/128⌉·128 bytes, receiver to sender
//!   n random bits      trees, sender to receiver                    16·⌈n/128⌉·128 bytes, receiver to sender
//! ```
//!
//! In both directions: Bob sends where Alice's bit meets his number, Alice where his meets hers.

use crate::cost::{Cost, Flow};
use ot::{iknp, silent};
use serde::{Deserialize, Serialize};

/// How correlated OTs are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Silent extension: hardly any traffic.
    #[default]
    Silent,
    /// IKNP extension: 16 bytes per OT.
    Iknp,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 2] = [Self::Silent, Self::Iknp];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Iknp => "iknp",
        }
    }
}

/// A party, as the sender of OTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Alice sends; Bob chooses.
    Alice,
    /// Bob sends; Alice chooses.
    Bob,
}

/// OTs that a step takes in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Online, with chosen bits.
    Chosen {
        /// Who sends.
        sender: Sender,
        /// How many.
        n: usize,
    },
    /// Offline, random OTs of bits, Bob sending.
    Bits {
        /// How many.
        n: usize,
    },
}

impl Take {
    /// Chosen OTs that Bob sends.
    pub fn from_bob(n: usize) -> Self {
        Self::Chosen { sender: Sender::Bob, n }
    }

    /// Chosen OTs that Alice sends.
    pub fn from_alice(n: usize) -> Self {
        Self::Chosen { sender: Sender::Alice, n }
    }
}

/// Which sources a run sets up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    pub(crate) from_alice: bool,
    pub(crate) from_bob: bool,
}

impl Directions {
    /// What these takes need.
    pub(crate) fn of(takes: &[Take]) -> Self {
        let sends =
            |who| takes.iter().any(|take| matches!(take, Take::Chosen { sender, .. } if *sender == who));
        let bits = takes.iter().any(|take| matches!(take, Take::Bits { .. }));
        Self { from_alice: sends(Sender::Alice), from_bob: sends(Sender::Bob) || bits }
    }

    /// Who sends, in the order of the set-up.
    pub(crate) fn senders(self) -> impl Iterator<Item = Sender> {
        let both = [(self.from_bob, Sender::Bob), (self.from_alice, Sender::Alice)];
        both.into_iter().filter_map(|(wanted, sender)| wanted.then_some(sender))
    }

    /// Either's needs.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { from_alice: self.from_alice || other.from_alice, from_bob: self.from_bob || other.from_bob }
    }
}

/// How many OTs with chosen bits from this sender.
pub(crate) fn chosen(takes: &[Take], who: Sender) -> usize {
    let count = |take: &Take| match *take {
        Take::Chosen { sender, n } if sender == who => n,
        _ => 0,
    };
    takes.iter().map(count).sum()
}

/// What the set-up of the sources costs.
pub(crate) fn setup_cost(source: Source, directions: Directions) -> Flow {
    let (to_receiver, to_sender) = match source {
        Source::Silent => silent::setup_bytes(),
        Source::Iknp => iknp::setup_bytes(),
    };
    let (to_receiver, to_sender) = (to_receiver as u64, to_sender as u64);
    // Base OTs are one round; the first batch of silent OT streams after them.
    let rounds = if source == Source::Silent { 2 } else { 1 };
    let from_bob = Flow { alice_to_bob: to_sender, bob_to_alice: to_receiver, rounds };
    // The extension's sender is the base OTs' receiver, who speaks second and then only sends.
    let from_alice = Flow { alice_to_bob: to_receiver, bob_to_alice: to_sender, rounds: rounds - 1 };
    let count = |wanted: bool, flow: Flow| if wanted { flow } else { Flow::default() };
    count(directions.from_bob, from_bob) + count(directions.from_alice, from_alice)
}

/// Charges takes to a source, in the order in which a run takes them.
pub(crate) struct Ledger {
    source: Source,
    from_alice: Stock,
    from_bob: Stock,
}

/// What a silent source has delivered.
#[derive(Clone, Copy, Default)]
struct Stock {
    blocks: u64,
    words: u64,
}

impl Stock {
    /// Bytes of all trees so far.
    fn bytes(&self) -> u64 {
        let portion = silent::PORTION as u64;
        silent::extend_bytes(self.blocks.div_ceil(portion) + self.words.div_ceil(portion / 64))
    }

    /// Bytes of the trees that these make necessary.
    fn draw(&mut self, blocks: usize, words: usize) -> u64 {
        let before = self.bytes();
        self.blocks += blocks as u64;
        self.words += words as u64;
        self.bytes() - before
    }
}

impl Ledger {
    /// Nothing taken yet.
    pub(crate) fn new(source: Source) -> Self {
        Self { source, from_alice: Stock::default(), from_bob: Stock::default() }
    }

    /// What the source charges for one layer's takes.
    pub(crate) fn charge(&mut self, takes: &[Take]) -> Cost {
        match self.source {
            Source::Silent => self.silent(takes),
            Source::Iknp => takes.iter().map(iknp_cost).sum(),
        }
    }

    fn silent(&mut self, takes: &[Take]) -> Cost {
        let mut cost = Cost::default();
        for (who, stock) in [(Sender::Bob, &mut self.from_bob), (Sender::Alice, &mut self.from_alice)] {
            let n = chosen(takes, who);
            if n > 0 {
                cost.offline = cost.offline + towards(who, stock.draw(n, 0), 1);
            }
        }
        for take in takes {
            match *take {
                Take::Bits { n } => {
                    let bytes = self.from_bob.draw(0, ot::bits::words(n));
                    cost.offline = cost.offline + towards(Sender::Bob, bytes, 1);
                }
                Take::Chosen { sender, n } => {
                    cost.online = cost.online + against(sender, silent::correction_bytes(n));
                }
            }
        }
        cost
    }
}

fn iknp_cost(take: &Take) -> Cost {
    match *take {
        Take::Bits { n } => {
            let flow = against(Sender::Bob, iknp::extend_bytes(n));
            Cost { offline: Flow { rounds: 1, ..flow }, online: Flow::default() }
        }
        Take::Chosen { sender, n } => {
            Cost { offline: Flow::default(), online: against(sender, iknp::extend_bytes(n)) }
        }
    }
}

/// From a sender to the receiver.
fn towards(sender: Sender, bytes: u64, rounds: u64) -> Flow {
    match sender {
        Sender::Alice => Flow { alice_to_bob: bytes, bob_to_alice: 0, rounds },
        Sender::Bob => Flow { alice_to_bob: 0, bob_to_alice: bytes, rounds },
    }
}

/// From the receiver to a sender.
fn against(sender: Sender, bytes: usize) -> Flow {
    let other = if sender == Sender::Alice { Sender::Bob } else { Sender::Alice };
    towards(other, bytes as u64, 0)
}

//! Declared costs: exact bulk bytes per direction and rounds, which tests hold every strategy to.

use serde::{Deserialize, Serialize};
use std::iter::Sum;
use std::ops::Add;

/// Bulk bytes each way and rounds as Alice counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Bytes from Alice to Bob.
    pub alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bob_to_alice: u64,
    /// Times that Alice turns from sending to waiting.
    pub rounds: u64,
}

/// Cost of a layer per phase. Set-up is shared by all layers and declared by the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// What does not depend on the scan.
    pub offline: Flow,
    /// The rest.
    pub online: Flow,
}

/// How far a strategy's result may be from the integer reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exactness {
    /// Equal bit for bit.
    Exact,
    /// Off by at most one unit in the last place, by the carries that the shares imply.
    Carry,
}

impl Cost {
    /// A cost that arises online only.
    pub fn online(alice_to_bob: u64, bob_to_alice: u64, rounds: u64) -> Self {
        Self { offline: Flow::default(), online: Flow { alice_to_bob, bob_to_alice, rounds } }
    }

    /// Both phases together.
    pub fn total(&self) -> Flow {
        self.offline + self.online
    }
}

impl Flow {
    /// The flow of several runs.
    pub fn times(self, n: u64) -> Self {
        let Self { alice_to_bob, bob_to_alice, rounds } = self;
        Self { alice_to_bob: n * alice_to_bob, bob_to_alice: n * bob_to_alice, rounds: n * rounds }
    }
}

impl Add for Flow {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            alice_to_bob: self.alice_to_bob + other.alice_to_bob,
            bob_to_alice: self.bob_to_alice + other.bob_to_alice,
            rounds: self.rounds + other.rounds,
        }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { offline: self.offline + other.offline, online: self.online + other.online }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

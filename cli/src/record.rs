//! Run records: made, completed, joined.

use crate::{commit, machine};
use models::record::{Effort, PhaseRecord, RunRecord, peak_memory};
use protocol::engine::Measurements;
use protocol::report::{self, Side};
use protocol::{Plan, session};

/// What one party's run on one scan cost: a network that is run on several patches runs as often.
#[derive(Default)]
pub struct Run(Measurements);

impl Run {
    /// Adds the run on one patch.
    pub fn add(&mut self, patch: &Measurements) {
        self.0 += patch;
    }

    /// Adds the runs on another scan.
    pub fn join(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// Bytes that this party sent, and received.
    pub fn bytes(&self) -> (u64, u64) {
        let phases = [&self.0.setup.traffic, &self.0.offline.traffic, &self.0.online.traffic];
        phases.into_iter().fold((0, 0), |(sent, received), traffic| {
            (
                sent + traffic.sent + traffic.control_sent,
                received + traffic.received + traffic.control_received,
            )
        })
    }

    /// One party's record.
    pub fn record(&self, plan: &Plan, side: Side, command: &str, profile: String) -> RunRecord {
        let mut record = report::record(plan, side, &self.0);
        record.command = command.to_owned();
        record.commit = commit();
        record.machine = machine();
        record.profile = profile;
        let peak = match side {
            Side::Alice => &mut record.peak_memory_bytes.alice,
            Side::Bob => &mut record.peak_memory_bytes.bob,
        };
        *peak = peak_memory();
        record
    }
}

/// Alice's record, completed with what only Bob's knows.
pub fn merge(alice: RunRecord, bob: &RunRecord) -> RunRecord {
    let mut record = alice;
    let phases = &mut record.phases;
    let pairs: [(&mut PhaseRecord, &PhaseRecord); 3] = [
        (&mut phases.setup, &bob.phases.setup),
        (&mut phases.offline, &bob.phases.offline),
        (&mut phases.online, &bob.phases.online),
    ];
    for (own, other) in pairs {
        own.cpu_seconds_bob = other.cpu_seconds_bob;
    }
    let efforts = &mut record.efforts;
    join(&mut efforts.setup, &bob.efforts.setup);
    join(&mut efforts.offline, &bob.efforts.offline);
    join(&mut efforts.online, &bob.efforts.online);
    for (own, other) in record.layers.iter_mut().zip(&bob.layers) {
        join(&mut own.effort, &other.effort);
        if let Some((own, other)) = own.phases.as_mut().zip(other.phases.as_ref()) {
            join(&mut own.offline.effort, &other.offline.effort);
            join(&mut own.online.effort, &other.online.effort);
        }
    }
    record.peak_memory_bytes.bob = bob.peak_memory_bytes.bob;
    record
}

fn join(alice: &mut Effort, bob: &Effort) {
    alice.cpu_seconds.bob = bob.cpu_seconds.bob;
    alice.clock_seconds.bob = bob.clock_seconds.bob;
    alice.primitives.bob.clone_from(&bob.primitives.bob);
    alice.waits.bob = bob.waits.bob;
    alice.idle.bob = bob.idle.bob;
}

/// The beginning of a hash, enough to compare by eye.
pub fn short(hash: &[u8; 32]) -> String {
    session::hex(&hash[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_joint_record_has_both_parties_figures() {
        let mut alice = RunRecord { command: "alice".into(), ..RunRecord::default() };
        let mut bob = RunRecord { command: "bob".into(), ..RunRecord::default() };
        alice.phases.online.cpu_seconds_alice = Some(1.0);
        bob.phases.online.cpu_seconds_bob = Some(2.0);
        bob.peak_memory_bytes.bob = Some(3);
        let joint = merge(alice, &bob);
        let online = joint.phases.online;
        assert_eq!((online.cpu_seconds_alice, online.cpu_seconds_bob), (Some(1.0), Some(2.0)));
        assert_eq!((joint.peak_memory_bytes.bob, joint.command.as_str()), (Some(3), "alice"));
    }
}

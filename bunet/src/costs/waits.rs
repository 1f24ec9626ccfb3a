//! What each party waited for.
//!
//! A party works on something, or stands still: for bytes of the other party or for room in its own queue. The time that
//! it waits for bytes is charged to the other party as far as that worked meanwhile, by what its CPU time went into, and
//! the rest, in which both stood still, to the network. This is done layer by layer and phase by phase, each with the
//! parties' own clocks; what a party's clock shows is the sum of its work and its waits.

use super::{Party, Scale, phases};
use cli::{Align, Table, is_idle};
use meter::Primitive;
use models::record::{Effort, LayerRecord, RunRecord};
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Where the time on a party's clock went, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spending {
    clock: f64,
    /// Of at least one of its threads; also the time in which they had work and no core.
    works: f64,
    /// For bytes on which the other party still worked.
    for_peer: f64,
    /// For bytes, while the other party stood still as well.
    network: f64,
    /// For room in the queue of outgoing bytes.
    room: f64,
    /// The time that it waited for the other party, by what that did.
    peers_work: BTreeMap<&'static str, f64>,
}

impl Spending {
    /// Nothing where the record does not know, or only one party's figures.
    fn of(effort: &Effort, party: Party) -> Option<Self> {
        let other = party.other();
        let ([clock, others_clock], [idle, others_idle]) = (
            both(party, other, |p| *p.of(&effort.clock_seconds))?,
            both(party, other, |p| *p.of(&effort.idle))?,
        );
        let room = idle.for_room.min(clock);
        let bytes = idle.for_peer.min(clock - room);
        let others_work = (others_clock - others_idle.for_peer - others_idle.for_room).max(0.0);
        let for_peer = bytes.min(others_work);
        let cpu = other.cpu(effort).max(f64::MIN_POSITIVE);
        let mut peers_work = BTreeMap::new();
        for primitive in Primitive::ALL {
            peers_work.insert(primitive.name(), for_peer * (other.spent(effort, primitive) / cpu).min(1.0));
        }
        let named: f64 = peers_work.values().sum();
        peers_work.insert("other", (for_peer - named).max(0.0));
        Some(Self {
            clock,
            works: clock - room - bytes,
            for_peer,
            network: bytes - for_peer,
            room,
            peers_work,
        })
    }

    /// Of a layer: its phases apart where they are known.
    fn of_layer(layer: &LayerRecord, party: Party) -> Option<Self> {
        let Some(phases) = &layer.phases else { return Self::of(&layer.effort, party) };
        let mut sum = Self::of(&phases.offline.effort, party)?;
        sum += Self::of(&phases.online.effort, party)?;
        Some(sum)
    }

    /// What the other party did meanwhile, most first.
    fn reasons(&self) -> String {
        let mut parts: Vec<(&str, f64)> =
            self.peers_work.iter().map(|(name, seconds)| (*name, *seconds)).collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        let percent = |seconds: f64| 100.0 * seconds / self.for_peer.max(f64::MIN_POSITIVE);
        let large = parts.into_iter().take(3).filter(|(_, seconds)| percent(*seconds) >= 5.0);
        large
            .map(|(name, seconds)| format!("{name} {:.0} %", percent(seconds)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The work of the other party that it waited for longest.
    fn longest(&self) -> &'static str {
        let named = self.peers_work.iter().filter(|(_, seconds)| **seconds > 0.0);
        named.max_by(|a, b| a.1.total_cmp(b.1)).map_or("", |(name, _)| name)
    }
}

impl AddAssign for Spending {
    fn add_assign(&mut self, more: Self) {
        self.clock += more.clock;
        self.works += more.works;
        self.for_peer += more.for_peer;
        self.network += more.network;
        self.room += more.room;
        for (name, seconds) in more.peers_work {
            *self.peers_work.entry(name).or_default() += seconds;
        }
    }
}

fn both<T>(party: Party, other: Party, known: impl Fn(Party) -> Option<T>) -> Option<[T; 2]> {
    Some([known(party)?, known(other)?])
}

/// Per phase and party, work and waits; nothing where the record does not know.
pub(crate) fn waits_by_phase(run: &RunRecord) -> Option<Table> {
    let scale = Scale::of(run);
    let mut table = Table::new(&[
        ("seconds", Align::Left),
        ("clock", Align::Right),
        ("works", Align::Right),
        ("waits for\nthe other", Align::Right),
        ("for the\nnetwork", Align::Right),
        ("for room\nto send", Align::Right),
        ("what the other did meanwhile", Align::Left),
    ]);
    for (name, effort) in phases(run) {
        for party in Party::BOTH {
            let spending = in_phase(run, name, effort, party)?;
            let cells = [spending.clock, spending.works, spending.for_peer, spending.network, spending.room];
            let mut row = vec![format!("{name}, {}", party.name())];
            row.extend(cells.map(|seconds| scale.cell(seconds)));
            row.push(if scale.shows(spending.for_peer) { spending.reasons() } else { String::new() });
            table.push(row);
        }
    }
    Some(table)
}

/// A phase is the sum of its layers where these are known phase by phase.
fn in_phase(run: &RunRecord, name: &str, effort: &Effort, party: Party) -> Option<Spending> {
    let parts: Option<Vec<&Effort>> = run
        .layers
        .iter()
        .map(|layer| {
            let phases = layer.phases.as_ref()?;
            Some(if name == "offline" { &phases.offline.effort } else { &phases.online.effort })
        })
        .collect();
    let Some(parts) = parts.filter(|parts| name != "setup" && !parts.is_empty()) else {
        return Spending::of(effort, party);
    };
    parts.into_iter().try_fold(Spending::default(), |mut sum, part| {
        sum += Spending::of(part, party)?;
        Some(sum)
    })
}

/// Per layer, work and waits of both, and what bounds it; nothing where the record does not know.
pub(crate) fn waits_by_layer(run: &RunRecord) -> Option<Table> {
    let scale = Scale::of(run);
    let mut columns = vec![("seconds", Align::Left)];
    for heads in [
        ["clock", "Alice\nworks", "for\nBob", "net\u{ad}work", "room"],
        ["clock", "Bob\nworks", "for\nAlice", "net\u{ad}work", "room"],
    ] {
        columns.extend(heads.map(|head| (head, Align::Right)));
    }
    columns.push(("bound by", Align::Left));
    let mut table = Table::new(&columns);
    for layer in run.layers.iter().filter(|layer| !is_idle(layer)) {
        let [alice, bob] = [Spending::of_layer(layer, Party::Alice)?, Spending::of_layer(layer, Party::Bob)?];
        let mut row = vec![layer.name.clone()];
        for own in [&alice, &bob] {
            row.extend([own.clock, own.works, own.for_peer, own.network, own.room].map(|s| scale.cell(s)));
        }
        row.push(if scale.shows(alice.clock) { bound(layer, &alice, &bob) } else { String::new() });
        table.push(row);
    }
    Some(table)
}

/// Why a layer took no less time: all cores work, or one party waits for the other, or both for the network.
fn bound(layer: &LayerRecord, alice: &Spending, bob: &Spending) -> String {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let cpu: f64 = Party::BOTH.map(|party| party.cpu(&layer.effort)).iter().sum();
    if cpu > 0.85 * cores * alice.clock {
        return format!("all cores: {}", most(&layer.effort));
    }
    if alice.network.min(bob.network) > 0.5 * alice.clock {
        return "the network".to_owned();
    }
    let (name, waiting) = if alice.for_peer > bob.for_peer { ("Bob", alice) } else { ("Alice", bob) };
    format!("{name}: {}", waiting.longest()).trim_end_matches([':', ' ']).to_owned()
}

/// The primitive that took most of this CPU time.
fn most(effort: &Effort) -> &'static str {
    let spent = |primitive: Primitive| super::spent_by_both(effort, primitive);
    let largest = Primitive::ALL.into_iter().max_by(|&a, &b| spent(a).total_cmp(&spent(b)));
    largest.map_or("", Primitive::name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::record::{PerParty, Waits};

    fn effort(clocks: [f64; 2], idle: [(f64, f64); 2]) -> Effort {
        let per = |[alice, bob]: [f64; 2]| PerParty { alice: Some(alice), bob: Some(bob) };
        let idle = idle.map(|(for_peer, for_room)| Some(Waits { for_peer, for_room }));
        let reply = |seconds: f64| Some(BTreeMap::from([("reply".to_owned(), seconds)]));
        Effort {
            cpu_seconds: per([1.0, 4.0]),
            clock_seconds: per(clocks),
            primitives: PerParty { alice: reply(1.0), bob: reply(3.0) },
            idle: PerParty { alice: idle[0], bob: idle[1] },
            ..Effort::default()
        }
    }

    #[test]
    fn work_and_waits_add_up_to_the_clock() {
        // Alice works for one second of ten, Bob for four; five are on the way.
        let effort = effort([10.0, 10.0], [(8.5, 0.5), (6.0, 0.0)]);
        let alice = Spending::of(&effort, Party::Alice).unwrap_or_default();
        assert_eq!((alice.works, alice.for_peer, alice.network, alice.room), (1.0, 4.0, 4.5, 0.5));
        assert_eq!(alice.reasons(), "reply 75 %, other 25 %");
        assert_eq!(alice.works + alice.for_peer + alice.network + alice.room, alice.clock);
        let bob = Spending::of(&effort, Party::Bob).unwrap_or_default();
        assert_eq!((bob.works, bob.for_peer, bob.network), (4.0, 1.0, 5.0));
    }

    #[test]
    fn more_idle_time_than_there_is_does_not_make_work_negative() {
        let effort = effort([1.0, 1.0], [(2.0, 0.5), (0.0, 3.0)]);
        for party in Party::BOTH {
            let own = Spending::of(&effort, party).unwrap_or_default();
            assert!(own.works >= 0.0 && own.for_peer >= 0.0 && own.network >= 0.0, "{own:?}");
            assert!((own.works + own.for_peer + own.network + own.room - own.clock).abs() < 1e-9, "{own:?}");
        }
    }

    #[test]
    fn records_of_old_have_no_such_table() {
        let run = RunRecord { layers: vec![LayerRecord::default()], ..RunRecord::default() };
        assert!(waits_by_layer(&run).is_none() && waits_by_phase(&run).is_none());
    }
}

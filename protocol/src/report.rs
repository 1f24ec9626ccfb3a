//! From measurements to a run record.

use crate::engine::{Measure, Measurements};
use crate::plan::Plan;
use crate::session::hex;
use meter::Primitive;
use models::record::{
    ByPhase, Effort, LayerPart, LayerPhases, LayerRecord, ModelId, Parameters, PerParty, PhaseRecord, Phases,
    PoolRecord, RunRecord, Waits,
};

/// Statistical security of a whole run, bits.
pub const STATISTICAL_BITS: u32 = 40;

/// Whose measurements a record is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The data holder.
    Alice,
    /// The provider.
    Bob,
}

/// The record of one party's run, with null where it cannot know.
pub fn record(plan: &Plan, side: Side, measurements: &Measurements) -> RunRecord {
    let Measurements { runs, from_pool, made, .. } = *measurements;
    let live = runs - from_pool;
    let setup = plan.setup_cost().times(live + made) + plan.pooled_setup_cost().times(from_pool);
    let cost = plan.cost();
    let mut record = RunRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("BUNET_COMMIT").map(str::to_owned),
        model: ModelId { name: plan.manifest().name.clone(), manifest_hash: hex(&plan.manifest().hash()) },
        backend: "two-party".into(),
        preset: plan.config().preset.name().into(),
        parameters: parameters(plan),
        threads: rayon::current_num_threads(),
        profile: "loopback".into(),
        phases: Phases {
            setup: phase(side, &measurements.setup, setup.rounds),
            offline: phase(side, &measurements.offline, (live + made) * cost.offline.rounds),
            online: phase(side, &measurements.online, runs * cost.online.rounds),
        },
        efforts: ByPhase {
            setup: effort(side, &measurements.setup),
            offline: effort(side, &measurements.offline),
            online: effort(side, &measurements.online),
        },
        pool: (from_pool > 0).then(|| PoolRecord {
            items: from_pool,
            live,
            prepared: phase(side, &measurements.prepared, 0),
        }),
        ..RunRecord::default()
    };
    let planned = plan.layers().iter().zip(&measurements.layers);
    record.layers = planned
        .map(|(layer, measure)| {
            let node = plan.manifest().graph.node(layer.id);
            let [offline, online] = [layer.cost.offline.times(live + made), layer.cost.online.times(runs)];
            let predicted = offline + online;
            let [d, h, w] = node.shape.dims;
            let total = part(side, &measure.total(), predicted.rounds);
            LayerRecord {
                name: node.name.clone(),
                kind: node.op.kind().into(),
                strategy: layer.strategy.into(),
                shape: [node.shape.channels, d, h, w],
                seconds: total.seconds,
                bytes_alice_to_bob: total.bytes_alice_to_bob,
                bytes_bob_to_alice: total.bytes_bob_to_alice,
                rounds: total.rounds,
                predicted_bytes_alice_to_bob: predicted.alice_to_bob,
                predicted_bytes_bob_to_alice: predicted.bob_to_alice,
                effort: total.effort,
                phases: Some(LayerPhases {
                    offline: part(side, &measure.offline, offline.rounds),
                    online: part(side, &measure.online, online.rounds),
                }),
            }
        })
        .collect();
    record
}

/// Bytes from Alice to Bob and back.
fn directions(side: Side, measure: &Measure) -> (u64, u64) {
    let traffic = &measure.traffic;
    let (out, back) = (traffic.sent + traffic.control_sent, traffic.received + traffic.control_received);
    if side == Side::Alice { (out, back) } else { (back, out) }
}

fn phase(side: Side, measure: &Measure, predicted_rounds: u64) -> PhaseRecord {
    let (bytes_alice_to_bob, bytes_bob_to_alice) = directions(side, measure);
    let alice = side == Side::Alice;
    PhaseRecord {
        seconds: measure.seconds,
        cpu_seconds_alice: Some(measure.cpu_seconds).filter(|_| alice),
        cpu_seconds_bob: Some(measure.cpu_seconds).filter(|_| !alice),
        bytes_alice_to_bob,
        bytes_bob_to_alice,
        rounds: if alice { measure.traffic.rounds } else { predicted_rounds },
    }
}

/// A layer's part in a phase, or in all of them. Rounds are counted by Alice; Bob knows them from the plan.
fn part(side: Side, measure: &Measure, predicted_rounds: u64) -> LayerPart {
    let (bytes_alice_to_bob, bytes_bob_to_alice) = directions(side, measure);
    LayerPart {
        seconds: measure.seconds,
        bytes_alice_to_bob,
        bytes_bob_to_alice,
        rounds: if side == Side::Alice { measure.traffic.rounds } else { predicted_rounds },
        effort: effort(side, measure),
    }
}

/// CPU time and waits of the side that measured.
fn effort(side: Side, measure: &Measure) -> Effort {
    let seconds = |primitive: Primitive| (primitive.name().to_owned(), measure.spent.seconds(primitive));
    let primitives = Primitive::ALL.map(seconds).into_iter().filter(|(_, seconds)| *seconds > 0.0).collect();
    let traffic = &measure.traffic;
    let waits = |peer: u64, room: u64| Waits { for_peer: peer as f64 / 1e9, for_room: room as f64 / 1e9 };
    Effort {
        cpu_seconds: only(side, measure.cpu_seconds),
        clock_seconds: only(side, measure.seconds),
        primitives: only(side, primitives),
        waits: only(side, waits(traffic.receive_wait_ns, traffic.send_wait_ns)),
        idle: only(side, waits(traffic.receive_idle_ns, traffic.send_idle_ns)),
    }
}

/// What one side knows of itself.
fn only<T>(side: Side, value: T) -> PerParty<Option<T>> {
    match side {
        Side::Alice => PerParty { alice: Some(value), bob: None },
        Side::Bob => PerParty { alice: None, bob: Some(value) },
    }
}

/// The cryptographic parameters of a plan.
pub fn parameters(plan: &Plan) -> Parameters {
    let mut moduli = vec![plan.input_modulus()];
    for layer in plan.layers() {
        if !moduli.contains(&layer.modulus) && !plan.manifest().graph.node(layer.id).op.is_readout() {
            moduli.push(layer.modulus);
        }
    }
    let keys: Vec<_> = plan.keys().iter().filter_map(|spec| spec.params().ok()).collect();
    Parameters {
        share_bits: moduli.iter().map(|modulus| modulus.bits()).max().unwrap_or(0),
        moduli: moduli.iter().map(ToString::to_string).collect(),
        degrees: keys.iter().map(|params| params.degree()).collect(),
        log2_q: keys.iter().map(|params| params.log_q_with_special()).collect(),
        security_bits: keys.iter().map(|params| params.security_estimate() as u32).min().unwrap_or(128),
        statistical_bits: STATISTICAL_BITS,
    }
}

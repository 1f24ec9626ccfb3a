//! Pools on disk: runs from them, damaged and outdated files, and processes that are killed at every step.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod files;
mod kill;
mod runs;

use channels::Channel;
use models::graph::Shape;
use models::manifest::Model;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations, random_image};
use ndarray::{Array3, Array4};
use prg::Prg;
use protocol::audit::{self, MemoryAudit, Shares};
use protocol::engine::{Measurements, Silent, run_alice_with, run_bob_with};
use protocol::ots::Source;
use protocol::report::Side;
use protocol::session::{self, Agreed, Task};
use protocol::store::{Pool, Store};
use protocol::{Alice, Bob, Config, Plan, ProtocolError};
use std::path::Path;
use zeroize::Zeroizing;

/// A tiny network with squares, ReLUs, truncations and an image for it.
fn network() -> (Model, Array4<i64>) {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 8, 12] },
        channels: vec![2, 3],
        pooling: Pooling::Avg,
        activations: activations("hybrid", 2).unwrap(),
        labels: 2,
        seed: 3,
    };
    let options = QuantiseOptions { share_bits: 24, ..QuantiseOptions::default() };
    let (model, _) = unet.build_quantised(&options).unwrap();
    let scale = f64::from(model.manifest.edges[0].frac).exp2();
    let image = random_image(unet.input, unet.seed ^ 1).mapv(|x| (f64::from(x) * scale).round() as i64);
    (model, image)
}

/// What does not need a whole batch of silent OT is tried with the quicker source.
fn quick() -> Config {
    Config { ot: Source::Iknp, ..Config::default() }
}

fn store(folder: &Path, side: Side) -> Store {
    let (name, key, peer) = if side == Side::Alice { ("alice", 1, 2) } else { ("bob", 2, 1) };
    Store::new(folder.join(name), Zeroizing::new([key; 32]), side, [peer; 32])
}

fn open(store: &Store, plan: &Plan) -> Result<Pool, ProtocolError> {
    Ok(store.open(plan)?.map_or_else(|| store.begin(plan), Ok)?)
}

/// Alice's half of `runs` items.
fn make(channel: Channel, plan: &Plan, store: &Store, runs: usize) -> Result<Channel, ProtocolError> {
    let mut pool = open(store, plan)?;
    let mut alice = Alice::new(channel, Prg::from_os());
    for _ in 0..runs {
        session::make(&mut alice, plan, &mut pool, &mut Silent)?;
    }
    Ok(alice.into_channel())
}

/// What a run yields to Alice.
struct Done {
    labels: Array3<u16>,
    item: Option<u64>,
    measurements: Measurements,
    shares: Shares,
}

/// Alice's half of a run, from the pool as far as there is one.
fn segment(
    channel: Channel,
    plan: &Plan,
    store: &Store,
    input: &Array4<i64>,
    mut before: impl FnMut(u64),
) -> Result<Done, ProtocolError> {
    let shares = MemoryAudit::default();
    let mut alice = Alice::new(channel, Prg::from_os()).with_audit(shares.clone());
    let mut pool = store.open(plan)?;
    let item = match &mut pool {
        Some(pool) => session::propose_item(alice.channel(), plan, pool)?,
        None => None,
    };
    if item.is_none() {
        session::propose(alice.channel(), plan)?;
    }
    let number = item.as_ref().map(|item| item.number);
    number.into_iter().for_each(&mut before);
    let (labels, measurements) = run_alice_with(plan, &mut alice, item, input, &mut Silent)?;
    Ok(Done { labels, item: number, measurements, shares: shares.take() })
}

/// Bob's half of whatever Alice asks for until she leaves: what each cost.
fn serve(
    channel: Channel,
    model: &Model,
    store: Option<&Store>,
    shares: &MemoryAudit,
    mut before: impl FnMut(u64),
) -> Result<Vec<Measurements>, ProtocolError> {
    let mut bob = Bob::new(channel, Prg::from_os()).with_audit(shares.clone());
    let mut done = Vec::new();
    loop {
        let Agreed { model, plan, task } = match session::answer(bob.channel(), model, store) {
            Err(ProtocolError::Channel(channels::ChannelError::Closed)) => return Ok(done),
            agreed => agreed?,
        };
        done.push(match task {
            Task::Run(item) => {
                item.iter().for_each(|item| before(item.number));
                run_bob_with(&plan, &mut bob, item, model, &mut Silent)?
            }
            Task::Prepare(slot) => session::store_item(&mut bob, &plan, slot, &mut Silent)?,
        });
    }
}

/// Both parties in one process: Alice does as told, Bob serves.
fn with_bob<T>(
    model: &Model,
    bob: Option<&Store>,
    alice: impl FnOnce(Channel) -> Result<T, ProtocolError>,
) -> (Result<T, ProtocolError>, Result<Vec<Measurements>, ProtocolError>, Shares) {
    let (to_bob, to_alice) = channels::memory::pair();
    let shares = MemoryAudit::default();
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| serve(to_alice, model, bob, &shares, |_| {}));
        let alice = alice(to_bob);
        let bob = bob.join().unwrap();
        (alice, bob, shares.take())
    })
}

/// The labels that must come out, carries included; every value on the way was compared, too.
fn expected(plan: &Plan, model: &Model, input: &Array4<i64>, alice: &Shares, bob: &Shares) -> Array3<u16> {
    let (mut alice, mut bob) = (alice.clone(), bob.clone());
    let checked = audit::check(plan, model, input, &mut alice, &mut bob, &mut |_, _| {}).unwrap();
    let values = checked.values();
    assert!(values.total > 0 && values.different == 0, "{values:?}");
    checked.labels
}

//! A peer that leaves, stalls or sends garbage ends the run with an error in bounded time; nobody panics.
#![allow(clippy::unwrap_used, reason = "tests")]

use channels::memory::{Outbox, ends};
use channels::{Channel, ChannelError, Sink};
use models::graph::Shape;
use models::manifest::Model;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations, random_image};
use ndarray::{Array3, Array4};
use prg::Prg;
use protocol::engine::{Silent, run_alice, run_bob};
use protocol::session::{Agreed, answer, fetch_manifest, propose};
use protocol::{Alice, Bob, Config, Operator, Plan, Preset, ProtocolError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_millis(1500);

/// What happens to one party's outgoing bytes from some position on.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The connection ends.
    Cut,
    /// Nothing arrives any more, but the connection stays.
    Stall,
    /// Every byte is replaced by 0xff.
    Garble,
}

struct Faulty {
    inner: Option<Outbox>,
    passed: usize,
    at: usize,
    fault: Option<Fault>,
}

impl Sink for Faulty {
    fn send(&mut self, mut frame: Vec<u8>) -> Result<(), ChannelError> {
        let (start, end) = (self.passed, self.passed + frame.len());
        self.passed = end;
        let (Some(fault), Some(inner)) = (self.fault, &mut self.inner) else {
            return self.inner.as_mut().map_or(Err(ChannelError::Closed), |inner| inner.send(frame));
        };
        if end <= self.at {
            return inner.send(frame);
        }
        let good = self.at.saturating_sub(start);
        match fault {
            Fault::Garble => {
                frame[good..].fill(0xff);
                inner.send(frame)
            }
            Fault::Stall | Fault::Cut => {
                frame.truncate(good);
                if !frame.is_empty() {
                    inner.send(frame)?;
                }
                if matches!(fault, Fault::Cut) {
                    self.inner = None;
                }
                Ok(())
            }
        }
    }
}

fn network() -> (Model, Array4<i64>) {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 16, 12] },
        channels: vec![3, 4],
        pooling: Pooling::Avg,
        activations: activations("hybrid", 2).unwrap(),
        labels: 2,
        seed: 3,
    };
    let options = QuantiseOptions { share_bits: 24, ..QuantiseOptions::default() };
    let (model, _) = unet.build_quantised(&options).unwrap();
    let input = model.manifest.quantise_input(&random_image(unet.input, 4));
    (model, input)
}

type Labels = Result<Array3<u16>, ProtocolError>;

/// A whole session, handshake included, with a fault in one direction; also the bytes that each side sent.
fn session(
    model: &Model,
    input: &Array4<i64>,
    config: &Config,
    alice_fault: Option<(Fault, usize)>,
    bob_fault: Option<(Fault, usize)>,
) -> (Labels, Result<(), ProtocolError>, [u64; 2]) {
    let [a, b] = ends(PATIENCE);
    let faulty = |outbox, fault: Option<(Fault, usize)>| Faulty {
        inner: Some(outbox),
        passed: 0,
        at: fault.map_or(0, |fault| fault.1),
        fault: fault.map(|fault| fault.0),
    };
    let mut alice_channel = Channel::new(faulty(a.0, alice_fault), a.1);
    let mut bob_channel = Channel::new(faulty(b.0, bob_fault), b.1);
    std::thread::scope(|scope| {
        let bob = scope.spawn(move || {
            let Agreed { model, plan, .. } = answer(&mut bob_channel, model, None)?;
            let mut bob = Bob::new(bob_channel, Prg::from_os());
            run_bob(&plan, &mut bob, model, &mut Silent)?;
            let traffic = bob.channel().traffic();
            Ok::<_, ProtocolError>(traffic.sent + traffic.control_sent)
        });
        let alice = scope.spawn(move || {
            let manifest = fetch_manifest(&mut alice_channel, None)?;
            let plan = Plan::derive(&manifest, config)?;
            propose(&mut alice_channel, &plan)?;
            let mut alice = Alice::new(alice_channel, Prg::from_os());
            let (labels, _) = run_alice(&plan, &mut alice, input, &mut Silent)?;
            let traffic = alice.channel().traffic();
            Ok::<_, ProtocolError>((labels, traffic.sent + traffic.control_sent))
        });
        let (alice, bob) = (alice.join().unwrap(), bob.join().unwrap());
        let sent = [alice.as_ref().map_or(0, |done| done.1), bob.as_ref().map_or(0, |&sent| sent)];
        (alice.map(|done| done.0), bob.map(|_| ()), sent)
    })
}

fn presets() -> [Config; 2] {
    [Preset::Gc, Preset::Bunet].map(|preset| Config { preset, ..Config::default() })
}

#[test]
fn scores_are_opened_only_where_bob_says_so() {
    let (model, input) = network();
    let mut config = Config::default();
    config.strategies.insert(Operator::Readout, "open".into());
    let (alice, bob, _) = session(&model, &input, &config, None, None);
    let (alice, bob) = (alice.unwrap_err(), bob.unwrap_err());
    assert!(matches!(&alice, ProtocolError::Refused(reason) if reason.contains("--allow-scores")), "{alice}");
    assert!(matches!(bob, ProtocolError::Disagreement(_)), "{bob}");
    // Nor by the layer's name.
    let readout = model.manifest.graph.nodes().last().unwrap().name.clone();
    let config = Config { layers: [(readout, "open".to_owned())].into(), ..Config::default() };
    assert!(matches!(session(&model, &input, &config, None, None).0, Err(ProtocolError::Refused(_))));
}

#[test]
fn faults_anywhere_end_both_sides_without_a_panic() {
    let (model, input) = network();
    for config in presets() {
        let (labels, bob, sent) = session(&model, &input, &config, None, None);
        let labels = labels.unwrap();
        bob.unwrap();
        for (side, total) in sent.into_iter().enumerate() {
            // From the first message of the handshake to the last bytes of the last layer.
            let last = total as usize - 1;
            for at in
                [0, 3, 20, 200, 3000, total as usize / 10, total as usize / 3, total as usize * 2 / 3, last]
            {
                for fault in [Fault::Cut, Fault::Garble] {
                    let faults =
                        if side == 0 { [Some((fault, at)), None] } else { [None, Some((fault, at))] };
                    let start = Instant::now();
                    let (alice, bob, _) = session(&model, &input, &config, faults[0], faults[1]);
                    assert!(start.elapsed() < 4 * PATIENCE, "{fault:?} at {at} of side {side}");
                    match fault {
                        // Garbage may pass for masked data: then the result is wrong, but nothing breaks.
                        Fault::Garble => assert!(at > 20 || alice.is_err() || bob.is_err()),
                        _ => assert!(alice.is_err() || (bob.is_err() && alice.unwrap() == labels)),
                    }
                }
            }
        }
    }
}

#[test]
fn a_peer_that_stalls_is_given_up_in_time() {
    let (model, input) = network();
    for config in presets() {
        for faults in [[Some((Fault::Stall, 20_000)), None], [None, Some((Fault::Stall, 20_000))]] {
            let start = Instant::now();
            let (alice, bob, _) = session(&model, &input, &config, faults[0], faults[1]);
            assert!(start.elapsed() < 4 * PATIENCE);
            let timed_out = |error: &ProtocolError| error.to_string().contains("did not answer");
            let reasons = [alice.err(), bob.err()];
            assert!(reasons.iter().flatten().any(timed_out), "{reasons:?}");
        }
    }
}

#[test]
fn a_foreign_manifest_or_plan_is_refused_with_words() {
    let (model, _) = network();
    let mut other = model.clone();
    other.manifest.name = "another".into();
    let [a, b] = ends(PATIENCE);
    let (mut alice, mut bob) = (Channel::new(a.0, a.1), Channel::new(b.0, b.1));
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let error = answer(&mut bob, &model, None).err().unwrap();
            assert!(error.to_string().contains("no network with manifest"), "{error}");
            refused.store(true, Ordering::Relaxed);
        });
        let plan = Plan::derive(&other.manifest, &Config::default()).unwrap();
        let error = propose(&mut alice, &plan).err().unwrap();
        assert!(matches!(&error, ProtocolError::Refused(reason) if reason.contains("fetch")), "{error}");
    });
    assert!(refused.load(Ordering::Relaxed));
}

//! The three-party engine as a backend: three servers in one process, over channels in memory.
//!
//! For comparisons and tests on data of one owner; between owners, three `party` processes and their clients run.
//! The record's keys are those of two parties. Here `alice_to_bob` counts what the servers send to each other (and
//! the input's shares), `bob_to_alice` the labels' shares that go to the client; rounds are those among the servers.

use crate::bits::unslice;
use crate::cost::Spent;
use crate::error::Error;
use crate::infer::{infer, model_elements, predict, ring_bits};
use crate::local;
use crate::ring::Ring;
use crate::share::Bits;
use models::backend::{Backend, BackendError, Outcome, ThreatModel};
use models::record::{Agreement, LayerRecord, ModelId, Parameters, PhaseRecord, RunRecord};
use models::{Manifest, Model, reference};
use ndarray::{Array3, Array4};
use prg::Prg;
use std::collections::BTreeMap;
use std::time::Instant;

/// The name of this backend.
pub const NAME: &str = "three-party";

/// Three servers and their clients in one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreeParty;

impl Backend for ThreeParty {
    fn name(&self) -> &'static str {
        NAME
    }

    fn threat_model(&self) -> ThreatModel {
        threat_model()
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| BackendError { backend: NAME, source };
        let expected = reference::run(model, input).map_err(|error| failed(error.into()))?;
        let run = if ring_bits(&model.manifest) == 32 { run_local::<u32> } else { run_local::<u64> };
        let (labels, mut record) = run(model, input).map_err(|error| failed(error.into()))?;
        let different = labels.iter().zip(&expected).filter(|(a, b)| a != b).count() as u64;
        record.agreement = Some(Agreement { total: labels.len() as u64, different });
        Ok(Outcome { labels, record })
    }
}

/// What the three-party backend assumes, and who learns what.
pub fn threat_model() -> ThreatModel {
    let words = |text: &str| text.to_owned();
    ThreatModel {
        assumption: words("Three servers follow the protocol, and no two of them share what they see."),
        learns: vec![
            (words("each server"), words("nothing of scans, weights, intermediate values or labels")),
            (words("the data owner"), words("the labels of the scan, and what they tell of the weights")),
            (words("the model owner"), words("nothing of the scan, in inference")),
        ],
        limits: words(
            "Two servers that collude hold everything. A server that deviates can falsify results; copies are \
             compared at input, checkpoint and opening only. Weights may be reconstructed from many queries' labels.",
        ),
    }
}

fn run_local<R: Ring>(model: &Model, input: &Array4<i64>) -> Result<(Array3<u16>, RunRecord), Error> {
    let mut prg = Prg::from_os();
    let image: Vec<R> = input.iter().map(|&x| R::from_i64(x)).collect();
    let shared_image = local::deal(&image, &prg.seed());
    let weights: BTreeMap<_, _> = model_elements::<R>(model)
        .into_iter()
        .map(|(id, parts)| (id, parts.map(|part| local::deal(&part, &prg.seed()))))
        .collect();
    let start = Instant::now();
    let parts = local::run(|party| {
        let id = party.id();
        let own = weights.iter().map(|(&node, parts)| (node, parts.each_ref().map(|part| part[id].clone())));
        infer(party, &model.manifest, &own.collect(), &shared_image[id])
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let [a, b, c] = parts;
    let labels = open_labels(&[a.0, b.0, c.0]);
    let mut record = record(&model.manifest, &[a.1, b.1, c.1]);
    let sharing = 6 * (input.len() * size_of::<R>()) as u64;
    record.phases.online.bytes_alice_to_bob += sharing;
    record.phases.online.bytes_bob_to_alice = label_bytes(&model.manifest);
    record.phases.online.seconds = seconds;
    Ok((to_image(&model.manifest, &labels), record))
}

/// What the client does with the components that the servers send: each label, from one copy of each component.
pub(crate) fn open_labels(parts: &[Bits; 3]) -> Vec<u64> {
    let [a, b, c] = parts;
    let planes: Vec<u64> = a.own.iter().zip(&b.own).zip(&c.own).map(|((x, y), z)| x ^ y ^ z).collect();
    unslice(&planes, a.planes, a.len)
}

pub(crate) fn to_image(manifest: &Manifest, labels: &[u64]) -> Array3<u16> {
    let [depth, height, width] = manifest.graph.node(manifest.graph.output()).shape.dims;
    let labels = labels.iter().map(|&label| label as u16).collect();
    Array3::from_shape_vec((depth, height, width), labels)
        .unwrap_or_else(|_| unreachable!("a label per voxel of the readout"))
}

/// Bytes of the label shares that all servers send to the client: one plane set of each component.
fn label_bytes(manifest: &Manifest) -> u64 {
    let node = manifest.graph.node(manifest.graph.output());
    let channels = manifest.graph.node(node.inputs[0]).shape.channels;
    let planes = channels.next_power_of_two().trailing_zeros().max(1) as u64;
    3 * planes * 8 * node.shape.len().div_ceil(64) as u64
}

/// The record of an inference, from what each layer took at the three servers.
pub(crate) fn record(manifest: &Manifest, spent: &[Vec<Spent>; 3]) -> RunRecord {
    let predicted = predict(manifest);
    let nodes = manifest.graph.nodes();
    let layers: Vec<LayerRecord> = (1..nodes.len())
        .map(|id| {
            let [depth, height, width] = nodes[id].shape.dims;
            LayerRecord {
                name: nodes[id].name.clone(),
                kind: nodes[id].op.kind().into(),
                strategy: "replicated".into(),
                shape: [nodes[id].shape.channels, depth, height, width],
                seconds: spent.iter().map(|layers| layers[id].seconds).fold(0.0, f64::max),
                bytes_alice_to_bob: spent.iter().map(|layers| layers[id].bytes_sent).sum(),
                rounds: spent[0][id].rounds,
                predicted_bytes_alice_to_bob: predicted[id].bytes,
                ..LayerRecord::default()
            }
        })
        .collect();
    let ring = ring_bits(manifest);
    let online = PhaseRecord {
        bytes_alice_to_bob: layers.iter().map(|layer| layer.bytes_alice_to_bob).sum(),
        rounds: layers.iter().map(|layer| layer.rounds).sum(),
        ..PhaseRecord::default()
    };
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    RunRecord {
        command: "three-party inference".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        model: ModelId { name: manifest.name.clone(), manifest_hash: hex(manifest.hash()) },
        backend: NAME.into(),
        preset: "replicated".into(),
        parameters: Parameters {
            moduli: vec![format!("2^{ring}")],
            share_bits: ring,
            security_bits: 128,
            ..Parameters::default()
        },
        machine: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
        threads: 1,
        profile: "memory".into(),
        phases: models::record::Phases { online, ..Default::default() },
        layers,
        ..RunRecord::default()
    }
}

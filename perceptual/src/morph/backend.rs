//! The `morph` backend: data holder and server in one process, on 64-bit floats for the first layer and integers after it.

use crate::error::PerceptualError;
use crate::keys::MasterKey;
use crate::morph::{AugmentedModel, Blocks, MorphKey, augment};
use models::backend::{Backend, BackendError, Outcome, ThreatModel};
use models::manifest::Model;
use models::record::{
    Agreement, LayerRecord, ModelId, Parameters, PerParty, PhaseRecord, Phases, RunRecord, peak_memory,
};
use models::reference;
use ndarray::Array4;
use std::time::Instant;

/// Runs networks on morphed scans. The key for a shape is derived from `master` by [`MorphKey::new`].
#[derive(Clone)]
pub struct Morph {
    /// The data holder's key.
    pub master: MasterKey,
    /// The morphing factor κ.
    pub kappa: usize,
    /// Whether M repeats one block.
    pub blocks: Blocks,
}

struct Timed {
    augmented: AugmentedModel,
    morphed: Vec<f64>,
    seconds: [f64; 3],
    labels: ndarray::Array3<u16>,
    different: u64,
}

impl Morph {
    fn timed(&self, model: &Model, input: &Array4<i64>) -> Result<Timed, PerceptualError> {
        let start = Instant::now();
        let key =
            MorphKey::new(self.master.clone(), model.manifest.graph.node(0).shape, self.kappa, self.blocks)?;
        let augmented = augment(model, &key)?;
        let ready = Instant::now();
        let morphed = key.morph(&input.mapv(|value| value as f64))?;
        let sent = Instant::now();
        let labels = augmented.run(&morphed)?;
        let seconds = [ready - start, sent - ready, sent.elapsed()].map(|time| time.as_secs_f64());
        let expected = reference::run(model, input)?;
        let different = labels.iter().zip(&expected).filter(|(a, b)| a != b).count() as u64;
        Ok(Timed { augmented, morphed, seconds, labels, different })
    }

    fn record(&self, model: &Model, timed: &Timed) -> RunRecord {
        let manifest = &model.manifest;
        let [setup, morph, serve] = timed.seconds;
        // The first layer's weights and bias come down once; C_ac with its bias, and the order for those who read it, go up.
        let first = model.weights.iter().find(|(id, _)| !timed.augmented.weights.contains_key(id));
        let down = first.map_or(0, |(_, layer)| 4 * layer.weights.len() + 8 * layer.bias.len());
        let up = 8 * timed.augmented.first.entries() + (8 + 4) * timed.augmented.first.bias.len();
        let setup = PhaseRecord {
            seconds: setup,
            bytes_alice_to_bob: up as u64,
            bytes_bob_to_alice: down as u64,
            rounds: 1,
            ..PhaseRecord::default()
        };
        let online = PhaseRecord {
            seconds: morph + serve,
            bytes_alice_to_bob: 8 * timed.morphed.len() as u64,
            bytes_bob_to_alice: timed.labels.len() as u64,
            rounds: 1,
            ..PhaseRecord::default()
        };
        let layer = |name: &str, kind: &str, seconds, shape| LayerRecord {
            name: name.into(),
            kind: kind.into(),
            strategy: "morph".into(),
            shape,
            seconds,
            ..LayerRecord::default()
        };
        let [input, output] = [0, manifest.graph.output()].map(|id| manifest.graph.node(id).shape.to_array());
        RunRecord {
            command: "run".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: ModelId::of(manifest),
            backend: "morph".into(),
            preset: format!("kappa {}, {:?} blocks", self.kappa, self.blocks).to_lowercase(),
            parameters: Parameters { share_bits: manifest.share_bits, ..Parameters::default() },
            threads: rayon::current_num_threads(),
            phases: Phases { setup, online, ..Phases::default() },
            layers: vec![layer("morphing", "input", morph, input), layer("network", "all", serve, output)],
            peak_memory_bytes: PerParty { alice: peak_memory(), bob: None },
            agreement: Some(Agreement { total: timed.labels.len() as u64, different: timed.different }),
            ..RunRecord::default()
        }
    }
}

impl Backend for Morph {
    fn name(&self) -> &'static str {
        "morph"
    }

    fn threat_model(&self) -> ThreatModel {
        let words = |text: &str| text.to_owned();
        let known = match self.blocks {
            Blocks::Repeated => "⌈q/κ⌉ scans known together with their morphed form give the key away",
            Blocks::Independent => "q scans known together with their morphed form give the key away",
        };
        ThreatModel {
            assumption: words(
                "The server never sees a scan that it can match with its morphed form, and does not know the first \
                 layer's weights: the data holder got them from someone else and keeps them secret.",
            ),
            learns: vec![
                (
                    words("data holder"),
                    words("the first layer's weights, which she cannot do without, and the labels"),
                ),
                (
                    words("server"),
                    words(
                        "the labels, the first layer's values (channels in secret order), and an image times a secret \
                         matrix: which blocks are empty, which are equal, and about how bright each one is",
                    ),
                ),
            ],
            limits: format!(
                "{known}; a server that knows the first layer's weights computes the key from the augmented \
                 convolution. What is hidden is the look of the image, not its meaning."
            ),
        }
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        let failed = |error: PerceptualError| BackendError { backend: "morph", source: Box::new(error) };
        let timed = self.timed(model, input).map_err(failed)?;
        let record = self.record(model, &timed);
        Ok(Outcome { labels: timed.labels, record })
    }
}

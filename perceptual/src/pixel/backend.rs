//! The `pixel` backend: the server runs the network on the encrypted image as it is.
//!
//! The network reads integers x that are linear in the samples p: p' = 2^L − 1 − p becomes x' = low + high − x, where
//! low and high are the images of samples 0 and 2^L − 1. For inputs in −1..1 that is a change of sign, for inputs in 0..1
//! it is 1 − x. The labels are only as good as the network was trained for such images.

use super::{Steps, key_bits, shuffle};
use crate::error::PerceptualError;
use crate::keys::{MasterKey, Scope};
use imaging::{Intensity, Preprocessing};
use models::backend::{Backend, BackendError, Outcome, ThreatModel};
use models::manifest::{Manifest, Model};
use models::record::{Agreement, ModelId, Parameters, PerParty, PhaseRecord, Phases, RunRecord, peak_memory};
use models::reference;
use ndarray::Array4;
use std::time::Instant;

/// Runs networks on encrypted images.
#[derive(Clone)]
pub struct Pixel {
    /// The data holder's key.
    pub key: MasterKey,
    /// One key stream for all images, or one each.
    pub scope: Scope,
    /// The image's name, for its own key.
    pub identity: String,
    /// Which steps run; shuffling on three channels only.
    pub steps: Steps,
}

/// The integers that stand for sample 0 and for the largest sample.
pub(crate) fn input_range(manifest: &Manifest) -> (i64, i64) {
    let edge = &manifest.edges[0];
    let preprocessing = serde_json::from_value::<Preprocessing>(manifest.preprocessing.clone());
    match preprocessing.map(|preprocessing| preprocessing.intensity) {
        Ok(Intensity::Unit { .. } | Intensity::Window { .. }) => (0, edge.to_integer(1.0)),
        _ => (-(edge.bound as i64), edge.bound as i64),
    }
}

impl Pixel {
    /// The image that the server gets.
    ///
    /// # Errors
    /// If a value lies outside the range that samples can have.
    pub fn encrypt(&self, manifest: &Manifest, input: &Array4<i64>) -> Result<Array4<i64>, PerceptualError> {
        let (low, high) = input_range(manifest);
        if let Some(value) = input.iter().find(|&&value| value < low || value > high) {
            let reason =
                format!("the value {value} lies outside {low}..={high}, the range of the network's input");
            return Err(PerceptualError::samples("input", reason));
        }
        let seed = self.key.for_image(self.scope, &self.identity);
        let mut secret = input.as_standard_layout().into_owned();
        let bits = key_bits(&seed, secret.len());
        secret
            .iter_mut()
            .zip(bits)
            .filter(|(_, bit)| *bit)
            .for_each(|(value, _)| *value = low + high - *value);
        if self.steps.shuffle && secret.dim().0 == 3 {
            shuffle(secret.view_mut(), &seed);
        }
        Ok(secret)
    }

    fn timed(&self, model: &Model, input: &Array4<i64>) -> Result<Outcome, PerceptualError> {
        let start = Instant::now();
        let secret = self.encrypt(&model.manifest, input)?;
        let labels = reference::run(model, &secret)?;
        let (low, high) = input_range(&model.manifest);
        let bytes = u64::from((high - low).unsigned_abs().ilog2() / 8 + 1);
        let online = PhaseRecord {
            seconds: start.elapsed().as_secs_f64(),
            bytes_alice_to_bob: bytes * input.len() as u64,
            bytes_bob_to_alice: labels.len() as u64,
            rounds: 1,
            ..PhaseRecord::default()
        };
        let plain = reference::run(model, input)?;
        let different = labels.iter().zip(&plain).filter(|(a, b)| a != b).count() as u64;
        let record = RunRecord {
            command: "run".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: ModelId::of(&model.manifest),
            backend: "pixel".into(),
            preset: if self.steps.shuffle { "negative-positive, shuffling" } else { "negative-positive" }
                .into(),
            parameters: Parameters { share_bits: model.manifest.share_bits, ..Parameters::default() },
            threads: rayon::current_num_threads(),
            phases: Phases { online, ..Phases::default() },
            peak_memory_bytes: PerParty { alice: peak_memory(), bob: None },
            agreement: Some(Agreement { total: labels.len() as u64, different }),
            ..RunRecord::default()
        };
        Ok(Outcome { labels, record })
    }
}

impl Backend for Pixel {
    fn name(&self) -> &'static str {
        "pixel"
    }

    fn threat_model(&self) -> ThreatModel {
        let words = |text: &str| text.to_owned();
        ThreatModel {
            assumption: words(
                "The server does not try: one line of arithmetic shows it every sample's distance from mid-grey.",
            ),
            learns: vec![
                (words("data holder"), words("the labels, as good as training on such images makes them")),
                (
                    words("server"),
                    words("the labels, and every sample up to its negative (colours up to their order)"),
                ),
            ],
            limits: words(
                "Folding needs no key and no training. With one key for all images, averages or pairs show the key. \
                 A network that was trained on plain images may do no better here than a constant answer.",
            ),
        }
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        self.timed(model, input).map_err(|error| BackendError { backend: "pixel", source: Box::new(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::graph::Shape;
    use models::quantise::QuantiseOptions;
    use models::unet::{Pooling, UNet, activations, random_image};

    #[test]
    fn inputs_become_their_negatives_or_stay() {
        let unet = UNet {
            rank: 2,
            input: Shape { channels: 1, dims: [1, 8, 8] },
            channels: vec![3, 4],
            pooling: Pooling::Max,
            activations: activations("relu", 2).unwrap(),
            labels: 2,
            seed: 1,
        };
        let model = unet.build_quantised(&QuantiseOptions::default()).unwrap().0;
        let input = model.manifest.quantise_input(&random_image(unet.input, 1));
        let (key, identity) = (MasterKey::from_bytes([1; 16]), "a".into());
        let mut pixel = Pixel { key, scope: Scope::PerImage, identity, steps: Steps { shuffle: false } };
        let secret = pixel.encrypt(&model.manifest, &input).unwrap();
        assert!(input.iter().zip(&secret).all(|(x, s)| x == s || *x == -s));
        assert_ne!(input, secret);
        let outcome = pixel.run(&model, &input).unwrap();
        assert_eq!(outcome.labels, reference::run(&model, &secret).unwrap());
        let beyond = Array4::from_elem((1, 1, 8, 8), 1 << 30);
        assert!(pixel.run(&model, &beyond).is_err());
    }
}

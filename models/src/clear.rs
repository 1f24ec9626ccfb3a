//! The `clear` backend: the integer reference behind the backend interface. One party sees everything.

use crate::backend::{Backend, BackendError, Outcome, ThreatModel};
use crate::manifest::Model;
use crate::record::{
    Agreement, LayerRecord, ModelId, Parameters, PerParty, PhaseRecord, Phases, RunRecord, peak_memory,
};
use crate::reference;
use ndarray::Array4;
use std::time::Instant;

/// Runs a network without any protection, for comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clear;

impl Backend for Clear {
    fn name(&self) -> &'static str {
        "clear"
    }

    fn threat_model(&self) -> ThreatModel {
        ThreatModel {
            assumption: "none is protected: whoever computes sees the scan, the weights and every value"
                .into(),
            learns: vec![("whoever computes".into(), "the scan, the weights and the result".into())],
            limits: "for comparison only".into(),
        }
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        let start = Instant::now();
        let mut before = start;
        let mut layers = Vec::new();
        let value = reference::walk(model, input, |id, _| {
            let node = model.manifest.graph.node(id);
            let now = Instant::now();
            layers.push(LayerRecord {
                name: node.name.clone(),
                kind: node.op.kind().into(),
                strategy: "clear".into(),
                shape: node.shape.to_array(),
                seconds: (now - before).as_secs_f64(),
                ..LayerRecord::default()
            });
            before = now;
            Ok(())
        });
        let labels = value.and_then(|value| reference::labels(model, value));
        let labels =
            labels.map_err(|error| BackendError { backend: self.name(), source: Box::new(error) })?;
        let online = PhaseRecord { seconds: start.elapsed().as_secs_f64(), ..PhaseRecord::default() };
        let total = labels.len() as u64;
        let record = RunRecord {
            command: "run".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: ModelId::of(&model.manifest),
            backend: self.name().into(),
            preset: "clear".into(),
            parameters: Parameters { share_bits: model.manifest.share_bits, ..Parameters::default() },
            threads: rayon::current_num_threads(),
            phases: Phases { online, ..Phases::default() },
            layers,
            peak_memory_bytes: PerParty { alice: peak_memory(), bob: None },
            agreement: Some(Agreement { total, different: 0 }),
            ..RunRecord::default()
        };
        Ok(Outcome { labels, record })
    }
}

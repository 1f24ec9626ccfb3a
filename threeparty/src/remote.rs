//! The three-party engine as a backend over three `party` processes: the caller owns both model and image.
//!
//! The servers run a segmentation job in which one client brings the weights and the images. The record holds what that client can
//! know: its own time and bytes (`alice_to_bob` what it sent, `bob_to_alice` what came back); the servers' records the rest.

use crate::backend::{NAME, threat_model};
use crate::connect::{ConnectError, call_servers};
use crate::error::Error;
use crate::infer::{predict, ring_bits};
use crate::job::{Job, Task};
use models::backend::{Backend, BackendError, Outcome, ThreatModel};
use models::record::{ModelId, Parameters, PhaseRecord, Phases, RunRecord};
use models::reference::ReferenceError;
use models::{Model, reference};
use ndarray::Array4;
use net::{Identity, Options, Trusted};
use std::time::{Duration, Instant};

/// Three servers elsewhere, and the client that owns model and image.
pub struct RemoteThreeParty {
    /// The segmentation job that the servers run: one image, both roles this client's.
    pub job: Job,
    /// The client's key.
    pub identity: Identity,
    /// The servers' certificates.
    pub trusted: Trusted,
    /// How long to wait for what.
    pub options: Options,
    /// How long to call servers that are not up yet.
    pub patience: Duration,
}

/// A remote run that failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The servers.
    #[error(transparent)]
    Servers(#[from] Error),
    /// The input or the model.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The servers run another job than this model's.
    #[error("the job is no segmentation of one image by this model and this client alone")]
    OtherJob,
}

impl Backend for RemoteThreeParty {
    fn name(&self) -> &'static str {
        NAME
    }

    fn threat_model(&self) -> ThreatModel {
        threat_model()
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        self.segment(model, input).map_err(|error| BackendError { backend: NAME, source: Box::new(error) })
    }
}

impl RemoteThreeParty {
    fn segment(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, RemoteError> {
        let fits = match &self.job.task {
            Task::Segment(work) => {
                let alone =
                    [&work.model_owner, &work.data_owner].iter().all(|&name| name == self.identity.name());
                work.manifest == model.manifest && work.images == 1 && alone
            }
            _ => false,
        };
        if !fits {
            return Err(RemoteError::OtherJob);
        }
        let expected = reference::run(model, input)?;
        let start = Instant::now();
        let mut servers =
            call_servers(&self.job, &self.identity, &self.trusted, &self.options, self.patience)?;
        servers.bring_model(model)?;
        let labels = servers.segment(&model.manifest, input)?;
        let traffic = servers.traffic();
        let online = PhaseRecord {
            seconds: start.elapsed().as_secs_f64(),
            bytes_alice_to_bob: traffic.sent + traffic.control_sent,
            bytes_bob_to_alice: traffic.received + traffic.control_received,
            rounds: predict(&model.manifest).iter().map(|cost| cost.rounds).sum(),
            ..PhaseRecord::default()
        };
        let different = labels.iter().zip(&expected).filter(|(a, b)| a != b).count() as u64;
        let bits = ring_bits(&model.manifest);
        let record = RunRecord {
            command: "three-party inference".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: ModelId {
                name: model.manifest.name.clone(),
                manifest_hash: blake3::Hash::from(model.manifest.hash()).to_hex().to_string(),
            },
            backend: NAME.into(),
            preset: "replicated".into(),
            parameters: Parameters {
                moduli: vec![format!("2^{bits}")],
                share_bits: bits,
                security_bits: 128,
                ..Parameters::default()
            },
            profile: "real".into(),
            threads: 1,
            phases: Phases { online, ..Phases::default() },
            agreement: Some(models::record::Agreement { total: labels.len() as u64, different }),
            ..RunRecord::default()
        };
        Ok(Outcome { labels, record })
    }
}

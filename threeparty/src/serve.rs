//! What a server does for a job once it is connected to its neighbours and to all clients.

use crate::arithmetic::Vector;
use crate::cost::Spent;
use crate::error::Error;
use crate::infer::{infer, ring_bits};
use crate::job::{Classification, Job, Segmentation, Task, Training, weight_counts};
use crate::machine;
use crate::party::{Link, Party};
use crate::ring::Ring;
use crate::share::Shares;
use crate::sharing::{receive_shares, reveal_bits_to, reveal_to};
use crate::train::checkpoint::{self, Checkpoint, CheckpointError};
use crate::train::{Learner, Metrics, NetworkError, Samples, StepCosts, epoch_batches, to_fixed};
use channels::{ChannelError, Traffic};
use prg::Seed;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A server's clients, by the names of their certificates.
pub type Clients = BTreeMap<String, Box<dyn Link>>;

/// Where checkpoints go, and whether to go on from one.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    /// The folder; none for no checkpoints.
    pub folder: Option<PathBuf>,
    /// Whether to go on from the newest epoch that all servers have.
    pub resume: bool,
}

/// What a server tells its operator while it works.
#[derive(Clone, Debug)]
pub enum Event {
    /// All clients' shares are here and their copies agree.
    InputsComplete,
    /// Training goes on after this many epochs.
    Resumed(usize),
    /// An epoch is over.
    Epoch {
        /// Epochs done.
        epoch: usize,
        /// On the training images.
        train: Metrics,
        /// On the test images, if there are any.
        test: Option<Metrics>,
        /// Time of the steps alone.
        time: Duration,
        /// CPU time of the steps alone, all threads of this server.
        cpu: Option<f64>,
        /// Number of steps.
        steps: usize,
        /// Traffic of the steps alone.
        traffic: Traffic,
        /// What the steps took layer by layer.
        costs: StepCosts,
    },
    /// An image is labelled; what every layer took.
    Image(Vec<Spent>),
    /// ReLUs were measured.
    Measured {
        /// How many.
        values: usize,
        /// Their time.
        time: Duration,
        /// CPU time of this server.
        cpu: Option<f64>,
        /// Their traffic.
        traffic: Traffic,
    },
}

/// A job that failed at this server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Between the servers.
    #[error(transparent)]
    Party(#[from] Error),
    /// Between this server and a client.
    #[error("client {name}: {source}")]
    Client {
        /// The client.
        name: String,
        /// What happened.
        source: ChannelError,
    },
    /// A client that the job names is not connected, or has another job in mind.
    #[error("client {0} is not there, or has another job in mind")]
    NoClient(String),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Does the job. Every client must have sent the job's digest before, see [`admit`].
pub fn serve(
    party: &mut Party,
    job: &Job,
    clients: &mut Clients,
    checkpoints: &Checkpoints,
    report: &mut dyn FnMut(Event),
) -> Result<(), ServeError> {
    let mut server = Server { party, clients, report };
    match &job.task {
        Task::Train(training) => server.train(training, &training.progress_digest(), checkpoints),
        Task::Classify(work) => server.classify(work),
        Task::Segment(work) if ring_bits(&work.manifest) == 32 => server.segment::<u32>(work),
        Task::Segment(work) => server.segment::<u64>(work),
        &Task::Measure { values, repeat } => (0..repeat).try_for_each(|_| server.measure(values)),
    }
}

/// Whether a client that just connected has the same job in mind.
pub fn admit(client: &mut dyn Link, job: &Job) -> Result<bool, ChannelError> {
    Ok(client.channel().recv_control(32)? == job.digest())
}

struct Server<'a> {
    party: &'a mut Party,
    clients: &'a mut Clients,
    report: &'a mut dyn FnMut(Event),
}

impl Server<'_> {
    fn with_client<T>(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut channels::Channel) -> Result<T, ChannelError>,
    ) -> Result<T, ServeError> {
        let client = self.clients.get_mut(name).ok_or_else(|| ServeError::NoClient(name.into()))?;
        f(client.channel()).map_err(|source| ServeError::Client { name: name.into(), source })
    }

    /// Shares of `len` values of a client, both copies of every component compared.
    fn receive<R: Ring>(&mut self, name: &str, len: usize) -> Result<Shares<R>, ServeError> {
        let id = self.party.id();
        let shares = self.with_client(name, |client| receive_shares(id, client, len))?;
        self.party.check(&shares, "input")?;
        Ok(shares)
    }

    fn train(
        &mut self,
        job: &Training,
        digest: &[u8; 32],
        checkpoints: &Checkpoints,
    ) -> Result<(), ServeError> {
        let [samples, held_out] = self.samples(job)?;
        (self.report)(Event::InputsComplete);
        let weights = job.network.initial_weights(&Seed::from_bytes(job.recipe.seed))?;
        let weights: Vec<u64> = weights.iter().map(|&w| to_fixed(w)).collect();
        let weights = self.party.public(&weights);
        let mut learner = Learner::<Party>::new(job.network.clone(), job.recipe.clone(), weights)?;
        let done = self.resume(&mut learner, digest, checkpoints)?;
        let images: usize = job.owners.iter().map(|owner| owner.train).sum();
        for epoch in done..job.recipe.epochs {
            let (start, cpu, before) = (Instant::now(), machine::cpu_seconds(), self.party.traffic());
            let batches = epoch_batches(&job.recipe, job.network.input, images, epoch);
            batches.iter().try_for_each(|batch| learner.step(self.party, &samples, batch))?;
            let (time, traffic) = (start.elapsed(), self.party.traffic() - before);
            let (cpu, costs) = (spent_since(cpu), learner.take_costs());
            let on_train = learner.evaluate(self.party, &samples)?;
            let on_test = match Vector::is_empty(&held_out.labels) {
                true => None,
                false => Some(learner.evaluate(self.party, &held_out)?),
            };
            self.keep(&learner, epoch + 1, digest, checkpoints)?;
            let steps = batches.len();
            let (epoch, train, test) = (epoch + 1, on_train, on_test);
            (self.report)(Event::Epoch { epoch, train, test, time, cpu, steps, traffic, costs });
        }
        if let Some(name) = &job.weights_to {
            self.with_client(name, |client| reveal_to(client, learner.weights()))?;
        }
        Ok(())
    }

    /// Training and test samples of all owners, one owner after the other.
    fn samples(&mut self, job: &Training) -> Result<[Samples<Shares<u64>>; 2], ServeError> {
        let (len, classes) = (job.network.input.len(), job.network.classes()?);
        let mut parts: [Vec<Shares<u64>>; 4] = Default::default();
        for owner in &job.owners {
            let counts = [owner.train * len, owner.train * classes, owner.test * len, owner.test * classes];
            for (part, count) in parts.iter_mut().zip(counts) {
                part.push(self.receive(&owner.name, count)?);
            }
        }
        let [images, labels, test_images, test_labels] = parts.map(|part| Shares::concat(&part));
        Ok([Samples { images, labels }, Samples { images: test_images, labels: test_labels }])
    }

    /// Goes on from the newest checkpoint that all servers have; returns the number of epochs done.
    fn resume(
        &mut self,
        learner: &mut Learner<Party>,
        digest: &[u8; 32],
        checkpoints: &Checkpoints,
    ) -> Result<usize, ServeError> {
        let Some(folder) = checkpoints.folder.as_deref().filter(|_| checkpoints.resume) else {
            self.party.least(0)?;
            return Ok(0);
        };
        let id = self.party.id();
        let epoch = self.party.least(checkpoint::newest(folder, id))?;
        if epoch > 0 {
            let kept = Checkpoint::load(folder, id, epoch, digest)?;
            kept.state.iter().try_for_each(|part| self.party.check(part, "checkpoint"))?;
            learner.resume(kept.state, kept.step);
            (self.report)(Event::Resumed(epoch as usize));
        }
        Ok(epoch as usize)
    }

    fn keep(
        &mut self,
        learner: &Learner<Party>,
        epoch: usize,
        digest: &[u8; 32],
        checkpoints: &Checkpoints,
    ) -> Result<(), ServeError> {
        let (state, step) = learner.state();
        state.iter().try_for_each(|part| self.party.check(part, "checkpoint"))?;
        if let Some(folder) = &checkpoints.folder {
            let state = state.into_iter().cloned().collect();
            Checkpoint { epoch: epoch as u64, step, state }.save(folder, self.party.id(), digest)?;
        }
        Ok(())
    }

    fn classify(&mut self, job: &Classification) -> Result<(), ServeError> {
        let weights = self.receive(&job.model_owner, job.network.parameters()?)?;
        let images = self.receive(&job.data_owner, job.images * job.network.input.len())?;
        (self.report)(Event::InputsComplete);
        let recipe = crate::train::Recipe::for_scores();
        let learner = Learner::<Party>::new(job.network.clone(), recipe, weights)?;
        let labels = learner.labels(self.party, &images)?;
        self.with_client(&job.data_owner, |client| reveal_bits_to(client, &labels))
    }

    fn segment<R: Ring>(&mut self, job: &Segmentation) -> Result<(), ServeError> {
        let counts = weight_counts(&job.manifest);
        let all: Shares<R> = self.receive(&job.model_owner, counts.iter().map(|(_, w, b)| w + b).sum())?;
        let mut used = 0;
        let mut take = |len| {
            used += len;
            all.slice(used - len, len)
        };
        let weights = counts.iter().map(|&(id, w, b)| (id, [take(w), take(b)])).collect();
        (self.report)(Event::InputsComplete);
        let len = job.manifest.graph.node(0).shape.len();
        for _ in 0..job.images {
            let image = self.receive(&job.data_owner, len)?;
            let (labels, spent) = infer(self.party, &job.manifest, &weights, &image)?;
            self.with_client(&job.data_owner, |client| reveal_bits_to(client, &labels))?;
            (self.report)(Event::Image(spent));
        }
        Ok(())
    }

    /// ReLUs of 31-bit values in the 64-bit ring; what they cost does not depend on the values.
    fn measure(&mut self, values: usize) -> Result<(), ServeError> {
        let x = self.party.public(&(0..values as u64).map(|i| i.wrapping_sub(1 << 20)).collect::<Vec<u64>>());
        let (start, cpu, before) = (Instant::now(), machine::cpu_seconds(), self.party.traffic());
        self.party.relu(&x, 31)?;
        let (time, traffic) = (start.elapsed(), self.party.traffic() - before);
        (self.report)(Event::Measured { values, time, cpu: spent_since(cpu), traffic });
        Ok(())
    }
}

fn spent_since(before: Option<f64>) -> Option<f64> {
    Some(machine::cpu_seconds()? - before?)
}

//! What clients do: bring images, labels or weights, and take results home.

use crate::error::Error;
use crate::infer::{model_elements, ring_bits};
use crate::job::{Job, Task};
use crate::party::Link;
use crate::ring::Ring;
use crate::sharing::{reveal_bits_from, reveal_from, share_with};
use crate::train::{from_fixed, to_fixed};
use channels::{Channel, Traffic};
use models::{Manifest, Model};
use ndarray::{Array3, Array4};

/// Labelled images of a data owner, in the clear.
#[derive(Clone, Default)]
pub struct Labelled {
    /// `[image, channel, voxel]`.
    pub images: Vec<f32>,
    /// A class per image.
    pub labels: Vec<usize>,
}

/// A client's connections to the three servers.
pub struct Servers {
    links: [Box<dyn Link>; 3],
}

impl Servers {
    /// Tells servers 0, 1 and 2 which job the client has in mind.
    pub fn greet(mut links: [Box<dyn Link>; 3], job: &Job) -> Result<Self, Error> {
        for (peer, link) in links.iter_mut().enumerate() {
            link.channel().send_control(&job.digest()).map_err(|source| Error::Channel { peer, source })?;
        }
        Ok(Self { links })
    }

    /// What the client sent and received, to and from all three.
    pub fn traffic(&mut self) -> Traffic {
        self.links.iter_mut().map(|link| link.channel().traffic()).fold(Traffic::default(), |sum, one| {
            Traffic {
                sent: sum.sent + one.sent,
                received: sum.received + one.received,
                control_sent: sum.control_sent + one.control_sent,
                control_received: sum.control_received + one.control_received,
                ..sum
            }
        })
    }

    /// A data owner's part in training.
    pub fn contribute(&mut self, train: &Labelled, test: &Labelled, classes: usize) -> Result<(), Error> {
        for set in [train, test] {
            let images: Vec<u64> = set.images.iter().map(|&x| to_fixed(f64::from(x))).collect();
            let one_hot = set.labels.iter().flat_map(|&l| (0..classes).map(move |c| u64::from(l == c)));
            share_with(&mut self.channels(), &images)?;
            share_with(&mut self.channels(), &one_hot.collect::<Vec<u64>>())?;
        }
        Ok(())
    }

    /// The trained weights, for the client that the job names.
    pub fn take_weights(&mut self, len: usize) -> Result<Vec<f64>, Error> {
        Ok(reveal_from::<u64>(&mut self.channels(), len)?.into_iter().map(from_fixed).collect())
    }

    /// Brings weights for classification.
    pub fn bring_weights(&mut self, weights: &[f64]) -> Result<(), Error> {
        share_with(&mut self.channels(), &weights.iter().map(|&w| to_fixed(w)).collect::<Vec<u64>>())
    }

    /// Brings images to classify.
    pub fn bring_images(&mut self, images: &[f32]) -> Result<(), Error> {
        let images: Vec<u64> = images.iter().map(|&x| to_fixed(f64::from(x))).collect();
        share_with(&mut self.channels(), &images)
    }

    /// The classes of the images brought before.
    pub fn take_labels(&mut self, images: usize, classes: usize) -> Result<Vec<u64>, Error> {
        let planes = label_planes(classes);
        reveal_bits_from(&mut self.channels(), planes, images)
    }

    /// Brings a quantised model's weights.
    pub fn bring_model(&mut self, model: &Model) -> Result<(), Error> {
        match ring_bits(&model.manifest) {
            32 => self.bring_elements::<u32>(model),
            _ => self.bring_elements::<u64>(model),
        }
    }

    fn bring_elements<R: Ring>(&mut self, model: &Model) -> Result<(), Error> {
        let all: Vec<R> = model_elements(model).into_values().flatten().flatten().collect();
        share_with(&mut self.channels(), &all)
    }

    /// The labels of one image.
    pub fn segment(&mut self, manifest: &Manifest, image: &Array4<i64>) -> Result<Array3<u16>, Error> {
        match ring_bits(manifest) {
            32 => self.bring_image::<u32>(image)?,
            _ => self.bring_image::<u64>(image)?,
        }
        let readout = manifest.graph.node(manifest.graph.output());
        let channels = manifest.graph.node(readout.inputs[0]).shape.channels;
        let labels = reveal_bits_from(&mut self.channels(), label_planes(channels), readout.shape.len())?;
        Ok(crate::backend::to_image(manifest, &labels))
    }

    fn bring_image<R: Ring>(&mut self, image: &Array4<i64>) -> Result<(), Error> {
        share_with(&mut self.channels(), &image.iter().map(|&x| R::from_i64(x)).collect::<Vec<R>>())
    }

    fn channels(&mut self) -> [&mut Channel; 3] {
        self.links.each_mut().map(|link| link.channel())
    }
}

/// Index bits of a label among `classes`.
fn label_planes(classes: usize) -> usize {
    classes.next_power_of_two().trailing_zeros().max(1) as usize
}

/// The classes that a job tells apart, where it trains or classifies.
pub fn classes(job: &Job) -> Option<usize> {
    match &job.task {
        Task::Train(training) => training.network.classes().ok(),
        Task::Classify(work) => work.network.classes().ok(),
        Task::Segment(_) | Task::Measure { .. } => None,
    }
}

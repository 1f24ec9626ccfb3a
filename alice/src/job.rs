//! A scan, a network and a configuration that fit together: everything that can be refused before the long work.

use cli::{Failure, Kind};
use imaging::{LabelGreys, LabelStyle, Prepared, Preprocessing, Scan, majority_label, prepare};
use models::{Manifest, Op};
use ndarray::{Array3, Array4};
use protocol::{Config, Plan};
use serde::Deserialize;
use std::sync::Arc;

/// What is to be run.
pub struct Job {
    /// What each layer does.
    pub plan: Arc<Plan>,
    /// The scan, ready for the network.
    pub prepared: Prepared,
    /// Grey values of the labels.
    pub greys: LabelGreys,
}

impl Job {
    /// Fits scan, network and configuration together.
    pub fn new(manifest: &Manifest, config: &Config, scan: &Scan) -> Result<Self, Failure> {
        check_labels(manifest)?;
        Self::with_plan(Arc::new(Plan::derive(manifest, config)?), scan)
    }

    /// Fits a scan to a plan, which further scans may share.
    pub fn with_plan(plan: Arc<Plan>, scan: &Scan) -> Result<Self, Failure> {
        let manifest = plan.manifest();
        let input = manifest.graph.node(0).shape;
        let prepared = prepare(scan, &preprocessing(manifest)?, input.dims).map_err(Failure::input)?;
        if prepared.input_shape() != input.to_array() {
            let (ours, theirs) = (prepared.input_shape()[0], input.channels);
            let reason = format!("it reads {theirs} channels, its preprocessing yields {ours}");
            return Err(Failure::input(format!("network `{}`: {reason}", manifest.name)));
        }
        let greys = label_greys(manifest)?;
        Ok(Self { plan, prepared, greys })
    }

    /// How many scores the network has per voxel.
    pub(crate) fn score_channels(&self) -> usize {
        let graph = &self.plan.manifest().graph;
        graph.node(graph.node(graph.output()).inputs[0]).shape.channels
    }

    /// Scores as the numbers that they stand for; that of a network with one channel above its limit.
    pub(crate) fn real_scores(&self, scores: &Array4<i64>) -> Array4<f32> {
        let manifest = self.plan.manifest();
        let readout = manifest.graph.node(manifest.graph.output());
        let edge = manifest.edges[readout.inputs[0]];
        let limit = if let Op::Threshold { at } = readout.op { at } else { 0 };
        scores.mapv(|score| edge.to_real(score - limit) as f32)
    }

    /// The integers that the network reads, per patch.
    pub fn inputs(&self) -> impl Iterator<Item = Array4<i64>> {
        let patches = 0..self.prepared.patch_count();
        patches.map(|patch| self.plan.manifest().quantise_input(&self.prepared.input(patch)))
    }
}

/// Whether a network yields one label per voxel of its input.
pub(crate) fn check_labels(manifest: &Manifest) -> Result<(), Failure> {
    let graph = &manifest.graph;
    if graph.node(graph.output()).shape.dims == graph.node(0).shape.dims {
        return Ok(());
    }
    let reason = "its labels are not on the grid of its input; this command needs one label per voxel";
    Err(Failure::new(Kind::Plan, format!("network `{}`: {reason}", manifest.name)))
}

/// How the network's author wants scans to be prepared.
pub fn preprocessing(manifest: &Manifest) -> Result<Preprocessing, Failure> {
    let described = Preprocessing::deserialize(&manifest.preprocessing);
    described.map_err(|error| {
        let remedy = "its author states colour, intensity and size there";
        Failure::input(format!("network `{}`: its `preprocessing`: {error}; {remedy}", manifest.name))
    })
}

/// Grey values of the network's labels in pictures.
pub fn label_greys(manifest: &Manifest) -> Result<LabelGreys, Failure> {
    LabelGreys::new(manifest.labels.iter().map(|label| label.grey).collect()).map_err(Failure::input)
}

/// How labels are drawn: all but the one that covers most of the picture.
pub fn label_styles(manifest: &Manifest, shown: &Array3<u8>) -> Vec<LabelStyle> {
    let names: Vec<&str> = manifest.labels.iter().map(|label| label.name.as_str()).collect();
    let mut styles = LabelStyle::named(&names);
    let ground = majority_label(shown.view());
    styles.iter_mut().for_each(|style| style.drawn = style.label != ground);
    styles
}

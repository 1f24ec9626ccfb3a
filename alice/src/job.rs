//! A scan, a network and a configuration that fit together: everything that can be refused before the long work.

use cli::{Failure, Kind};
use imaging::{LabelGreys, LabelStyle, Prepared, Preprocessing, Scan, majority_label, prepare};
use models::Manifest;
use ndarray::{Array3, Array4};
use protocol::{Config, Plan};
use serde::Deserialize;

/// What is to be run.
pub struct Job {
    /// What each layer does.
    pub plan: Plan,
    /// The scan, ready for the network.
    pub prepared: Prepared,
    /// Grey values of the labels.
    pub greys: LabelGreys,
}

impl Job {
    /// Fits scan, network and configuration together.
    pub fn new(manifest: &Manifest, config: &Config, scan: &Scan) -> Result<Self, Failure> {
        let graph = &manifest.graph;
        let input = graph.node(0).shape;
        if graph.node(graph.output()).shape.dims != input.dims {
            let reason =
                "its labels are not on the grid of its input; this command needs one label per voxel";
            return Err(Failure::new(Kind::Plan, format!("network `{}`: {reason}", manifest.name)));
        }
        let prepared = prepare(scan, &preprocessing(manifest)?, input.dims).map_err(Failure::input)?;
        if prepared.input_shape() != input.to_array() {
            let (ours, theirs) = (prepared.input_shape()[0], input.channels);
            let reason = format!("it reads {theirs} channels, its preprocessing yields {ours}");
            return Err(Failure::input(format!("network `{}`: {reason}", manifest.name)));
        }
        Ok(Self { plan: Plan::derive(manifest, config)?, prepared, greys: label_greys(manifest)? })
    }

    /// The integers that the network reads, per patch.
    pub fn inputs(&self) -> impl Iterator<Item = Array4<i64>> {
        let patches = 0..self.prepared.patch_count();
        patches.map(|patch| self.plan.manifest().quantise_input(&self.prepared.input(patch)))
    }
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

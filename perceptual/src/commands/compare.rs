//! `compare`: every backend on one scan and network.

use super::load_model;
use crate::compare::{Comparison, Contender, compare};
use crate::error::{PerceptualError, Result};
use crate::keys::{MasterKey, Scope};
use crate::morph::{Blocks, Morph, Scans};
use crate::pixel::{Pixel, Steps};
use clap::Args;
use imaging::{
    LabelGreys, Overwrite, Prepared, Preprocessing, Scan, check_writable, prepare, read_labels,
    write_atomically,
};
use models::manifest::Manifest;
use ndarray::{Array3, Array4};
use std::io::Write;
use std::path::PathBuf;

/// Runs every backend on the same scan and network: result, cost, and what an adversary sees.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// Scan.
    #[arg(short, long)]
    pub image: PathBuf,
    /// Model bundle.
    #[arg(short, long)]
    pub model: PathBuf,
    /// Reference segmentation, for Dice.
    #[arg(long)]
    pub labels: Option<PathBuf>,
    /// Morphing factor; default: blocks of one row of the input.
    #[arg(long)]
    pub kappa: Option<usize>,
    /// Whether the morphing matrix repeats one block.
    #[arg(long, value_enum, default_value_t = Blocks::Repeated)]
    pub blocks: Blocks,
    /// Which patch of the scan, where it takes several; default: the middle one.
    #[arg(long)]
    pub patch: Option<usize>,
    /// Write the figures as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write one picture of what each server sees.
    #[arg(long)]
    pub picture: Option<PathBuf>,
    /// Replace what is there.
    #[arg(long)]
    pub overwrite: bool,
}

/// A scan as the integers that a network reads, patch by patch, and the way back.
///
/// # Errors
/// If the scan does not fit the network.
pub fn prepare_scan(manifest: &Manifest, scan: &Scan) -> Result<(Prepared, Vec<Array4<i64>>)> {
    let (prepared, patches) = Scans::of(manifest).prepare(scan)?;
    Ok((prepared, patches.iter().map(|patch| manifest.quantise_input(patch)).collect()))
}

impl CompareArgs {
    /// Runs the backends of this crate and `others` between the plain network and them; writes what was asked for and
    /// returns all figures.
    ///
    /// # Errors
    /// If a file cannot be read or written, or the plain network cannot run.
    pub fn run(&self, others: Vec<Contender>) -> Result<Comparison> {
        let overwrite = if self.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
        for path in self.json.iter().chain(&self.picture) {
            check_writable(path, overwrite)?; // before anything runs
        }
        let model = load_model(&self.model)?;
        let (prepared, inputs) = prepare_scan(&model.manifest, &Scan::read(&self.image)?)?;
        let patch = self.patch.unwrap_or(inputs.len() / 2);
        let input = inputs.get(patch).ok_or_else(|| {
            PerceptualError::Parameters(format!("patch {patch} of {}; they count from 0", inputs.len()))
        })?;
        let truth = self.truth(&model.manifest, &prepared, patch)?;
        let mut contenders = vec![Contender::clear()];
        contenders.extend(others);
        contenders.extend(self.own(input));
        let comparison = compare(&model, input, truth.as_ref(), &mut contenders)?;
        if let Some(path) = &self.json {
            let text = format!("{:#}\n", comparison.to_json());
            write_atomically(path, overwrite, |out| out.write_all(text.as_bytes()))?;
        }
        if let Some(path) = &self.picture {
            comparison.write_picture(path, self.overwrite)?;
        }
        Ok(comparison)
    }

    fn own(&self, input: &Array4<i64>) -> [Contender; 2] {
        let kappa = self.kappa.unwrap_or(input.len() / input.dim().3);
        let morph = Morph { master: MasterKey::generate(), kappa, blocks: self.blocks };
        let pixel = Pixel {
            key: MasterKey::generate(),
            scope: Scope::PerImage,
            identity: self.image.display().to_string(),
            steps: Steps { shuffle: input.dim().0 == 3 },
        };
        [Contender::morph(morph), Contender::pixel(pixel)]
    }

    /// The reference segmentation on the grid of one patch, read the way a scan is, without any change of values.
    fn truth(&self, manifest: &Manifest, prepared: &Prepared, patch: usize) -> Result<Option<Array3<u8>>> {
        let Some(path) = &self.labels else { return Ok(None) };
        let greys = LabelGreys::new(manifest.labels.iter().map(|label| label.grey).collect())?;
        let labels = read_labels(path, &greys)?;
        let mut preprocessing: Preprocessing = serde_json::from_value(manifest.preprocessing.clone())
            .map_err(|error| PerceptualError::Parameters(format!("the model's preprocessing: {error}")))?;
        if preprocessing.spacing.is_some() {
            let reason = "a model that resamples scans cannot be scored on one patch; leave the labels out";
            return Err(PerceptualError::Parameters(reason.into()));
        }
        preprocessing.intensity = imaging::Intensity::AsStored;
        preprocessing.colour = imaging::Colour::Grey;
        let geometry = *Scan::read(path)?.geometry();
        let voxels = labels.mapv(f32::from).insert_axis(ndarray::Axis(0));
        let scan = Scan::from_voxels(path, voxels, geometry);
        let labels = prepare(&scan, &preprocessing, manifest.graph.node(0).shape.dims)?;
        if labels.patch_count() != prepared.patch_count() {
            let expected = format!("{} patches", prepared.patch_count());
            return Err(PerceptualError::Mismatch { expected, found: format!("{}", labels.patch_count()) });
        }
        Ok(Some(labels.input(patch).index_axis_move(ndarray::Axis(0), 0).mapv(|label| label as u8)))
    }
}

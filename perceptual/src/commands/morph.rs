//! `morph keygen | apply | augment | run`.

use super::{load_model, prepare_scan};
use crate::error::{PerceptualError, Result};
use crate::keys::MasterKey;
use crate::morph::{Blocks, MorphKey, augment, load_augmented, read_morphed, save_augmented, write_morphed};
use clap::Subcommand;
use imaging::{LabelGreys, Overwrite, Scan};
use std::path::PathBuf;

/// Data morphing: networks run on scans that were multiplied by a secret matrix.
#[derive(Clone, Debug, Subcommand)]
pub enum MorphCommand {
    /// Makes a key for the input of a network.
    Keygen {
        /// Model bundle or its manifest.
        #[arg(short, long)]
        model: PathBuf,
        /// Number of blocks; must divide the number of values.
        #[arg(long)]
        kappa: usize,
        /// One block repeated, as in the paper, or independent ones.
        #[arg(long, value_enum, default_value_t = Blocks::Repeated)]
        blocks: Blocks,
        /// File to write the key to.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Morphs a scan: the data holder's part, per scan.
    Apply {
        /// Scan.
        #[arg(short, long)]
        input: PathBuf,
        /// Model bundle or its manifest.
        #[arg(short, long)]
        model: PathBuf,
        /// Key file.
        #[arg(short, long)]
        key: PathBuf,
        /// File to write; with several patches, `.N` is added.
        #[arg(short, long)]
        output: PathBuf,
        /// Replace what is there.
        #[arg(long)]
        overwrite: bool,
    },
    /// Replaces the first convolution of a network: the data holder's part, once.
    Augment {
        /// Model bundle.
        #[arg(short, long)]
        model: PathBuf,
        /// Key file.
        #[arg(short, long)]
        key: PathBuf,
        /// Folder to write the augmented network to.
        #[arg(short, long)]
        output: PathBuf,
        /// Replace what is there.
        #[arg(long)]
        overwrite: bool,
    },
    /// Runs an augmented network on a morphed scan: the server's part.
    Run {
        /// Augmented network.
        #[arg(short, long)]
        model: PathBuf,
        /// Morphed scan.
        #[arg(short, long)]
        input: PathBuf,
        /// Labels to write, on the network's grid.
        #[arg(short, long)]
        output: PathBuf,
        /// Replace what is there.
        #[arg(long)]
        overwrite: bool,
    },
}

impl MorphCommand {
    /// Does it and says what was done.
    ///
    /// # Errors
    /// If a file cannot be read or written, or key, scan and network do not belong together.
    pub fn run(&self) -> Result<String> {
        match self {
            Self::Keygen { model, kappa, blocks, output } => {
                let manifest = models::bundle::load_manifest(model)
                    .map_err(|error| PerceptualError::file(model, error))?;
                let shape = manifest.graph.node(0).shape;
                let key = MorphKey::new(MasterKey::generate(), shape, *kappa, *blocks)?;
                key.write(output)?;
                let needed = crate::attack::known::images_needed(&key);
                Ok(format!(
                    "key with {kappa} blocks of {} values written to {}; {needed} known images give it away",
                    key.block(),
                    output.display()
                ))
            }
            Self::Apply { input, model, key, output, overwrite } => {
                let manifest = models::bundle::load_manifest(model)
                    .map_err(|error| PerceptualError::file(model, error))?;
                let key = MorphKey::read(key)?;
                let (_, inputs) = prepare_scan(&manifest, &Scan::read(input)?)?;
                for (index, patch) in inputs.iter().enumerate() {
                    let mut path = output.clone().into_os_string();
                    if inputs.len() > 1 {
                        path.push(format!(".{index}"));
                    }
                    let morphed = key.morph(&patch.mapv(|value| value as f64))?;
                    write_morphed(path.as_ref(), &morphed, &key.fingerprint(), *overwrite)?;
                }
                Ok(format!("{} morphed images written to {}", inputs.len(), output.display()))
            }
            Self::Augment { model, key, output, overwrite } => {
                let augmented = augment(&load_model(model)?, &MorphKey::read(key)?)?;
                save_augmented(&augmented, output, *overwrite)?;
                Ok(format!(
                    "augmented network written to {}: {} entries in place of the first convolution",
                    output.display(),
                    augmented.first.entries()
                ))
            }
            Self::Run { model, input, output, overwrite } => {
                let augmented = load_augmented(model)?;
                let (morphed, fingerprint) = read_morphed(input)?;
                if fingerprint != augmented.key_fingerprint {
                    return Err(PerceptualError::WrongKey { what: input.display().to_string() });
                }
                let labels = augmented.run(&morphed)?;
                let overwrite = if *overwrite { Overwrite::Replace } else { Overwrite::Refuse };
                let greys =
                    LabelGreys::new(augmented.manifest.labels.iter().map(|label| label.grey).collect())?;
                let grid = labels.mapv(f32::from).insert_axis(ndarray::Axis(0));
                let scan = Scan::from_voxels(input, grid, imaging::Geometry::unknown());
                imaging::write_labels(output, &labels, &scan, &greys, overwrite)?;
                Ok(format!("labels written to {}", output.display()))
            }
        }
    }
}

//! `morph first | keygen | augment | apply | run`.

use crate::error::{PerceptualError, Result};
use crate::keys::MasterKey;
use crate::morph::{
    AugmentedFloats, AugmentedModel, Blocks, FirstLayer, MorphKey, Scans, read_layer, read_morphed,
    write_layer, write_morphed,
};
use crate::pixel::each_file;
use clap::{Args, Subcommand};
use imaging::{Colour, LabelGreys, Overwrite, Scan};
use models::manifest::Model;
use models::onnx::{self, ImportOptions};
use models::{FloatModel, Label, bundle};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Data morphing: networks run on scans that were multiplied by a secret matrix.
#[derive(Clone, Debug, Subcommand)]
pub enum MorphCommand {
    /// Takes out the first layer, which the data holder needs and will see: the provider's part, once.
    First {
        /// The network.
        #[command(flatten)]
        network: NetworkArgs,
        /// File to write, for the data holder.
        #[command(flatten)]
        output: Output,
    },
    /// Makes a key for the input of a network.
    Keygen {
        /// The network.
        #[command(flatten)]
        network: NetworkArgs,
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
    /// Augments the first layer: the data holder's part, once.
    Augment {
        /// The network.
        #[command(flatten)]
        network: NetworkArgs,
        /// Key file.
        #[arg(short, long)]
        key: PathBuf,
        /// File to write, for the server.
        #[command(flatten)]
        output: Output,
    },
    /// Morphs a scan: the data holder's part, per scan.
    Apply {
        /// Scan.
        #[arg(short, long)]
        input: PathBuf,
        /// The network.
        #[command(flatten)]
        network: NetworkArgs,
        /// Key file.
        #[arg(short, long)]
        key: PathBuf,
        /// Morph every scan of the folder `input` into files of the folder `output`.
        #[arg(long)]
        each: bool,
        /// File to write; with several patches, `.N` is added.
        #[command(flatten)]
        output: Output,
    },
    /// Runs a network on a morphed scan, with the augmented layer in place of its first: the server's part.
    Run {
        /// The network.
        #[command(flatten)]
        network: NetworkArgs,
        /// Augmented layer.
        #[arg(short, long)]
        layer: PathBuf,
        /// Morphed scan.
        #[arg(short, long)]
        input: PathBuf,
        /// Labels to write, on the network's grid.
        #[command(flatten)]
        output: Output,
    },
}

/// A network in one of its forms.
#[derive(Clone, Debug, Args)]
pub struct NetworkArgs {
    /// Model bundle, ONNX network, or (for the data holder) the file that `first` wrote; where scans are concerned alone, a
    /// bundle's manifest.
    #[arg(short, long)]
    model: PathBuf,
    /// Extents of the input where an ONNX file leaves them open, e.g. 1x200x200.
    #[arg(long, value_name = "CxHxW", value_delimiter = 'x')]
    input_shape: Option<Vec<usize>>,
    /// How scans are prepared for an ONNX network, as in a manifest's `preprocessing`; default: as in `bunet import`, in
    /// colour if the network reads three channels.
    #[arg(long, value_name = "FILE.json")]
    preprocessing: Option<PathBuf>,
}

/// Where a result goes.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// File to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    overwrite: bool,
}

/// What a model file holds.
enum Network {
    Integers(Box<Model>),
    Floats(FloatModel),
    First(Box<FirstLayer>),
}

impl NetworkArgs {
    fn ends_in(&self, ending: &str) -> bool {
        self.model.extension().and_then(OsStr::to_str).is_some_and(|found| found.eq_ignore_ascii_case(ending))
    }

    fn load(&self) -> Result<Network> {
        if self.ends_in("onnx") {
            let options = ImportOptions { input_shape: self.input_shape.clone() };
            let mut network = onnx::import(&self.model, &options)?;
            network.preprocessing = match &self.preprocessing {
                Some(path) => read_json(path)?,
                None => preprocessing_for(network.graph.node(0).shape.channels)?,
            };
            return Ok(Network::Floats(network));
        }
        if self.ends_in("safetensors") {
            return Ok(Network::First(Box::new(FirstLayer::read(&self.model)?)));
        }
        Ok(Network::Integers(Box::new(super::load_model(&self.model)?)))
    }

    fn first(&self) -> Result<FirstLayer> {
        match self.load()? {
            Network::Integers(model) => FirstLayer::of(&model),
            Network::Floats(model) => FirstLayer::of_floats(&model),
            Network::First(layer) => Ok(*layer),
        }
    }

    /// How scans become inputs: needs no weights of a bundle.
    fn scans(&self) -> Result<Scans> {
        if self.ends_in("onnx") || self.ends_in("safetensors") {
            return Ok(self.first()?.scans);
        }
        let manifest = bundle::load_manifest(&self.model);
        Ok(Scans::of(&manifest.map_err(|error| PerceptualError::file(&self.model, error))?))
    }
}

fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).map_err(|error| PerceptualError::file(path, error))?;
    serde_json::from_str(&text).map_err(|error| PerceptualError::file(path, error))
}

/// Grey values over the largest one of their type, in as many channels as the network reads.
fn preprocessing_for(channels: usize) -> Result<serde_json::Value> {
    let colour = match channels {
        1 => Colour::Grey,
        3 => Colour::Rgb,
        _ => {
            let reason = format!("it has {channels} channels; scans have one (grey) or three (colour)");
            return Err(PerceptualError::Network { layer: "input".into(), reason });
        }
    };
    Ok(serde_json::json!({
        "colour": colour, "intensity": { "unit": { "divisor": "type_max" } }, "size": "exact",
    }))
}

impl MorphCommand {
    /// Does it and says what was done.
    ///
    /// # Errors
    /// If a file cannot be read or written, or key, scan and network do not belong together.
    pub fn run(&self) -> Result<String> {
        match self {
            Self::First { network, output } => {
                let first = network.first()?;
                first.write(&output.output, output.overwrite)?;
                Ok(format!(
                    "layer `{}` written to {}: whoever gets the file sees its {} weights",
                    first.name,
                    output.output.display(),
                    first.weights.len()
                ))
            }
            Self::Keygen { network, kappa, blocks, output } => {
                let shape = network.scans()?.shape;
                let key = MorphKey::new(MasterKey::generate(), shape, *kappa, *blocks)?;
                key.write(output)?;
                let needed = crate::attack::known::images_needed(&key);
                Ok(format!(
                    "key with {kappa} blocks of {} values written to {}; {needed} known images give it away",
                    key.block(),
                    output.display()
                ))
            }
            Self::Augment { network, key, output } => {
                let layer = network.first()?.augment(&MorphKey::read(key)?)?;
                write_layer(&layer, &output.output, output.overwrite)?;
                Ok(format!(
                    "augmented layer `{}` written to {}: {} entries in place of its weights",
                    layer.name,
                    output.output.display(),
                    layer.conv.entries()
                ))
            }
            Self::Apply { input, network, key, each, output } => {
                let (scans, key) = (network.scans()?, MorphKey::read(key)?);
                let morph = key.morpher();
                let one = |from: &Path, to: &Path| -> Result<usize> {
                    let (_, patches) = scans.prepare(&Scan::read(from)?)?;
                    for (index, patch) in patches.iter().enumerate() {
                        let path = if patches.len() > 1 { with(to, &format!(".{index}")) } else { to.into() };
                        let morphed = morph(&scans.input(patch))?;
                        write_morphed(&path, &morphed, &key.fingerprint(), output.overwrite)?;
                    }
                    Ok(patches.len())
                };
                let count = if *each {
                    each_file(input, &output.output, |from, to, _| {
                        one(from, &with(to, ".morphed")).map(drop)
                    })?
                } else {
                    one(input, &output.output)?
                };
                Ok(format!("{count} morphed images written to {}", output.output.display()))
            }
            Self::Run { network, layer, input, output } => {
                let layer = read_layer(layer)?;
                let (morphed, fingerprint) = read_morphed(input)?;
                if fingerprint != layer.key_fingerprint {
                    return Err(PerceptualError::WrongKey { what: input.display().to_string() });
                }
                let (labels, kinds) = match network.load()? {
                    Network::Integers(model) => {
                        (AugmentedModel::join(&model, layer)?.run(&morphed)?, model.manifest.labels)
                    }
                    Network::Floats(model) => {
                        (AugmentedFloats::join(&model, layer)?.run(&morphed)?, model.labels)
                    }
                    Network::First(_) => {
                        let reason = "this is a first layer alone; the server needs the whole network";
                        return Err(PerceptualError::file(&network.model, reason));
                    }
                };
                write_labels(input, &labels, &kinds, output)?;
                Ok(format!("labels written to {}", output.output.display()))
            }
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn write_labels(input: &Path, labels: &ndarray::Array3<u16>, kinds: &[Label], output: &Output) -> Result<()> {
    let overwrite = if output.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    let labels = models::manifest::label_bytes(labels)
        .ok_or_else(|| PerceptualError::Parameters(crate::compare::TOO_MANY_LABELS.into()))?;
    let greys = LabelGreys::new(kinds.iter().map(|label| label.grey).collect())?;
    let grid = labels.mapv(f32::from).insert_axis(ndarray::Axis(0));
    let scan = Scan::from_voxels(input, grid, imaging::Geometry::unknown());
    Ok(imaging::write_labels(&output.output, &labels, &scan, &greys, overwrite)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_are_prepared_in_the_colours_that_the_network_reads() {
        let colour = |channels| preprocessing_for(channels).map(|steps| steps["colour"].clone());
        assert_eq!(colour(1).ok(), Some("grey".into()));
        assert_eq!(colour(3).ok(), Some("rgb".into()));
        assert!(colour(2).is_err_and(|error| error.to_string().contains("2 channels")));
    }
}

//! The network and the scan of a benchmark, from a seed.

use clap::Args;
use cli::{Failure, Kind};
use models::graph::Shape;
use models::quantise::{Calibration, QuantiseOptions, quantise};
use models::unet::{Pooling, UNet, activations, random_image};
use models::{FloatModel, Model};
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The shape of a U-Net.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Architecture {
    /// Activations: `relu`, `square`, or `hybrid` (squares in the first and last layer batch)
    #[arg(long = "arch", value_name = "NAME", default_value = "hybrid", value_parser = ["relu", "hybrid", "square"])]
    pub(crate) name: String,
    /// Activations one by one, one per layer batch, e.g. `square,relu,relu`
    #[arg(long, value_name = "NAME,…", conflicts_with = "name")]
    pub(crate) activations: Option<String>,
    /// How levels are halved
    #[arg(long, value_name = "NAME", default_value = "avg", value_parser = ["avg", "max"])]
    pub(crate) pool: String,
    /// Spatial axes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) dim: u8,
    /// Channels of each level, from the top
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [16, 32, 64])]
    pub(crate) channels: Vec<usize>,
    /// Extents of the scan: one for all axes, or one each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [128])]
    pub(crate) size: Vec<usize>,
    /// Labels that it tells apart
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) labels: u8,
    /// Where weights and scan come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Architecture {
    /// The network.
    fn unet(&self) -> Result<UNet, Failure> {
        let rank = usize::from(self.dim);
        let dims = match self.size[..] {
            [extent] => std::array::from_fn(|axis| if axis + rank >= 3 { extent } else { 1 }),
            _ if self.size.len() == rank => {
                std::array::from_fn(|axis| (axis + rank).checked_sub(3).map_or(1, |axis| self.size[axis]))
            }
            _ => {
                let reason =
                    format!("--size: {} extents for {rank} axes; give one, or one each", self.size.len());
                return Err(Failure::input(reason));
            }
        };
        if dims.contains(&0)
            || dims.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent)).is_none_or(|n| n > 1 << 28)
        {
            return Err(Failure::input("--size: a scan has at least one voxel and at most 2^28"));
        }
        let variant = self.activations.as_deref().unwrap_or(&self.name);
        Ok(UNet {
            rank,
            input: Shape { channels: 1, dims },
            activations: activations(variant, self.channels.len()).map_err(Failure::input)?,
            channels: self.channels.clone(),
            pooling: if self.pool == "max" { Pooling::Max } else { Pooling::Avg },
            labels: usize::from(self.labels),
            seed: self.seed,
        })
    }

    /// The network before it is quantised.
    pub(crate) fn draft(&self) -> Result<Draft, Failure> {
        let built = self.unet()?.build_calibrated();
        let (model, calibration) = built.map_err(|error| Failure::new(Kind::Plan, error))?;
        let squares = self.activations.is_none() && self.name == "square";
        let margin = if squares { SQUARES_MARGIN } else { QuantiseOptions::default().margin };
        Ok(Draft { model, calibration, margin })
    }

    /// The scan.
    pub(crate) fn scan(&self) -> Result<Array4<f32>, Failure> {
        Ok(random_image(self.unet()?.input, self.seed ^ 1))
    }

    /// In words: `3-D 64×64×64, 64-128-256-512, relu, max pooling`.
    pub(crate) fn words(&self) -> String {
        let join = |numbers: &[usize], with: &str| {
            numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(with)
        };
        let extents =
            if self.size.len() == 1 { vec![self.size[0]; usize::from(self.dim)] } else { self.size.clone() };
        let activations = self.activations.as_deref().unwrap_or(&self.name);
        let pool = if self.pool == "max" { "max" } else { "average" };
        format!(
            "{}-D {}, channels {}, {activations}, {pool} pooling",
            self.dim,
            join(&extents, "×"),
            join(&self.channels, "-")
        )
    }
}

/// A float network with its calibration.
pub(crate) struct Draft {
    model: FloatModel,
    calibration: Calibration,
    margin: f64,
}

/// Margin for squares in every layer batch: each doubles what rounding to 16 bits did to a random network before.
const SQUARES_MARGIN: f64 = 4.0;

impl Draft {
    /// The network for shares of so many bits.
    pub(crate) fn quantise(&self, share_bits: u32) -> Result<Model, Failure> {
        let options = QuantiseOptions { share_bits, margin: self.margin, ..QuantiseOptions::default() };
        let quantised = quantise(&self.model, &self.calibration, &options);
        let (mut model, _) = quantised.map_err(|error| Failure::new(Kind::Plan, error))?;
        model.manifest.preprocessing = serde_json::json!({ "intensity": "as_stored", "size": "exact" });
        Ok(model)
    }
}

/// Writes a volume of one channel as NIfTI-1 in 32-bit floats, so that Alice reads it as any scan.
pub(crate) fn write_scan(path: &Path, scan: &Array4<f32>) -> Result<(), Failure> {
    let mut file = vec![0_u8; 352];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let (_, d, h, w) = scan.dim();
    put(0, &348_i32.to_le_bytes());
    for (axis, extent) in [3, w, h, d, 1, 1, 1, 1].into_iter().enumerate() {
        let extent = i16::try_from(extent).map_err(|_| Failure::input("--size: an extent above 32767"))?;
        put(40 + 2 * axis, &extent.to_le_bytes());
    }
    put(70, &16_i16.to_le_bytes()); // 32-bit floats
    put(72, &32_i16.to_le_bytes());
    (76..108).step_by(4).for_each(|at| put(at, &1_f32.to_le_bytes())); // spacing
    put(108, &352_f32.to_le_bytes());
    put(112, &1_f32.to_le_bytes()); // slope
    put(344, b"n+1\0");
    file.extend(scan.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, file)
        .map_err(|error| Failure::output(format!("{}: cannot write: {error}", path.display())))
}

//! Grey values to what the network was trained on; per volume, in double precision.

use ndarray::Array4;
use serde::{Deserialize, Serialize};

use crate::error::{ImagingError, Result};
use crate::scan::Scan;

/// What is done to the grey values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Intensity {
    /// Nothing.
    AsStored,
    /// v / `divisor`.
    Unit {
        /// A number, or the largest value of the file's integer type.
        divisor: Divisor,
    },
    /// Over each volume and channel: (v − mean) / standard deviation (population), clipped to ±`clip`, then
    /// divided by `clip`; without `clip` the first step only.
    Zscore {
        /// Bound in standard deviations.
        clip: Option<f32>,
    },
    /// Clipped to `low..=high`, then (v − `mean`) / `std`: CT with the training set's figures.
    Fixed {
        /// Lower bound.
        low: f32,
        /// Upper bound.
        high: f32,
        /// Subtracted.
        mean: f32,
        /// Divided by.
        std: f32,
    },
    /// Clipped to `low..=high` and mapped to 0..=1.
    Window {
        /// Becomes 0.
        low: f32,
        /// Becomes 1.
        high: f32,
    },
}

/// Divisor of [`Intensity::Unit`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divisor {
    /// The largest value of the file's integer type: 255, 65535, ...
    TypeMax,
    /// This number.
    Value(f32),
}

impl Intensity {
    pub(super) fn apply(&self, scan: &Scan, volume: &mut Array4<f32>) -> Result<()> {
        match *self {
            Self::AsStored => {}
            Self::Unit { divisor } => {
                let divisor = divisor_for(divisor, scan)?;
                volume.mapv_inplace(|v| v / divisor);
            }
            Self::Zscore { clip } => {
                if clip.is_some_and(|c| !(c > 0.0 && c.is_finite())) {
                    return Err(ImagingError::manifest(
                        "intensity",
                        "clip must be positive",
                        "use 4, or none",
                    ));
                }
                for mut channel in volume.outer_iter_mut() {
                    let (mean, std) = moments(channel.iter()).ok_or_else(|| constant(scan))?;
                    channel.mapv_inplace(|v| standardise(f64::from(v), mean, std, clip));
                }
            }
            Self::Fixed { low, high, mean, std } => {
                check_range(low, high)?;
                if !(std > 0.0 && std.is_finite() && mean.is_finite()) {
                    return Err(ImagingError::manifest(
                        "intensity",
                        "std must be positive",
                        "check the manifest",
                    ));
                }
                volume.mapv_inplace(|v| (v.clamp(low, high) - mean) / std);
            }
            Self::Window { low, high } => {
                check_range(low, high)?;
                volume.mapv_inplace(|v| (v.clamp(low, high) - low) / (high - low));
            }
        }
        Ok(())
    }
}

/// No step of the engine can make sense of NaN or infinity.
pub(super) fn check_finite(scan: &Scan) -> Result<()> {
    let bad = scan.voxels().iter().filter(|v| !v.is_finite()).count();
    if bad == 0 {
        return Ok(());
    }
    Err(ImagingError::unfit(
        scan.path(),
        "voxels",
        format!("{bad} of {} are not finite numbers", scan.voxels().len()),
        "replace them, e.g. the background of a masked scan by 0",
    ))
}

fn divisor_for(divisor: Divisor, scan: &Scan) -> Result<f32> {
    let value = match divisor {
        Divisor::Value(v) => v,
        Divisor::TypeMax => scan.sample_type().max_value().ok_or_else(|| {
            ImagingError::unfit(
                scan.path(),
                "number format",
                "floating point has no largest value to divide by",
                "give the scan as 8 or 16 bit integers",
            )
        })? as f32,
    };
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(ImagingError::manifest("intensity", format!("divisor {value}"), "it must be positive"))
    }
}

fn check_range(low: f32, high: f32) -> Result<()> {
    if low < high && low.is_finite() && high.is_finite() {
        Ok(())
    } else {
        Err(ImagingError::manifest("intensity", format!("range {low} to {high}"), "low must be below high"))
    }
}

fn constant(scan: &Scan) -> ImagingError {
    ImagingError::unfit(
        scan.path(),
        "voxels",
        "all have the same value: there is nothing to segment",
        "check that this is the right file",
    )
}

/// Mean and population standard deviation; `None` for a constant.
fn moments<'a>(values: impl ExactSizeIterator<Item = &'a f32> + Clone) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    let mean = values.clone().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = values.map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    (variance > 0.0).then(|| (mean, variance.sqrt()))
}

fn standardise(v: f64, mean: f64, std: f64, clip: Option<f32>) -> f32 {
    let z = (v - mean) / std;
    let z = match clip.map(f64::from) {
        Some(clip) => z.clamp(-clip, clip) / clip,
        None => z,
    };
    z as f32
}

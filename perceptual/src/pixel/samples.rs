//! From scans of any number format to unsigned samples of L bits, and back.
//!
//! The map is linear and stated: value = offset + step · integer, integer in 0..2^L. Without a window it is lossless or
//! refused. With a window (for floating point or more than 16 bits) values are clamped to it and rounded to 2^L − 1
//! steps; the way through encryption and back then loses nothing more.

use crate::error::{PerceptualError, Result};
use imaging::{SampleType, Scan};
use ndarray::Array4;

/// A linear map between a scan's values and samples.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct IntegerMap {
    /// Bits per sample, L.
    pub depth: u32,
    /// Value of sample 0.
    pub offset: f64,
    /// Difference between neighbouring samples.
    pub step: f64,
}

/// What the user states about the map; what is left out follows from the scan's number format.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MapOptions {
    /// Real depth in bits, e.g. 12 for a CT stored in 16.
    pub depth: Option<u32>,
    /// Value of sample 0, e.g. −1024 for Hounsfield units.
    pub offset: Option<f64>,
    /// Smallest and largest value to keep, for floating point: lossy.
    pub window: Option<(f64, f64)>,
}

/// An image as unsigned integers `[channel, depth, height, width]`, and what they mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The integers.
    pub values: Array4<u16>,
    /// What they stand for.
    pub map: IntegerMap,
}

impl Samples {
    /// The samples of a scan.
    ///
    /// # Errors
    /// If the map would lose anything and no window was stated.
    pub fn of(scan: &Scan, options: &MapOptions) -> Result<Self> {
        let map = IntegerMap::for_scan(scan, options)?;
        let what = scan.path().display().to_string();
        let largest = f64::from((1_u32 << map.depth) - 1);
        let mut misfit = None;
        let values = scan.voxels().mapv(|value| {
            let exact = (f64::from(value) - map.offset) / map.step;
            let whole = exact.round();
            if options.window.is_none() && ((exact - whole).abs() > 1e-6 || !(0.0..=largest).contains(&whole))
            {
                misfit.get_or_insert(value);
            }
            // NaN becomes 0; without a window it is a misfit.
            whole.clamp(0.0, largest) as u16
        });
        match misfit {
            Some(value) => {
                let (depth, low) = (map.depth, map.offset);
                let reason = format!(
                    "the value {value} is no whole number of {depth} bits from {low} on; \
                     state depth and offset, or a window to be rounded to"
                );
                Err(PerceptualError::samples(what, reason))
            }
            None => Ok(Self { values, map }),
        }
    }

    /// The values that the samples stand for.
    pub fn to_values(&self) -> Array4<f32> {
        self.values.mapv(|sample| (self.map.offset + self.map.step * f64::from(sample)) as f32)
    }

    /// The samples as real numbers, for pictures and measurements.
    pub fn to_f64(&self) -> Array4<f64> {
        self.values.mapv(f64::from)
    }

    /// 2^L − 1.
    pub fn largest(&self) -> f64 {
        f64::from((1_u32 << self.map.depth) - 1)
    }
}

impl IntegerMap {
    fn for_scan(scan: &Scan, options: &MapOptions) -> Result<Self> {
        let (bits, signed) = match scan.sample_type() {
            SampleType::U8 => (8, false),
            SampleType::I8 => (8, true),
            SampleType::I16 | SampleType::I32 | SampleType::I64 => (16, true),
            SampleType::U16 | SampleType::U32 | SampleType::U64 | SampleType::F32 | SampleType::F64 => {
                (16, false)
            }
        };
        let depth = options.depth.unwrap_or(bits);
        if !(1..=16).contains(&depth) {
            let reason = format!("a depth of {depth} bits; 1 to 16 are possible");
            return Err(PerceptualError::Parameters(reason));
        }
        if let Some((low, high)) = options.window {
            if !(low < high && (high - low).is_finite()) {
                let reason = format!("a window from {low} to {high}; the first must be smaller");
                return Err(PerceptualError::Parameters(reason));
            }
            let step = (high - low) / f64::from((1_u32 << depth) - 1);
            return Ok(Self { depth, offset: low, step });
        }
        let lowest = if signed { -f64::from(1_u32 << (depth - 1)) } else { 0.0 };
        Ok(Self { depth, offset: options.offset.unwrap_or(lowest), step: 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imaging::Geometry;

    fn scan(values: &[f32]) -> Scan {
        let voxels = Array4::from_shape_vec((1, 1, 1, values.len()), values.to_vec()).unwrap();
        Scan::from_voxels("memory", voxels, Geometry::unknown())
    }

    #[test]
    fn whole_numbers_come_back_exactly() {
        let hounsfield = scan(&[-1024.0, -3.0, 0.0, 3071.0]);
        let options = MapOptions { depth: Some(12), offset: Some(-1024.0), window: None };
        let samples = Samples::of(&hounsfield, &options).unwrap();
        assert_eq!(samples.values.as_slice().unwrap(), [0, 1021, 1024, 4095]);
        assert_eq!(samples.to_values(), hounsfield.voxels());
    }

    #[test]
    fn what_would_be_lost_is_refused_unless_a_window_is_stated() {
        for values in [&[0.5][..], &[-1.0], &[70_000.0], &[f32::NAN]] {
            let error = Samples::of(&scan(values), &MapOptions::default()).unwrap_err();
            assert!(error.to_string().contains("window"), "{error}");
        }
        let window = MapOptions { window: Some((-1.0, 1.0)), depth: Some(8), offset: None };
        let samples = Samples::of(&scan(&[-2.0, -1.0, 0.1, 1.0]), &window).unwrap();
        assert_eq!(samples.values.as_slice().unwrap(), [0, 0, 140, 255]);
        assert!((samples.to_values()[[0, 0, 0, 2]] - 0.1).abs() <= 1.0 / 255.0);
        let bad = MapOptions { window: Some((1.0, 1.0)), ..MapOptions::default() };
        assert!(Samples::of(&scan(&[0.0]), &bad).is_err());
    }
}

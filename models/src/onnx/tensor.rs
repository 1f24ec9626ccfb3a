//! Constant tensors: decoding, and data kept in a file beside the model.
//!
//! A sidecar's path comes from the model file and is not trusted: it must be relative, without `..`, and resolve to
//! a file below the model's folder. Offset and length are checked against the file before anything is allocated.

use super::OnnxError;
use super::proto::TensorProto;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Most values of one tensor.
const MAX_VALUES: usize = 1 << 30;

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// The values of a constant; narrower types are widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Tensor {
    pub(super) fn ints(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], data: Data::Ints(values) }
    }

    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Ints(values) => values.len(),
        }
    }

    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            Data::Floats(_) => None,
        }
    }

    pub(super) fn to_floats(&self) -> Vec<f32> {
        match &self.data {
            Data::Floats(values) => values.clone(),
            Data::Ints(values) => values.iter().map(|&value| value as f32).collect(),
        }
    }

    /// Decodes a tensor of the model at `file`.
    pub(super) fn decode(file: &Path, proto: &TensorProto) -> Result<Self, OnnxError> {
        let field = |what: &str| format!("tensor `{}`: {what}", proto.name);
        let refuse = |what: &str, reason: String| OnnxError::field(file, field(what), reason);
        let dims: Option<Vec<usize>> = proto.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let dims = dims.ok_or_else(|| refuse("dims", format!("negative extent in {:?}", proto.dims)))?;
        let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        let Some(count) = count.filter(|&count| count <= MAX_VALUES) else {
            return Err(refuse("dims", format!("{dims:?} is too large")));
        };
        let kind = Kind::of(proto.data_type)
            .ok_or_else(|| refuse("data_type", format!("element type {} is not read", proto.data_type)))?;
        let data = if proto.data_location == 1 {
            kind.parse(&read_external(file, proto, count * kind.bytes())?)
        } else if !proto.raw_data.is_empty() || count == 0 {
            kind.parse(&proto.raw_data)
        } else {
            kind.typed(proto)
        };
        let tensor = Self { dims, data };
        if tensor.len() != count {
            let reason = format!("{} values where {:?} needs {count}", tensor.len(), tensor.dims);
            return Err(refuse("data", reason));
        }
        match &tensor.data {
            Data::Floats(values) if values.iter().any(|value| !value.is_finite()) => {
                Err(refuse("data", "a value is not finite".into()))
            }
            _ => Ok(tensor),
        }
    }
}

/// Element types.
#[derive(Clone, Copy)]
enum Kind {
    Float,
    Double,
    Half,
    Bfloat,
    Signed(usize),
    Unsigned(usize),
}

impl Kind {
    /// By ONNX's number.
    fn of(data_type: i32) -> Option<Self> {
        Some(match data_type {
            1 => Self::Float,
            2 | 9 => Self::Unsigned(1),
            3 => Self::Signed(1),
            4 => Self::Unsigned(2),
            5 => Self::Signed(2),
            6 => Self::Signed(4),
            7 => Self::Signed(8),
            10 => Self::Half,
            11 => Self::Double,
            12 => Self::Unsigned(4),
            16 => Self::Bfloat,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Float => 4,
            Self::Double => 8,
            Self::Half | Self::Bfloat => 2,
            Self::Signed(bytes) | Self::Unsigned(bytes) => bytes,
        }
    }

    /// Little-endian bytes as values; a rest too short for a value is left out and so shows in the count.
    fn parse(self, raw: &[u8]) -> Data {
        let words = raw
            .chunks_exact(self.bytes())
            .map(|chunk| chunk.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte)));
        match self {
            Self::Float => Data::Floats(words.map(|word| f32::from_bits(word as u32)).collect()),
            Self::Double => Data::Floats(words.map(|word| f64::from_bits(word) as f32).collect()),
            Self::Half => Data::Floats(words.map(|word| half(word as u16)).collect()),
            Self::Bfloat => Data::Floats(words.map(|word| f32::from_bits((word as u32) << 16)).collect()),
            Self::Unsigned(_) => Data::Ints(words.map(|word| word as i64).collect()),
            Self::Signed(bytes) => {
                let unused = 64 - 8 * bytes as u32;
                Data::Ints(words.map(|word| (word as i64) << unused >> unused).collect())
            }
        }
    }

    /// Values in the fields of their own type.
    fn typed(self, proto: &TensorProto) -> Data {
        let narrow = || proto.int32_data.iter();
        match self {
            Self::Float => Data::Floats(proto.float_data.clone()),
            Self::Double => Data::Floats(proto.double_data.iter().map(|&value| value as f32).collect()),
            Self::Half => Data::Floats(narrow().map(|&word| half(word as u16)).collect()),
            Self::Bfloat => Data::Floats(narrow().map(|&word| f32::from_bits((word as u32) << 16)).collect()),
            Self::Signed(8) => Data::Ints(proto.int64_data.clone()),
            Self::Signed(_) | Self::Unsigned(_) => {
                Data::Ints(narrow().map(|&value| i64::from(value)).collect())
            }
        }
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f32::from(bits & 1023) / 1024.0;
    sign * match exponent {
        0 => fraction * (-14.0_f32).exp2(),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * ((exponent - 15) as f32).exp2(),
    }
}

/// The bytes of a tensor that lie in a file beside the model.
fn read_external(file: &Path, proto: &TensorProto, expected: usize) -> Result<Vec<u8>, OnnxError> {
    let refuse =
        |reason: String| OnnxError::field(file, format!("tensor `{}`: external_data", proto.name), reason);
    let entry =
        |key: &str| proto.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let number = |key: &str| -> Result<Option<u64>, OnnxError> {
        let Some(value) = entry(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| refuse(format!("{key} `{value}` is no number")))
    };
    let location = entry("location").ok_or_else(|| refuse("it names no location".into()))?;
    let path = sidecar(file, location).map_err(&refuse)?;
    let offset = number("offset")?.unwrap_or(0);
    let open = |error: std::io::Error| OnnxError::Io { path: path.clone(), source: error };
    let mut sidecar = File::open(&path).map_err(open)?;
    let size = sidecar.metadata().map_err(open)?.len();
    let length = number("length")?.unwrap_or(size.saturating_sub(offset));
    if length != expected as u64 {
        return Err(refuse(format!("length {length} where the shape needs {expected} bytes")));
    }
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(refuse(format!(
            "offset {offset} and length {length} reach beyond `{location}` ({size} bytes)"
        )));
    }
    let mut bytes = vec![0; expected];
    sidecar.seek(SeekFrom::Start(offset)).map_err(open)?;
    sidecar.read_exact(&mut bytes).map_err(open)?;
    Ok(bytes)
}

/// The path of a sidecar, if it stays below the model's folder.
fn sidecar(file: &Path, location: &str) -> Result<PathBuf, String> {
    let relative = Path::new(location);
    let plain = |component: Component<'_>| matches!(component, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || location.contains(['\\', '\0']) || !relative.components().all(plain) {
        return Err(format!("location `{location}` must be a relative path without `..`"));
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let resolve =
        |path: &Path| path.canonicalize().map_err(|error| format!("location `{location}`: {error}"));
    let (folder, path) = (resolve(parent)?, resolve(&parent.join(relative))?);
    if !path.starts_with(&folder) || !path.is_file() {
        return Err(format!("location `{location}` is no file below the model's folder"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        let known = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
            (0x3555, 0.333_251_95),
        ];
        for (bits, value) in known {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7c01).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn signed_values_keep_their_sign() {
        assert_eq!(Kind::Signed(1).parse(&[0xff, 0x7f]), Data::Ints(vec![-1, 127]));
        assert_eq!(Kind::Signed(4).parse(&[0xfe, 0xff, 0xff, 0xff, 1]), Data::Ints(vec![-2]));
        assert_eq!(Kind::Unsigned(2).parse(&[0xfe, 0xff]), Data::Ints(vec![0xfffe]));
    }
}

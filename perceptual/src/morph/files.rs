//! Morphed scans and augmented layers as files.
//!
//! All are safetensors files with what they are, and what stands beside the tensors, in their metadata. A morphed scan has one
//! tensor `morphed` of 64-bit floats and the key's fingerprint. An augmented layer, for the server, has the different
//! matrices `matrix.N` (64-bit floats, a column per row), per block of M `block.N` (which matrix, then the voxels), `bias`, and
//! `order`, the channel that stands in each place.

use crate::error::{PerceptualError, Result};
use crate::morph::augment::AugmentedLayer;
use crate::morph::conv::{AugmentedConv, Block};
use imaging::{Overwrite, write_atomically};
use models::graph::Shape;
use nalgebra::DMatrix;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

const MORPHED: &str = "morphed";
const SCAN: &str = "morphed scan, version 1";
const LAYER: &str = "augmented layer, version 1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AboutScan {
    key_fingerprint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AboutLayer {
    name: String,
    input: Shape,
    output: Shape,
    exact: bool,
    key_fingerprint: String,
}

/// Writes a morphed scan.
///
/// # Errors
/// If it cannot be written.
pub fn write_morphed(path: &Path, morphed: &[f64], fingerprint: &str, overwrite: bool) -> Result<()> {
    let tensor = Tensor::floats(MORPHED, vec![morphed.len()], morphed);
    save(path, &[tensor], SCAN, &AboutScan { key_fingerprint: fingerprint.into() }, overwrite)
}

/// Reads a morphed scan and the fingerprint of its key.
///
/// # Errors
/// If it is no morphed scan.
pub fn read_morphed(path: &Path) -> Result<(Vec<f64>, String)> {
    let bytes = std::fs::read(path).map_err(|error| PerceptualError::file(path, error))?;
    let (stored, about) = described::<AboutScan>(path, &bytes, SCAN)?;
    Ok((floats(path, &stored, MORPHED)?.1, about.key_fingerprint))
}

/// Writes an augmented layer.
///
/// # Errors
/// If it cannot be written.
pub fn write_layer(layer: &AugmentedLayer, path: &Path, overwrite: bool) -> Result<()> {
    let conv = &layer.conv;
    let mut tensors = Vec::new();
    for (index, matrix) in conv.matrices.iter().enumerate() {
        let shape = vec![matrix.ncols(), matrix.nrows()];
        tensors.push(Tensor::floats(format!("matrix.{index}"), shape, matrix.as_slice()));
    }
    for (index, block) in conv.blocks.iter().enumerate() {
        let values: Vec<usize> = [block.matrix].iter().chain(&block.voxels).copied().collect();
        tensors.push(Tensor::indices(format!("block.{index}"), &values));
    }
    tensors.push(Tensor::floats("bias", vec![conv.bias.len()], &conv.bias));
    tensors.push(Tensor::indices("order", &layer.order));
    let about = AboutLayer {
        name: layer.name.clone(),
        input: conv.input,
        output: conv.output,
        exact: conv.exact,
        key_fingerprint: layer.key_fingerprint.clone(),
    };
    save(path, &tensors, LAYER, &about, overwrite)
}

/// Reads an augmented layer.
///
/// # Errors
/// If it is none, or contradicts itself.
pub fn read_layer(path: &Path) -> Result<AugmentedLayer> {
    let bytes = std::fs::read(path).map_err(|error| PerceptualError::file(path, error))?;
    let (stored, about) = described::<AboutLayer>(path, &bytes, LAYER)?;
    let AboutLayer { name, input, output, exact, key_fingerprint } = about;
    let (_, bias) = floats(path, &stored, "bias")?;
    let order = indices(path, &stored, "order")?;
    let count = (0..).take_while(|index| stored.tensor(&format!("block.{index}")).is_ok()).count();
    let mut places = order.clone();
    places.sort_unstable();
    let fits = count > 0
        && extent(input).is_some_and(|values| values.is_multiple_of(count))
        && extent(output).is_some()
        && bias.len() == output.channels
        && places.iter().copied().eq(0..output.channels);
    if !fits {
        return Err(PerceptualError::file(path, "its blocks, biases or channels contradict each other"));
    }
    let side = input.len() / count;
    let matrices = (0..)
        .take_while(|index| stored.tensor(&format!("matrix.{index}")).is_ok())
        .map(|index| read_matrix(path, &stored, index, side))
        .collect::<Result<Vec<_>>>()?;
    let blocks = (0..count)
        .map(|index| read_block(path, &stored, index, &matrices, output))
        .collect::<Result<Vec<_>>>()?;
    let conv = AugmentedConv { input, output, blocks, matrices, bias, exact };
    Ok(AugmentedLayer { name, conv, order, key_fingerprint })
}

/// The number of values, if it is one that a network can have.
pub(crate) fn extent(shape: Shape) -> Option<usize> {
    let values = shape.dims.iter().try_fold(shape.channels, |values, &extent| values.checked_mul(extent))?;
    (1..=1 << 32).contains(&values).then_some(values)
}

fn read_matrix(path: &Path, stored: &SafeTensors<'_>, index: usize, side: usize) -> Result<DMatrix<f64>> {
    match floats(path, stored, &format!("matrix.{index}"))? {
        (shape, values) if shape.len() == 2 && shape[1] == side => {
            Ok(DMatrix::from_vec(side, shape[0], values))
        }
        _ => Err(PerceptualError::file(path, format!("matrix {index} does not fit the others"))),
    }
}

fn read_block(
    path: &Path,
    stored: &SafeTensors<'_>,
    index: usize,
    matrices: &[DMatrix<f64>],
    output: Shape,
) -> Result<Block> {
    let refuse = || PerceptualError::file(path, format!("block {index} does not fit the others"));
    let mut values = indices(path, stored, &format!("block.{index}"))?.into_iter();
    let matrix = values.next().filter(|&matrix| matrix < matrices.len()).ok_or_else(refuse)?;
    let voxels: Vec<usize> = values.collect();
    let fits = matrices[matrix].ncols() == output.channels * voxels.len();
    if fits && voxels.iter().all(|&voxel| voxel < output.volume()) {
        Ok(Block { voxels, matrix })
    } else {
        Err(refuse())
    }
}

/// A tensor with its bytes.
pub(crate) struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    pub(crate) fn floats(name: impl Into<String>, shape: Vec<usize>, values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::F64, shape, bytes }
    }

    fn indices(name: impl Into<String>, values: &[usize]) -> Self {
        let bytes = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::I64, shape: vec![values.len()], bytes }
    }
}

/// Writes tensors with what they are and what is to be said about them.
pub(crate) fn save(
    path: &Path,
    tensors: &[Tensor],
    kind: &str,
    about: &impl Serialize,
    overwrite: bool,
) -> Result<()> {
    let failed = |error: safetensors::SafeTensorError| PerceptualError::file(path, error);
    let views = tensors
        .iter()
        .map(|tensor| {
            Ok((tensor.name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let about = serde_json::to_string(about).map_err(|error| PerceptualError::file(path, error))?;
    let about = HashMap::from([("kind".to_owned(), kind.to_owned()), ("about".to_owned(), about)]);
    let bytes = safetensors::serialize(views, Some(about)).map_err(failed)?;
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    Ok(write_atomically(path, overwrite, |out| out.write_all(&bytes))?)
}

/// The tensors of a file of some kind, and what it says about them.
pub(crate) fn described<'a, T: DeserializeOwned>(
    path: &Path,
    bytes: &'a [u8],
    kind: &str,
) -> Result<(SafeTensors<'a>, T)> {
    let other = || PerceptualError::file(path, format!("this is no file of the kind `{kind}`"));
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|_| other())?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let about = metadata.get("about").filter(|_| metadata.get("kind").is_some_and(|found| found == kind));
    let about = serde_json::from_str(about.ok_or_else(other)?);
    let about = about.map_err(|error| PerceptualError::file(path, error))?;
    let stored = SafeTensors::deserialize(bytes).map_err(|error| PerceptualError::file(path, error))?;
    Ok((stored, about))
}

fn words(
    path: &Path,
    stored: &SafeTensors<'_>,
    name: &str,
    dtype: Dtype,
) -> Result<(Vec<usize>, Vec<[u8; 8]>)> {
    let tensor = stored
        .tensor(name)
        .map_err(|error| PerceptualError::file(path, format!("tensor `{name}`: {error}")))?;
    if tensor.dtype() != dtype {
        return Err(PerceptualError::file(path, format!("tensor `{name}`: {:?}", tensor.dtype())));
    }
    Ok((tensor.shape().to_vec(), tensor.data().as_chunks::<8>().0.to_vec()))
}

pub(crate) fn floats(path: &Path, stored: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
    let (shape, words) = words(path, stored, name, Dtype::F64)?;
    Ok((shape, words.into_iter().map(f64::from_le_bytes).collect()))
}

fn indices(path: &Path, stored: &SafeTensors<'_>, name: &str) -> Result<Vec<usize>> {
    let (_, words) = words(path, stored, name, Dtype::I64)?;
    let value = |word| usize::try_from(i64::from_le_bytes(word)).unwrap_or(usize::MAX);
    Ok(words.into_iter().map(value).collect())
}

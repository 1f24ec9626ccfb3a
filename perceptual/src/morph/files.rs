//! Morphed scans and augmented networks as files.
//!
//! A morphed scan is a safetensors file with one tensor `morphed` of 64-bit floats and the key's fingerprint. An augmented
//! network is a folder: `manifest.json`, unchanged and public, and `augmented.safetensors`, for the server: different
//! matrices `matrix.N` (64-bit floats, a column per row), per block of M `block.N` (which matrix, then the voxels), the bias,
//! and the other layers' integers.

use crate::error::{PerceptualError, Result};
use crate::morph::augment::{AugmentedModel, first_convolution};
use crate::morph::conv::{AugmentedConv, Block};
use imaging::{Overwrite, write_atomically};
use models::bundle;
use models::graph::{NodeId, Shape};
use models::manifest::{LayerWeights, Manifest};
use nalgebra::DMatrix;
use ndarray::{Array1, ArrayD};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

const MORPHED: &str = "morphed";
const WEIGHTS: &str = "augmented.safetensors";
const FINGERPRINT: &str = "key_fingerprint";

/// Writes a morphed scan.
///
/// # Errors
/// If it cannot be written.
pub fn write_morphed(path: &Path, morphed: &[f64], fingerprint: &str, overwrite: bool) -> Result<()> {
    let tensor = Tensor::floats(MORPHED, vec![morphed.len()], morphed);
    save(path, &[tensor], fingerprint, overwrite)
}

/// Reads a morphed scan and the fingerprint of its key.
///
/// # Errors
/// If it is no morphed scan.
pub fn read_morphed(path: &Path) -> Result<(Vec<f64>, String)> {
    let bytes = std::fs::read(path).map_err(|error| PerceptualError::file(path, error))?;
    let (stored, fingerprint) = parse(path, &bytes)?;
    Ok((floats(path, &stored, MORPHED)?.1, fingerprint))
}

/// Writes an augmented network to `folder`.
///
/// # Errors
/// If the folder exists and is not to be replaced, or cannot be written.
pub fn save_augmented(model: &AugmentedModel, folder: &Path, overwrite: bool) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| PerceptualError::file(folder, error))?;
    let mut tensors = Vec::new();
    for (index, matrix) in model.first.matrices.iter().enumerate() {
        let shape = vec![matrix.ncols(), matrix.nrows()];
        tensors.push(Tensor::floats(format!("matrix.{index}"), shape, matrix.as_slice()));
    }
    for (index, block) in model.first.blocks.iter().enumerate() {
        let values: Vec<i64> =
            [block.matrix].iter().chain(&block.voxels).map(|&value| value as i64).collect();
        tensors.push(Tensor::integers(format!("block.{index}"), vec![values.len()], &values));
    }
    let bias = &model.first.bias;
    tensors.push(Tensor::integers("bias", vec![bias.len()], bias));
    for (&id, layer) in &model.weights {
        let name = &model.manifest.graph.node(id).name;
        let weights: Vec<i64> = layer.weights.iter().map(|&weight| i64::from(weight)).collect();
        tensors.push(Tensor::integers(format!("{name}.weight"), layer.weights.shape().to_vec(), &weights));
        tensors.push(Tensor::integers(format!("{name}.bias"), vec![layer.bias.len()], &layer.bias.to_vec()));
    }
    save(&folder.join(WEIGHTS), &tensors, &model.key_fingerprint, overwrite)?;
    let manifest = folder.join(bundle::MANIFEST);
    bundle::save_manifest(&model.manifest, &manifest, overwrite)
        .map_err(|error| PerceptualError::file(&manifest, error))
}

/// Reads an augmented network.
///
/// # Errors
/// If a file is missing or contradicts the manifest.
pub fn load_augmented(folder: &Path) -> Result<AugmentedModel> {
    let manifest = bundle::load_manifest(folder).map_err(|error| PerceptualError::file(folder, error))?;
    let path = folder.join(WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|error| PerceptualError::file(&path, error))?;
    let (stored, key_fingerprint) = parse(&path, &bytes)?;
    let (first, window) = first_convolution(&manifest.graph)?;
    let (input, output) = (manifest.graph.node(0).shape, manifest.graph.node(first).shape);
    let bias = integers(&path, &stored, "bias")?.1;
    let count = (0..).take_while(|index| stored.tensor(&format!("block.{index}")).is_ok()).count();
    if count == 0 || !input.len().is_multiple_of(count) || bias.len() != output.channels || window.taps() == 0
    {
        return Err(PerceptualError::file(&path, "its blocks or biases do not fit the manifest"));
    }
    let side = input.len() / count;
    let matrices = (0..)
        .take_while(|index| stored.tensor(&format!("matrix.{index}")).is_ok())
        .map(|index| read_matrix(&path, &stored, index, side))
        .collect::<Result<Vec<_>>>()?;
    let blocks = (0..count)
        .map(|index| read_block(&path, &stored, index, &matrices, output))
        .collect::<Result<Vec<_>>>()?;
    let weights = read_layers(&path, &stored, &manifest, first)?;
    let first = AugmentedConv { input, output, blocks, matrices, bias };
    Ok(AugmentedModel { manifest, first, weights, key_fingerprint })
}

fn read_matrix(path: &Path, stored: &SafeTensors<'_>, index: usize, side: usize) -> Result<DMatrix<f64>> {
    match floats(path, stored, &format!("matrix.{index}"))? {
        (shape, values) if shape.len() == 2 && shape[1] == side => {
            Ok(DMatrix::from_vec(side, shape[0], values))
        }
        _ => Err(PerceptualError::file(path, format!("matrix {index} does not fit the manifest"))),
    }
}

fn read_block(
    path: &Path,
    stored: &SafeTensors<'_>,
    index: usize,
    matrices: &[DMatrix<f64>],
    output: Shape,
) -> Result<Block> {
    let refuse = || PerceptualError::file(path, format!("block {index} does not fit the manifest"));
    let (_, values) = integers(path, stored, &format!("block.{index}"))?;
    let mut values = values.into_iter().map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    let matrix = values.next().filter(|&matrix| matrix < matrices.len()).ok_or_else(refuse)?;
    let voxels: Vec<usize> = values.collect();
    let fits = matrices[matrix].ncols() == output.channels * voxels.len();
    if fits && voxels.iter().all(|&voxel| voxel < output.volume()) {
        Ok(Block { voxels, matrix })
    } else {
        Err(refuse())
    }
}

fn read_layers(
    path: &Path,
    stored: &SafeTensors<'_>,
    manifest: &Manifest,
    first: NodeId,
) -> Result<BTreeMap<NodeId, LayerWeights>> {
    let mut layers = BTreeMap::new();
    for &id in manifest.layers.keys().filter(|&&id| id != first) {
        let node = manifest.graph.node(id);
        let refuse = |reason: String| PerceptualError::file(path, format!("layer `{}`: {reason}", node.name));
        let (shape, values) = integers(path, stored, &format!("{}.weight", node.name))?;
        let values: Option<Vec<i32>> = values.into_iter().map(|value| i32::try_from(value).ok()).collect();
        let values = values.ok_or_else(|| refuse("weights beyond 32 bits".into()))?;
        let weights = ArrayD::from_shape_vec(shape, values).map_err(|error| refuse(error.to_string()))?;
        let bias = Array1::from_vec(integers(path, stored, &format!("{}.bias", node.name))?.1);
        let layer = LayerWeights { weights, bias };
        layer.check_shape(&node.op, manifest.graph.node(node.inputs[0]).shape).map_err(refuse)?;
        layers.insert(id, layer);
    }
    Ok(layers)
}

/// A tensor with its bytes.
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn floats(name: impl Into<String>, shape: Vec<usize>, values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::F64, shape, bytes }
    }

    fn integers(name: impl Into<String>, shape: Vec<usize>, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::I64, shape, bytes }
    }
}

fn save(path: &Path, tensors: &[Tensor], fingerprint: &str, overwrite: bool) -> Result<()> {
    let failed = |error: safetensors::SafeTensorError| PerceptualError::file(path, error);
    let views = tensors
        .iter()
        .map(|tensor| {
            Ok((tensor.name.as_str(), TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let about = HashMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())]);
    let bytes = safetensors::serialize(views, Some(about)).map_err(failed)?;
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    Ok(write_atomically(path, overwrite, |out| out.write_all(&bytes))?)
}

fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, String)> {
    let failed = |error: safetensors::SafeTensorError| PerceptualError::file(path, error);
    let (_, about) = SafeTensors::read_metadata(bytes).map_err(failed)?;
    let fingerprint = about.metadata().as_ref().and_then(|about| about.get(FINGERPRINT)).cloned();
    let fingerprint = fingerprint.ok_or_else(|| PerceptualError::file(path, "it was not made by `morph`"))?;
    Ok((SafeTensors::deserialize(bytes).map_err(failed)?, fingerprint))
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

fn floats(path: &Path, stored: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f64>)> {
    let (shape, words) = words(path, stored, name, Dtype::F64)?;
    Ok((shape, words.into_iter().map(f64::from_le_bytes).collect()))
}

fn integers(path: &Path, stored: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<i64>)> {
    let (shape, words) = words(path, stored, name, Dtype::I64)?;
    Ok((shape, words.into_iter().map(i64::from_le_bytes).collect()))
}

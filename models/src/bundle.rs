//! A quantised network on disk: a folder with what is public and what is secret apart.
//!
//! `manifest.json` is public: Alice gets it and nothing else. `weights.safetensors` holds Bob's integers, per layer
//! `NAME.weight` (i8, i16 or i32, whichever is narrowest) and `NAME.bias` (i32 or i64). Saving is atomic: the folder
//! is written beside its place and renamed. Loading validates everything ([`crate::validate`]).

use crate::manifest::{LayerWeights, Manifest, Model};
use crate::validate::ValidationError;
use ndarray::{Array1, ArrayD};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// File with the public part.
pub const MANIFEST: &str = "manifest.json";

/// File with the secret part.
pub const WEIGHTS: &str = "weights.safetensors";

/// Largest manifest, in bytes.
pub const MAX_MANIFEST: u64 = 16 << 20;

/// A bundle that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file of the wrong form.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Content that contradicts itself.
    #[error("{}: {source}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ValidationError,
    },
    /// Something is there already.
    #[error("{} exists already; remove it or ask to overwrite it", .0.display())]
    Exists(PathBuf),
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> BundleError {
    move |source| BundleError::Io { path: path.into(), source }
}

fn form(path: &Path, reason: impl ToString) -> BundleError {
    BundleError::Form { path: path.into(), reason: reason.to_string() }
}

/// Reads and validates a bundle.
pub fn load(folder: &Path) -> Result<Model, BundleError> {
    let manifest = load_manifest(folder)?;
    let path = folder.join(WEIGHTS);
    let values = weight_counts(&manifest).map(|(weights, bias)| weights + bias).sum::<u64>();
    // No value takes more than 8 bytes; the rest is the header.
    let bytes = read_at_most(&path, values.saturating_mul(8).saturating_add(MAX_MANIFEST))?;
    let stored = SafeTensors::deserialize(&bytes)
        .map_err(|error| form(&path, format!("no safetensors file ({error})")))?;
    let weights = read_weights(&path, &manifest, &stored)?;
    let model = Model { manifest, weights };
    model.validate().map_err(|source| BundleError::Invalid { path, source })?;
    Ok(model)
}

/// Reads and validates the public part; `path` is a bundle or the manifest's own file.
pub fn load_manifest(path: &Path) -> Result<Manifest, BundleError> {
    let file = if path.is_dir() { path.join(MANIFEST) } else { path.into() };
    let bytes = read_at_most(&file, MAX_MANIFEST)?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| form(&file, error))?;
    manifest.validate().map_err(|source| BundleError::Invalid { path: file, source })?;
    Ok(manifest)
}

/// Writes a bundle; what is there already stays unless `overwrite` is set and it is a bundle.
pub fn save(model: &Model, folder: &Path, overwrite: bool) -> Result<(), BundleError> {
    model.validate().map_err(|source| BundleError::Invalid { path: folder.into(), source })?;
    check_target(folder, overwrite)?;
    let staging = beside(folder, "new")?;
    fs::create_dir(&staging).map_err(io(&staging))?;
    let written = write_parts(model, &staging).and_then(|()| replace(&staging, folder));
    if written.is_err() {
        // The first error matters; what is left over is harmless.
        let _ = fs::remove_dir_all(&staging);
    }
    written
}

/// Writes the public part alone, for Alice.
pub fn save_manifest(manifest: &Manifest, file: &Path, overwrite: bool) -> Result<(), BundleError> {
    manifest.validate().map_err(|source| BundleError::Invalid { path: file.into(), source })?;
    if !overwrite && file.exists() {
        return Err(BundleError::Exists(file.into()));
    }
    let staging = beside(file, "new")?;
    write(&staging, &to_json(manifest, file)?)?;
    fs::rename(&staging, file).map_err(io(file))
}

/// Whether a bundle may be written to `folder`: to be found out before long work.
pub fn check_target(folder: &Path, overwrite: bool) -> Result<(), BundleError> {
    if !folder.exists() {
        let parent =
            folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return if parent.is_dir() { Ok(()) } else { Err(form(parent, "no such folder")) };
    }
    match (overwrite, folder.join(MANIFEST).is_file()) {
        (false, _) => Err(BundleError::Exists(folder.into())),
        (true, false) => Err(form(folder, "it is there and is no bundle; it will not be overwritten")),
        (true, true) => Ok(()),
    }
}

fn write_parts(model: &Model, folder: &Path) -> Result<(), BundleError> {
    let manifest = folder.join(MANIFEST);
    write(&manifest, &to_json(&model.manifest, &manifest)?)?;
    let weights = folder.join(WEIGHTS);
    write(&weights, &serialize_weights(model).map_err(|error| form(&weights, error))?)
}

fn to_json(manifest: &Manifest, path: &Path) -> Result<Vec<u8>, BundleError> {
    let mut json = serde_json::to_vec_pretty(manifest).map_err(|error| form(path, error))?;
    json.push(b'\n');
    Ok(json)
}

/// Puts a finished folder in its place; an old bundle is removed only after the new one stands.
fn replace(staging: &Path, folder: &Path) -> Result<(), BundleError> {
    if !folder.exists() {
        return fs::rename(staging, folder).map_err(io(folder));
    }
    let old = beside(folder, "old")?;
    fs::rename(folder, &old).map_err(io(folder))?;
    if let Err(error) = fs::rename(staging, folder) {
        fs::rename(&old, folder).map_err(io(folder))?;
        return Err(io(folder)(error));
    }
    fs::remove_dir_all(&old).map_err(io(&old))
}

/// A hidden name beside `path`, for work in progress.
fn beside(path: &Path, what: &str) -> Result<PathBuf, BundleError> {
    let name = path.file_name().ok_or_else(|| form(path, "it names no file"))?;
    let hidden = format!(".{}.{what}.{}", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(hidden))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let mut file = File::create(path).map_err(io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io(path))
}

fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    File::open(path).map_err(io(path))?.take(most + 1).read_to_end(&mut bytes).map_err(io(path))?;
    if bytes.len() as u64 > most {
        return Err(form(path, format!("it is larger than {most} bytes, more than its content can take")));
    }
    Ok(bytes)
}

/// Per layer, how many weights and biases there are.
fn weight_counts(manifest: &Manifest) -> impl Iterator<Item = (u64, u64)> {
    manifest.layers.keys().filter_map(|&id| {
        let node = manifest.graph.node(id);
        let shape = node.op.weight_shape(manifest.graph.node(*node.inputs.first()?).shape.channels)?;
        Some((shape.iter().map(|&extent| extent as u64).product(), node.shape.channels as u64))
    })
}

struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn serialize_weights(model: &Model) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut stored = Vec::new();
    for (&id, layer) in &model.weights {
        let name = &model.manifest.graph.node(id).name;
        let weights = layer.weights.iter().map(|&weight| i64::from(weight)).collect::<Vec<_>>();
        stored.push(narrowest(format!("{name}.weight"), layer.weights.shape(), &weights));
        stored.push(narrowest(format!("{name}.bias"), layer.bias.shape(), &layer.bias.to_vec()));
    }
    let view = |stored| -> Result<_, safetensors::SafeTensorError> {
        let Stored { name, dtype, shape, bytes }: &Stored = stored;
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
    };
    let views = stored.iter().map(view).collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(views, None)
}

fn narrowest(name: String, shape: &[usize], values: &[i64]) -> Stored {
    let fits = |bits: u32| values.iter().all(|&value| value >= -(1 << (bits - 1)) && value < 1 << (bits - 1));
    let (dtype, width) = match () {
        () if fits(8) => (Dtype::I8, 1),
        () if fits(16) => (Dtype::I16, 2),
        () if fits(32) => (Dtype::I32, 4),
        () => (Dtype::I64, 8),
    };
    let bytes = values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect();
    Stored { name, dtype, shape: shape.to_vec(), bytes }
}

fn read_weights(
    path: &Path,
    manifest: &Manifest,
    stored: &SafeTensors<'_>,
) -> Result<BTreeMap<usize, LayerWeights>, BundleError> {
    let mut weights = BTreeMap::new();
    for &id in manifest.layers.keys() {
        let name = &manifest.graph.node(id).name;
        let (shape, values) = read_tensor(path, stored, &format!("{name}.weight"))?;
        let values: Option<Vec<i32>> = values.into_iter().map(|value| i32::try_from(value).ok()).collect();
        let misfit = || form(path, format!("tensor `{name}.weight`: values beyond 32 bits"));
        let layer =
            ArrayD::from_shape_vec(shape, values.ok_or_else(misfit)?).map_err(|error| form(path, error))?;
        let (_, bias) = read_tensor(path, stored, &format!("{name}.bias"))?;
        weights.insert(id, LayerWeights { weights: layer, bias: Array1::from_vec(bias) });
    }
    if stored.len() != 2 * weights.len() {
        return Err(form(path, format!("{} tensors where {} are expected", stored.len(), 2 * weights.len())));
    }
    Ok(weights)
}

fn read_tensor(
    path: &Path,
    stored: &SafeTensors<'_>,
    name: &str,
) -> Result<(Vec<usize>, Vec<i64>), BundleError> {
    let tensor = stored.tensor(name).map_err(|error| form(path, format!("tensor `{name}`: {error}")))?;
    let width = match tensor.dtype() {
        Dtype::I8 => 1,
        Dtype::I16 => 2,
        Dtype::I32 => 4,
        Dtype::I64 => 8,
        other => return Err(form(path, format!("tensor `{name}`: {other:?} where integers are expected"))),
    };
    let signed = |bytes: &[u8]| {
        let word = bytes.iter().rev().fold(0_u64, |word, &byte| word << 8 | u64::from(byte));
        let unused = 64 - 8 * bytes.len() as u32;
        (word as i64) << unused >> unused
    };
    Ok((tensor.shape().to_vec(), tensor.data().chunks_exact(width).map(signed).collect()))
}

//! Encrypted files and folders: a picture or volume of the same kind, and a sidecar with what decryption needs.
//!
//! PNG, TIFF and NIfTI come out as PNG, TIFF and NIfTI; a DICOM file or series becomes NIfTI. The sidecar `NAME.pixel.json` is public:
//! depth, integer map, number format, steps, the image's identity (its path within the folder, or its file name) and a
//! fingerprint of the key. It holds no key and nothing of the image's content.

use super::{IntegerMap, MapOptions, Samples, Steps, decrypt, encrypt};
use crate::error::{PerceptualError, Result};
use crate::keys::{MasterKey, Scope};
use crate::write::{Format, write_scan};
use imaging::{Overwrite, SampleType, Scan, write_atomically};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

const SIDECAR: &str = ".pixel.json";

/// How files are encrypted.
#[derive(Clone, Copy, Debug)]
pub struct EncryptOptions {
    /// Depth and integer map.
    pub map: MapOptions,
    /// Which steps run; shuffling applies to colour images only.
    pub steps: Steps,
    /// One key stream for all images, or one each.
    pub scope: Scope,
    /// Whether existing files are replaced.
    pub overwrite: bool,
}

/// What decryption needs besides the key; public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Version of this format.
    pub format: u32,
    /// What samples stand for.
    pub map: IntegerMap,
    /// Number format of the original file.
    pub sample_type: String,
    /// Steps that ran.
    pub steps: Steps,
    /// One key stream for all images, or one each.
    pub scope: Scope,
    /// What the image's key is derived from.
    pub identity: String,
    /// By which a wrong key is told.
    pub key_fingerprint: String,
}

/// Encrypts one file. The name's ending says the format; `identity` names the image for its own key.
///
/// # Errors
/// If the scan cannot be read, mapped to integers without loss, or written.
pub fn encrypt_file(
    input: &Path,
    output: &Path,
    identity: &str,
    key: &MasterKey,
    options: &EncryptOptions,
) -> Result<()> {
    let scan = Scan::read(input)?;
    let mut samples = Samples::of(&scan, &options.map)?;
    let steps = Steps { shuffle: options.steps.shuffle && scan.channels() == 3 };
    encrypt(&mut samples.values, samples.map.depth, &key.for_image(options.scope, identity), steps)?;
    let overwrite = replace(options.overwrite);
    let stored = if samples.map.depth <= 8 { SampleType::U8 } else { SampleType::U16 };
    write_scan(output, &samples.values.mapv(f32::from), stored, scan.geometry(), overwrite)?;
    let sidecar = Sidecar {
        format: 1,
        map: samples.map,
        sample_type: format!("{:?}", scan.sample_type()),
        steps,
        scope: options.scope,
        identity: identity.into(),
        key_fingerprint: key.fingerprint(),
    };
    let json = serde_json::to_vec_pretty(&sidecar).map_err(|error| PerceptualError::file(output, error))?;
    write_atomically(&sidecar_path(output), overwrite, |out| out.write_all(&json))?;
    Ok(())
}

/// Decrypts one file by its sidecar.
///
/// # Errors
/// If the sidecar is missing, the key is another, or a file cannot be read or written.
pub fn decrypt_file(input: &Path, output: &Path, key: &MasterKey, overwrite: bool) -> Result<()> {
    let sidecar = read_sidecar(input)?;
    if sidecar.key_fingerprint != key.fingerprint() {
        return Err(PerceptualError::WrongKey { what: input.display().to_string() });
    }
    let scan = Scan::read(input)?;
    let stored = MapOptions { depth: Some(sidecar.map.depth), offset: Some(0.0), window: None };
    let mut samples = Samples::of(&scan, &stored)?;
    let seed = key.for_image(sidecar.scope, &sidecar.identity);
    decrypt(&mut samples.values, sidecar.map.depth, &seed, sidecar.steps)?;
    samples.map = sidecar.map;
    let kind = restored_type(&sidecar);
    write_scan(output, &samples.to_values(), kind, scan.geometry(), replace(overwrite))
}

/// Encrypts every scan of a folder and its subfolders; returns how many.
///
/// # Errors
/// At the first file that fails, named in the error.
pub fn encrypt_folder(
    input: &Path,
    output: &Path,
    key: &MasterKey,
    options: &EncryptOptions,
) -> Result<usize> {
    each_file(input, output, |file, target, identity| encrypt_file(file, target, identity, key, options))
}

/// Decrypts every scan of a folder and its subfolders; returns how many.
///
/// # Errors
/// At the first file that fails, named in the error.
pub fn decrypt_folder(input: &Path, output: &Path, key: &MasterKey, overwrite: bool) -> Result<usize> {
    each_file(input, output, |file, target, _| decrypt_file(file, target, key, overwrite))
}

/// Runs `work` on every scan of a folder and its subfolders, with the file to write and the path within the folder;
/// returns how many.
pub(crate) fn each_file(
    input: &Path,
    output: &Path,
    work: impl Fn(&Path, &Path, &str) -> Result<()> + Sync,
) -> Result<usize> {
    if output.starts_with(input) {
        return Err(PerceptualError::file(output, "the output must not lie within the input"));
    }
    let mut files = Vec::new();
    collect(input, &mut files)?;
    if files.is_empty() {
        return Err(PerceptualError::file(input, "no PNG, TIFF, NIfTI or DICOM file in this folder"));
    }
    files.par_iter().try_for_each(|file| {
        let relative = file.strip_prefix(input).unwrap_or(file);
        let target = target_name(&output.join(relative));
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|error| PerceptualError::file(parent, error))?;
        }
        work(file, &target, &relative.to_string_lossy())
    })?;
    Ok(files.len())
}

/// All scans below `folder`, in order.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |error| PerceptualError::file(folder, error);
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()
        .map_err(failed)?;
    entries.sort();
    for path in entries {
        let is_dicom = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("dcm"));
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_dicom || Format::of(&path).is_ok() {
            files.push(path);
        }
    }
    Ok(())
}

/// The same name; DICOM becomes NIfTI.
fn target_name(path: &Path) -> PathBuf {
    if Format::of(path).is_ok() {
        return path.into();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".nii.gz");
    name.into()
}

fn sidecar_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SIDECAR);
    name.into()
}

fn read_sidecar(path: &Path) -> Result<Sidecar> {
    let file = sidecar_path(path);
    let refuse = |reason: String| PerceptualError::file(&file, reason);
    let bytes = std::fs::read(&file)
        .map_err(|error| refuse(format!("the sidecar of the encrypted file cannot be read: {error}")))?;
    let sidecar: Sidecar = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    let map = sidecar.map;
    if sidecar.format != 1 || !(1..=16).contains(&map.depth) || !(map.offset + map.step).is_finite() {
        return Err(refuse("it is of another version, or its integer map makes no sense".into()));
    }
    Ok(sidecar)
}

/// The original number format where it is one of those written; 32-bit floats hold all others exactly.
fn restored_type(sidecar: &Sidecar) -> SampleType {
    match sidecar.sample_type.as_str() {
        "U8" => SampleType::U8,
        "I8" => SampleType::I8,
        "U16" => SampleType::U16,
        "I16" => SampleType::I16,
        _ => SampleType::F32,
    }
}

fn replace(overwrite: bool) -> Overwrite {
    if overwrite { Overwrite::Replace } else { Overwrite::Refuse }
}

//! `pixel keygen | encrypt | decrypt | keyspace`.

use crate::error::{PerceptualError, Result};
use crate::keys::{MasterKey, Scope};
use crate::pixel::{
    EncryptOptions, KeySpace, MapOptions, Steps, decrypt_file, decrypt_folder, encrypt_file, encrypt_folder,
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Pixel-based encryption of pictures and scans: hides the look from the eye, not from an attacker.
#[derive(Clone, Debug, Subcommand)]
pub enum PixelCommand {
    /// Makes a key.
    Keygen {
        /// File to write it to.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Encrypts a file or every scan of a folder.
    Encrypt(EncryptArgs),
    /// Decrypts a file or every scan of a folder.
    Decrypt {
        /// What to read and where to write.
        #[command(flatten)]
        paths: Paths,
    },
    /// Says how many keys there are for an image, nominally and really.
    Keyspace {
        /// Channels.
        #[arg(long, default_value_t = 3)]
        channels: usize,
        /// Pixels or voxels.
        #[arg(long)]
        voxels: usize,
        /// Colour components change places.
        #[arg(long)]
        shuffle: bool,
    },
}

/// What to read and where to write.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// PNG, TIFF, NIfTI or DICOM file, or a folder of them.
    #[arg(short, long)]
    input: PathBuf,
    /// File or folder to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Key file.
    #[arg(short, long)]
    key: PathBuf,
    /// Replace what is there.
    #[arg(long)]
    overwrite: bool,
}

/// How to encrypt.
#[derive(Clone, Debug, Args)]
pub struct EncryptArgs {
    #[command(flatten)]
    paths: Paths,
    /// Bits per sample, if fewer than the file's type has: 12 for many CT scans.
    #[arg(long)]
    depth: Option<u32>,
    /// Value of sample 0, e.g. -1024.
    #[arg(long, allow_negative_numbers = true)]
    offset: Option<f64>,
    /// Smallest and largest value to keep, for floating point; rounds.
    #[arg(long, num_args = 2, value_names = ["LOW", "HIGH"], allow_negative_numbers = true)]
    window: Option<Vec<f64>>,
    /// Colour components change places too (step 3).
    #[arg(long)]
    shuffle: bool,
    /// One key stream for all images, or one each.
    #[arg(long, value_enum, default_value_t = Scope::PerImage)]
    scope: Scope,
    /// The image's name for its own key; default: the file's name, in folders its path.
    #[arg(long)]
    identity: Option<String>,
}

impl PixelCommand {
    /// Does it and says what was done.
    ///
    /// # Errors
    /// If a file cannot be read, written or mapped.
    pub fn run(&self) -> Result<String> {
        match self {
            Self::Keygen { output } => {
                MasterKey::generate().write(output)?;
                Ok(format!("key written to {}", output.display()))
            }
            Self::Encrypt(args) => args.run(),
            Self::Decrypt { paths } => {
                let key = MasterKey::read(&paths.key)?;
                if paths.input.is_dir() {
                    let count = decrypt_folder(&paths.input, &paths.output, &key, paths.overwrite)?;
                    return Ok(format!("{count} files decrypted to {}", paths.output.display()));
                }
                decrypt_file(&paths.input, &paths.output, &key, paths.overwrite)?;
                Ok(format!("decrypted to {}", paths.output.display()))
            }
            Self::Keyspace { channels, voxels, shuffle } => {
                if *shuffle && *channels != 3 {
                    return Err(PerceptualError::Parameters("colour shuffling needs three channels".into()));
                }
                let space = KeySpace::of(*channels, *voxels, Steps { shuffle: *shuffle });
                Ok(format!(
                    "negative-positive: 2^{:.0} patterns\ncolour shuffling: 2^{:.0}\ntogether, as the paper counts: \
                     2^{:.0}\nmaster keys to search: 2^{:.0}\nneeded to see the image up to its negative: none \
                     (folding)",
                    space.negative_positive_bits, space.shuffling_bits, space.nominal_bits, space.master_bits
                ))
            }
        }
    }
}

impl EncryptArgs {
    fn run(&self) -> Result<String> {
        let paths = &self.paths;
        let key = MasterKey::read(&paths.key)?;
        let window = self.window.as_ref().and_then(|ends| Some((*ends.first()?, *ends.get(1)?)));
        let options = EncryptOptions {
            map: MapOptions { depth: self.depth, offset: self.offset, window },
            steps: Steps { shuffle: self.shuffle },
            scope: self.scope,
            overwrite: paths.overwrite,
        };
        // A folder is a folder of scans, unless its output is named as one file: then it is a DICOM series.
        if paths.input.is_dir() && imaging::OutputFormat::of(&paths.output).is_err() {
            let count = encrypt_folder(&paths.input, &paths.output, &key, &options)?;
            return Ok(format!("{count} files encrypted to {}", paths.output.display()));
        }
        let name = paths.input.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let identity = self.identity.clone().unwrap_or(name);
        encrypt_file(&paths.input, &paths.output, &identity, &key, &options)?;
        Ok(format!("encrypted to {}", paths.output.display()))
    }
}

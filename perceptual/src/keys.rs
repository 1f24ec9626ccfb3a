//! Master keys, and the keys that follow from them.
//!
//! A master key is 128 bits from the operating system. Everything else is derived with keyed BLAKE3 under a label, so
//! that one small file is all there is to keep, and a server has nothing to manage. However large the nominal key space
//! of a transformation is, a search over the 2^128 master keys finds it.

use crate::error::{PerceptualError, Result};
use imaging::{Overwrite, write_atomically};
use prg::Seed;
use std::io::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// First word of a key file.
const KIND: &str = "bunet-perceptual-key-1";

/// Whether images share one key stream.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All images of a size are transformed alike.
    Same,
    /// Each image has its own stream, derived from the master key and the image's identity.
    #[default]
    PerImage,
}

/// A secret of 128 bits, wiped when dropped. It has neither `Debug` nor `PartialEq`.
#[derive(Clone)]
pub struct MasterKey(Seed);

impl MasterKey {
    /// A fresh key from the operating system.
    pub fn generate() -> Self {
        Self(Seed::from_os())
    }

    /// A key from known bytes, for tests and experiments that others repeat.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Seed::from_bytes(bytes))
    }

    /// An independent seed for `purpose`.
    pub fn derive(&self, purpose: &str) -> Seed {
        self.0.derive(purpose, 0)
    }

    /// The seed of an image's streams. Two images with one identity share it: give each image a name of its own.
    pub fn for_image(&self, scope: Scope, identity: &str) -> Seed {
        match scope {
            Scope::Same => self.derive("all images"),
            Scope::PerImage => self.derive(&format!("image {identity}")),
        }
    }

    /// A public value by which a wrong key is told; it says nothing about the key.
    pub fn fingerprint(&self) -> String {
        hex(&self.derive("fingerprint").as_bytes()[..8])
    }

    /// Reads a key file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| PerceptualError::file(path, error))?;
        let text = Zeroizing::new(text);
        let bytes = text.split_whitespace().collect::<Vec<_>>();
        match bytes[..] {
            [KIND, key] => Self::parse(key),
            _ => None,
        }
        .ok_or_else(|| PerceptualError::file(path, "this is no key file; `keygen` makes one"))
    }

    pub(crate) fn parse(hex: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 16]);
        if hex.len() != 32 || !hex.is_ascii() {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self::from_bytes(*bytes))
    }

    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex(self.0.as_bytes()))
    }

    /// Writes a key file that only its owner can read; never over another file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = Zeroizing::new(format!("{KIND} {}\n", *self.to_hex()));
        write_private(path, text.as_bytes())
    }
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, Overwrite::Refuse, |out| {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            out.get_ref().set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        out.write_all(bytes)
    })?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = MasterKey::generate();
        key.write(&path).unwrap();
        assert_eq!(MasterKey::read(&path).unwrap().fingerprint(), key.fingerprint());
        assert!(key.write(&path).is_err(), "a key is never overwritten");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, format!("{KIND} 00")).unwrap();
        assert!(MasterKey::read(&path).is_err());
    }

    #[test]
    fn scopes_share_streams_or_do_not() {
        let key = MasterKey::from_bytes([1; 16]);
        let seed = |scope, name| *key.for_image(scope, name).as_bytes();
        assert_eq!(seed(Scope::Same, "a"), seed(Scope::Same, "b"));
        assert_ne!(seed(Scope::PerImage, "a"), seed(Scope::PerImage, "b"));
        assert_eq!(seed(Scope::PerImage, "a"), seed(Scope::PerImage, "a"));
    }
}

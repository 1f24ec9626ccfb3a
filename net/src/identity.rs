//! This side's key and certificate, and the making of keys for all sides.

use crate::{Certificate, NetError, files, tls};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// A private key and its certificate.
pub struct Identity {
    certificate: Certificate,
    key: Zeroizing<Vec<u8>>, // PKCS #8
}

/// Makes an identity for each name and writes `<name>.key` and `<name>.crt` to `dir`; nothing if one is in the way.
pub fn keygen(dir: impl AsRef<Path>, names: &[&str]) -> Result<Vec<Identity>, NetError> {
    let dir = dir.as_ref();
    for name in names {
        check_name(name)?;
        for path in [key_path(dir, name), certificate_path(dir, name)] {
            if path.exists() {
                return Err(NetError::Exists { path });
            }
        }
    }
    std::fs::create_dir_all(dir).map_err(|error| files::failed(dir, &error))?;
    let identities = names.iter().map(|name| Identity::generate(name)).collect::<Result<Vec<_>, _>>()?;
    for identity in &identities {
        identity.save(dir)?;
    }
    Ok(identities)
}

impl Identity {
    /// A new Ed25519 key with a self-signed certificate.
    pub fn generate(name: &str) -> Result<Self, NetError> {
        check_name(name)?;
        let unusable = |error: rcgen::Error| NetError::Handshake { reason: error.to_string() };
        let mut params = CertificateParams::new([name.to_owned()]).map_err(unusable)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(unusable)?;
        let der = params.self_signed(&pair).map_err(unusable)?.der().clone();
        let key = Zeroizing::new(pair.serialize_der());
        Ok(Self { certificate: Certificate::new(name.to_owned(), der), key })
    }

    /// Reads `<name>.key`, which only its owner may read, and the certificate `<name>.crt` beside it.
    pub fn load(key: impl AsRef<Path>) -> Result<Self, NetError> {
        let path = key.as_ref();
        let certificate = Certificate::load(path.with_extension("crt"))?;
        let pem = files::read(path)?;
        files::check_private(path)?;
        let malformed = || NetError::Malformed { path: path.into(), expected: "private key (PEM)" };
        let mut der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| malformed())?;
        let identity = Self { certificate, key: Zeroizing::new(der.secret_pkcs8_der().to_vec()) };
        der.zeroize();
        let expected = "private key for the certificate beside it";
        tls::check(&identity).map_err(|_| NetError::Malformed { path: path.into(), expected })?;
        Ok(identity)
    }

    /// Writes `<name>.key` (mode 0600) and `<name>.crt` to a folder; returns their paths.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<[PathBuf; 2], NetError> {
        let [key, certificate] =
            [key_path(dir.as_ref(), self.name()), certificate_path(dir.as_ref(), self.name())];
        if certificate.exists() {
            return Err(NetError::Exists { path: certificate });
        }
        files::write_new(&key, pem("PRIVATE KEY", &self.key).as_bytes(), false)?;
        files::write_new(&certificate, pem("CERTIFICATE", self.certificate.der()).as_bytes(), true)?;
        Ok([key, certificate])
    }

    /// The name it was made for.
    pub fn name(&self) -> &str {
        self.certificate.name()
    }

    /// The public half, for the peer to trust.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A key for another purpose, which only the holder of the private key can derive (BLAKE3's key derivation). The
    /// purpose is a fixed text that nothing else uses.
    pub fn derive_key(&self, purpose: &'static str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(purpose, &self.key))
    }

    /// A copy of the key for rustls.
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }
}

fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

fn certificate_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.crt"))
}

fn check_name(name: &str) -> Result<(), NetError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let good = !name.is_empty() && name.len() <= 63 && name.chars().all(fits);
    good.then_some(()).ok_or_else(|| NetError::BadName { name: name.into() })
}

/// RFC 7468, strict form, in one allocation so that no copy of a key is left behind.
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Zeroizing::new(String::with_capacity(2 * der.len() + 100));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*group.get(i).unwrap_or(&0)));
            for i in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * i) & 63) as usize];
                text.push(if i <= group.len() { char::from(digit) } else { '=' });
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

//! Certificates, their fingerprints, and the set of them that this side trusts.

use crate::{NetError, files};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::path::Path;

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A self-signed certificate and the name its operator goes by: the name of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    name: String,
    der: CertificateDer<'static>,
}

/// The certificates that this side accepts from a peer.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    certificates: Vec<Certificate>,
}

impl Fingerprint {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(der: &[u8]) -> Self {
        let digest = TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(der));
        let bytes = digest.and_then(|digest| digest.as_ref().try_into().ok());
        Self(bytes.expect("the suite's hash is SHA-256"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        f.write_str(&pairs.join(":"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Certificate {
    /// Reads a PEM file; its stem becomes the name.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, NetError> {
        let path = path.as_ref();
        let malformed = || NetError::Malformed { path: path.into(), expected: "certificate (PEM)" };
        let der = CertificateDer::from_pem_slice(&files::read(path)?).map_err(|_| malformed())?;
        // What TLS could not use must not be found out only when a peer connects.
        rustls::server::ParsedCertificate::try_from(&der).map_err(|_| malformed())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, der })
    }

    /// The name of its file, without the extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What two operators compare over another channel.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    pub(crate) fn new(name: String, der: CertificateDer<'static>) -> Self {
        Self { name, der }
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }
}

impl Trusted {
    /// Reads one certificate, or every `*.crt` of a folder.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, NetError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Ok(Certificate::load(path)?.into());
        }
        let failed = |error| files::failed(path, &error);
        let entries = path.read_dir().map_err(failed)?;
        let mut paths =
            entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>, _>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
        paths.sort();
        if paths.is_empty() {
            return Err(NetError::NoneTrusted { path: path.into() });
        }
        paths.iter().map(Certificate::load).collect()
    }

    /// All of them.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The trusted certificate that equals this one byte for byte.
    pub(crate) fn find(&self, der: &[u8]) -> Option<&Certificate> {
        self.certificates.iter().find(|certificate| certificate.der.as_ref() == der)
    }
}

impl From<Certificate> for Trusted {
    fn from(certificate: Certificate) -> Self {
        Self { certificates: vec![certificate] }
    }
}

impl FromIterator<Certificate> for Trusted {
    fn from_iter<I: IntoIterator<Item = Certificate>>(certificates: I) -> Self {
        Self { certificates: certificates.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_sha256() {
        // FIPS 180-2, appendix B.1
        let printed = Fingerprint::of(b"abc").to_string();
        assert!(printed.starts_with("BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23"), "{printed}");
        assert!(printed.ends_with(":F2:00:15:AD"), "{printed}");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Trusted::load(dir.path()), Err(NetError::NoneTrusted { .. })));
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in ["", "hello", pem] {
            let path = dir.path().join("x.crt");
            std::fs::write(&path, content).unwrap();
            assert!(matches!(Certificate::load(&path), Err(NetError::Malformed { .. })), "{content}");
        }
        assert!(matches!(Certificate::load(dir.path().join("none.crt")), Err(NetError::File { .. })));
    }
}

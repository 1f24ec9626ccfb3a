//! Who may connect to whom, and what an impostor is told.
#![allow(clippy::unwrap_used, reason = "test helpers fail the test")]

mod common;

use common::{Parties, hasty, trust};
use net::{Certificate, Identity, Listener, NetError, Options, Trusted, connect, keygen};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

#[test]
fn a_stranger_is_told_and_the_next_client_served() {
    let parties = Parties::new();
    let mut listener = parties.listen(&hasty(), 1);
    let (address, eve) = (listener.address().to_string(), Identity::generate("alice").unwrap());
    let refused = connect(&address, &eve, &trust(&parties.bob), &hasty());
    assert!(matches!(refused, Err(NetError::NotTrusted)), "{:?}", refused.err());
    let _alice = parties.connect(listener.address(), &hasty()).unwrap();
    assert_eq!(listener.accept().unwrap().peer_fingerprint(), parties.alice.certificate().fingerprint());
}

#[test]
fn another_server_is_recognised() {
    let parties = Parties::new();
    let eve = Identity::generate("bob").unwrap();
    let listener = Listener::bind("127.0.0.1:0", &eve, &trust(&parties.alice), &hasty(), 1).unwrap();
    let refused = parties.connect(listener.address(), &hasty()).err();
    let expected = eve.certificate().fingerprint();
    assert!(matches!(refused, Some(NetError::WrongPeer { seen }) if seen == expected), "{refused:?}");
    assert!(refused.unwrap().to_string().contains(&expected.to_string()));
}

#[test]
fn several_clients_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["bob", "clinic-a", "clinic-b"];
    let made = keygen(dir.path(), &names).unwrap();
    fs::create_dir(dir.path().join("trusted")).unwrap();
    for name in &names[1..] {
        let file = format!("{name}.crt");
        fs::copy(dir.path().join(&file), dir.path().join("trusted").join(&file)).unwrap();
    }
    let bob = Identity::load(dir.path().join("bob.key")).unwrap();
    let trusted = Trusted::load(dir.path().join("trusted")).unwrap();
    assert_eq!(trusted.certificates().len(), 2);
    let mut listener = Listener::bind("127.0.0.1:0", &bob, &trusted, &hasty(), 2).unwrap();
    let address = listener.address().to_string();
    for (name, made) in names.iter().zip(&made).skip(1) {
        let clinic = Identity::load(dir.path().join(format!("{name}.key"))).unwrap();
        assert_eq!(clinic.certificate().fingerprint(), made.certificate().fingerprint());
        let bob = Trusted::load(dir.path().join("bob.crt")).unwrap();
        let _client = connect(&address, &clinic, &bob, &hasty()).unwrap();
        assert_eq!(listener.accept().unwrap().peer_name(), *name);
    }
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    keygen(dir.path(), &["bob"]).unwrap();
    assert_eq!(mode(&dir.path().join("bob.key")) & 0o777, 0o600);
    let before = fs::read(dir.path().join("bob.key")).unwrap();
    assert!(matches!(keygen(dir.path(), &["alice", "bob"]), Err(NetError::Exists { .. })));
    assert!(!dir.path().join("alice.key").exists());
    assert_eq!(fs::read(dir.path().join("bob.key")).unwrap(), before);
    for name in ["", "a/b", "..", "a b", &"a".repeat(64)] {
        assert!(matches!(keygen(dir.path(), &[name]), Err(NetError::BadName { .. })), "{name}");
    }
}

#[test]
fn unusable_keys_are_refused_when_loaded() {
    let dir = tempfile::tempdir().unwrap();
    keygen(dir.path(), &["alice", "bob"]).unwrap();
    let [alice, bob] = ["alice.key", "bob.key"].map(|file| dir.path().join(file));
    fs::write(&alice, fs::read(&bob).unwrap()).unwrap(); // keeps mode 0600
    assert!(matches!(Identity::load(&alice), Err(NetError::Malformed { .. })));
    fs::write(&alice, "hello").unwrap();
    assert!(matches!(Identity::load(&alice), Err(NetError::Malformed { .. })));
    expose(&bob);
    assert!(matches!(Identity::load(&bob), Err(NetError::KeyExposed { .. })));
    fs::remove_file(dir.path().join("bob.crt")).unwrap();
    assert!(matches!(Identity::load(&bob), Err(NetError::File { .. })));
}

/// A trusted certificate with somebody else's key: only the signature over the handshake gives it away.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl Stolen {
    fn new(certificate: &Identity, key: &Identity) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let [_, certificate] = certificate.save(dir.path()).unwrap();
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        let [key, _] = key.save(&other).unwrap();
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let key = ring::default_provider().key_provider.load_private_key(key).unwrap();
        Arc::new(Self(Arc::new(CertifiedKey::new(vec![certificate], key))))
    }
}

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Stolen {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[test]
fn a_stolen_certificate_does_not_make_a_server() {
    let parties = Parties::new();
    let eve = Identity::generate("eve").unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Stolen::new(&parties.bob, &eve));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let _ = StreamOwned::new(session, listener.accept().unwrap().0).read(&mut [0]);
    });
    let refused = parties.connect(address, &hasty()).err();
    assert!(
        matches!(&refused, Some(NetError::Handshake { reason }) if reason.contains("BadSignature")),
        "{refused:?}"
    );
}

#[test]
fn a_stolen_certificate_does_not_make_a_client() {
    let parties = Parties::new();
    let eve = Identity::generate("eve").unwrap();
    let mut listener = parties.listen(&hasty(), 1);
    let dir = tempfile::tempdir().unwrap();
    let [_, certificate] = parties.bob.save(dir.path()).unwrap();
    assert_eq!(Certificate::load(&certificate).unwrap(), *parties.bob.certificate());
    let config = eves_config(Stolen::new(&parties.alice, &eve));
    let session = ClientConnection::new(Arc::new(config), "bob".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(listener.address()).unwrap());
    let told = stream.read(&mut [0]).unwrap_err().to_string();
    assert!(told.contains("DecryptError"), "{told}");
    let _alice = parties.connect(listener.address(), &hasty()).unwrap();
    assert_eq!(listener.accept().unwrap().peer_name(), "alice");
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let parties = Parties::new();
    let listener = parties.listen(&Options::default(), 1);
    let mut config = eves_config(Stolen::new(&parties.alice, &parties.alice));
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let session = ClientConnection::new(Arc::new(config), "bob".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, TcpStream::connect(listener.address()).unwrap());
    let told = stream.read(&mut [0]).unwrap_err().to_string();
    assert!(told.contains("CertificateRequired"), "{told}");
}

#[derive(Debug)]
struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }
    fn has_certs(&self) -> bool {
        false
    }
}

/// A client that takes any server, so that only the server can refuse.
fn eves_config(resolver: Arc<Stolen>) -> ClientConfig {
    ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_client_cert_resolver(resolver)
}

#[derive(Debug)]
struct Credulous;

mod credulous {
    use super::Credulous;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    type Signed<'a> = (&'a [u8], &'a CertificateDer<'a>, &'a DigitallySignedStruct);

    fn believe(_: Signed<'_>) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    impl ServerCertVerifier for Credulous {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            believe((message, certificate, signature))
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            believe((message, certificate, signature))
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode()
}

#[cfg(unix)]
fn expose(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

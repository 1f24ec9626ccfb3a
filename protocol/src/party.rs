//! The two parties' state between layers: channel, randomness, keys, oblivious transfer.
//!
//! What both do alike is written once, for a [`Role`]; what a role does in its own way is in its `impl`.

use crate::audit::Audit;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::linear::coefficient::Buffers;
use crate::ots::{Directions, Sender, Source, Take};
use crate::plan::PlannedLayer;
use crate::store::KeyRing;
use crate::strategy::Prepared;
use crate::transfers::{OtReceiver, OtSender, Transfers};
use channels::Channel;
use meter::Primitive;
use pahe::{GaloisKey, PublicKey, SecretKey};
use prg::Prg;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One party during a run.
pub struct Party<R: Role> {
    pub(crate) channel: Channel,
    pub(crate) prg: Prg,
    pub(crate) keys: R::Keys,
    /// What linear layers work in.
    pub(crate) buffers: R::Buffers,
    pub(crate) transfers: Transfers,
    pub(crate) audit: Option<Box<dyn Audit>>,
}

/// The data holder during a run: she decrypts, chooses in oblivious transfer, and evaluates circuits.
pub type Alice = Party<DataHolder>;

/// The provider during a run: he computes on ciphertexts, sends in oblivious transfer, and garbles circuits.
pub type Bob = Party<Provider>;

/// What Alice does in her way.
pub struct DataHolder;

/// What Bob does in his way.
pub struct Provider;

/// What one of the two parties does in its own way.
pub trait Role: Sized {
    /// Its half of the encryption keys.
    type Keys: KeyRing;
    /// Memory that its linear layers share.
    type Buffers: Default;
    /// Who it is.
    const ME: Sender;

    /// Makes and sends, or receives, one set of keys.
    fn exchange_keys(party: &mut Party<Self>, spec: &KeySpec) -> Result<(), ProtocolError>;

    /// Its offline half of a layer.
    fn prepare(party: &mut Party<Self>, layer: &PlannedLayer) -> Result<Prepared, ProtocolError>;
}

/// Alice's keys.
pub(crate) type SecretKeys = BTreeMap<KeySpec, Arc<SecretKey>>;

/// Bob's keys: for encryptions of zero, and for rotations by their steps.
pub(crate) type PublicKeys = BTreeMap<KeySpec, (Arc<PublicKey>, BTreeMap<usize, GaloisKey>)>;

impl Role for DataHolder {
    type Keys = SecretKeys;
    type Buffers = ();
    const ME: Sender = Sender::Alice;

    fn exchange_keys(alice: &mut Alice, spec: &KeySpec) -> Result<(), ProtocolError> {
        let secret = SecretKey::generate(&spec.params()?, &mut alice.prg);
        alice.channel.send(&PublicKey::generate(&secret, &mut alice.prg).to_bytes())?;
        for &step in &spec.rotations {
            let key = GaloisKey::generate(&secret, step as isize, &mut alice.prg)?;
            alice.channel.send(&key.to_bytes())?;
        }
        alice.keys.insert(spec.base(), secret);
        Ok(())
    }

    fn prepare(alice: &mut Alice, layer: &PlannedLayer) -> Result<Prepared, ProtocolError> {
        layer.step.prepare_alice(alice)
    }
}

impl Role for Provider {
    type Keys = PublicKeys;
    type Buffers = Buffers;
    const ME: Sender = Sender::Bob;

    fn exchange_keys(bob: &mut Bob, spec: &KeySpec) -> Result<(), ProtocolError> {
        let params = spec.params()?;
        let bytes = bob.channel.recv(PublicKey::byte_len(&params))?;
        let key = PublicKey::from_bytes(&params, &bytes)?;
        let mut rotations = BTreeMap::new();
        for &step in &spec.rotations {
            let bytes = bob.channel.recv(GaloisKey::byte_len(&params))?;
            rotations.insert(step, GaloisKey::from_bytes(&params, step as isize, &bytes)?);
        }
        bob.keys.insert(spec.base(), (Arc::new(key), rotations));
        Ok(())
    }

    fn prepare(bob: &mut Bob, layer: &PlannedLayer) -> Result<Prepared, ProtocolError> {
        layer.step.prepare_bob(bob)
    }
}

impl<R: Role> Party<R> {
    /// A party over a channel, with randomness of its own.
    pub fn new(channel: Channel, prg: Prg) -> Self {
        let (keys, transfers) = (R::Keys::default(), Transfers::new(R::ME));
        Self { channel, prg, keys, buffers: R::Buffers::default(), transfers, audit: None }
    }

    /// Hands shares to an audit; see [`crate::audit`] for when that is legitimate.
    pub fn with_audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// The connection to the other party.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Takes the connection back.
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    pub(crate) fn exchange_keys(&mut self, spec: &KeySpec) -> Result<(), ProtocolError> {
        R::exchange_keys(self, spec)
    }

    pub(crate) fn set_up_ot(&mut self, source: Source, needs: Directions) -> Result<(), ProtocolError> {
        let _metered = meter::scope(Primitive::Transfer);
        self.transfers.set_up(source, needs, &mut self.channel, &mut self.prg)
    }

    /// Makes sure that a step's OTs with chosen bits can be had without further talk.
    pub(crate) fn reserve(&mut self, takes: &[Take]) -> Result<(), ProtocolError> {
        self.transfers.reserve(takes, &mut self.channel)
    }
}

impl Alice {
    pub(crate) fn key(&self, spec: &KeySpec) -> Result<Arc<SecretKey>, ProtocolError> {
        self.keys.get(&spec.base()).cloned().ok_or_else(|| unprepared("keys"))
    }

    /// Her half of the OTs in which Bob sends.
    pub(crate) fn ot(&mut self) -> Result<(&mut OtReceiver, &mut Channel), ProtocolError> {
        Ok((self.transfers.receiver()?, &mut self.channel))
    }

    /// Her half of the OTs in which she sends.
    pub(crate) fn reverse_ot(&mut self) -> Result<(&mut OtSender, &mut Channel), ProtocolError> {
        Ok((self.transfers.sender()?, &mut self.channel))
    }
}

impl Bob {
    pub(crate) fn key(&self, spec: &KeySpec) -> Result<Arc<PublicKey>, ProtocolError> {
        self.keys.get(&spec.base()).map(|keys| Arc::clone(&keys.0)).ok_or_else(|| unprepared("keys"))
    }

    pub(crate) fn rotation(&self, spec: &KeySpec, step: usize) -> Result<&GaloisKey, ProtocolError> {
        self.keys.get(&spec.base()).and_then(|keys| keys.1.get(&step)).ok_or_else(|| unprepared("rotations"))
    }

    /// His half of the OTs in which he sends.
    pub(crate) fn ot(&mut self) -> Result<(&mut OtSender, &mut Channel), ProtocolError> {
        Ok((self.transfers.sender()?, &mut self.channel))
    }

    /// His half of the OTs in which Alice sends.
    pub(crate) fn reverse_ot(&mut self) -> Result<(&mut OtReceiver, &mut Channel), ProtocolError> {
        Ok((self.transfers.receiver()?, &mut self.channel))
    }
}

fn unprepared(what: &str) -> ProtocolError {
    ProtocolError::Disagreement(format!("{what} were not set up"))
}

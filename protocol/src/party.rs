//! The two parties' state between layers: channel, randomness, keys, oblivious transfer, garbling.

use crate::audit::Audit;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use channels::Channel;
use gc::{Evaluator, Garbler};
use ot::{CotReceiver, CotSender, RotReceiver, RotSender};
use pahe::{GaloisKey, PublicKey, SecretKey};
use prg::Prg;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The data holder during a run: she decrypts, chooses in oblivious transfer, and evaluates circuits.
pub struct Alice {
    pub(crate) channel: Channel,
    pub(crate) prg: Prg,
    keys: BTreeMap<KeySpec, Arc<SecretKey>>,
    ot: Option<RotReceiver<CotReceiver>>,
    garbling: Option<Evaluator>,
    pub(crate) audit: Option<Box<dyn Audit>>,
}

/// The provider during a run: he computes on ciphertexts, sends in oblivious transfer, and garbles circuits.
pub struct Bob {
    pub(crate) channel: Channel,
    pub(crate) prg: Prg,
    keys: BTreeMap<KeySpec, (Arc<PublicKey>, BTreeMap<usize, GaloisKey>)>,
    ot: Option<RotSender<CotSender>>,
    garbling: Option<Garbler>,
    pub(crate) audit: Option<Box<dyn Audit>>,
}

fn unprepared(what: &str) -> ProtocolError {
    ProtocolError::Disagreement(format!("{what} were not set up"))
}

impl Alice {
    /// Alice over a channel, with randomness of her own.
    pub fn new(channel: Channel, prg: Prg) -> Self {
        Self { channel, prg, keys: BTreeMap::new(), ot: None, garbling: None, audit: None }
    }

    /// Hands shares to an audit; see [`crate::audit`] for when that is legitimate.
    pub fn with_audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// The connection to Bob.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub(crate) fn make_keys(&mut self, spec: &KeySpec) -> Result<(), ProtocolError> {
        let secret = SecretKey::generate(&spec.params()?, &mut self.prg);
        self.channel.send(&PublicKey::generate(&secret, &mut self.prg).to_bytes())?;
        for &step in &spec.rotations {
            let key = GaloisKey::generate(&secret, step as isize, &mut self.prg)?;
            self.channel.send(&key.to_bytes())?;
        }
        self.keys.insert(spec.base(), secret);
        Ok(())
    }

    pub(crate) fn key(&self, spec: &KeySpec) -> Result<Arc<SecretKey>, ProtocolError> {
        self.keys.get(&spec.base()).cloned().ok_or_else(|| unprepared("keys"))
    }

    pub(crate) fn set_up_ot(&mut self) -> Result<(), ProtocolError> {
        self.ot = Some(RotReceiver::new(CotReceiver::setup(&mut self.channel, &mut self.prg)?));
        Ok(())
    }

    pub(crate) fn ot(&mut self) -> Result<(&mut RotReceiver<CotReceiver>, &mut Channel), ProtocolError> {
        let ot = self.ot.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((ot, &mut self.channel))
    }

    pub(crate) fn set_up_garbling(&mut self) -> Result<(), ProtocolError> {
        self.garbling = Some(Evaluator::setup(&mut self.channel, &mut self.prg)?);
        Ok(())
    }

    pub(crate) fn garbling(&mut self) -> Result<(&mut Evaluator, &mut Channel), ProtocolError> {
        let evaluator = self.garbling.as_mut().ok_or_else(|| unprepared("garbled circuits"))?;
        Ok((evaluator, &mut self.channel))
    }
}

impl Bob {
    /// Bob over a channel, with randomness of his own.
    pub fn new(channel: Channel, prg: Prg) -> Self {
        Self { channel, prg, keys: BTreeMap::new(), ot: None, garbling: None, audit: None }
    }

    /// Hands shares to an audit; see [`crate::audit`] for when that is legitimate.
    pub fn with_audit(mut self, audit: impl Audit + 'static) -> Self {
        self.audit = Some(Box::new(audit));
        self
    }

    /// The connection to Alice.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    pub(crate) fn take_keys(&mut self, spec: &KeySpec) -> Result<(), ProtocolError> {
        let params = spec.params()?;
        let bytes = self.channel.recv(PublicKey::byte_len(&params))?;
        let key = PublicKey::from_bytes(&params, &bytes)?;
        let mut rotations = BTreeMap::new();
        for &step in &spec.rotations {
            let bytes = self.channel.recv(GaloisKey::byte_len(&params))?;
            rotations.insert(step, GaloisKey::from_bytes(&params, step as isize, &bytes)?);
        }
        self.keys.insert(spec.base(), (Arc::new(key), rotations));
        Ok(())
    }

    pub(crate) fn key(&self, spec: &KeySpec) -> Result<Arc<PublicKey>, ProtocolError> {
        self.keys.get(&spec.base()).map(|keys| Arc::clone(&keys.0)).ok_or_else(|| unprepared("keys"))
    }

    pub(crate) fn rotation(&self, spec: &KeySpec, step: usize) -> Result<&GaloisKey, ProtocolError> {
        self.keys.get(&spec.base()).and_then(|keys| keys.1.get(&step)).ok_or_else(|| unprepared("rotations"))
    }

    pub(crate) fn set_up_ot(&mut self) -> Result<(), ProtocolError> {
        // The offset of an extension that is only hashed may be any block; the labels' one has its own session.
        let mut delta = [0; 16];
        self.prg.fill(&mut delta);
        let delta = u128::from_le_bytes(delta);
        self.ot = Some(RotSender::new(CotSender::setup(&mut self.channel, delta, &mut self.prg)?));
        Ok(())
    }

    pub(crate) fn ot(&mut self) -> Result<(&mut RotSender<CotSender>, &mut Channel), ProtocolError> {
        let ot = self.ot.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((ot, &mut self.channel))
    }

    pub(crate) fn set_up_garbling(&mut self) -> Result<(), ProtocolError> {
        self.garbling = Some(Garbler::setup(&mut self.channel, &mut self.prg)?);
        Ok(())
    }

    pub(crate) fn garbling(&mut self) -> Result<(&mut Garbler, &mut Channel), ProtocolError> {
        let garbler = self.garbling.as_mut().ok_or_else(|| unprepared("garbled circuits"))?;
        Ok((garbler, &mut self.channel))
    }
}

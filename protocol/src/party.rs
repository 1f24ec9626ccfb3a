//! The two parties' state between layers: channel, randomness, keys, oblivious transfer.

use crate::audit::Audit;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::ots::{self, Directions, Sender, Source, Take};
use channels::Channel;
use meter::Primitive;
use ot::{CotReceive, CotReceiver, CotSend, CotSender, RotReceiver, RotSender, SilentReceiver, SilentSender};
use pahe::{GaloisKey, PublicKey, SecretKey};
use prg::Prg;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The sending half of a run's source of OTs.
pub(crate) type OtSender = RotSender<Box<dyn CotSend + Send>>;

/// The receiving half.
pub(crate) type OtReceiver = RotReceiver<Box<dyn CotReceive + Send>>;

/// A half of a source, with how many OTs were reserved since its beginning.
struct Reserved<T> {
    ots: T,
    reserved: u64,
}

/// The data holder during a run: she decrypts, chooses in oblivious transfer, and evaluates circuits.
pub struct Alice {
    pub(crate) channel: Channel,
    pub(crate) prg: Prg,
    keys: BTreeMap<KeySpec, Arc<SecretKey>>,
    ot: Option<Reserved<OtReceiver>>,
    reverse: Option<Reserved<OtSender>>,
    pub(crate) audit: Option<Box<dyn Audit>>,
}

/// The provider during a run: he computes on ciphertexts, sends in oblivious transfer, and garbles circuits.
pub struct Bob {
    pub(crate) channel: Channel,
    pub(crate) prg: Prg,
    keys: BTreeMap<KeySpec, (Arc<PublicKey>, BTreeMap<usize, GaloisKey>)>,
    ot: Option<Reserved<OtSender>>,
    reverse: Option<Reserved<OtReceiver>>,
    pub(crate) audit: Option<Box<dyn Audit>>,
}

impl<T> Reserved<T> {
    fn new(ots: T) -> Self {
        Self { ots, reserved: 0 }
    }
}

fn make_sender(source: Source, channel: &mut Channel, prg: &mut Prg) -> Result<OtSender, ProtocolError> {
    // Silent OT and garbling want an odd offset.
    let mut delta = Zeroizing::new([0; 16]);
    prg.fill(&mut delta[..]);
    let delta = u128::from_le_bytes(*delta) | 1;
    Ok(RotSender::new(match source {
        Source::Silent => Box::new(SilentSender::setup(channel, delta, prg)?),
        Source::Iknp => Box::new(CotSender::setup(channel, delta, prg)?),
    }))
}

fn make_receiver(source: Source, channel: &mut Channel, prg: &mut Prg) -> Result<OtReceiver, ProtocolError> {
    Ok(RotReceiver::new(match source {
        Source::Silent => Box::new(SilentReceiver::setup(channel, prg)?),
        Source::Iknp => Box::new(CotReceiver::setup(channel, prg)?),
    }))
}

fn reserve_to_send(
    half: &mut Option<Reserved<OtSender>>,
    channel: &mut Channel,
    n: usize,
) -> Result<(), ProtocolError> {
    let half = half.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
    half.reserved += n as u64;
    let open = half.reserved - half.ots.cots().position();
    Ok(half.ots.reserve(channel, open as usize)?)
}

fn reserve_to_receive(
    half: &mut Option<Reserved<OtReceiver>>,
    channel: &mut Channel,
    n: usize,
) -> Result<(), ProtocolError> {
    let half = half.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
    half.reserved += n as u64;
    let open = half.reserved - half.ots.cots().position();
    Ok(half.ots.reserve(channel, open as usize)?)
}

fn unprepared(what: &str) -> ProtocolError {
    ProtocolError::Disagreement(format!("{what} were not set up"))
}

impl Alice {
    /// Alice over a channel, with randomness of her own.
    pub fn new(channel: Channel, prg: Prg) -> Self {
        Self { channel, prg, keys: BTreeMap::new(), ot: None, reverse: None, audit: None }
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

    pub(crate) fn set_up_ot(&mut self, source: Source, needs: Directions) -> Result<(), ProtocolError> {
        let _metered = meter::scope(Primitive::Transfer);
        if needs.from_bob {
            self.ot = Some(Reserved::new(make_receiver(source, &mut self.channel, &mut self.prg)?));
        }
        if needs.from_alice {
            self.reverse = Some(Reserved::new(make_sender(source, &mut self.channel, &mut self.prg)?));
        }
        Ok(())
    }

    /// Makes sure that a step's OTs with chosen bits can be had without further talk.
    pub(crate) fn reserve(&mut self, takes: &[Take]) -> Result<(), ProtocolError> {
        match ots::chosen(takes, Sender::Bob) {
            0 => {}
            n => reserve_to_receive(&mut self.ot, &mut self.channel, n)?,
        }
        match ots::chosen(takes, Sender::Alice) {
            0 => {}
            n => reserve_to_send(&mut self.reverse, &mut self.channel, n)?,
        }
        Ok(())
    }

    /// Her half of the OTs in which Bob sends.
    pub(crate) fn ot(&mut self) -> Result<(&mut OtReceiver, &mut Channel), ProtocolError> {
        let ot = self.ot.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((&mut ot.ots, &mut self.channel))
    }

    /// Her half of the OTs in which she sends.
    pub(crate) fn reverse_ot(&mut self) -> Result<(&mut OtSender, &mut Channel), ProtocolError> {
        let ot = self.reverse.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((&mut ot.ots, &mut self.channel))
    }
}

impl Bob {
    /// Bob over a channel, with randomness of his own.
    pub fn new(channel: Channel, prg: Prg) -> Self {
        Self { channel, prg, keys: BTreeMap::new(), ot: None, reverse: None, audit: None }
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

    pub(crate) fn set_up_ot(&mut self, source: Source, needs: Directions) -> Result<(), ProtocolError> {
        let _metered = meter::scope(Primitive::Transfer);
        if needs.from_bob {
            self.ot = Some(Reserved::new(make_sender(source, &mut self.channel, &mut self.prg)?));
        }
        if needs.from_alice {
            self.reverse = Some(Reserved::new(make_receiver(source, &mut self.channel, &mut self.prg)?));
        }
        Ok(())
    }

    /// Makes sure that a step's OTs with chosen bits can be had without further talk.
    pub(crate) fn reserve(&mut self, takes: &[Take]) -> Result<(), ProtocolError> {
        match ots::chosen(takes, Sender::Bob) {
            0 => {}
            n => reserve_to_send(&mut self.ot, &mut self.channel, n)?,
        }
        match ots::chosen(takes, Sender::Alice) {
            0 => {}
            n => reserve_to_receive(&mut self.reverse, &mut self.channel, n)?,
        }
        Ok(())
    }

    /// His half of the OTs in which he sends.
    pub(crate) fn ot(&mut self) -> Result<(&mut OtSender, &mut Channel), ProtocolError> {
        let ot = self.ot.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((&mut ot.ots, &mut self.channel))
    }

    /// His half of the OTs in which Alice sends.
    pub(crate) fn reverse_ot(&mut self) -> Result<(&mut OtReceiver, &mut Channel), ProtocolError> {
        let ot = self.reverse.as_mut().ok_or_else(|| unprepared("oblivious transfers"))?;
        Ok((&mut ot.ots, &mut self.channel))
    }
}

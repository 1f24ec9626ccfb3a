//! One party's halves of the run's oblivious transfers: those in which it sends, and those in which it chooses.

use crate::error::ProtocolError;
use crate::ots::{self, Directions, Sender, Source, Take};
use crate::store::codec::{read_word, write_word};
use channels::Channel;
use ot::{
    CotReceive, CotReceiver, CotSend, CotSender, OtError, RotReceiver, RotSender, SilentReceiver,
    SilentSender,
};
use prg::Prg;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// The sending half of a run's source of OTs.
pub(crate) type OtSender = RotSender<Box<dyn CotSend + Send>>;

/// The receiving half.
pub(crate) type OtReceiver = RotReceiver<Box<dyn CotReceive + Send>>;

/// Both halves, as far as the plan needs them.
pub(crate) struct Transfers {
    me: Sender,
    sending: Option<Reserved<OtSender>>,
    receiving: Option<Reserved<OtReceiver>>,
}

/// A half of a source, with how many OTs were reserved since its beginning.
struct Reserved<T> {
    ots: T,
    reserved: u64,
}

/// What both halves can do.
trait Half {
    fn position(&mut self) -> u64;
    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError>;
    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()>;
}

impl Half for OtSender {
    fn position(&mut self) -> u64 {
        self.cots().position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        self.cots().reserve(channel, n)
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        self.cots().save(n, out)
    }
}

impl Half for OtReceiver {
    fn position(&mut self) -> u64 {
        self.cots().position()
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), OtError> {
        self.cots().reserve(channel, n)
    }

    fn save(&mut self, n: usize, out: &mut dyn Write) -> io::Result<()> {
        self.cots().save(n, out)
    }
}

impl<T: Half> Reserved<T> {
    fn new(ots: T) -> Self {
        Self { ots, reserved: 0 }
    }

    /// Those that were reserved and not used yet.
    fn open(&mut self) -> usize {
        (self.reserved - self.ots.position()) as usize
    }

    fn reserve(&mut self, channel: &mut Channel, n: usize) -> Result<(), ProtocolError> {
        self.reserved += n as u64;
        let open = self.open();
        Ok(self.ots.reserve(channel, open)?)
    }

    fn save(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let open = self.open();
        write_word(out, self.reserved)?;
        self.ots.save(open, out)
    }
}

impl Transfers {
    /// Nothing set up yet.
    pub(crate) fn new(me: Sender) -> Self {
        Self { me, sending: None, receiving: None }
    }

    /// Base OTs in the directions that are needed: first those in which Bob sends.
    pub(crate) fn set_up(
        &mut self,
        source: Source,
        needs: Directions,
        channel: &mut Channel,
        prg: &mut Prg,
    ) -> Result<(), ProtocolError> {
        for sender in needs.senders() {
            if sender == self.me {
                self.sending = Some(Reserved::new(make_sender(source, channel, prg)?));
            } else {
                self.receiving = Some(Reserved::new(make_receiver(source, channel, prg)?));
            }
        }
        Ok(())
    }

    /// Makes sure that a step's OTs with chosen bits can be had without further talk.
    pub(crate) fn reserve(&mut self, takes: &[Take], channel: &mut Channel) -> Result<(), ProtocolError> {
        for sender in [Sender::Bob, Sender::Alice] {
            let n = ots::chosen(takes, sender);
            if n == 0 {
                continue;
            }
            if sender == self.me {
                self.sending.as_mut().ok_or_else(unprepared)?.reserve(channel, n)?;
            } else {
                self.receiving.as_mut().ok_or_else(unprepared)?.reserve(channel, n)?;
            }
        }
        Ok(())
    }

    /// The half in which this party sends.
    pub(crate) fn sender(&mut self) -> Result<&mut OtSender, ProtocolError> {
        self.sending.as_mut().map(|half| &mut half.ots).ok_or_else(unprepared)
    }

    /// The half in which it chooses.
    pub(crate) fn receiver(&mut self) -> Result<&mut OtReceiver, ProtocolError> {
        self.receiving.as_mut().map(|half| &mut half.ots).ok_or_else(unprepared)
    }

    /// Writes what is reserved; only what comes from a silent source can be kept.
    pub(crate) fn save(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.sending.as_mut().map_or(Ok(()), |half| half.save(out))?;
        self.receiving.as_mut().map_or(Ok(()), |half| half.save(out))
    }

    /// Reads what [`Transfers::save`] wrote; no more than that can be had then.
    pub(crate) fn load(me: Sender, needs: Directions, input: &mut dyn Read) -> io::Result<Self> {
        let mut loaded = Self::new(me);
        if needs.senders().any(|sender| sender == me) {
            let reserved = read_word(input)?;
            let ots = RotSender::new(Box::new(SilentSender::load(input)?) as Box<dyn CotSend + Send>);
            loaded.sending = Some(Reserved { ots, reserved });
        }
        if needs.senders().any(|sender| sender != me) {
            let reserved = read_word(input)?;
            let ots = RotReceiver::new(Box::new(SilentReceiver::load(input)?) as Box<dyn CotReceive + Send>);
            loaded.receiving = Some(Reserved { ots, reserved });
        }
        Ok(loaded)
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

fn unprepared() -> ProtocolError {
    ProtocolError::Disagreement("oblivious transfers were not set up".into())
}

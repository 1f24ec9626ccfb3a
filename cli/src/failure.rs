//! One error type for the commands: what went wrong, what to do about it, and the exit code.

use channels::ChannelError;
use gc::GcError;
use net::NetError;
use ot::OtError;
use protocol::store::StoreError;
use protocol::{PlanError, ProtocolError};
use std::fmt::Display;
use std::process::ExitCode;

/// What kind of failure a command ended with; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mistake of this program.
    Internal = 1,
    /// An input cannot be read or does not fit.
    Input = 3,
    /// An output cannot be written.
    Output = 4,
    /// No connection, or no longer.
    Connection = 5,
    /// The peer broke the protocol.
    Peer = 6,
    /// The network cannot run as asked.
    Plan = 7,
    /// Some scans of a folder failed, the others are done.
    Partial = 8,
    /// Stopped by the user.
    Interrupted = 130,
}

/// Why a command failed, in words for its user, the remedy included.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    kind: Kind,
    message: String,
}

/// Most characters of a message.
const LONGEST: usize = 4000;

impl Failure {
    /// A failure of some kind. Words may come from a peer: neither control sequences nor floods reach a terminal.
    pub fn new(kind: Kind, message: impl Display) -> Self {
        let shown = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
        Self { kind, message: message.to_string().chars().take(LONGEST).map(shown).collect() }
    }

    /// An input that cannot be read or does not fit.
    pub fn input(message: impl Display) -> Self {
        Self::new(Kind::Input, message)
    }

    /// An output that cannot be written.
    pub fn output(message: impl Display) -> Self {
        Self::new(Kind::Output, message)
    }

    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        use NetError as E;
        let kind = match error {
            E::File { .. } | E::Malformed { .. } | E::KeyExposed { .. } | E::NoneTrusted { .. } => {
                Kind::Input
            }
            E::BadName { .. } => Kind::Input,
            E::Exists { .. } => Kind::Output,
            _ => Kind::Connection,
        };
        Self::new(kind, error)
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::new(Kind::Plan, error)
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        let (kind, remedy) = judge(&error);
        Self::new(kind, format!("{error}{remedy}"))
    }
}

/// Kind and remedy.
fn judge(error: &ProtocolError) -> (Kind, &'static str) {
    use ProtocolError as E;
    let other_version = "; run the same version on both sides, and make sure of whom you talk to";
    match error {
        E::Layer { source, .. } => judge(source),
        E::Channel(error)
        | E::Ot(OtError::Channel(error))
        | E::Gc(GcError::Channel(error) | GcError::Transfer(OtError::Channel(error))) => channel(error),
        E::Ot(_) | E::Gc(_) | E::Upload(_) | E::Reply(_) | E::Key(_) | E::Peer(_) => {
            (Kind::Peer, other_version)
        }
        E::Params(_) | E::Disagreement(_) | E::Refused(_) | E::Plan(_) | E::Pool(_) => (Kind::Plan, ""),
        E::File(_) | E::Store(StoreError::File { .. }) => (Kind::Output, ""),
        E::Store(_) => (Kind::Input, ""),
    }
}

fn channel(error: &ChannelError) -> (Kind, &'static str) {
    let remedy = match error {
        ChannelError::Closed => "; the peer's log tells why. Start the run again",
        ChannelError::Timeout(_) => {
            "; check the peer and the network, or wait longer for slow machines (--idle-timeout)"
        }
        ChannelError::Transport(_) => "; check the network and start the run again",
        ChannelError::TooLong { .. } => {
            return (Kind::Peer, "; run the same version on both sides, and make sure of whom you talk to");
        }
    };
    (Kind::Connection, remedy)
}

/// Ends a command: says what went wrong, and with which exit code.
pub fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.kind as u8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_peer_is_told_apart_from_one_that_lies() {
        let in_layer = |source| ProtocolError::Layer { layer: "down0a".into(), source: Box::new(source) };
        let lost = Failure::from(in_layer(ProtocolError::Gc(GcError::Transfer(OtError::Channel(
            ChannelError::Closed,
        )))));
        assert_eq!(lost.kind(), Kind::Connection);
        assert!(lost.to_string().contains("`down0a`") && lost.to_string().contains("again"), "{lost}");
        let lie = Failure::from(in_layer(ProtocolError::Peer("nonsense".into())));
        assert_eq!(lie.kind(), Kind::Peer);
        let lie = Failure::from(ProtocolError::Channel(ChannelError::TooLong { announced: 9, limit: 1 }));
        assert_eq!(lie.kind(), Kind::Peer);
    }

    #[test]
    fn a_peers_words_do_no_harm() {
        let refused = Failure::from(ProtocolError::Refused("\x1b[2Jnew\nline".repeat(1000)));
        let text = refused.to_string();
        assert!(text.contains("new\nline") && !text.contains('\x1b'));
        assert_eq!(text.chars().count(), LONGEST);
    }

    #[test]
    fn keys_in_the_way_are_an_output() {
        let failure = Failure::from(NetError::Exists { path: "keys/bob.key".into() });
        assert_eq!(failure.kind(), Kind::Output);
        let failure = Failure::from(NetError::Refused { address: "host:1".into() });
        assert_eq!(failure.kind(), Kind::Connection);
    }
}

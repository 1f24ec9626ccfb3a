//! What a connection of this machine to itself carries: rate and round trip, over TCP and TLS as a run uses them.

use channels::{ChannelError, FRAME, Profile};
use cli::Failure;
use net::{Connection, Identity, Listener, Options, connect};
use std::time::{Duration, Instant};

/// Bytes sent to learn the rate.
const BYTES: usize = 256 << 20;
/// Messages sent to learn the round trip, of which the median counts.
const TURNS: usize = 200;

/// The profile of a loopback connection.
pub(crate) fn profile() -> Result<Profile, Failure> {
    let (alice, bob) = (Identity::generate("alice")?, Identity::generate("bob")?);
    let (options, trusted) = (Options::default(), alice.certificate().clone().into());
    let mut listener = Listener::bind("127.0.0.1:0", &bob, &trusted, &options, 1)?;
    let address = listener.address().to_string();
    let client = connect(&address, &alice, &bob.certificate().clone().into(), &options)?;
    let server = listener.accept().ok_or_else(|| lost(&"the listener stopped"))?;
    let measured = std::thread::scope(|scope| {
        let server = scope.spawn(|| answer(server));
        let measured = ask(client);
        match server.join() {
            Ok(answered) => answered.and(measured),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let (bytes_per_second, round_trip) = measured.map_err(|error| lost(&error))?;
    Ok(Profile { name: "measured", bytes_per_second, round_trip })
}

fn lost(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(cli::Kind::Connection, format!("measuring the connection: {error}"))
}

fn ask(mut connection: Connection) -> Result<(f64, Duration), ChannelError> {
    let channel = connection.channel();
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let start = Instant::now();
        channel.send(&[1])?;
        channel.recv(1)?;
        turns.push(start.elapsed());
    }
    turns.sort();
    let (frame, start) = (vec![7; 16 * FRAME], Instant::now());
    for _ in 0..BYTES / frame.len() {
        channel.send(&frame)?;
    }
    channel.recv(1)?;
    let rate = BYTES as f64 / start.elapsed().as_secs_f64();
    connection.close()?;
    Ok((rate, turns[TURNS / 2]))
}

fn answer(mut connection: Connection) -> Result<(), ChannelError> {
    let channel = connection.channel();
    for _ in 0..TURNS {
        channel.recv(1)?;
        channel.send(&[1])?;
        channel.flush()?;
    }
    let mut frame = vec![0; 16 * FRAME];
    for _ in 0..BYTES / frame.len() {
        channel.recv_into(&mut frame)?;
    }
    channel.send(&[1])?;
    connection.close()
}

#[cfg(test)]
mod tests {
    #[test]
    #[allow(clippy::unwrap_used, reason = "a test")]
    fn a_loopback_connection_is_faster_than_a_floppy_disk() {
        let profile = super::profile().unwrap();
        assert!(profile.bytes_per_second > 1e6 && profile.round_trip.as_secs_f64() < 1.0, "{profile:?}");
    }
}

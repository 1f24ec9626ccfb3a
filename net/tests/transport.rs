//! What a connection carries, and what it still delivers when it ends.
#![allow(clippy::unwrap_used, reason = "test helpers fail the test")]

mod common;

use common::{Parties, hasty, noise};
use net::{ChannelError, Options, Profile};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn both_directions_carry_the_exact_bytes() {
    let (mut alice, mut bob) = Parties::new().join(&Options::default());
    let (up, down) = (noise((48 << 20) + 12345, 1), noise((40 << 20) + 1, 2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut got = vec![0; down.len()];
            alice.channel().exchange(&up, &mut got).unwrap();
            assert!(got == down);
            alice.channel().send_control(b"done").unwrap();
        });
        let mut got = vec![0; up.len()];
        bob.channel().exchange(&down, &mut got).unwrap();
        assert!(got == up);
        assert_eq!(bob.channel().recv_control(4).unwrap(), b"done");
    });
    let (sent, received) = (alice.channel().traffic(), bob.channel().traffic());
    assert_eq!((sent.sent, sent.received), (up.len() as u64, down.len() as u64));
    assert_eq!((received.sent, received.received), (down.len() as u64, up.len() as u64));
    assert_eq!((alice.close(), bob.close()), (Ok(()), Ok(())));
}

#[test]
fn many_small_messages_keep_their_order() {
    let (mut alice, mut bob) = Parties::new().join(&Options::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..2000_u32 {
                alice.channel().send(&i.to_le_bytes()).unwrap();
                assert_eq!(alice.channel().recv(4).unwrap(), (!i).to_le_bytes());
            }
        });
        for i in 0..2000_u32 {
            assert_eq!(bob.channel().recv(4).unwrap(), i.to_le_bytes());
            bob.channel().send(&(!i).to_le_bytes()).unwrap();
        }
        bob.channel().flush().unwrap();
    });
}

#[test]
fn each_side_knows_the_other() {
    let parties = Parties::new();
    let (alice, bob) = parties.join(&Options::default());
    assert_eq!((alice.peer_name(), bob.peer_name()), ("bob", "alice"));
    assert_eq!(alice.peer_fingerprint(), parties.bob.certificate().fingerprint());
    assert_eq!(bob.peer_fingerprint(), parties.alice.certificate().fingerprint());
    assert!(bob.address().ip().is_loopback());
}

#[test]
fn dropping_delivers_what_was_sent() {
    let (mut alice, mut bob) = Parties::new().join(&Options::default());
    let data = noise((3 << 20) + 5, 3);
    alice.channel().send(&data).unwrap();
    drop(alice);
    thread::sleep(Duration::from_millis(100));
    assert!(bob.channel().recv(data.len()).unwrap() == data);
    assert_eq!(bob.channel().recv(1), Err(ChannelError::Closed));
    assert_eq!(bob.channel().recv(1), Err(ChannelError::Closed));
}

#[test]
fn the_last_words_survive_bytes_that_nobody_reads() {
    let (mut alice, mut bob) = Parties::new().join(&Options::default());
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(100));
            alice.channel().send_control(b"refused: wrong manifest").unwrap();
            alice.close().unwrap();
        });
        let flood = noise(48 << 20, 4);
        let _ = bob.channel().send(&flood).and_then(|()| bob.channel().flush());
        // Sending may have failed by now, and would fail again before a `recv_control`: listen only.
        let reason: Result<_, ChannelError> = bob.channel().stream(|_, rx| rx.recv(27));
        assert_eq!(reason.unwrap()[4..], *b"refused: wrong manifest");
    });
}

#[test]
fn closing_on_a_peer_that_does_not_read_is_bounded() {
    let (mut alice, _bob) = Parties::new().join(&hasty());
    let flood = noise(64 << 20, 5);
    assert_eq!(alice.channel().send(&flood), Err(ChannelError::Timeout(hasty().idle_timeout)));
    assert_eq!(alice.channel().send(&flood), Err(ChannelError::Timeout(hasty().idle_timeout)));
    let start = Instant::now();
    assert_eq!(alice.close(), Err(ChannelError::Timeout(hasty().linger)));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn a_profile_slows_both_directions_down() {
    let profile = Profile { name: "test", bytes_per_second: 20e6, round_trip: Duration::from_millis(60) };
    let (mut alice, mut bob) = Parties::new().join(&Options { profile: Some(profile), ..Options::default() });
    let data = noise(2_000_000, 6);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            alice.channel().send(&data).unwrap();
            assert!(alice.channel().recv(data.len()).unwrap() == data);
        });
        assert!(bob.channel().recv(data.len()).unwrap() == data);
        bob.channel().send(&data).unwrap();
        bob.channel().flush().unwrap();
    });
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(260), "{took:?}");
    assert!(took < Duration::from_millis(2000), "{took:?}");
    assert_eq!(bob.close(), Ok(()));
}

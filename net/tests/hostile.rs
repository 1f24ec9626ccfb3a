//! Peers that are absent, silent, rude, overcrowding or suddenly gone.
#![allow(clippy::unwrap_used, reason = "test helpers fail the test")]

mod common;

use common::{Fault, Parties, hasty, noise};
use net::{ChannelError, NetError, Options};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn unreachable_servers_are_told_apart() {
    let parties = Parties::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = parties.connect(gone, &hasty()).err();
    assert!(
        matches!(&refused, Some(NetError::Refused { address }) if *address == gone.to_string()),
        "{refused:?}"
    );

    let nowhere = net::connect("no port", &parties.alice, &common::trust(&parties.bob), &hasty()).err();
    assert!(matches!(nowhere, Some(NetError::Resolve { .. })), "{nowhere:?}");

    let taken = parties.listen(&hasty(), 1);
    let address = taken.address().to_string();
    let twice =
        net::Listener::bind(&address, &parties.bob, &common::trust(&parties.alice), &hasty(), 1).err();
    assert!(matches!(&twice, Some(NetError::Bind { address: named, .. }) if *named == address), "{twice:?}");
}

#[test]
fn a_host_that_does_not_answer_is_given_up() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap()
    });
    let address = listener.local_addr().unwrap();
    // With its queue full, the system drops the first packet of whoever comes next.
    let _queued: Vec<_> =
        (0..4).map(|_| TcpStream::connect_timeout(&address, Duration::from_millis(100))).collect();
    let options = Options { connect_timeout: Duration::from_millis(300), ..hasty() };
    let start = Instant::now();
    let given_up = Parties::new().connect(address, &options).err();
    assert!(matches!(given_up, Some(NetError::ConnectTimeout { .. })), "{given_up:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn servers_that_are_silent_or_something_else_are_recognised() {
    let parties = Parties::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options { handshake_timeout: Duration::from_millis(300), ..hasty() };
    let error = parties.connect(silent.local_addr().unwrap(), &options).err();
    assert!(matches!(error, Some(NetError::HandshakeTimeout { .. })), "{error:?}");

    for (answer, expected) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "not TLS"), (b"", "hung up")] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        });
        let error = parties.connect(address, &options).err();
        match expected {
            "not TLS" => assert!(matches!(error, Some(NetError::NotTls { .. })), "{error:?}"),
            _ => assert!(matches!(error, Some(NetError::HungUp)), "{error:?}"),
        }
    }
}

#[test]
fn silent_and_rude_strangers_hold_no_slot() {
    let parties = Parties::new();
    let options = Options { handshake_timeout: Duration::from_secs(20), ..hasty() };
    let mut listener = parties.listen(&options, 1);
    let address = listener.address();
    let silent: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    for seed in 0..20 {
        let mut rude = TcpStream::connect(address).unwrap();
        rude.write_all(&noise(5000, seed)).unwrap();
        rude.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut answer = Vec::new();
        // Either an alert and the end, or a reset because some of the garbage was left unread.
        match rude.read_to_end(&mut answer) {
            Ok(_) => assert!(answer.len() < 100, "{}", answer.len()),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    let start = Instant::now();
    let _alice = parties.connect(address, &options).unwrap();
    assert_eq!(listener.accept().unwrap().peer_name(), "alice");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(silent);
}

#[test]
fn a_silent_stranger_is_dropped_in_time() {
    let options = Options { handshake_timeout: Duration::from_millis(300), ..hasty() };
    let listener = Parties::new().listen(&options, 1);
    let mut silent = TcpStream::connect(listener.address()).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_peer_that_is_killed_is_noticed_at_both_ends() {
    let patient = Options::default();
    let (mut alice, mut bob) = Parties::new().join_over(Fault::Cut, 5 << 20, &patient);
    let data = noise(64 << 20, 7);
    thread::scope(|scope| {
        scope.spawn(|| {
            let sent = alice.channel().send(&data).and_then(|()| alice.channel().recv(1));
            assert_eq!(sent, Err(ChannelError::Closed));
        });
        let mut got = vec![0; data.len()];
        let error = bob.channel().recv_into(&mut got).unwrap_err();
        assert_eq!(error, ChannelError::Closed);
        assert!(got[..4 << 20] == data[..4 << 20]);
    });
}

#[test]
fn a_peer_that_stalls_is_given_up_by_both_ends() {
    let (mut alice, mut bob) = Parties::new().join_over(Fault::Stall, 1 << 20, &hasty());
    let timeout = Err(ChannelError::Timeout(hasty().idle_timeout));
    let data = noise(64 << 20, 8);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(alice.channel().send(&data), timeout));
        assert_eq!(bob.channel().recv(data.len()).map(drop), timeout);
        // The far end is silent, not gone, and may come back.
        assert_eq!(bob.channel().recv(1).map(drop), timeout);
    });
    assert!(alice.close().is_err());
    drop(bob);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_flipped_bit_never_reaches_the_protocol() {
    let (mut alice, mut bob) = Parties::new().join_over(Fault::Corrupt, 3 << 20, &Options::default());
    let data = noise(8 << 20, 9);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = alice.channel().send(&data);
            let _ = alice.channel().flush();
        });
        let mut got = vec![0; data.len()];
        let error = bob.channel().recv_into(&mut got).unwrap_err();
        assert!(matches!(error, ChannelError::Transport(_)), "{error:?}");
        let intact = got.iter().zip(&data).take_while(|(a, b)| a == b).count();
        assert!(intact >= 2 << 20 && got[intact..].iter().all(|&byte| byte == 0), "{intact}");
        assert!(matches!(bob.channel().recv(1), Err(ChannelError::Transport(_))));
    });
}

#[test]
fn more_clients_than_slots_are_told_to_come_back() {
    let parties = Parties::new();
    let listener = parties.listen(&hasty(), 2);
    let (address, stopper) = (listener.address(), listener.stopper());
    let server = thread::spawn(move || {
        listener.serve(|mut connection| {
            let _ = connection.channel().recv(1);
        });
    });
    let patient = Options::default();
    let [mut first, _second] = [(), ()].map(|()| parties.connect(address, &patient).unwrap());
    let third = parties.connect(address, &patient).err();
    assert!(matches!(third, Some(NetError::Busy)), "{third:?}");
    first.channel().send(&[1]).unwrap();
    first.close().unwrap();
    let start = Instant::now();
    while parties.connect(address, &patient).is_err() {
        assert!(start.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(10));
    }
    stopper.stop();
    server.join().unwrap();
}

#[test]
fn stopping_lets_the_served_finish_and_a_panic_hurts_nobody() {
    let parties = Parties::new();
    let options = Options::default();
    let listener = parties.listen(&options, 4);
    let (address, stopper) = (listener.address(), listener.stopper());
    let (done, stopped) = mpsc::channel();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            listener.serve(|mut connection| {
                let word = connection.channel().recv(4).unwrap();
                assert_ne!(word, b"bang", "a handler that fails");
                connection.channel().send(&word).unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            });
            done.send(()).unwrap();
        });
        let mut clumsy = parties.connect(address, &options).unwrap();
        clumsy.channel().send(b"bang").unwrap();
        assert_eq!(clumsy.channel().recv(4), Err(ChannelError::Closed));
        let mut slow = parties.connect(address, &options).unwrap();
        stopper.stop();
        assert!(stopped.recv_timeout(Duration::from_millis(200)).is_err());
        slow.channel().send(b"word").unwrap();
        assert_eq!(slow.channel().recv(4).unwrap(), b"word");
        stopped.recv_timeout(Duration::from_secs(5)).unwrap();
    });
    assert_eq!(served.load(Ordering::Relaxed), 1);
    let late = parties.connect(address, &hasty()).err();
    assert!(matches!(late, Some(NetError::Refused { .. })), "{late:?}");
}

//! What the suites share: two parties, a connection between them, and a hostile wire.
#![allow(dead_code, reason = "each suite uses a part of it")]

use net::{Connection, Identity, Listener, Options, Trusted, connect};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

pub(crate) struct Parties {
    pub(crate) alice: Identity,
    pub(crate) bob: Identity,
}

impl Parties {
    pub(crate) fn new() -> Self {
        Self { alice: Identity::generate("alice").unwrap(), bob: Identity::generate("bob").unwrap() }
    }

    pub(crate) fn listen(&self, options: &Options, max_clients: usize) -> Listener {
        Listener::bind("127.0.0.1:0", &self.bob, &trust(&self.alice), options, max_clients).unwrap()
    }

    pub(crate) fn connect(
        &self,
        address: SocketAddr,
        options: &Options,
    ) -> Result<Connection, net::NetError> {
        connect(&address.to_string(), &self.alice, &trust(&self.bob), options)
    }

    /// Alice's and Bob's end of one connection.
    pub(crate) fn join(&self, options: &Options) -> (Connection, Connection) {
        let mut listener = self.listen(options, 1);
        let alice = self.connect(listener.address(), options).unwrap();
        (alice, listener.accept().unwrap())
    }

    /// The same, over a wire that misbehaves once `after` bytes went from Alice to Bob.
    pub(crate) fn join_over(
        &self,
        fault: Fault,
        after: usize,
        options: &Options,
    ) -> (Connection, Connection) {
        let mut listener = self.listen(options, 1);
        let alice = self.connect(wire(listener.address(), fault, after), options).unwrap();
        (alice, listener.accept().unwrap())
    }
}

pub(crate) fn trust(identity: &Identity) -> Trusted {
    identity.certificate().clone().into()
}

/// Short limits, so that a test of silence is quick.
pub(crate) fn hasty() -> Options {
    Options {
        handshake_timeout: Duration::from_millis(1500),
        idle_timeout: Duration::from_millis(400),
        linger: Duration::from_millis(400),
        ..Options::default()
    }
}

pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64 (Steele, Lea, Flood 2014)
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(len).collect()
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Both ends see the connection end without a farewell, as when a process is killed.
    Cut,
    /// Nothing moves any more, and nobody is told.
    Stall,
    /// One bit arrives wrong.
    Corrupt,
}

/// A wire to `server` for one client, whose address is returned.
pub(crate) fn wire(server: SocketAddr, fault: Fault, after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(server).unwrap();
        let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || forward(back_from, back_to, Fault::Cut, usize::MAX));
        forward(client, server, fault, after);
    });
    address
}

fn forward(mut from: TcpStream, mut to: TcpStream, fault: Fault, after: usize) {
    let mut left = after;
    let mut buffer = vec![0; 16 << 10];
    loop {
        let len = from.read(&mut buffer).unwrap_or(0);
        let due = len > left;
        if due && fault == Fault::Corrupt {
            buffer[left] ^= 1;
        }
        if due && fault == Fault::Stall {
            thread::sleep(Duration::from_secs(30));
        }
        if len == 0 || due && fault != Fault::Corrupt || to.write_all(&buffer[..len]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        left = if due { usize::MAX } else { left - len };
    }
}

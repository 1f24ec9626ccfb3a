//! Bytes per second of a connection, one way and both ways at once.
//!
//! ```text
//! throughput                      over loopback, in one process
//! throughput keygen DIR           makes the keys for the two below
//! throughput serve ADDRESS DIR    one host
//! throughput connect ADDRESS DIR  the other
//! ```

use channels::FRAME;
use net::{ChannelError, Connection, Identity, Listener, Options, Trusted, connect, keygen};
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Instant;

const BYTES: usize = 2 << 30;
const REPETITIONS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keygen", dir] => {
            for identity in keygen(dir, &["alice", "bob"])? {
                println!("{} {}", identity.name(), identity.certificate().fingerprint());
            }
        }
        ["serve", address, dir] => {
            let bob = Identity::load(Path::new(dir).join("bob.key"))?;
            let alice = Trusted::load(Path::new(dir).join("alice.crt"))?;
            let mut listener = Listener::bind(address, &bob, &alice, &options, 1)?;
            second(listener.accept().ok_or("the listener stopped")?)?;
        }
        ["connect", address, dir] => {
            let alice = Identity::load(Path::new(dir).join("alice.key"))?;
            let bob = Trusted::load(Path::new(dir).join("bob.crt"))?;
            first(connect(address, &alice, &bob, &options)?)?;
        }
        [] => {
            let (alice, bob) = (Identity::generate("alice")?, Identity::generate("bob")?);
            let trusted = alice.certificate().clone().into();
            let mut listener = Listener::bind("127.0.0.1:0", &bob, &trusted, &options, 1)?;
            let address = listener.address().to_string();
            let client = connect(&address, &alice, &bob.certificate().clone().into(), &options)?;
            let server = listener.accept().ok_or("the listener stopped")?;
            thread::scope(|scope| {
                let server = scope.spawn(|| second(server));
                first(client)?;
                server.join().expect("the server does not panic")
            })?;
        }
        _ => return Err("see the head of examples/throughput.rs".into()),
    }
    Ok(())
}

/// Sends, then exchanges, and prints the times.
fn first(mut connection: Connection) -> Result<(), ChannelError> {
    let (out, mut into) = (vec![7; 16 * FRAME], vec![0; 16 * FRAME]);
    let report = |what, start: Instant| {
        println!("{what}: {:.2} GB/s", BYTES as f64 / start.elapsed().as_secs_f64() / 1e9);
    };
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        for _ in 0..BYTES / out.len() {
            connection.channel().send(&out)?;
        }
        connection.channel().recv(1)?;
        report("one way", start);
        let start = Instant::now();
        for _ in 0..BYTES / out.len() {
            connection.channel().exchange(&out, &mut into)?;
        }
        report("both ways at once, each", start);
    }
    connection.close()
}

/// The other side of [`first`].
fn second(mut connection: Connection) -> Result<(), ChannelError> {
    let (out, mut into) = (vec![7; 16 * FRAME], vec![0; 16 * FRAME]);
    for _ in 0..REPETITIONS {
        for _ in 0..BYTES / out.len() {
            connection.channel().recv_into(&mut into)?;
        }
        connection.channel().send(&[0])?;
        for _ in 0..BYTES / out.len() {
            connection.channel().exchange(&out, &mut into)?;
        }
    }
    connection.close()
}

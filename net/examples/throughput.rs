//! Bytes per second over loopback, one way and both ways at once: `cargo run --release -p net --example throughput`.

use channels::FRAME;
use net::{Connection, Identity, Listener, Options, connect};
use std::error::Error;
use std::thread;
use std::time::Instant;

const BYTES: usize = 4 << 30;

fn main() -> Result<(), Box<dyn Error>> {
    let (alice, bob) = (Identity::generate("alice")?, Identity::generate("bob")?);
    let options = Options::default();
    let trusted = alice.certificate().clone().into();
    let mut listener = Listener::bind("127.0.0.1:0", &bob, &trusted, &options, 1)?;
    let mut client =
        connect(&listener.address().to_string(), &alice, &bob.certificate().clone().into(), &options)?;
    let mut server = listener.accept().ok_or("the listener stopped")?;
    for _ in 0..3 {
        report("one way", |scope| {
            scope.spawn(|| send(&mut client));
            scope.spawn(|| receive(&mut server));
        });
        report("both ways, each", |scope| {
            scope.spawn(|| exchange(&mut client));
            scope.spawn(|| exchange(&mut server));
        });
    }
    Ok(())
}

fn report<'env>(what: &str, work: impl for<'scope> FnOnce(&'scope thread::Scope<'scope, 'env>)) {
    let start = Instant::now();
    thread::scope(work);
    println!("{what}: {:.2} GB/s", BYTES as f64 / start.elapsed().as_secs_f64() / 1e9);
}

fn send(connection: &mut Connection) {
    let chunk = vec![7; 16 * FRAME];
    for _ in 0..BYTES / chunk.len() {
        connection.channel().send(&chunk).expect("the peer is there");
    }
    connection.channel().flush().expect("the peer is there");
}

fn receive(connection: &mut Connection) {
    let mut chunk = vec![0; 16 * FRAME];
    for _ in 0..BYTES / chunk.len() {
        connection.channel().recv_into(&mut chunk).expect("the peer is there");
    }
}

fn exchange(connection: &mut Connection) {
    let (out, mut into) = (vec![7; 16 * FRAME], vec![0; 16 * FRAME]);
    for _ in 0..BYTES / out.len() {
        connection.channel().exchange(&out, &mut into).expect("the peer is there");
    }
}

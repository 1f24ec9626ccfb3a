//! What goes wrong ends in a clear message, the documented exit code, in bounded time, and with nothing half-written.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use channels::ChannelError;
use common::{Place, outcome};
use net::{Connection, Identity, Listener, Options, Trusted};
use protocol::session;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Runs a command that must fail with `code` and say all of `words`, in bounded time, leaving nothing behind.
fn fails(place: &Place, mut command: Command, code: i32, words: &[&str]) {
    let (before, start) = (place.files(), Instant::now());
    let (found, errors) = outcome(&command.output().unwrap());
    assert_eq!(found, Some(code), "{errors}");
    for word in words {
        assert!(errors.contains(word), "`{word}` is not in: {errors}");
    }
    assert!(!errors.contains("panicked") && !errors.contains("made a mistake"), "{errors}");
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    assert_eq!(place.files(), before, "nothing is left behind");
}

/// An address that nobody listens at.
fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn what_is_wrong_on_this_side_is_found_before_connecting() {
    let place = Place::new();
    models::bundle::save_manifest(&place.model.manifest, &place.path("net.json"), false).unwrap();
    common::picture(&place.path("small.png"), 8);
    std::fs::write(place.path("taken.png"), "mine").unwrap();
    std::fs::write(place.path("broken.json"), "{").unwrap();
    std::fs::write(place.path("broken.png"), &std::fs::read(place.path("scan.png")).unwrap()[..40]).unwrap();
    // Were any of these to connect, it would fail with 5.
    let alice = |more: &[&str]| place.alice(&nobody(), more);
    fails(&place, alice(&["-i", "none.png"]), 2, &["cannot be used multiple times"]);
    let other = |input: &str, output: &str, more: &[&str]| {
        let args = ["alice", "segment", "--server", "127.0.0.1:1", "-i", input, "-o", output];
        let keys = ["--identity", "alice.key", "--trust", "bob.crt"];
        place.command(&[&args[..], &keys, more].concat())
    };
    fails(&place, other("none.png", "m.png", &[]), 3, &["none.png"]);
    fails(&place, other("broken.png", "m.png", &[]), 3, &["broken.png"]);
    fails(&place, other("small.png", "m.png", &["--manifest", "net.json"]), 3, &["small.png", "16"]);
    fails(&place, other("scan.png", "none/m.png", &[]), 4, &["none/m.png", "create the folder"]);
    fails(&place, other("scan.png", "taken.png", &[]), 4, &["taken.png", "--overwrite"]);
    fails(&place, other("scan.png", "m.jpg", &[]), 4, &["m.jpg", ".png"]);
    fails(&place, alice(&["--json", "none/r.json"]), 4, &["none/r.json"]);
    fails(&place, alice(&["--overlay", "mask.png"]), 4, &["mask.png", "another"]);
    fails(&place, alice(&["--manifest", "broken.json"]), 3, &["broken.json"]);
    fails(&place, alice(&["--manifest", "net.json", "--strategy", "relu=magic"]), 7, &["magic", "gc"]);
    fails(&place, alice(&["--manifest", "net.json", "--bits", "16"]), 7, &["layer `", "would fit"]);
    fails(&place, alice(&["--reference", "taken.png", "--manifest", "net.json"]), 3, &["taken.png"]);
}

#[test]
fn a_server_that_is_not_there_or_not_trusted_is_told_apart() {
    let place = Place::new();
    fails(&place, place.alice(&nobody(), &[]), 5, &["nobody listens", "check"]);
    fails(&place, place.alice("no-such-host.invalid:7600", &[]), 5, &["no-such-host.invalid"]);
    let bob = place.bob(&[]);
    let args = ["alice", "segment", "--server", &bob.address, "-i", "scan.png", "-o", "mask.png"];
    let with = |keys: [&str; 4]| place.command(&[&args[..], &keys].concat());
    let wrong_bob = with(["--identity", "alice.key", "--trust", "mallory.crt"]);
    fails(&place, wrong_bob, 5, &["not a trusted one", "fingerprint"]);
    let wrong_alice = with(["--identity", "mallory.key", "--trust", "bob.crt"]);
    fails(&place, wrong_alice, 5, &["does not trust", ".crt"]);
    let missing = with(["--identity", "none.key", "--trust", "bob.crt"]);
    fails(&place, missing, 3, &["none.crt"]);
}

#[test]
fn a_network_that_the_server_does_not_serve_is_refused() {
    let place = Place::new();
    let mut other = place.model.manifest.clone();
    other.margin = 2.5;
    models::bundle::save_manifest(&other, &place.path("other.json"), false).unwrap();
    let bob = place.bob(&[]);
    let refused = place.alice(&bob.address, &["--manifest", "other.json"]);
    fails(&place, refused, 7, &["refused", "fetch the current manifest"]);
    fails(&place, place.alice(&bob.address, &["--model", "none"]), 7, &["no such network", "unet-2d-2-4"]);
}

#[test]
fn broken_models_are_refused() {
    let place = Place::new();
    let weights = place.path("net.bunet/weights.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let args = ["bob", "serve", "--model", "net.bunet", "--listen", "127.0.0.1:0"];
    let bob = || place.command(&[&args[..], &["--identity", "bob.key", "--trust", "alice.crt"]].concat());
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    fails(&place, bob(), 3, &["weights.safetensors"]);
    std::fs::remove_file(&weights).unwrap();
    fails(&place, bob(), 3, &["weights.safetensors"]);
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tests/data/unet_2d.onnx");
    let onnx = std::fs::read(sample).unwrap();
    std::fs::write(place.path("cut.onnx"), &onnx[..onnx.len() / 2]).unwrap();
    let import = |output: &str| place.command(&["import", "cut.onnx", "--calibrate", ".", "-o", output]);
    fails(&place, import("new.bunet"), 3, &["cut.onnx"]);
    fails(&place, import("none/new.bunet"), 4, &["none"]);
}

/// Starts Alice and waits until she is amid the layers.
fn start_alice(place: &Place, server: &str, more: &[&str]) -> (std::process::Child, impl Read + use<>) {
    let mut alice = place.alice(server, more).spawn().unwrap();
    let mut log = BufReader::new(alice.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("layer 2/") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "Alice ended before her second layer");
    }
    (alice, log)
}

/// A network that runs for a while.
fn slow_place() -> Place {
    Place::with(common::network(96, &[4, 8], "relu"))
}

#[test]
fn a_server_killed_amid_a_layer_is_noticed() {
    let place = slow_place();
    let mut bob = place.bob(&[]);
    let before = place.files();
    let (mut alice, mut log) = start_alice(&place, &bob.address, &[]);
    bob.kill();
    let start = Instant::now();
    let code = alice.wait().unwrap().code();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(code, Some(5), "{rest}");
    assert!(rest.contains("layer `") && rest.contains("Start the run again"), "{rest}");
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!(place.files(), before);
}

#[test]
fn a_client_killed_amid_a_layer_harms_no_other() {
    let place = slow_place();
    let bob = place.bob(&[]);
    let (mut alice, _log) = start_alice(&place, &bob.address, &[]);
    alice.kill().unwrap();
    alice.wait().unwrap();
    let output = place.alice(&bob.address, &["-q"]).output().unwrap();
    assert_eq!(outcome(&output), (Some(0), String::new()));
    signal("-TERM", bob.id());
    let (code, log) = bob.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("run failed") && log.contains("run done") && log.contains("stopped"), "{log}");
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// A server with Bob's own key that does as `act` says with one client.
fn impostor(place: &Place, act: impl FnOnce(Connection) + Send + 'static) -> String {
    let identity = Identity::load(place.path("bob.key")).unwrap();
    let trusted = Trusted::load(place.path("alice.crt")).unwrap();
    let mut listener = Listener::bind("127.0.0.1:0", &identity, &trusted, &Options::default(), 1).unwrap();
    let address = listener.address().to_string();
    thread::spawn(move || act(listener.accept().unwrap()));
    address
}

/// Bytes without meaning.
fn noise(connection: &mut Connection, bytes: usize) -> Result<(), ChannelError> {
    let noise: Vec<u8> =
        (0..bytes as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    connection.channel().send(&noise)?;
    connection.channel().flush()
}

#[test]
fn a_server_that_speaks_garbage_is_noticed() {
    let place = Place::new();
    let garbage = impostor(&place, |mut connection| {
        // Whether all of it arrives is up to Alice.
        let _ = noise(&mut connection, 1 << 20);
        let _ = connection.channel().recv(1 << 20);
    });
    fails(&place, place.alice(&garbage, &[]), 6, &["the peer"]);
    let mute = impostor(&place, |mut connection| {
        let _ = connection.channel().send_control(b"BUNT");
        let _ = connection.channel().recv(1 << 20);
    });
    fails(&place, place.alice(&mute, &[]), 6, &["the peer sent"]);
    let model = place.model.clone();
    let late = impostor(&place, move |mut connection| {
        session::answer(connection.channel(), &model, None).map(drop).unwrap();
        let _ = noise(&mut connection, 1 << 20);
        let _ = connection.channel().recv(64 << 20);
    });
    fails(&place, place.alice(&late, &[]), 6, &["same version"]);
}

#[test]
fn a_server_that_stalls_is_given_up() {
    let place = Place::new();
    let stalling = |place: &Place| {
        impostor(place, |mut connection| {
            let _ = connection.channel().recv(64 << 20);
            thread::sleep(Duration::from_secs(60));
        })
    };
    let patience = ["--idle-timeout", "1"];
    fails(&place, place.alice(&stalling(&place), &patience), 5, &["did not answer", "--idle-timeout"]);
}

#[test]
fn a_server_that_stalls_amid_a_layer_is_given_up() {
    let place = slow_place();
    let bob = place.bob(&[]);
    let before = place.files();
    let (mut alice, mut log) = start_alice(&place, &bob.address, &["--idle-timeout", "3"]);
    signal("-STOP", bob.id());
    let start = Instant::now();
    let code = alice.wait().unwrap().code();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(code, Some(5), "{rest}");
    assert!(rest.contains("layer `") && rest.contains("did not answer"), "{rest}");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(place.files(), before);
}

#[test]
fn a_manifest_that_would_write_to_the_terminal_is_refused() {
    let place = Place::new();
    let mut model = place.model.clone();
    model.manifest.labels[0].name = "\x1b[2J".into();
    let server = impostor(&place, move |mut connection| {
        // It ends with Alice's farewell.
        let _ = session::answer(connection.channel(), &model, None);
    });
    fails(&place, place.alice(&server, &[]), 6, &["control characters"]);
}

#[test]
fn clients_that_speak_garbage_or_stall_harm_no_other() {
    let place = Place::new();
    let bob = place.bob(&["--idle-timeout", "3"]);
    let identity = Identity::load(place.path("alice.key")).unwrap();
    let trusted = Trusted::load(place.path("bob.crt")).unwrap();
    let connect = || net::connect(&bob.address, &identity, &trusted, &Options::default()).unwrap();
    let mut garbage = connect();
    noise(&mut garbage, 1000).unwrap();
    let _mute = connect();
    let output = place.alice(&bob.address, &["-q"]).output().unwrap();
    assert_eq!(outcome(&output), (Some(0), String::new()));
    thread::sleep(Duration::from_millis(3500)); // the mute one's time is up
    signal("-TERM", bob.id());
    let (code, log) = bob.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("run failed").count(), 2, "{log}");
}

#[test]
fn several_clients_are_served_at_once_and_no_more_than_allowed() {
    let place = Place::new();
    let bob = place.bob(&["--clients", "2"]);
    let identity = Identity::load(place.path("alice.key")).unwrap();
    let trusted = Trusted::load(place.path("bob.crt")).unwrap();
    let connect = || net::connect(&bob.address, &identity, &trusted, &Options::default()).unwrap();
    let (_first, second) = (connect(), connect());
    fails(&place, place.alice(&bob.address, &[]), 5, &["busy", "later"]);
    drop(second);
    let start = Instant::now();
    loop {
        match outcome(&place.alice(&bob.address, &["-q"]).output().unwrap()) {
            (Some(0), _) => return,
            // The server may not have noticed yet that a client has left.
            (Some(5), errors) if errors.contains("busy") && start.elapsed() < Duration::from_secs(10) => {}
            other => unreachable!("{other:?}"),
        }
    }
}

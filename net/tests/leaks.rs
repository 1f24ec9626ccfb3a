//! A process of its own: nothing is left behind by connections that are over.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "test helpers fail the test")]

mod common;

use common::{Parties, noise};
use net::Options;
use std::fs;
use std::thread;
use std::time::Duration;

#[test]
fn sequential_connections_leave_nothing_behind() {
    let parties = Parties::new();
    let options = Options::default();
    let listener = parties.listen(&options, 1);
    let (address, stopper) = (listener.address(), listener.stopper());
    let data = noise(1 << 20, 10);
    thread::scope(|scope| {
        scope.spawn(|| {
            listener.serve(|mut connection| {
                let got = connection.channel().recv(data.len()).unwrap();
                connection.channel().send(&got).unwrap();
            });
        });
        let talk = |times| {
            for _ in 0..times {
                // The slot of the client before may not be free yet.
                let mut client = loop {
                    match parties.connect(address, &options) {
                        Ok(client) => break client,
                        Err(error) => assert!(matches!(error, net::NetError::Busy), "{error}"),
                    }
                };
                client.channel().send(&data).unwrap();
                assert!(client.channel().recv(data.len()).unwrap() == data);
                client.close().unwrap();
            }
            thread::sleep(Duration::from_millis(300));
            (threads(), files(), resident_kib())
        };
        let before = talk(50);
        let after = talk(200);
        assert!(after.0 <= before.0, "threads: {before:?} {after:?}");
        assert!(after.1 <= before.1, "open files: {before:?} {after:?}");
        assert!(after.2 <= before.2 + (16 << 10), "resident KiB: {before:?} {after:?}");
        stopper.stop();
    });
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

fn files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

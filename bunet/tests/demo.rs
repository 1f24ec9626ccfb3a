//! The demo, from a folder of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

use models::record::RunRecord;
use std::process::Command;

#[test]
fn the_picture_demo_agrees_with_the_reference_in_every_pixel() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunet"));
    command.args(["demo", "--json", "run.json"]).current_dir(dir.path()).env("TMPDIR", dir.path());
    let output = command.output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(text.contains("40000 of 40000"), "{text}");
    let record = std::fs::read_to_string(dir.path().join("run.json")).unwrap();
    let record: RunRecord = serde_json::from_str(&record).unwrap();
    assert_eq!(record.agreement.unwrap().different, 0);
    assert!(record.dice.unwrap()["cell"] > 0.9);
    let online = record.phases.online;
    assert!(online.cpu_seconds_alice.unwrap() > 0.0 && online.cpu_seconds_bob.unwrap() > 0.0);
    assert!(record.peak_memory_bytes.alice.is_some() && record.peak_memory_bytes.bob.is_some());
    let mut left: Vec<_> = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["out", "run.json"], "keys and shares are gone");
}

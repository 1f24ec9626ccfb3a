//! Benchmarks, small.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::process::{Command, Output};

fn bench(folder: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunet"));
    command.arg("bench").args(args).current_dir(folder).env("TMPDIR", folder).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn read(path: std::path::PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_run_is_compared_metered_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let shape = ["unet", "--dim", "3", "--channels", "3,5", "--size", "8,16,16", "--arch", "hybrid"];
    let rest = ["--threads", "1", "--sample-layers", "2", "--json", "run.json"];
    let output = bench(dir.path(), &[&shape[..], &rest].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("2048 of 2048 voxels equal"), "{}", text(&output));
    let record = read(dir.path().join("run.json"));
    for key in
        ["command", "version", "model", "backend", "preset", "parameters", "machine", "threads", "profile"]
    {
        assert!(!record[key].is_null(), "{key}");
    }
    for phase in ["setup", "offline", "online"] {
        for key in ["seconds", "cpu_seconds_alice", "cpu_seconds_bob", "bytes_alice_to_bob", "rounds"] {
            assert!(record["phases"][phase][key].is_number(), "{phase}.{key}");
        }
    }
    assert_eq!(record["agreement"]["different"], 0);
    assert_eq!(record["bench"]["values"]["different"], 0);
    assert!(record["bench"]["values"]["total"].as_u64() > Some(10_000));
    assert!(record["peak_memory_bytes"]["bob"].as_u64() > Some(1 << 20));
    let layers = record["layers"].as_array().unwrap();
    let seconds = |layer: &str, party: &str, primitive: &str| {
        let layer = layers.iter().find(|entry| entry["name"] == layer).unwrap();
        layer["primitives"][party][primitive].as_f64().unwrap_or(0.0)
    };
    assert!(seconds("down0b", "alice", "encrypt") > 0.0 && seconds("down0b", "alice", "decrypt") > 0.0);
    assert!(seconds("down0b", "bob", "hadamard") > 0.0 && seconds("down0b", "bob", "reply") > 0.0);
    assert!(seconds("down1a.relu", "bob", "ot") > 0.0);
    // Primitives are parts of the party's CPU time.
    for layer in layers {
        for party in ["alice", "bob"] {
            let primitives = layer["primitives"][party].as_object().unwrap().values();
            let sum: f64 = primitives.map(|seconds| seconds.as_f64().unwrap()).sum();
            assert!(sum <= layer["cpu_seconds"][party].as_f64().unwrap() + 0.02, "{layer}");
        }
    }
}

#[test]
fn a_dead_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shape = ["unet", "--dim", "1", "--channels", "3", "--size", "64", "--labels", "30", "--threads", "1"];
    let output = bench(dir.path(), &shape);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert!(text(&output).contains("the network is dead"), "{}", text(&output));
}

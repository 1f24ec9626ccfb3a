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
    assert_eq!(record["layers"][0]["phases"]["offline"]["rounds"], 0);
    for phase in ["offline", "online"] {
        let own = |layer: &Value| layer["phases"][phase].clone();
        for key in ["bytes_alice_to_bob", "bytes_bob_to_alice", "rounds"] {
            let sum: u64 = layers.iter().map(|layer| own(layer)[key].as_u64().unwrap()).sum();
            assert_eq!(Some(sum), record["phases"][phase][key].as_u64(), "{phase} {key}");
        }
        for layer in layers.iter().map(own) {
            for party in ["alice", "bob"] {
                let idle =
                    ["for_peer", "for_room"].map(|reason| layer["idle"][party][reason].as_f64().unwrap());
                let clock = layer["clock_seconds"][party].as_f64().unwrap();
                assert!(idle.iter().sum::<f64>() <= clock + 0.002, "{layer}");
            }
        }
    }
    for words in ["waits for", "what the other did meanwhile", "CPU seconds of Bob", "all phases"] {
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
    }
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

#[test]
fn a_study_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let shape =
        ["paper", "--dim", "2", "--size", "16", "--channels", "2,3", "--presets", "gc", "--threads", "1"];
    let run = |more: &[&str]| bench(dir.path(), &[&shape[..], &["--out", "study"], more].concat());
    let unknown = run(&["--only", "square16,relu8"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown));
    assert!(
        text(&unknown).contains("`relu8`") && text(&unknown).contains("relu32max-gc"),
        "{}",
        text(&unknown)
    );
    let first = run(&["--only", "square16,hybrid20"]);
    assert!(first.status.success(), "{}", text(&first));
    let record = dir.path().join("study/square16-gc.json");
    let before = std::fs::read_to_string(&record).unwrap();
    std::fs::write(dir.path().join("study/hybrid20-gc.json"), &before[..before.len() / 2]).unwrap(); // cut off
    let second = run(&[]);
    assert!(second.status.success(), "{}", text(&second));
    assert!(text(&second).contains("square16-gc: there already"), "{}", text(&second));
    assert_eq!(std::fs::read_to_string(&record).unwrap(), before);
    for name in ["hybrid20-gc", "relu16-gc", "relu32max-gc"] {
        let record = read(dir.path().join(format!("study/{name}.json")));
        assert_eq!(record["agreement"]["different"], 0, "{name}");
        assert!(!text(&second).contains(&format!("{name}: there already")));
    }
    let report = std::fs::read_to_string(dir.path().join("study/report.md")).unwrap();
    assert!(report.contains("| ReLU, 32 bits, max pooling | 8838 | gc |"), "{report}");
    assert!(report.contains("[relu16-gc](relu16-gc.md)"), "{report}");
    let page = std::fs::read_to_string(dir.path().join("study/relu16-gc.md")).unwrap();
    assert!(page.contains("offline and online apart") && page.contains("primitive, online"), "{page}");
    for picture in ["blocks-gc.svg", "time.svg"] {
        assert!(report.contains(picture));
        assert!(std::fs::read_to_string(dir.path().join("study").join(picture)).unwrap().starts_with("<svg"));
    }
}

#[test]
fn growth_is_drawn_along_every_axis() {
    let dir = tempfile::tempdir().unwrap();
    let shape = [
        "growth",
        "--dim",
        "1",
        "--sizes",
        "32,64",
        "--channels",
        "2,3",
        "--widths",
        "1,2",
        "--threads",
        "1",
    ];
    let output = bench(dir.path(), &[&shape[..], &["--share-bits", "20,24", "--out", "growth"]].concat());
    assert!(output.status.success(), "{}", text(&output));
    let files: Vec<_> =
        dir.path().join("growth").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files.len(), 8, "{files:?}"); // six records, the report and its picture
    let report = std::fs::read_to_string(dir.path().join("growth/report.md")).unwrap();
    assert!(report.contains("| 64 |") && report.contains("## channels"), "{report}");
}

//! One crate is one floor: which crates may know which, as DESIGN.md draws the house.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Direct and transitive dependencies inside the workspace, by crate.
fn reach() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let direct: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            let ours = normal.map(|d| d["name"].as_str().unwrap()).filter(|name| names.contains(name));
            (package["name"].as_str().unwrap(), ours.collect())
        })
        .collect();
    let mut reach = BTreeMap::new();
    for &name in &names {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![name]);
        while let Some(next) = queue.pop() {
            queue.extend(direct[next].iter().filter(|name| seen.insert(name.to_string())));
        }
        reach.insert(name.to_owned(), seen);
    }
    reach
}

#[test]
fn no_crate_reaches_above_its_floor() {
    let reach = reach();
    let knows = |crate_name: &str, other: &str| reach[crate_name].contains(other);
    for mathematics in ["meter", "prg", "ntt", "pahe", "ot", "gc"] {
        for above in ["net", "models", "imaging", "protocol", "alice", "bob"] {
            assert!(!knows(mathematics, above), "{mathematics} must not depend on {above}");
        }
    }
    for clear in ["models", "imaging"] {
        for cryptography in ["prg", "ntt", "pahe", "ot", "gc", "protocol", "channels", "net"] {
            assert!(!knows(clear, cryptography), "{clear} must not depend on {cryptography}");
        }
    }
    for backend in reach.keys().filter(|name| ["threeparty", "perceptual"].contains(&name.as_str())) {
        for two_party in ["protocol", "pahe", "ot", "gc"] {
            assert!(!knows(backend, two_party), "{backend} must not depend on {two_party}");
        }
    }
    assert!(!knows("threeparty", "perceptual") && !knows("perceptual", "threeparty"), "backends stand apart");
    // Only the operator's command compares backends, and so knows them all.
    for backend in ["protocol", "threeparty", "perceptual"] {
        assert!(knows("bunet", backend), "bunet compares {backend}");
    }
    for party in ["alice", "bob"] {
        assert!(!knows(party, "threeparty") && !knows(party, "perceptual"), "{party} knows one backend");
        let other = if party == "alice" { "bob" } else { "alice" };
        assert!(!knows(party, other), "{party} must not depend on {other}");
    }
    assert!(!knows("channels", "net") && !knows("protocol", "net"), "protocols run without a network");
}

//! Alice and Bob as two processes over TLS on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Place, expected, outcome};
use models::record::RunRecord;

#[test]
fn a_scan_is_segmented_as_the_reference_does() {
    let place = Place::with(common::network(16, &[2, 4], "relu"));
    let bob = place.bob(&["--json", "bob.json"]);
    let more =
        ["--json", "alice.json", "--overlay", "overlay.png", "--preset", "gc", "--strategy", "truncation=gc"];
    let output = place.alice(&bob.address, &more).output().unwrap();
    let (code, errors) = outcome(&output);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("layer 1/") && errors.contains(" left"), "{errors}");
    let mask = image::open(place.path("mask.png")).unwrap().to_luma8();
    assert_eq!(mask.into_raw(), expected(&place));
    assert!(image::open(place.path("overlay.png")).unwrap().width() > 200);

    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let alice: RunRecord = serde_json::from_str(&read("alice.json")).unwrap();
    let bob_record: RunRecord = serde_json::from_str(&read("bob.json")).unwrap();
    assert_eq!(alice.outputs, ["mask.png", "overlay.png", "alice.json"]);
    assert_eq!(alice.model, bob_record.model);
    assert!(alice.phases.online.cpu_seconds_alice.is_some() && alice.phases.online.cpu_seconds_bob.is_none());
    assert!(alice.peak_memory_bytes.alice.is_some() && bob_record.peak_memory_bytes.bob.is_some());
    for (ours, theirs) in alice.layers.iter().zip(&bob_record.layers) {
        assert_eq!(
            (ours.bytes_alice_to_bob, ours.bytes_bob_to_alice),
            (theirs.bytes_alice_to_bob, theirs.bytes_bob_to_alice)
        );
        let predicted = (ours.predicted_bytes_alice_to_bob, ours.predicted_bytes_bob_to_alice);
        assert_eq!((ours.bytes_alice_to_bob, ours.bytes_bob_to_alice), predicted, "{}", ours.name);
    }
}

#[test]
fn the_manifest_can_be_fetched_first() {
    let place = Place::new();
    let bob = place.bob(&[]);
    let args = ["alice", "manifest", "--server", &bob.address, "--identity", "alice.key"];
    let fetched = place.command(&[&args[..], &["--trust", "bob.crt", "-o", "net.json"]].concat()).output();
    assert_eq!(outcome(&fetched.unwrap()).0, Some(0));
    assert_eq!(models::bundle::load_manifest(&place.path("net.json")).unwrap(), place.model.manifest);
    let output = place.alice(&bob.address, &["--manifest", "net.json", "--preset", "bunet", "-q"]).output();
    let output = output.unwrap();
    let (code, errors) = outcome(&output);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_scan_larger_than_the_network_is_done_in_patches() {
    let mut model = common::network(16, &[2, 4], "relu");
    model.manifest.preprocessing["size"] = serde_json::json!({ "patches": { "overlap": 4 } });
    let place = Place::with(model);
    common::picture(&place.path("scan.png"), 24);
    let bob = place.bob(&["--json", "bob.jsonl"]);
    let args = ["alice", "segment", "--server", &bob.address, "-i", "scan.png", "-o", "mask.tif"];
    let keys = ["--identity", "alice.key", "--trust", "bob.crt", "--json", "alice.json"];
    let (code, errors) = outcome(&place.command(&[&args[..], &keys].concat()).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("patch 4/4"), "{errors}");
    let mask = image::open(place.path("mask.tif")).unwrap().to_luma8();
    assert_eq!(mask.dimensions(), (24, 24));
    assert!(mask.pixels().any(|p| p.0 == [0]) && mask.pixels().any(|p| p.0 == [255]));
    let runs = std::fs::read_to_string(place.path("bob.jsonl")).unwrap();
    let runs: Vec<RunRecord> = runs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let alice = std::fs::read_to_string(place.path("alice.json")).unwrap();
    let alice: RunRecord = serde_json::from_str(&alice).unwrap();
    let down = |record: &RunRecord| record.phases.online.bytes_bob_to_alice;
    assert_eq!((runs.len(), runs.iter().map(down).sum::<u64>()), (4, down(&alice)));
    let layer = &alice.layers[0];
    assert_eq!(layer.bytes_alice_to_bob, layer.predicted_bytes_alice_to_bob);
}

#[test]
fn scores_are_blended_where_bob_allows_it_and_refused_where_not() {
    let mut model = common::network(16, &[2, 4], "relu");
    model.manifest.preprocessing["size"] = serde_json::json!({ "patches": { "overlap": 4 } });
    let place = Place::with(model);
    common::picture(&place.path("scan.png"), 24);
    let segment = |server: &str, more: &[&str]| {
        let exact = ["--preset", "gc", "--strategy", "truncation=gc", "--json", "run.json", "--overwrite"];
        outcome(&place.alice(server, &[&exact[..], more].concat()).output().unwrap())
    };
    let bob = place.bob(&[]);
    let (code, errors) = segment(&bob.address, &["--scores", "scores.nii"]);
    assert_eq!(code, Some(7), "{errors}");
    assert!(errors.contains("--allow-scores"), "{errors}");
    assert!(!place.path("mask.png").exists() && !place.path("scores.nii").exists());

    let bob = place.bob(&["--allow-scores"]);
    let (code, errors) = segment(&bob.address, &["--scores", "scores.nii"]);
    assert_eq!(code, Some(0), "{errors}");
    // The same from the reference's scores, patch by patch.
    let scan = imaging::Scan::read(place.path("scan.png")).unwrap();
    let job = alice::Job::new(&place.model.manifest, &protocol::Config::default(), &scan).unwrap();
    let graph = &place.model.manifest.graph;
    let scored = graph.node(graph.output()).inputs[0];
    let mut blend = job.prepared.blend(2);
    for input in job.inputs() {
        let scores = &models::reference::run_all(&place.model, &input).unwrap()[scored];
        let edge = place.model.manifest.edges[scored];
        blend.add(&scores.mapv(|score| edge.to_real(score) as f32)).unwrap();
    }
    let expected = blend.finish().unwrap();
    let file = std::fs::read(place.path("scores.nii")).unwrap();
    let found: Vec<f32> =
        file[352..].chunks_exact(4).map(|raw| f32::from_le_bytes(raw.try_into().unwrap())).collect();
    assert_eq!(found, expected.iter().copied().collect::<Vec<_>>());
    let mask = image::open(place.path("mask.png")).unwrap().to_luma8().into_raw();
    let labels = imaging::labels_of_scores(&expected);
    assert_eq!(mask, labels.iter().map(|label| label * 255).collect::<Vec<_>>());
    assert!(mask.contains(&0) && mask.contains(&255));
    let record: RunRecord =
        serde_json::from_str(&std::fs::read_to_string(place.path("run.json")).unwrap()).unwrap();
    let readout = record.layers.last().unwrap();
    assert_eq!((readout.strategy.as_str(), record.outputs.len()), ("open", 3));
    assert_eq!(readout.bytes_bob_to_alice, readout.predicted_bytes_bob_to_alice);

    // Who allows scores still serves labels alone; a name that cannot hold scores is refused at once.
    assert_eq!(segment(&bob.address, &[]).0, Some(0));
    let (code, errors) = segment(&bob.address, &["--scores", "scores.png"]);
    assert!(code == Some(4) && errors.contains(".nii"), "{code:?} {errors}");
}

#[test]
fn the_plan_tells_what_the_run_will_cost() {
    let place = Place::new();
    let output =
        place.command(&["plan", "--model", "net.bunet", "--profile", "cheetah-wan"]).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(outcome(&output).0, Some(0));
    for node in place.model.manifest.graph.nodes().iter().filter(|node| node.op.has_weights()) {
        assert!(text.contains(&node.name), "{text}");
    }
    let bob = place.bob(&[]);
    let run = place.alice(&bob.address, &["--json", "run.json", "-q"]).output().unwrap();
    assert_eq!(outcome(&run).0, Some(0));
    let record: RunRecord =
        serde_json::from_str(&std::fs::read_to_string(place.path("run.json")).unwrap()).unwrap();
    let total = cli::sum([&record.phases.setup, &record.phases.offline, &record.phases.online]);
    let line = text.lines().find(|line| line.starts_with("total")).unwrap();
    for bytes in [total.bytes_alice_to_bob, total.bytes_bob_to_alice] {
        assert!(line.contains(&cli::bytes(bytes)), "{bytes} is not in: {line}");
    }
    assert!(line.ends_with(&format!(" {}", total.rounds)), "{} are not the rounds of: {line}", total.rounds);
}

#[test]
fn the_way_to_the_server_chooses_the_form_of_comparisons() {
    let place = Place::new();
    let bob = place.bob(&["--pool", "bob-pool", "--profile", "bumblebee-wan"]);
    let far = ["--tune", "--profile", "bumblebee-wan"];
    let (code, errors) = outcome(&place.alice(&bob.address, &far).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("the way to the server") && errors.contains("--preset fast-wan"), "{errors}");
    let mask = image::open(place.path("mask.png")).unwrap().to_luma8();
    assert_eq!(mask.dimensions(), (16, 16));

    // What was prepared for is taken, however the way is by then.
    let keys = ["--identity", "alice.key", "--trust", "bob.crt", "--pool", "alice-pool"];
    let args = ["alice", "prepare", "--server", &bob.address, "--preset", "fast-wan"];
    let (code, errors) = outcome(&place.command(&[&args[..], &keys].concat()).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    let flags = ["--tune", "--pool", "alice-pool", "--overwrite"];
    let (code, errors) = outcome(&place.alice(&bob.address, &flags).output().unwrap());
    assert!(code == Some(0) && errors.contains("taking what was prepared"), "{errors}");

    let flags = ["--tune", "--preset", "gc", "--overwrite"];
    let (code, errors) = outcome(&place.alice(&bob.address, &flags).output().unwrap());
    assert!(code == Some(7) && errors.contains("leaves no choice"), "{errors}");
}

#[test]
fn what_was_prepared_beforehand_is_used_once() {
    let place = Place::new();
    let bob = place.bob(&["--pool", "bob-pool", "--json", "bob.jsonl"]);
    let prepare = |server: &str| {
        let args = ["alice", "prepare", "--server", server, "--pool", "alice-pool", "--runs", "2"];
        let keys = ["--identity", "alice.key", "--trust", "bob.crt", "--json", "made.json", "--overwrite"];
        let output = place.command(&[&args[..], &keys].concat()).output().unwrap();
        (outcome(&output), String::from_utf8(output.stdout).unwrap())
    };
    let ((code, errors), text) = prepare(&bob.address);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("run 2 of 2 prepared") && text.contains("2 runs in "), "{errors}{text}");
    let read = |name: &str| -> RunRecord {
        serde_json::from_str(&std::fs::read_to_string(place.path(name)).unwrap()).unwrap()
    };
    let made = read("made.json");
    assert!(made.phases.setup.bytes_alice_to_bob > 0 && made.phases.online.bytes_alice_to_bob == 0);
    let segment = |server: &str| {
        let flags = ["--pool", "alice-pool", "--json", "run.json", "--overwrite"];
        outcome(&place.alice(server, &flags).output().unwrap())
    };
    let (code, errors) = segment(&bob.address);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("taking what was prepared"), "{errors}");
    let record = read("run.json");
    let pool = record.pool.unwrap();
    assert_eq!((pool.items, pool.live), (1, 0));
    assert_eq!(record.phases.offline.bytes_bob_to_alice, 0);
    let both = |phase: &models::record::PhaseRecord| phase.bytes_alice_to_bob + phase.bytes_bob_to_alice;
    assert_eq!(2 * both(&pool.prepared), both(&made.phases.setup) + both(&made.phases.offline));
    for layer in &record.layers {
        assert_eq!(layer.bytes_alice_to_bob, layer.predicted_bytes_alice_to_bob, "{}", layer.name);
    }
    // A server without pools cannot serve the other item, and says so.
    let other = place.bob(&[]);
    let (code, errors) = segment(&other.address);
    assert!(code == Some(7) && errors.contains("bob serve --pool"), "{errors}");
    let (code, errors) = segment(&bob.address);
    assert!(code == Some(0) && errors.contains("holds 0 of 1 runs"), "{errors}");
    assert!(read("run.json").pool.is_none());
    let kinds: Vec<_> =
        std::fs::read_to_string(place.path("bob.jsonl")).unwrap().lines().map(str::len).collect();
    assert_eq!(kinds.len(), 4, "two items, two runs");
}

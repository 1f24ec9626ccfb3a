//! Folders of scans.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use cli::{CaseStatus, FolderRecord};
use common::{Bob, Place, expected, outcome};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Command;

/// A folder with `n` scans, a broken one and words.
fn place(names: &[&str]) -> Place {
    let place = Place::with(common::network(16, &[2, 4], "hybrid"));
    fs::create_dir(place.path("scans")).unwrap();
    for name in names {
        fs::copy(place.path("scan.png"), place.path("scans").join(name)).unwrap();
    }
    place
}

fn alice(place: &Place, server: &str, more: &[&str]) -> Command {
    let args = ["alice", "segment", "--server", server, "-i", "scans", "-o", "out"];
    let keys = ["--identity", "alice.key", "--trust", "bob.crt", "--threads", "1"];
    place.command(&[&args[..], &keys, more].concat())
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn run(place: &Place, bob: &Bob, more: &[&str]) -> (Option<i32>, String, String) {
    let output = alice(place, &bob.address, more).output().unwrap();
    let (code, errors) = outcome(&output);
    (code, String::from_utf8(output.stdout).unwrap(), errors)
}

fn record(place: &Place, name: &str) -> FolderRecord {
    serde_json::from_str(&fs::read_to_string(place.path(name)).unwrap()).unwrap()
}

#[test]
fn every_scan_is_segmented_and_a_broken_one_stops_nobody() {
    let place = place(&["jane-doe-1.png", "jane-doe-3.png"]);
    fs::write(place.path("scans").join("jane-doe-2.png"), "broken").unwrap();
    fs::write(place.path("scans").join("notes.txt"), "words").unwrap();
    let mut bob = place.bob(&["--json", "bob.jsonl"]);
    let more = ["--json", "first.json", "--overlay", "pictures", "--reference", "scans"];
    // The scans are no references for themselves.
    let (code, _, errors) = run(&place, &bob, &more);
    assert_eq!(code, Some(8), "{errors}");
    assert!(errors.contains("stands for no label"), "{errors}");
    assert_eq!(names(&place, "out"), Vec::<String>::new());

    // Without carries, so that the labels are the reference's.
    let exact = ["--preset", "gc", "--strategy", "truncation=gc"];
    let more = [&["--json", "run.json", "--overlay", "pictures"][..], &exact].concat();
    let (code, out, errors) = run(&place, &bob, &more);
    assert_eq!(code, Some(8), "{errors}");
    assert!(errors.contains("jane-doe-2.png") && errors.contains("1 of 3 scans failed"), "{errors}");
    assert!(errors.contains("1 other entries are passed over"), "{errors}");
    assert!(out.contains("3 scans: 2 done, 0 skipped, 1 failed"), "{out}");
    assert_eq!(names(&place, "out"), ["jane-doe-1.png", "jane-doe-3.png", "segmented.json"]);
    assert_eq!(names(&place, "pictures"), ["jane-doe-1.png", "jane-doe-3.png"]);
    let mask = |path| image::open(place.path(path)).unwrap().to_luma8().into_raw();
    assert_eq!(mask("out/jane-doe-1.png"), expected(&place));
    assert_eq!(mask("out/jane-doe-3.png"), expected(&place));

    let record = record(&place, "run.json");
    let summary = &record.summary;
    assert_eq!((summary.cases, summary.done, summary.failed, summary.left), (3, 2, 1, 0));
    assert_eq!(record.cases[0].bytes_bob_to_alice * 2, summary.bytes_bob_to_alice);
    assert!(record.cases[0].bytes_alice_to_bob > 0 && record.cases[1].status == CaseStatus::Failed);
    let layer = &record.total.layers[0];
    assert_eq!(layer.bytes_alice_to_bob, layer.predicted_bytes_alice_to_bob);

    // The scans' names stay with Alice.
    bob.kill();
    let (_, log) = bob.end();
    let lines = fs::read_to_string(place.path("bob.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(!log.contains("jane") && !lines.contains("jane"), "{log}");
}

#[test]
fn what_is_finished_is_skipped() {
    let place = place(&["a.png", "b.png"]);
    let bob = place.bob(&[]);
    let (code, _, errors) = run(&place, &bob, &["-q"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (code, _, errors) = run(&place, &bob, &[]);
    assert!(code == Some(4) && errors.contains("--continue"), "{errors}");
    fs::copy(place.path("scan.png"), place.path("scans").join("c.png")).unwrap();
    fs::remove_file(place.path("out").join("a.png")).unwrap();
    let before = fs::metadata(place.path("out/b.png")).unwrap().modified().unwrap();
    let (code, out, errors) = run(&place, &bob, &["--continue"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("3 scans: 2 done, 1 skipped, 0 failed"), "{out}");
    assert_eq!(fs::metadata(place.path("out/b.png")).unwrap().modified().unwrap(), before);
    // Labels that nobody knows are not taken for finished, nor replaced.
    fs::write(place.path("scans/d.png"), fs::read(place.path("scan.png")).unwrap()).unwrap();
    fs::write(place.path("out/d.png"), "mine").unwrap();
    let (code, _, errors) = run(&place, &bob, &["--continue"]);
    assert!(code == Some(4) && errors.contains("d.png"), "{errors}");
    assert_eq!(fs::read(place.path("out/d.png")).unwrap(), b"mine");
    fs::remove_file(place.path("out/d.png")).unwrap();
    // Another network's labels are not finished either.
    models::bundle::save(&common::network(16, &[2, 3], "hybrid"), &place.path("net.bunet"), true).unwrap();
    let other = place.bob(&[]);
    let (code, _, errors) = run(&place, &other, &["--continue"]);
    assert!(code == Some(4) && errors.contains("another network"), "{errors}");
    let (code, out, errors) = run(&place, &other, &["--overwrite"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("4 scans: 4 done"), "{out}");
    let (code, out, _) = run(&place, &other, &["--continue"]);
    assert!(code == Some(0) && out.contains("4 skipped"), "{out}");
}

#[test]
fn scores_lie_beside_the_labels_of_a_folder() {
    let place = place(&["a.png", "b.png"]);
    let turned = image::imageops::rotate90(&image::open(place.path("scan.png")).unwrap());
    turned.save(place.path("scans/c.png")).unwrap();
    fs::write(place.path("scans/b.png"), "broken").unwrap();
    // Without carries, so that scores are the same in every run.
    let exact = ["--preset", "gc", "--strategy", "truncation=gc", "--json", "run.json"];
    let run = |bob: &Bob, more: &[&str]| run(&place, bob, &[&exact[..], more].concat());
    let asked = ["--scores", "scores"];

    // Refused for the first scan, and so for all.
    let silent = place.bob(&[]);
    let (code, out, errors) = run(&silent, &asked);
    assert!(code == Some(7) && errors.contains("--allow-scores"), "{code:?} {errors}");
    assert!(
        errors.contains("2 scans are left") && out.contains("0 done, 0 skipped, 1 failed, 2 not"),
        "{out}"
    );
    assert!(names(&place, "scores").is_empty() && names(&place, "out").is_empty());
    fs::remove_file(place.path("run.json")).unwrap();

    let bob = place.bob(&["--allow-scores"]);
    let (code, out, errors) = run(&bob, &[&asked[..], &["--continue"]].concat());
    assert!(code == Some(8) && errors.contains("1 of 3 scans failed"), "{errors}");
    assert!(out.contains("3 scans: 2 done, 0 skipped, 1 failed"), "{out}");
    assert_eq!(names(&place, "out"), ["a.png", "c.png", "segmented.json"]);
    assert_eq!(names(&place, "scores"), ["a.nii.gz", "c.nii.gz"]);
    assert_eq!(record(&place, "run.json").cases[2].outputs, ["out/c.png", "scores/c.nii.gz"]);
    let both = |name: &str| {
        let labels = fs::read(place.path(&format!("out/{name}.png"))).unwrap();
        (labels, fs::read(place.path(&format!("scores/{name}.nii.gz"))).unwrap())
    };
    let (a, c) = (both("a"), both("c"));
    assert_ne!(a, c);
    // As scans by themselves yield.
    for (name, wanted) in [("a", &a), ("c", &c)] {
        let scan = format!("scans/{name}.png");
        let args = ["-i", &scan, "-o", "one.png", "--scores", "one.nii.gz", "--overwrite"];
        let server = ["alice", "segment", "--server", &bob.address, "--identity", "alice.key", "--trust"];
        let one = place.command(&[&server[..], &["bob.crt"], &args, &exact].concat()).output().unwrap();
        assert_eq!(outcome(&one).0, Some(0), "{}", outcome(&one).1);
        let found = ["one.png", "one.nii.gz"].map(|name| fs::read(place.path(name)).unwrap());
        assert_eq!((&found[0], &found[1]), (&wanted.0, &wanted.1));
    }

    // A scan whose scores are not there is not finished, and the broken one is mended.
    fs::remove_file(place.path("scores/a.nii.gz")).unwrap();
    fs::copy(place.path("scan.png"), place.path("scans/b.png")).unwrap();
    let (code, out, errors) = run(&bob, &[&asked[..], &["--continue"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("3 scans: 2 done, 1 skipped, 0 failed"), "{out}");
    assert_eq!((both("a"), both("b"), both("c")), (a.clone(), a, c));
    // Scores of unknown origin are not replaced.
    fs::copy(place.path("scan.png"), place.path("scans/d.png")).unwrap();
    fs::write(place.path("scores/d.nii.gz"), "mine").unwrap();
    let (code, _, errors) = run(&bob, &[&asked[..], &["--continue"]].concat());
    assert!(code == Some(4) && errors.contains("scores/d.nii.gz"), "{errors}");
    assert_eq!(fs::read(place.path("scores/d.nii.gz")).unwrap(), b"mine");
    // Nor those in another folder beside labels that are finished.
    fs::remove_file(place.path("scans/d.png")).unwrap();
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/a.nii.gz"), "mine").unwrap();
    let (code, _, errors) = run(&bob, &["--scores", "other", "--continue"]);
    assert!(code == Some(4) && errors.contains("other/a.nii.gz"), "{errors}");
    assert_eq!(fs::read(place.path("other/a.nii.gz")).unwrap(), b"mine");
}

#[test]
fn a_server_that_dies_in_a_run_costs_that_scan() {
    let place = place(&["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"]);
    let mut bob = place.bob(&[]);
    let mut child = alice(&place, &bob.address, &["--json", "run.json"]).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    errors.read_line(&mut line).unwrap();
    assert!(line.starts_with("1/6 a: done in "), "{line}");
    bob.kill();
    let mut rest = String::new();
    errors.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{rest}");
    let left = record(&place, "run.json").summary;
    assert!(left.done >= 1 && left.left >= 1 && left.done + left.failed + left.left == 6, "{left:?}");
    assert!(rest.contains(&format!("{} scans are left; start again with --continue", left.left)), "{rest}");
    let done = left.done;
    let bob = place.bob(&[]);
    let (code, _, errors) = run(&place, &bob, &["--continue", "--json", "run.json"]);
    assert_eq!(code, Some(0), "{errors}");
    let summary = record(&place, "run.json").summary;
    assert_eq!((summary.skipped, summary.done, summary.failed), (done, 6 - done, 0));
}

#[test]
fn a_pool_is_used_as_far_as_it_goes() {
    let place = place(&["a.png", "b.png"]);
    let bob = place.bob(&["--pool", "bob-pool"]);
    let args = ["alice", "prepare", "--server", &bob.address, "--pool", "pool", "--runs", "1", "-q"];
    let keys = ["--identity", "alice.key", "--trust", "bob.crt"];
    assert_eq!(outcome(&place.command(&[&args[..], &keys].concat()).output().unwrap()).0, Some(0));
    let (code, _, errors) = run(&place, &bob, &["--pool", "pool", "--json", "run.json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("the pool holds 1 runs") && errors.contains("for 2 scans"), "{errors}");
    let pool = record(&place, "run.json").total.pool.unwrap();
    assert_eq!((pool.items, pool.live), (1, 1));
}

#[test]
fn a_lost_server_ends_the_folder_and_a_new_one_goes_on() {
    let place = place(&["a.png", "b.png"]);
    // It serves one client and ends; the broken scan does not cost the connection.
    fs::write(place.path("scans/0.png"), "broken").unwrap();
    let bob = place.bob(&["--once"]);
    let (code, out, errors) = run(&place, &bob, &["--json", "run.json"]);
    assert_eq!(code, Some(8), "{errors}");
    assert!(out.contains("2 done, 0 skipped, 1 failed"), "{out}");
    fs::remove_file(place.path("out/b.png")).unwrap();
    let (code, out, errors) = run(&place, &bob, &["--continue"]);
    assert_eq!((code, out.as_str()), (Some(5), ""), "{errors}");
    fs::remove_file(place.path("scans/0.png")).unwrap();
    let again = place.bob(&[]);
    let (code, out, errors) = run(&place, &again, &["--continue"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("2 scans: 1 done, 1 skipped, 0 failed"), "{out}");
}

#[test]
fn folders_that_cannot_be_done_are_refused_before_connecting() {
    let place = place(&["a.png"]);
    let refused = |args: &[&str], code: i32, word: &str| {
        let keys = ["--server", "127.0.0.1:1", "--identity", "alice.key", "--trust", "bob.crt"];
        let output = place.command(&[&["alice", "segment"], args, &keys].concat()).output().unwrap();
        let (found, errors) = outcome(&output);
        assert!(found == Some(code) && errors.contains(word), "{word}: {errors}");
    };
    fs::create_dir(place.path("empty")).unwrap();
    refused(&["-i", "empty", "-o", "out"], 3, "no scan in it");
    refused(&["-i", "scans", "-o", "mask.nii"], 4, "give a folder");
    refused(&["-i", "scans", "-o", "scan.png"], 4, "give a folder");
    refused(&["-i", "scans", "-o", "scans"], 4, "among the scans");
    refused(&["-i", "scans", "-o", "out", "--scores", "scores.nii.gz"], 4, "give a folder");
    refused(&["-i", "scans", "-o", "out", "--scores", "out"], 4, "a folder each");
    refused(&["-i", "scans", "-o", "out", "--scores", "empty", "--reference", "empty"], 4, "a folder each");
    refused(&["-i", "scan.png", "-o", "mask.png", "--continue"], 3, "folders");
    fs::copy(place.path("scans/a.png"), place.path("scans/A.PNG")).unwrap();
    fs::write(place.path("scans/b.nii"), 348u32.to_le_bytes()).unwrap();
    fs::write(place.path("scans/b.hdr"), 348u32.to_le_bytes()).unwrap();
    refused(&["-i", "scans", "-o", "out"], 4, "b.hdr and scans/b.nii");
    assert!(!place.path("out").exists());
}

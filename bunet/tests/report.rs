//! Reports: one file, well-formed, with nothing from outside.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Place, outcome};
use std::fs;

/// Whether every element is closed where it should be; only what this crate writes is understood.
fn balanced(html: &str) -> Result<usize, String> {
    let (mut open, mut elements) = (Vec::new(), 0);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').ok_or("a tag without end")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        if tag.starts_with('/') {
            let last = open.pop();
            if last != Some(name) {
                return Err(format!("</{name}> closes {last:?}"));
            }
        } else if !tag.starts_with('!') && !tag.ends_with('/') {
            open.push(name);
        }
        elements += 1;
        if tag.matches('"').count() % 2 == 1 {
            return Err(format!("a quote is open in <{tag}>"));
        }
    }
    if open.is_empty() { Ok(elements) } else { Err(format!("left open: {open:?}")) }
}

fn check(html: &str) {
    let elements = balanced(html).unwrap();
    assert!(elements > 100, "{elements} tags");
    for outside in ["http:", "https:", "//", "url(", "@import", "<script", "<link", "<iframe", "srcset"] {
        assert!(!html.contains(outside), "{outside} points outside");
    }
    let sources = html.match_indices(" src=\"").map(|(at, found)| &html[at + found.len()..]);
    assert!(sources.clone().all(|source| source.starts_with("data:image/png;base64,")), "only data");
    assert_eq!(html.matches("href").count(), 0);
}

#[test]
fn a_run_becomes_one_page() {
    let place = Place::new();
    let bob = place.bob(&["--json", "bob.jsonl", "--once"]);
    let more = ["--json", "run.json", "--overlay", "overlay.png", "-q"];
    let (code, errors) = outcome(&place.alice(&bob.address, &more).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(bob.end().0, Some(0));
    let args = ["report", "run.json", "--bob", "bob.jsonl", "-o", "run.html", "--picture", "overlay.png"];
    let (code, errors) = outcome(&place.command(&args).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    let html = fs::read_to_string(place.path("run.html")).unwrap();
    // Base64 has slashes of its own.
    let (before, rest) = html.split_once("data:image/png;base64,").unwrap();
    let (picture, after) = rest.split_once('"').unwrap();
    check(&format!("{before}data:image/png;base64,\"{after}"));
    use base64::Engine;
    let picture = base64::prelude::BASE64_STANDARD.decode(picture).unwrap();
    assert_eq!(picture, fs::read(place.path("overlay.png")).unwrap());
    for node in place.model.manifest.graph.nodes().iter().filter(|node| node.op.has_weights()) {
        assert!(html.contains(&format!("<td>{}</td>", node.name)), "{}", node.name);
    }
    assert!(html.contains("online, Alice") && html.contains("online, Bob"), "both parties");
    for word in ["<svg", "setup", "offline", "online", "Alice to Bob", "statistical security", "commit"] {
        assert!(html.contains(word), "{word}");
    }
    let hash: String = place.model.manifest.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(html.contains(&hash));

    let (code, errors) = outcome(&place.command(&args).output().unwrap());
    assert!(code == Some(4) && errors.contains("run.html"), "{errors}");
    let refused = |args: &[&str], word: &str| {
        let (code, errors) = outcome(&place.command(&[&["report"], args].concat()).output().unwrap());
        assert!(code == Some(3) && errors.contains(word), "{errors}");
        assert!(!place.path("other.html").exists());
    };
    refused(&["none.json", "-o", "other.html"], "none.json");
    refused(&["scan.png", "-o", "other.html"], "--json");
    refused(&["run.json", "-o", "other.html", "--picture", "run.json"], "PNG");
    let other = fs::read_to_string(place.path("bob.jsonl")).unwrap();
    fs::write(place.path("other.jsonl"), other.replace("\"manifest_hash\":\"", "\"manifest_hash\":\"0"))
        .unwrap();
    refused(&["run.json", "-o", "other.html", "--bob", "other.jsonl"], "no run in it");
    refused(&["run.json", "-o", "other.html", "--bob", "scan.png"], "scan.png");
}

#[test]
fn a_folder_becomes_one_page() {
    let place = Place::new();
    fs::create_dir(place.path("scans")).unwrap();
    fs::copy(place.path("scan.png"), place.path("scans/a<b>.png")).unwrap();
    fs::write(place.path("scans/broken.png"), "x").unwrap();
    let bob = place.bob(&[]);
    let args = ["alice", "segment", "--server", &bob.address, "-i", "scans", "-o", "out", "--json", "f.json"];
    let keys = ["--identity", "alice.key", "--trust", "bob.crt", "-q"];
    assert_eq!(outcome(&place.command(&[&args[..], &keys].concat()).output().unwrap()).0, Some(8));
    let (code, errors) = outcome(&place.command(&["report", "f.json", "-o", "f.html"]).output().unwrap());
    assert_eq!(code, Some(0), "{errors}");
    let html = fs::read_to_string(place.path("f.html")).unwrap();
    check(&html);
    assert!(html.contains("a&lt;b&gt;") && html.contains("failed: ") && html.contains("2 scans: 1 done"));
}

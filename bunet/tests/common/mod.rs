//! A small network, a scan for it, keys, and parties as processes.
#![allow(dead_code, reason = "each test file uses its part")]

use models::graph::Shape;
use models::manifest::Model;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations, random_image};
use ndarray::{Array4, Axis};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder with keys of two parties, a bundle and a scan.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) model: Model,
}

/// The extent of scans.
pub(crate) const SIDE: usize = 16;

/// A small network that reads pictures.
pub(crate) fn network(side: usize, channels: &[usize], variant: &str) -> Model {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, side, side] },
        channels: channels.to_vec(),
        pooling: Pooling::Avg,
        activations: activations(variant, channels.len()).unwrap(),
        labels: 2,
        seed: 3,
    };
    let (mut model, _) =
        unet.build_quantised(&QuantiseOptions { margin: 3.0, ..QuantiseOptions::default() }).unwrap();
    model.manifest.preprocessing = serde_json::json!({
        "intensity": { "fixed": { "low": 0.0, "high": 255.0, "mean": 127.5, "std": 127.5 } },
        "size": "exact",
    });
    model
}

/// The labels that the integer reference yields for the scan.
pub(crate) fn expected(place: &Place) -> Vec<u8> {
    let picture = image::open(place.path("scan.png")).unwrap().to_luma8();
    let (w, h) = picture.dimensions();
    let pixels = picture.pixels().map(|pixel| (f32::from(pixel.0[0]) - 127.5) / 127.5).collect();
    let input = Array4::from_shape_vec((1, 1, h as usize, w as usize), pixels).unwrap();
    let input = place.model.manifest.quantise_input(&input);
    let labels = models::reference::run_checked(&place.model, &input).unwrap();
    labels.index_axis(Axis(0), 0).iter().map(|&label| label as u8 * 255).collect()
}

/// A picture of waves.
pub(crate) fn picture(path: &Path, side: usize) {
    let image = random_image(Shape { channels: 1, dims: [1, side, side] }, 5);
    let pixels = image.iter().map(|&value| ((value + 1.0) * 127.5).round() as u8).collect();
    image::GrayImage::from_raw(side as u32, side as u32, pixels).unwrap().save(path).unwrap();
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with(network(SIDE, &[2, 4], "hybrid"))
    }

    pub(crate) fn with(model: Model) -> Self {
        let dir = tempfile::tempdir().unwrap();
        net::keygen(dir.path(), &["alice", "bob", "mallory"]).unwrap();
        models::bundle::save(&model, &dir.path().join("net.bunet"), false).unwrap();
        picture(&dir.path().join("scan.png"), model.manifest.graph.node(0).shape.dims[1]);
        Self { dir, model }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that runs in the folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunet"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts Bob; returns once he listens.
    pub(crate) fn bob(&self, more: &[&str]) -> Bob {
        let args = ["bob", "serve", "--model", "net.bunet", "--listen", "127.0.0.1:0"];
        let keys = ["--identity", "bob.key", "--trust", "alice.crt", "--threads", "1"];
        let mut child = self.command(&[&args[..], &keys, more].concat()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.split([' ', ',']).nth(2).unwrap_or_default().to_owned();
        Bob { child, address, _out: out }
    }

    /// Alice's command against a server.
    pub(crate) fn alice(&self, server: &str, more: &[&str]) -> Command {
        let args = ["alice", "segment", "--server", server, "-i", "scan.png", "-o", "mask.png"];
        let keys = ["--identity", "alice.key", "--trust", "bob.crt", "--threads", "1"];
        self.command(&[&args[..], &keys, more].concat())
    }

    /// Names of all files that are there.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A server that ends with the test.
pub(crate) struct Bob {
    child: Child,
    pub(crate) address: String,
    _out: BufReader<ChildStdout>,
}

impl Bob {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills without any chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for the end, and returns exit code and log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let log = read(self.child.stderr.take().unwrap());
        (wait(&mut self.child), log)
    }
}

impl Drop for Bob {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut pipe: impl std::io::Read) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

/// The exit code, within half a minute.
fn wait(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Exit code and standard error.
pub(crate) fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

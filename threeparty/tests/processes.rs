//! Three `party` processes and their clients over TLS on loopback.
#![expect(clippy::unwrap_used, reason = "tests")]

use models::backend::Backend;
use models::quantise::QuantiseOptions;
use models::unet::{Activation, Pooling, UNet, random_image};
use models::{Model, Shape, bundle, reference};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use threeparty::job::Job;
use threeparty::remote::RemoteThreeParty;

struct Place {
    folder: TempDir,
    servers: Vec<String>,
}

impl Place {
    /// Keys for everybody, and three ports that were free a moment ago.
    fn new(clients: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let servers = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string()).collect();
        let place = Self { folder, servers };
        let mut keygen = Command::new(env!("CARGO_BIN_EXE_client"));
        succeeded(keygen.arg("keygen").arg(place.path("keys")).args(clients).output().unwrap());
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn job(&self, name: &str, task: Value) {
        let job = json!({ "servers": self.servers, "task": task });
        fs::write(self.path(name), serde_json::to_vec(&job).unwrap()).unwrap();
    }

    fn party(&self, id: usize, job: &str, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_party"));
        command
            .args(["--id", &id.to_string(), "--job"])
            .arg(self.path(job))
            .arg("--keys")
            .arg(self.path("keys"));
        command.arg("--json").arg(self.path(&format!("record-{id}.json"))).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn client(&self, job: &str, name: &str, command: &str, more: &[&str]) -> Child {
        let mut process = Command::new(env!("CARGO_BIN_EXE_client"));
        process.arg(command).arg("--job").arg(self.path(job)).arg("--keys").arg(self.path("keys"));
        process.args(["--name", name]).args(more).current_dir(self.folder.path());
        process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn record(&self, id: usize) -> Value {
        serde_json::from_slice(&fs::read(self.path(&format!("record-{id}.json"))).unwrap()).unwrap()
    }
}

fn succeeded(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Light and dark pictures of eight by eight pixels, with a table.
fn pictures(folder: &Path, count: usize) {
    let mut table = String::from("path,label,split\n");
    for i in 0..count {
        let label = i % 2;
        let picture = image::GrayImage::from_fn(8, 8, |x, y| {
            let noise = (i as u32 * 37 + x * 11 + y * 7) % 60;
            image::Luma([(if label == 0 { 90 } else { 160 } + noise) as u8])
        });
        picture.save(folder.join(format!("{i}.png"))).unwrap();
        table += &format!("{i}.png,{label},{}\n", if i % 4 < 3 { "train" } else { "test" });
    }
    fs::write(folder.join("table.csv"), table).unwrap();
}

fn network() -> Value {
    json!({
        "input": { "channels": 1, "dims": [1, 8, 8] },
        "layers": [{ "conv": { "channels": 4, "kernel": 3 } }, "max_pool", "relu", { "dense": { "outputs": 2 } }],
    })
}

#[test]
fn two_owners_train_resume_and_classify() {
    let place = Place::new(&["ann", "bea", "model"]);
    pictures(place.folder.path(), 48);
    let training = |epochs: usize| {
        json!({ "train": {
            "network": network(),
            "recipe": { "optimiser": { "sgd": { "rate": 0.2, "momentum": 0.9 } }, "batch": 8, "epochs": epochs,
                        "seed": vec![3; 16] },
            "owners": [{ "name": "ann", "train": 16, "test": 4 }, { "name": "bea", "train": 16, "test": 4 }],
            "weights_to": "model",
        } })
    };
    place.job("job.json", training(4));
    let checkpoints = place.path("ckpt");
    let run = |job: &str, more: &[&str]| {
        let servers: Vec<Child> = (0..3).map(|id| place.party(id, job, more)).collect();
        let bring = ["--table", "table.csv", "--images", "."];
        let owners = ["ann", "bea"].map(|name| place.client(job, name, "train", &bring));
        let model = place.client(job, "model", "take-weights", &["--weights", "weights.json"]);
        owners
            .into_iter()
            .chain([model])
            .for_each(|client| drop(succeeded(client.wait_with_output().unwrap())));
        servers.into_iter().map(|server| succeeded(server.wait_with_output().unwrap())).collect::<Vec<_>>()
    };
    let kept = checkpoints.to_str().unwrap();
    run("job.json", &["--checkpoints", kept]);
    let last = |record: &Value| record["events"].as_array().unwrap().last().unwrap().clone();
    let accuracy = last(&place.record(0))["test"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    // As if one server had stopped before it wrote its last checkpoint: all go back to the third epoch.
    fs::remove_file(checkpoints.join("party-1-epoch-4.ckpt")).unwrap();
    place.job("longer.json", training(5));
    let told = run("longer.json", &["--checkpoints", kept, "--resume"]);
    assert!(told.iter().all(|told| told.contains("\"epochs_done\":3")), "{told:?}");
    assert!(told.iter().all(|told| told.contains("\"epoch\":5")), "{told:?}");
    let costs = &last(&place.record(0))["costs"];
    let conv = &costs["layers"][0];
    assert!(
        conv["forward"]["bytes_sent"].as_u64() > Some(0) && conv["layer"]["conv"]["channels"] == 4,
        "{costs}"
    );

    place.job(
        "classify.json",
        json!({ "classify": {
        "network": network(), "model_owner": "model", "data_owner": "ann", "images": 10,
    } }),
    );
    let servers: Vec<Child> = (0..3).map(|id| place.party(id, "classify.json", &[])).collect();
    let model = place.client("classify.json", "model", "bring-weights", &["--weights", "weights.json"]);
    let ann = place.client("classify.json", "ann", "classify", &["--table", "table.csv", "--images", "."]);
    succeeded(model.wait_with_output().unwrap());
    let told: Value = serde_json::from_str(&succeeded(ann.wait_with_output().unwrap())).unwrap();
    assert!(told["right"].as_u64().unwrap() >= 9, "{told}");
    servers.into_iter().for_each(|server| drop(succeeded(server.wait_with_output().unwrap())));
}

#[test]
fn a_scan_is_segmented_for_its_owner_alone() {
    let place = Place::new(&["model", "owner"]);
    let input = Shape { channels: 1, dims: [1, 8, 8] };
    let activations = vec![Activation::Relu; 3];
    let unet =
        UNet { rank: 2, input, channels: vec![3, 4], pooling: Pooling::Max, activations, labels: 3, seed: 5 };
    let (model, _) = unet.build_quantised(&QuantiseOptions::default()).unwrap();
    bundle::save(&model, &place.path("bundle"), false).unwrap();
    place.job(
        "job.json",
        json!({ "segment": {
        "manifest": model.manifest, "model_owner": "model", "data_owner": "owner", "images": 1,
    } }),
    );
    let image = random_image(input, 4);
    let nested: Vec<Vec<Vec<Vec<f32>>>> = image
        .outer_iter()
        .map(|c| c.outer_iter().map(|p| p.outer_iter().map(|row| row.to_vec()).collect()).collect())
        .collect();
    fs::write(place.path("image.json"), serde_json::to_vec(&nested).unwrap()).unwrap();
    let servers: Vec<Child> = (0..3).map(|id| place.party(id, "job.json", &[])).collect();
    let provider = place.client("job.json", "model", "bring-model", &["--model", "bundle"]);
    let owner =
        place.client("job.json", "owner", "segment", &["--image", "image.json", "--labels", "labels.json"]);
    for process in [provider, owner].into_iter().chain(servers) {
        succeeded(process.wait_with_output().unwrap());
    }
    let labels: Vec<Vec<Vec<u16>>> =
        serde_json::from_slice(&fs::read(place.path("labels.json")).unwrap()).unwrap();
    let expected = reference::run(&model, &model.manifest.quantise_input(&image)).unwrap();
    let different = labels.into_iter().flatten().flatten().zip(&expected).filter(|(a, b)| a != *b).count();
    assert!(different <= 2, "{different} of {} labels", expected.len());
}

#[test]
fn three_processes_are_a_backend() {
    let place = Place::new(&["both"]);
    let input = Shape { channels: 1, dims: [1, 8, 8] };
    let activations = vec![Activation::Relu; 3];
    let unet =
        UNet { rank: 2, input, channels: vec![3, 4], pooling: Pooling::Avg, activations, labels: 2, seed: 6 };
    let (model, _) = unet.build_quantised(&QuantiseOptions::default()).unwrap();
    place.job(
        "job.json",
        json!({ "segment": {
            "manifest": model.manifest, "model_owner": "both", "data_owner": "both", "images": 1,
        } }),
    );
    let servers: Vec<Child> = (0..3).map(|id| place.party(id, "job.json", &[])).collect();
    let mut backend = RemoteThreeParty {
        job: Job::parse(&fs::read_to_string(place.path("job.json")).unwrap()).unwrap(),
        identity: net::Identity::load(place.path("keys/both.key")).unwrap(),
        trusted: net::Trusted::load(place.path("keys")).unwrap(),
        options: net::Options::default(),
        patience: Duration::from_secs(20),
    };
    let image = model.manifest.quantise_input(&random_image(input, 9));
    let agreement = backend.run(&model, &image).unwrap().record.agreement.unwrap();
    assert!(agreement.total == 64 && agreement.different <= 2, "{agreement:?}");
    servers.into_iter().for_each(|server| drop(succeeded(server.wait_with_output().unwrap())));
    let other = UNet { seed: 7, ..unet }.build_quantised(&QuantiseOptions::default()).unwrap().0;
    let other = Model { manifest: models::Manifest { name: "other".into(), ..other.manifest }, ..other };
    assert!(backend.run(&other, &image).is_err(), "the job names another model");
}

#[test]
fn a_server_that_dies_is_reported_by_the_others() {
    let place = Place::new(&[]);
    place.job("job.json", json!({ "measure": { "values": 1 << 12, "repeat": 1_000_000 } }));
    let mut servers: Vec<Child> =
        (0..3).map(|id| place.party(id, "job.json", &["--patience", "10"])).collect();
    // Once its record grows they are all at work; standard output tells.
    let mut victim = servers.pop().unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(victim.stdout.as_mut().unwrap(), &mut first).unwrap();
    let readers: Vec<_> = servers
        .into_iter()
        .map(|server| std::thread::spawn(move || server.wait_with_output().unwrap()))
        .collect();
    victim.kill().unwrap();
    victim.wait().unwrap();
    let start = Instant::now();
    for reader in readers {
        let output = reader.join().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("party "), "{told}");
    }
    assert!(start.elapsed() < Duration::from_secs(12));
}

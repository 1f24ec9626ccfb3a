//! Clients of the three servers: data owners and the model owner.

use anyhow::{Context, bail, ensure};
use clap::{Parser, Subcommand};
use models::bundle;
use ndarray::{Array4, Axis};
use net::{Identity, Options, Trusted};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use threeparty::client::{Servers, classes};
use threeparty::connect::{call_servers, server_name};
use threeparty::data::Table;
use threeparty::job::{Job, Task};
use threeparty::machine;

/// A client of three servers that compute on shares.
#[derive(Parser)]
#[command(name = "client", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Who a client is, and which job it takes part in.
#[derive(clap::Args)]
struct Me {
    /// The job, the same file for all servers and clients.
    #[arg(long)]
    job: PathBuf,
    /// Folder with this client's key and the servers' certificates.
    #[arg(long)]
    keys: PathBuf,
    /// This client's name.
    #[arg(long)]
    name: String,
}

#[derive(Subcommand)]
enum Command {
    /// Makes keys for the three servers and for clients, all in one folder: for trying things out.
    Keygen {
        /// The folder.
        folder: PathBuf,
        /// Names of the clients.
        clients: Vec<String>,
    },
    /// Brings labelled images to a training run, and takes the trained weights home if the job says so.
    Train {
        #[command(flatten)]
        me: Me,
        /// Table of images: CSV with the columns `path`, `label` and `split` (train or test).
        #[arg(long)]
        table: PathBuf,
        /// Folder that the table's paths start from.
        #[arg(long)]
        images: PathBuf,
        /// File for the trained weights.
        #[arg(long)]
        weights: Option<PathBuf>,
    },
    /// Takes trained weights home without bringing images.
    TakeWeights {
        #[command(flatten)]
        me: Me,
        /// File for the trained weights.
        #[arg(long)]
        weights: PathBuf,
    },
    /// Brings trained weights for a classification.
    BringWeights {
        #[command(flatten)]
        me: Me,
        /// File with the trained weights.
        #[arg(long)]
        weights: PathBuf,
    },
    /// Brings the test images of a table and prints their classes.
    Classify {
        #[command(flatten)]
        me: Me,
        /// Table of images.
        #[arg(long)]
        table: PathBuf,
        /// Folder that the table's paths start from.
        #[arg(long)]
        images: PathBuf,
    },
    /// Brings a quantised model's weights for a segmentation.
    BringModel {
        #[command(flatten)]
        me: Me,
        /// The model's bundle.
        #[arg(long)]
        model: PathBuf,
    },
    /// Brings one image as JSON (`[channel][depth][height][width]` of preprocessed values), writes its labels as JSON.
    Segment {
        #[command(flatten)]
        me: Me,
        /// The image.
        #[arg(long)]
        image: PathBuf,
        /// File for the labels.
        #[arg(long)]
        labels: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Keygen { folder, clients } => keygen(&folder, clients),
        Command::Train { me, table, images, weights } => train(&me, &table, &images, weights.as_deref()),
        Command::TakeWeights { me, weights } => {
            let (job, mut servers) = me.connect()?;
            take_weights(&job, &mut servers, &weights)
        }
        Command::BringWeights { me, weights } => {
            let job = me.job()?;
            let Task::Classify(work) = &job.task else { bail!("the job is no classification") };
            let text = fs::read(&weights).with_context(|| format!("reading {}", weights.display()))?;
            let values: Vec<f64> =
                serde_json::from_slice(&text).with_context(|| format!("reading {}", weights.display()))?;
            let wanted = work.network.parameters()?;
            ensure!(
                values.len() == wanted,
                "{} holds {} weights; the job's network has {wanted}",
                weights.display(),
                values.len()
            );
            let (_, mut servers) = me.connect()?;
            Ok(servers.bring_weights(&values)?)
        }
        Command::Classify { me, table, images } => classify(&me, &table, &images),
        Command::BringModel { me, model } => {
            let (_, mut servers) = me.connect()?;
            Ok(servers.bring_model(&bundle::load(&model)?)?)
        }
        Command::Segment { me, image, labels } => segment(&me, &image, &labels),
    }
}

impl Me {
    fn job(&self) -> anyhow::Result<Job> {
        let text =
            fs::read_to_string(&self.job).with_context(|| format!("reading {}", self.job.display()))?;
        Job::parse(&text).with_context(|| format!("reading {}", self.job.display()))
    }

    fn connect(&self) -> anyhow::Result<(Job, Servers)> {
        let job = self.job()?;
        let identity = Identity::load(self.keys.join(&self.name).with_extension("key"))?;
        let trusted = Trusted::load(&self.keys)?;
        // Servers are silent towards a client for as long as they compute.
        let options = Options { idle_timeout: Duration::from_secs(7 * 24 * 3600), ..Options::default() };
        let servers = call_servers(&job, &identity, &trusted, &options, Duration::from_secs(60))?;
        Ok((job, servers))
    }
}

fn keygen(folder: &Path, clients: Vec<String>) -> anyhow::Result<()> {
    let names: Vec<String> = (0..3).map(server_name).chain(clients).collect();
    net::keygen(folder, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(())
}

fn train(me: &Me, table: &Path, images: &Path, weights: Option<&Path>) -> anyhow::Result<()> {
    let (job, mut servers) = me.connect()?;
    let Task::Train(training) = &job.task else { bail!("the job is no training run") };
    let owner =
        training.owners.iter().find(|owner| owner.name == me.name).context("the job does not name us")?;
    let (start, cpu) = (Instant::now(), machine::cpu_seconds());
    let table = Table::load(table, images)?;
    let [train, test] = [("train", owner.train), ("test", owner.test)];
    let [train, test] =
        [train, test].map(|(split, count)| table.images(split, count, training.network.input));
    let (read, read_cpu) = (start.elapsed(), machine::cpu_seconds());
    servers.contribute(&train?, &test?, training.network.classes()?)?;
    let spent = |a: Option<f64>, b: Option<f64>| Some(b? - a?);
    println!(
        "{}",
        json!({
            "event": "contributed", "images": owner.train + owner.test, "seconds_reading": read.as_secs_f64(),
            "cpu_seconds_reading": spent(cpu, read_cpu), "cpu_seconds_sharing": spent(read_cpu, machine::cpu_seconds()),
            "bytes_sent": servers.traffic().sent,
        })
    );
    match weights {
        Some(file) if training.weights_to.as_deref() == Some(&me.name) => {
            take_weights(&job, &mut servers, file)
        }
        Some(_) => bail!("the job gives the weights to somebody else"),
        None => Ok(()),
    }
}

fn take_weights(job: &Job, servers: &mut Servers, file: &Path) -> anyhow::Result<()> {
    let Task::Train(training) = &job.task else { bail!("the job is no training run") };
    let weights = servers.take_weights(training.network.parameters()?)?;
    let draft = file.with_extension("tmp");
    fs::write(&draft, serde_json::to_vec(&weights)?)
        .and_then(|()| fs::rename(&draft, file))
        .with_context(|| format!("writing {}", file.display()))
}

fn classify(me: &Me, table: &Path, images: &Path) -> anyhow::Result<()> {
    let (job, mut servers) = me.connect()?;
    let Task::Classify(work) = &job.task else { bail!("the job is no classification") };
    let classes = classes(&job).context("the network tells no classes apart")?;
    let images = Table::load(table, images)?.images("test", work.images, work.network.input)?;
    servers.bring_images(&images.images)?;
    let labels = servers.take_labels(work.images, classes)?;
    let right = labels.iter().zip(&images.labels).filter(|&(&found, &label)| found == label as u64).count();
    println!("{}", json!({ "labels": labels, "right": right, "images": work.images }));
    Ok(())
}

fn segment(me: &Me, image: &Path, labels: &Path) -> anyhow::Result<()> {
    let (job, mut servers) = me.connect()?;
    let Task::Segment(work) = &job.task else { bail!("the job is no segmentation") };
    ensure!(work.images == 1, "this command brings one image; the job wants {}", work.images);
    let values: Vec<Vec<Vec<Vec<f32>>>> = serde_json::from_slice(&fs::read(image)?)?;
    let shape = work.manifest.graph.node(0).shape;
    let [depth, height, width] = shape.dims;
    let flat: Vec<f32> = values.into_iter().flatten().flatten().flatten().collect();
    let array = Array4::from_shape_vec((shape.channels, depth, height, width), flat)
        .with_context(|| format!("the network reads images of {shape:?}"))?;
    let found = servers.segment(&work.manifest, &work.manifest.quantise_input(&array))?;
    let rows =
        |plane: ndarray::ArrayView2<'_, u16>| plane.outer_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    let nested: Vec<_> = found.axis_iter(Axis(0)).map(rows).collect();
    Ok(fs::write(labels, serde_json::to_vec(&nested)?)?)
}

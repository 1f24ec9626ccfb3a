//! All backends on one scan: what each costs, what each yields, and what each shows.
//!
//! The caller lists [`Contender`]s: a backend and, for backends of this crate, how an adversary looks at what the server
//! gets. Backends whose server gets ciphertexts or shares only are [`Contender::opaque`]; their words are the
//! evidence, there is no image to measure. Every glimpse is compared with the plain input by SSIM and MSE. SSIM of nothing
//! is near 0, of the image itself 1.

use crate::attack::known::{Pair, images_needed, recover};
use crate::attack::{blocks, reverse};
use crate::error::{PerceptualError, Result};
use crate::morph::{Morph, MorphKey, augment};
use crate::picture::{Panel, write_grid};
use crate::pixel::{Pixel, input_range};
use crate::quality::{mse, ssim};
use imaging::{LabelScore, Overwrite, score, trivial_baseline};
use models::backend::{Backend, Outcome, ThreatModel};
use models::clear::Clear;
use models::manifest::Model;
use models::manifest::label_bytes;
use models::record::RunRecord;
use ndarray::{Array2, Array3, Array4, Axis};
use prg::{Prg, Seed};
use std::path::Path;

/// One look that an adversary takes.
#[derive(Clone, Debug)]
pub struct Glimpse {
    /// What he does.
    pub attack: String,
    /// What he needs for it beyond what he is sent.
    pub needs: String,
    /// What he sees, in the units of the network's input.
    pub image: Array4<f64>,
}

type Look = Box<dyn Fn(&Model, &Array4<i64>) -> Result<Vec<Glimpse>>>;

/// A backend and how an adversary looks at it.
pub struct Contender {
    /// The backend.
    pub backend: Box<dyn Backend>,
    look: Look,
    note: Option<&'static str>,
}

/// A look with its figures.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Leak {
    /// What the adversary does.
    pub attack: String,
    /// What he needs for it beyond what he is sent.
    pub needs: String,
    /// Structural similarity to the plain input; none where images are too small for its window.
    pub ssim: Option<f64>,
    /// Mean squared error, in the units of the network's input.
    pub mse: f64,
}

/// One backend's result.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// The backend.
    pub backend: String,
    /// What it promises.
    pub threat_model: ThreatModel,
    /// Voxels whose label differs from the plain network's.
    pub different: u64,
    /// Voxels.
    pub voxels: u64,
    /// Scores against the reference segmentation, where one was given.
    pub scores: Option<Vec<LabelScore>>,
    /// Mean Dice over the labels but the first, the background.
    pub mean_dice: Option<f64>,
    /// Seconds of set-up and offline work, and of the scan itself.
    pub seconds: [f64; 2],
    /// Bytes from and to the data holder, all phases.
    pub bytes: [u64; 2],
    /// Rounds, all phases.
    pub rounds: u64,
    /// How to read the figures, where it needs words.
    pub note: Option<&'static str>,
    /// Measured leakage.
    pub leaks: Vec<Leak>,
    /// The backend's own record.
    pub record: RunRecord,
}

/// A backend that this scan and network do not run on.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Refused {
    /// The backend.
    pub backend: String,
    /// Why, in its own words.
    pub reason: String,
}

/// All backends' results.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Comparison {
    /// The network.
    pub model: String,
    /// A row per backend.
    pub rows: Vec<Row>,
    /// Backends that do not apply.
    pub refused: Vec<Refused>,
    /// Scores of the best answer that does not look at the scan, where a reference segmentation was given.
    pub trivial: Option<Vec<LabelScore>>,
    /// What a picture of one grey, the scan's mean, scores: the mark of an adversary who sees nothing.
    pub trivial_leak: Leak,
    #[serde(skip)]
    columns: Vec<Vec<Panel>>,
}

impl Contender {
    /// The plain network.
    pub fn clear() -> Self {
        let look =
            |_: &Model, input: &Array4<i64>| Ok(vec![glimpse("as received", "nothing", to_f64(input))]);
        Self { backend: Box::new(Clear), look: Box::new(look), note: None }
    }

    /// A backend whose server gets nothing that is an image; `note` says how to read its figures.
    pub fn opaque(backend: Box<dyn Backend>, note: Option<&'static str>) -> Self {
        Self { backend, look: Box::new(|_, _| Ok(Vec::new())), note }
    }

    /// Pixel-based encryption with the folding attack.
    pub fn pixel(pixel: Pixel) -> Self {
        let backend = Box::new(pixel.clone());
        let look = move |model: &Model, input: &Array4<i64>| look_at_pixel(&pixel, model, input);
        Self { backend, look: Box::new(look), note: None }
    }

    /// Morphing with its attacks.
    pub fn morph(morph: Morph) -> Self {
        let backend = Box::new(morph.clone());
        let look = move |model: &Model, input: &Array4<i64>| look_at_morph(&morph, model, input);
        Self { backend, look: Box::new(look), note: None }
    }
}

fn glimpse(attack: &str, needs: &str, image: Array4<f64>) -> Glimpse {
    Glimpse { attack: attack.into(), needs: needs.into(), image }
}

fn one_grey(plain: &Array4<f64>) -> Glimpse {
    let grey = plain.mean().unwrap_or_default();
    glimpse("one grey", "the mean grey", plain.mapv(|_| grey))
}

fn to_f64(image: &Array4<i64>) -> Array4<f64> {
    image.mapv(|value| value as f64)
}

fn look_at_pixel(pixel: &Pixel, model: &Model, input: &Array4<i64>) -> Result<Vec<Glimpse>> {
    let secret = to_f64(&pixel.encrypt(&model.manifest, input)?);
    let (low, high) = input_range(&model.manifest);
    let middle = (low + high) as f64 / 2.0;
    // The adversary knows on which side of mid-grey most of such images lie.
    let dark = input.iter().filter(|&&value| (value as f64) < middle).count() * 2 > input.len();
    let side = if dark { -1.0 } else { 1.0 };
    let folded = secret.mapv(|value| middle + side * (value - middle).abs());
    Ok(vec![glimpse("as received", "nothing", secret), glimpse("folding", "nothing", folded)])
}

fn look_at_morph(morph: &Morph, model: &Model, input: &Array4<i64>) -> Result<Vec<Glimpse>> {
    let shape = model.manifest.graph.node(0).shape;
    let key = MorphKey::new(morph.master.clone(), shape, morph.kappa, morph.blocks)?;
    let plain = to_f64(input);
    let morphed = key.morph(&plain)?;
    let (low, high) = (fold_min(&plain), fold_max(&plain));
    let stretch = |image: &Array4<f64>| blocks::stretched(image, high - low).mapv(|value| value + low);
    let image = |values: Vec<f64>| blocks::as_image(&values, shape);
    let energies = blocks::energies(&morphed, shape, key.block());
    let needed = images_needed(&key);
    let known = recover(&chosen_pairs(&key, needed)?, key.block(), key.distinct())?;
    let mut glimpses = vec![
        glimpse("as received", "nothing", stretch(&blocks::as_image(&morphed, shape))),
        glimpse("energy of blocks", "nothing", stretch(&energies)),
        glimpse("known images", &format!("{needed} pairs"), image(known.unmorph(&morphed))),
    ];
    match reverse::reverse(model, &augment(model, &key)?) {
        Ok(Some(found)) => {
            let needs = "the first layer's weights";
            glimpses.push(glimpse("reversing", needs, image(found.unmorph(&morphed))));
        }
        // Layers that one channel does not determine: no image from this attack.
        Ok(None) | Err(PerceptualError::Network { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(glimpses)
}

/// Random images that the adversary had morphed.
fn chosen_pairs(key: &MorphKey, count: usize) -> Result<Vec<Pair>> {
    let mut prg = Prg::new(&Seed::from_bytes([1; 16]));
    (0..count)
        .map(|_| {
            let mut values = vec![0; key.shape().len()];
            prg.fill_below(&mut values, 256);
            let plain: Vec<f64> = values.into_iter().map(|value| value as f64).collect();
            let morphed = key.morph(&blocks::as_image(&plain, key.shape()))?;
            Ok(Pair { plain, morphed })
        })
        .collect()
}

fn fold_min(image: &Array4<f64>) -> f64 {
    image.iter().copied().fold(f64::INFINITY, f64::min)
}

fn fold_max(image: &Array4<f64>) -> f64 {
    image.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Runs every contender on one input of the network; `truth` is a reference segmentation of it. A backend that does not
/// apply is listed with its reason.
///
/// # Errors
/// If the plain network cannot run, or the reference segmentation does not fit.
pub fn compare(
    model: &Model,
    input: &Array4<i64>,
    truth: Option<&Array3<u8>>,
    contenders: &mut [Contender],
) -> Result<Comparison> {
    let plain_labels = bytes(&models::reference::run(model, input)?)?;
    let labels = u8::try_from(model.manifest.labels.len()).unwrap_or(u8::MAX);
    if truth.is_some_and(|truth| truth.dim() != plain_labels.dim()) {
        let reason = "the reference segmentation has another size than the network's labels";
        return Err(PerceptualError::Parameters(reason.into()));
    }
    let plain = to_f64(input);
    let mut comparison = Comparison {
        model: model.manifest.name.clone(),
        rows: Vec::new(),
        refused: Vec::new(),
        trivial: truth.map(|truth| trivial_baseline(truth.view(), labels)),
        trivial_leak: measure(one_grey(&plain), &plain),
        columns: vec![vec![image_panel("the scan", &plain, &plain)]],
    };
    if let Some(truth) = truth {
        comparison.columns[0].push(label_panel("reference", truth, labels));
    }
    for contender in contenders {
        let name = contender.backend.name();
        let run = contender.backend.run(model, input).map_err(PerceptualError::from);
        let (outcome, glimpses) = match run.and_then(|outcome| Ok((outcome, (contender.look)(model, input)?)))
        {
            Ok(done) => done,
            Err(reason) => {
                let reason = innermost(&reason);
                comparison.refused.push(Refused { backend: name.into(), reason });
                continue;
            }
        };
        let found = bytes(&outcome.labels)?;
        let mut column = vec![label_panel(&format!("{name}: labels"), &found, labels)];
        column.extend(glimpses.iter().map(|glimpse| image_panel(&glimpse.attack, &glimpse.image, &plain)));
        comparison.columns.push(column);
        let leaks = glimpses.into_iter().map(|glimpse| measure(glimpse, &plain)).collect();
        let scores = truth.map(|truth| score(found.view(), truth.view(), labels));
        let different = imaging::different(found.view(), plain_labels.view());
        comparison.rows.push(row(contender, outcome, different, scores, leaks));
    }
    Ok(comparison)
}

fn bytes(labels: &Array3<u16>) -> Result<Array3<u8>> {
    label_bytes(labels).ok_or_else(|| PerceptualError::Parameters(TOO_MANY_LABELS.into()))
}

/// Why labels above 255 are refused.
pub(crate) const TOO_MANY_LABELS: &str = "the network has more labels than the 256 that masks hold";

fn row(
    contender: &Contender,
    Outcome { labels, record }: Outcome,
    different: u64,
    scores: Option<Vec<LabelScore>>,
    leaks: Vec<Leak>,
) -> Row {
    let phases = record.phases;
    let all = [phases.setup, phases.offline, phases.online];
    Row {
        backend: contender.backend.name().into(),
        threat_model: contender.backend.threat_model(),
        different,
        voxels: labels.len() as u64,
        mean_dice: scores.as_deref().and_then(mean_dice),
        scores,
        seconds: [phases.setup.seconds + phases.offline.seconds, phases.online.seconds],
        bytes: [
            all.iter().map(|phase| phase.bytes_alice_to_bob).sum(),
            all.iter().map(|phase| phase.bytes_bob_to_alice).sum(),
        ],
        rounds: all.iter().map(|phase| phase.rounds).sum(),
        note: contender.note,
        leaks,
        record,
    }
}

/// The backend's own words: its name stands beside them.
fn innermost(error: &PerceptualError) -> String {
    match error {
        PerceptualError::Backend(error) => error.source.to_string(),
        other => other.to_string(),
    }
}

fn measure(glimpse: Glimpse, plain: &Array4<f64>) -> Leak {
    let range = (fold_max(plain) - fold_min(plain)).max(1.0);
    Leak {
        ssim: ssim(plain.view(), glimpse.image.view(), range),
        mse: mse(plain.view(), glimpse.image.view()),
        attack: glimpse.attack,
        needs: glimpse.needs,
    }
}

/// The middle slice of the first channel, black to white over the plain image's range.
fn image_panel(caption: &str, image: &Array4<f64>, plain: &Array4<f64>) -> Panel {
    let (low, high) = (fold_min(plain), fold_max(plain));
    let width = if high > low { high - low } else { 1.0 };
    let slice = image.index_axis(Axis(0), 0).index_axis_move(Axis(0), image.dim().1 / 2).to_owned();
    Panel { caption: caption.into(), values: slice.mapv(|value| (value - low) / width) }
}

fn label_panel(caption: &str, labels: &Array3<u8>, count: u8) -> Panel {
    let slice: Array2<u8> = labels.index_axis(Axis(0), labels.dim().0 / 2).to_owned();
    let most = f64::from(count.max(2) - 1);
    Panel { caption: caption.into(), values: slice.mapv(|label| f64::from(label) / most) }
}

impl Leak {
    fn line(&self, who: &str) -> String {
        let ssim = self.ssim.map_or("-".into(), |ssim| format!("{ssim:.3}"));
        format!("{who:<12} {:<18} {:<28} {ssim:>6} {:>12.1}", self.attack, self.needs, self.mse)
    }
}

impl Comparison {
    /// The table: a line per backend, then a line per look, then who learns what.
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:<12} {:>10} {:>8} {:>10} {:>10} {:>12} {:>12} {:>7}",
            "backend", "different", "Dice", "before s", "scan s", "bytes up", "bytes down", "rounds"
        )];
        for row in &self.rows {
            let dice = row.mean_dice.map_or("-".into(), |dice| format!("{dice:.3}"));
            let [before, scan] = row.seconds;
            let [up, down] = row.bytes;
            lines.push(format!(
                "{:<12} {:>10} {dice:>8} {before:>10.3} {scan:>10.3} {up:>12} {down:>12} {:>7}",
                row.backend,
                format!("{}/{}", row.different, row.voxels),
                row.rounds
            ));
        }
        if let Some(dice) = self.trivial.as_deref().and_then(mean_dice) {
            lines.push(format!("{:<12} {:>10} {dice:>8.3} the best answer without the scan", "trivial", ""));
        }
        for Refused { backend, reason } in &self.refused {
            lines.push(format!("{backend:<12} does not apply: {reason}"));
        }
        lines.push(String::new());
        lines.push(
            "One process runs all parties: seconds are without a network, rounds would wait for it.".into(),
        );
        for row in &self.rows {
            lines.extend(row.note.map(|note| format!("{}: {note}", row.backend)));
        }
        lines.push(String::new());
        lines.push(format!("{:<12} {:<18} {:<28} {:>6} {:>12}", "seen", "how", "needs", "SSIM", "MSE"));
        for row in &self.rows {
            if row.leaks.is_empty() {
                lines.push(format!("{:<12} no image reaches the servers", row.backend));
            }
            lines.extend(row.leaks.iter().map(|leak| leak.line(&row.backend)));
        }
        lines.push(self.trivial_leak.line("trivial"));
        for row in &self.rows {
            lines.push(format!("\n{}: {}", row.backend, row.threat_model.assumption));
            lines.extend(row.threat_model.learns.iter().map(|(who, what)| format!("  {who} learns {what}")));
            lines.push(format!("  limits: {}", row.threat_model.limits));
        }
        lines.join("\n") + "\n"
    }

    /// The table's figures with every backend's run record.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// One picture: a column per backend, its labels and what an adversary sees.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_picture(&self, path: &Path, overwrite: bool) -> Result<()> {
        write_grid(path, &self.columns, if overwrite { Overwrite::Replace } else { Overwrite::Refuse })
    }
}

/// Over the labels but the first, the background.
fn mean_dice(scores: &[LabelScore]) -> Option<f64> {
    let dice: Vec<f64> = scores.iter().skip(1).filter_map(|score| score.dice).collect();
    (!dice.is_empty()).then(|| dice.iter().sum::<f64>() / dice.len() as f64)
}

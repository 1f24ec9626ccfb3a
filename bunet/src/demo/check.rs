//! The third eye: is the blind result the reference's, voxel by voxel?

use super::Stage;
use crate::args::Demo;
use alice::Job;
use cli::{Failure, Kind};
use imaging::{LabelScore, Scan, different, read_labels, score, trivial_baseline};
use models::manifest::label_bytes;
use models::record::Agreement;
use models::{Model, bundle, reference};
use ndarray::{Array3, Array4};

/// What was found.
pub(super) struct Checked {
    /// With the reference that accounts for every carry.
    pub(super) agreement: Agreement,
    /// With the reference that rounds exactly.
    pub(super) without_carries: u64,
    /// Name, score, and the trivial answer's score, by label.
    pub(super) scores: Vec<(String, LabelScore, LabelScore)>,
}

/// What is run.
pub(super) fn job(stage: &Stage<'_>, flags: &Demo) -> Result<(Model, Job), Failure> {
    let model = bundle::load(&stage.folder.join("model.bunet")).map_err(Failure::input)?;
    let scan = Scan::read(stage.folder.join(stage.case.scan.name)).map_err(Failure::input)?;
    let job = Job::new(&model.manifest, &flags.plan.config()?, &scan)?;
    Ok((model, job))
}

/// Compares the labels that Alice wrote.
pub(super) fn check(stage: &Stage<'_>, flags: &Demo) -> Result<Checked, Failure> {
    let (model, job) = job(stage, flags)?;
    let blind = read_labels(&stage.mask, &job.greys).map_err(Failure::input)?;
    let (exact, with_carries) = references(stage, &job, &model)?;
    let total = blind.len() as u64;
    let agreement = Agreement { total, different: different(blind.view(), with_carries.view()) };
    let without_carries = different(blind.view(), exact.view());

    let label = read_labels(stage.folder.join(stage.case.label.name), &job.greys).map_err(Failure::input)?;
    let names = &model.manifest.labels;
    let own = score(blind.view(), label.view(), names.len() as u8);
    let trivial = trivial_baseline(label.view(), names.len() as u8);
    let named = names.iter().map(|label| label.name.clone());
    let scores = named.zip(own).zip(trivial).map(|((name, own), trivial)| (name, own, trivial)).collect();
    Ok(Checked { agreement, without_carries, scores })
}

/// The reference's labels on the scan's grid: rounding exactly, and with the carries of this run.
fn references(stage: &Stage<'_>, job: &Job, model: &Model) -> Result<(Array3<u8>, Array3<u8>), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Kind::Internal, format!("demo: {error}"));
    let restore = |labels: Array3<u16>| {
        let labels = label_bytes(&labels).ok_or_else(|| failed(&"a label above 255"))?;
        job.prepared.restore(&[labels]).map_err(|error| failed(&error))
    };
    let input: Array4<i64> = job.inputs().next().ok_or_else(|| failed(&"no patch"))?;
    let exact = reference::run_checked(model, &input).map_err(|error| failed(&error))?;
    let checked = crate::pair::audit(stage.folder, &job.plan, model, &input, &mut |_, _| {})?;
    if checked.values().different > 0 {
        return Err(failed(&"values between layers are not the reference's"));
    }
    Ok((restore(exact)?, restore(checked.labels)?))
}

//! `alice segment`: from a scan to its labels.

use crate::conversation::Conversation;
use crate::outputs::{self, Files};
use crate::progress::Progress;
use crate::{Job, Segment, folder, manifest, tune};
use cli::{Failure, Run};
use imaging::Scan;
use models::{Manifest, bundle};
use protocol::report::Side;

/// Segments a scan, or every scan of a folder. What can be refused is refused before the long work, and most of it before
/// connecting.
pub fn segment(flags: &Segment) -> Result<(), Failure> {
    flags.run.start()?;
    if flags.input.is_dir() && !imaging::is_series(&flags.input).map_err(Failure::input)? {
        return folder::segment(flags);
    }
    if flags.resume {
        return Err(Failure::input("--continue is for folders of scans; for one scan leave it out"));
    }
    one(flags)
}

fn one(flags: &Segment) -> Result<(), Failure> {
    let config = flags.config()?;
    let files = Files::of(flags);
    let scan = Scan::read(&files.input).map_err(Failure::input)?;
    outputs::check(flags, &scan)?;
    let own = flags.manifest.as_deref().map(bundle::load_manifest).transpose().map_err(Failure::input)?;
    let fit = |manifest: &Manifest| -> Result<_, Failure> {
        let job = Job::new(manifest, &config, &scan)?;
        let reference = files.reference(&job, &scan)?;
        Ok((job, reference))
    };
    let early = own.as_ref().map(fit).transpose()?;
    let (mut connection, identity) = manifest::connect(&flags.server)?;
    let (mut job, reference) = match early {
        Some(fitted) => fitted,
        None => fit(&manifest::ask(&mut connection, flags.server.model.as_deref())?)?,
    };
    if flags.tune {
        let pool = flags.pool.as_deref();
        job.plan = tune::fastest(&mut connection, &identity, &job.plan, pool, flags.run.quiet)?.into();
    }
    let mut conversation = Conversation::new(flags, connection, &identity, &job.plan)?;
    let patches = job.prepared.patch_count();
    let items = conversation.items()?;
    if flags.pool.is_some() && items < patches && !flags.run.quiet {
        eprintln!(
            "the pool holds {items} of {patches} runs with this network and plan; the rest is prepared now"
        );
    }
    let mut progress = Progress::new(&job.plan, patches, flags.run.quiet);
    let (answer, run) = conversation.run(&job, &mut progress)?;
    let written = files.write(&job, &scan, &answer, reference.as_ref(), outputs::policy(flags))?;
    let scores = reference.map(|reference| outputs::scores(&job, &answer.labels, &reference));
    report(flags, &job, &run, written, scores)
}

/// Tells how it went.
fn report(
    flags: &Segment,
    job: &Job,
    run: &Run,
    outputs: Vec<String>,
    scores: Option<outputs::Scores>,
) -> Result<(), Failure> {
    let profile = flags.server.endpoint.profile_name();
    let mut record = run.record(&job.plan, Side::Alice, "alice segment", profile);
    record.outputs = outputs;
    record.dice = scores.as_ref().map(outputs::dice);
    if let Some(path) = &flags.json {
        record.outputs.push(path.display().to_string());
        cli::write_json(path, &record)?;
    }
    if !flags.run.quiet {
        println!("{}: {}", record.outputs.join(", "), cli::summary(&record));
        for (name, (dice, trivial)) in scores.iter().flatten() {
            println!("Dice {name}: {dice:.4} (trivial answer {trivial:.4})");
        }
    }
    Ok(())
}

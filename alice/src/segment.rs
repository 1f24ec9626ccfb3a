//! `alice segment`: from a scan to its labels.

use crate::progress::Progress;
use crate::{Job, Segment, manifest, outputs};
use cli::{Failure, Run};
use imaging::Scan;
use models::manifest::label_bytes;
use models::{Manifest, bundle};
use net::Connection;
use prg::Prg;
use protocol::audit::FileAudit;
use protocol::engine::run_alice_with;
use protocol::report::Side;
use protocol::store::Pool;
use protocol::{Alice, ProtocolError, session};

use ndarray::Array3;

/// Segments a scan. What can be refused is refused before the long work, and most of it before connecting.
pub fn segment(flags: &Segment) -> Result<(), Failure> {
    flags.run.start()?;
    let config = flags.plan.config()?;
    let scan = Scan::read(&flags.input).map_err(Failure::input)?;
    outputs::check(flags, &scan)?;
    let own = flags.manifest.as_deref().map(bundle::load_manifest).transpose().map_err(Failure::input)?;
    let fit = |manifest: &Manifest| -> Result<_, Failure> {
        let job = Job::new(manifest, &config, &scan)?;
        let reference = outputs::reference(flags, &job, &scan)?;
        Ok((job, reference))
    };
    let early = own.as_ref().map(fit).transpose()?;
    let (mut connection, identity) = manifest::connect(&flags.server)?;
    let (job, reference) = match early {
        Some(fitted) => fitted,
        None => fit(&manifest::ask(&mut connection, flags.server.model.as_deref())?)?,
    };
    let store = |folder| cli::store(folder, &identity, Side::Alice, connection.peer_fingerprint());
    let pool = flags.pool.as_deref().map(|folder| store(folder).open(&job.plan)).transpose();
    let pool = pool.map_err(ProtocolError::from)?.flatten();
    let (labels, run) = run(flags, &job, connection, pool)?;
    let labels = job.prepared.restore(&labels).map_err(Failure::output)?;
    let written = outputs::write(flags, &job, &scan, &labels, reference.as_ref())?;
    let scores = reference.map(|reference| outputs::scores(&job, &labels, &reference));
    report(flags, &job, &run, written, scores)
}

/// Runs the network on every patch.
fn run(
    flags: &Segment,
    job: &Job,
    connection: Connection,
    mut pool: Option<Pool>,
) -> Result<(Vec<Array3<u8>>, Run), Failure> {
    let patches = job.prepared.patch_count();
    let items = pool.as_ref().map_or(Ok(0), |pool| pool.items().map(|items| items.len()));
    let items = items.map_err(ProtocolError::from)?;
    if flags.pool.is_some() && items < patches && !flags.run.quiet {
        eprintln!(
            "the pool holds {items} of {patches} runs with this network and plan; the rest is prepared now"
        );
    }
    let mut progress = Progress::new(&job.plan, patches, flags.run.quiet);
    let mut alice = Alice::new(connection.into_channel(), Prg::from_os());
    if let Some(path) = &flags.run.audit {
        alice = alice.with_audit(FileAudit::new(cli::private_file(path)?, flags.run.audit_also.clone()));
    }
    let (mut labels, mut run) = (Vec::new(), Run::default());
    for input in job.inputs() {
        let item = match &mut pool {
            Some(pool) => session::propose_item(alice.channel(), &job.plan, pool)?,
            None => None,
        };
        if item.is_none() {
            session::propose(alice.channel(), &job.plan)?;
        }
        let (patch, measurements) = run_alice_with(&job.plan, &mut alice, item, &input, &mut progress)?;
        let bytes = label_bytes(&patch);
        labels.push(bytes.ok_or_else(|| Failure::output("a label above the 255 that masks hold"))?);
        run.add(&measurements);
    }
    progress.finish();
    Ok((labels, run))
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
    record.dice =
        scores.as_ref().map(|scores| scores.iter().map(|(name, (dice, _))| (name.clone(), *dice)).collect());
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

//! `alice segment` on a folder: every scan by itself, over one connection as long as that holds.
//!
//! A scan that fails does not stop the others. What concerns them all does: a server that is gone, or one that refuses the
//! plan.

use crate::conversation::Conversation;
use crate::finished::{self, Finished};
use crate::outputs::{self, Files, explain, same};
use crate::progress::Progress;
use crate::{Job, Segment, manifest, tune};
use cli::{CaseRecord, CaseStatus, Failure, FolderRecord, Kind, Run};
use imaging::{OutputFormat, Overwrite, Scan, check_writable, find_scans, scan_stem};
use models::{Manifest, bundle};
use net::{Connection, Identity};
use protocol::report::Side;
use protocol::{Config, Plan};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A scan of the folder.
struct Case {
    name: String,
    files: Files,
}

/// Segments every scan of a folder.
pub(crate) fn segment(flags: &Segment) -> Result<(), Failure> {
    let config = flags.config()?;
    let cases = cases(flags)?;
    check(flags, &cases)?;
    let own = flags.manifest.as_deref().map(bundle::load_manifest).transpose().map_err(Failure::input)?;
    let early = own.as_ref().map(|manifest| derive(manifest, &config)).transpose()?;
    let (mut connection, identity) = manifest::connect(&flags.server)?;
    let mut plan = match early {
        Some(plan) => plan,
        None => derive(&manifest::ask(&mut connection, flags.server.model.as_deref())?, &config)?,
    };
    if flags.tune {
        let pool = flags.pool.as_deref();
        plan = tune::fastest(&mut connection, &identity, &plan, pool, flags.run.quiet)?.into();
    }
    let finished = Finished::open(&flags.output, plan.manifest(), flags.overwrite)?;
    check_unfinished(flags, &cases, &finished)?;
    make_folders(flags)?;
    let conversation = Conversation::new(flags, connection, &identity, &plan)?;
    let mut work = Work { flags, plan, conversation: Some(conversation), finished, total: Run::default() };
    work.announce(&cases)?;
    work.all(&cases)
}

fn derive(manifest: &Manifest, config: &Config) -> Result<Arc<Plan>, Failure> {
    crate::job::check_labels(manifest)?;
    Ok(Arc::new(Plan::derive(manifest, config)?))
}

/// The scans of the folder, and where what becomes of them goes.
fn cases(flags: &Segment) -> Result<Vec<Case>, Failure> {
    let (scans, others) = find_scans(&flags.input).map_err(Failure::input)?;
    let folder = flags.input.display();
    if scans.is_empty() {
        let kinds = "PNG, TIFF, NIfTI, DICOM, or folders that each hold a DICOM series";
        return Err(Failure::input(format!("{folder}: no scan in it; give a folder of scans ({kinds})")));
    }
    if others > 0 && !flags.run.quiet {
        eprintln!("{folder}: {} scans; {others} other entries are passed over", scans.len());
    }
    let references = flags.reference.as_deref().map(references).transpose()?;
    let one = |scan: imaging::Found| {
        let output = flags.output.join(format!("{}{}", scan.stem, scan.ending));
        let overlay = flags.overlay.as_ref().map(|folder| folder.join(format!("{}.png", scan.stem)));
        let scores = flags.scores_to().map(|folder| folder.join(format!("{}.nii.gz", scan.stem)));
        let reference = references.as_ref().and_then(|known| known.get(&scan.stem).cloned());
        Case { files: Files { input: scan.path, output, overlay, scores, reference }, name: scan.stem }
    };
    Ok(scans.into_iter().map(one).collect())
}

/// Reference segmentations by name.
fn references(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let (found, _) = find_scans(folder).map_err(Failure::input)?;
    Ok(found.into_iter().map(|scan| (scan_stem(&scan.path), scan.path)).collect())
}

/// What can be refused without looking at any scan.
fn check(flags: &Segment, cases: &[Case]) -> Result<(), Failure> {
    let output = &flags.output;
    let refuse = |path: &Path, reason: &str| Err(Failure::output(format!("{}: {reason}", path.display())));
    if flags.run.audit.is_some() {
        return Err(Failure::input("--audit is for single scans"));
    }
    if same(output, &flags.input) {
        return refuse(output, "labels would lie among the scans; give another folder");
    }
    let folders = [Some(output), flags.overlay.as_ref(), flags.scores_to()];
    let folders: Vec<&PathBuf> = folders.into_iter().flatten().collect();
    for (index, folder) in folders.iter().enumerate() {
        if !folder.is_dir() && (folder.exists() || OutputFormat::of(folder).is_ok()) {
            return refuse(folder, "the input is a folder of scans; give a folder here too");
        }
        let inputs = [Some(&flags.input), flags.reference.as_ref()].into_iter().flatten();
        if inputs.chain(folders[..index].iter().copied()).any(|other| same(other, folder)) {
            return refuse(folder, "labels, overlays and scores need a folder each; give another one");
        }
    }
    if let Some(path) = &flags.json {
        // Who goes on has the record of the run that was cut off.
        let policy = if flags.resume { Overwrite::Replace } else { outputs::policy(flags) };
        check_writable(path, policy).map_err(explain)?;
    }
    let mut taken: BTreeMap<&Path, &Case> = BTreeMap::new();
    for case in cases {
        for path in case.files.outputs() {
            if let Some(other) = taken.insert(path, case) {
                let names = [other, case].map(|case| case.files.input.display().to_string()).join(" and ");
                return refuse(path, &format!("is the answer to both {names}; rename one of them"));
            }
        }
    }
    Ok(())
}

/// Files in the way: all are found before any scan is segmented.
fn check_unfinished(flags: &Segment, cases: &[Case], finished: &Finished) -> Result<(), Failure> {
    if flags.overwrite {
        return Ok(());
    }
    let foreign = |path: &&PathBuf| path.exists() && !(flags.resume && finished.owns(path));
    let in_the_way = |case: &Case| case.files.outputs().find(foreign).cloned();
    let found: Vec<PathBuf> = cases.iter().filter_map(in_the_way).collect();
    let Some(first) = found.first() else { return Ok(()) };
    let reason = if flags.resume {
        format!("exists and is not in {}: nobody can tell which network it is from", finished::NAME)
    } else {
        format!("exists already, with {} others", found.len() - 1)
    };
    let remedy =
        "skip what this network has finished (--continue), replace all (--overwrite), or give another folder";
    Err(Failure::output(format!("{}: {reason}; {remedy}", first.display())))
}

fn make_folders(flags: &Segment) -> Result<(), Failure> {
    for folder in [Some(&flags.output), flags.overlay.as_ref(), flags.scores_to()].into_iter().flatten() {
        let failed =
            |error| Failure::output(format!("{}: cannot make this folder: {error}", folder.display()));
        if !folder.is_dir() {
            std::fs::create_dir(folder).map_err(failed)?;
        }
        check_writable(&folder.join(finished::NAME), Overwrite::Replace).map_err(explain)?;
    }
    Ok(())
}

/// What goes on while a folder is segmented.
struct Work<'a> {
    flags: &'a Segment,
    plan: Arc<Plan>,
    /// None after a failure that leaves the connection in an unknown state.
    conversation: Option<Conversation>,
    finished: Finished,
    total: Run,
}

impl Work<'_> {
    /// Tells if the pool does not go far enough.
    fn announce(&self, cases: &[Case]) -> Result<(), Failure> {
        let items = self.conversation.as_ref().map_or(Ok(0), Conversation::items)?;
        let scans = cases.iter().filter(|case| !self.is_finished(case)).count();
        if self.flags.pool.is_some() && items < scans && !self.flags.run.quiet {
            eprintln!(
                "the pool holds {items} runs with this network and plan, for {scans} scans; the rest is prepared as they go"
            );
        }
        Ok(())
    }

    /// Whether an earlier run did it, and this one is to go on from there.
    fn is_finished(&self, case: &Case) -> bool {
        self.flags.resume && self.finished.holds(&case.files)
    }

    /// One scan after the other; then the record and the summary.
    fn all(&mut self, cases: &[Case]) -> Result<(), Failure> {
        let start = Instant::now();
        let mut records: Vec<CaseRecord> =
            cases.iter().map(|case| CaseRecord::left(case.name.clone())).collect();
        let mut stopped = None;
        for (index, (case, record)) in cases.iter().zip(&mut records).enumerate() {
            if self.is_finished(case) {
                record.status = CaseStatus::Skipped;
                continue;
            }
            if let Err(failure) = self.reconnect() {
                stopped = Some(failure);
                break;
            }
            let begun = Instant::now();
            let outcome = self.one((index + 1, cases.len()), case, record);
            record.seconds = begun.elapsed().as_secs_f64();
            match outcome {
                Ok(()) => record.status = CaseStatus::Done,
                Err(failure) => {
                    record.fail(&failure);
                    eprintln!("error: {}: {failure}", case.name);
                    if failure.kind() == Kind::Plan {
                        stopped = Some(failure);
                        break;
                    }
                }
            }
            self.tell((index + 1, cases.len()), record);
        }
        self.report(records, start.elapsed().as_secs_f64(), stopped)
    }

    /// A connection again, if the last one broke.
    fn reconnect(&mut self) -> Result<(), Failure> {
        if self.conversation.is_none() {
            let (connection, identity): (Connection, Identity) = manifest::connect(&self.flags.server)?;
            self.conversation = Some(Conversation::new(self.flags, connection, &identity, &self.plan)?);
        }
        Ok(())
    }

    fn one(&mut self, place: (usize, usize), case: &Case, record: &mut CaseRecord) -> Result<(), Failure> {
        let scan = Scan::read(&case.files.input).map_err(Failure::input)?;
        imaging::check_output(&case.files.output, &scan, Overwrite::Replace).map_err(explain)?;
        let job = Job::with_plan(self.plan.clone(), &scan)?;
        let reference = case.files.reference(&job, &scan)?;
        let quiet = self.flags.run.quiet;
        let mut progress = Progress::new(&job.plan, job.prepared.patch_count(), quiet).of_case(place);
        // Put back only after a run that ended well.
        let Some(mut conversation) = self.conversation.take() else {
            return Err(Failure::new(Kind::Internal, "no connection"));
        };
        let (answer, run) = conversation.run(&job, &mut progress).inspect_err(|_| progress.finish())?;
        self.conversation = Some(conversation);
        self.total.join(&run);
        (record.bytes_alice_to_bob, record.bytes_bob_to_alice) = run.bytes();
        self.finished.enter(&case.files)?;
        record.outputs = case.files.write(&job, &scan, &answer, reference.as_ref(), Overwrite::Replace)?;
        record.dice = reference.map(|own| outputs::dice(&outputs::scores(&job, &answer.labels, &own)));
        Ok(())
    }

    fn tell(&self, (number, of): (usize, usize), record: &CaseRecord) {
        if self.flags.run.quiet || record.status != CaseStatus::Done {
            return;
        }
        let dice = record.dice.iter().flatten().map(|(name, dice)| format!(", Dice {name} {dice:.4}"));
        let dice: String = dice.collect();
        eprintln!("{number}/{of} {}: done in {}{dice}", record.case, cli::seconds(record.seconds));
    }

    fn report(
        &self,
        records: Vec<CaseRecord>,
        seconds: f64,
        stopped: Option<Failure>,
    ) -> Result<(), Failure> {
        let profile = self.flags.server.endpoint.profile_name();
        let total = self.total.record(&self.plan, Side::Alice, "alice segment", profile);
        let record = FolderRecord::of(records, total, seconds);
        if let Some(path) = &self.flags.json {
            cli::write_json(path, &record)?;
        }
        let summary = &record.summary;
        if !self.flags.run.quiet {
            println!("{}: {summary}", self.flags.output.display());
        }
        match stopped {
            Some(failure) => {
                let rest = format!("{} scans are left; start again with --continue", summary.left);
                Err(Failure::new(failure.kind(), format!("{failure}\n{rest}")))
            }
            None if summary.failed > 0 => {
                let counts = format!("{} of {} scans failed, see above", summary.failed, summary.cases);
                Err(Failure::new(Kind::Partial, format!("{counts}; start again with --continue")))
            }
            None => Ok(()),
        }
    }
}

//! Several runs whose records lie in one folder: what is there already is not run again.

use super::Conditions;
use super::network::Architecture;
use super::run::{self, BenchRecord};
use cli::{Failure, Kind};
use protocol::Config;
use std::path::Path;

/// A run to make.
pub(crate) struct Case {
    /// The record's file name, without its ending.
    pub(crate) name: String,
    pub(crate) architecture: Architecture,
    pub(crate) config: Config,
}

/// What came of it.
pub(crate) struct Outcome<'a> {
    pub(crate) case: &'a Case,
    pub(crate) record: Result<BenchRecord, Failure>,
}

/// Makes all runs that have no record in `out` yet, and tells `report` all there is after each.
pub(crate) fn run_all(
    cases: &[Case],
    conditions: &Conditions,
    out: &Path,
    root: &Path,
    report: impl Fn(&[Outcome<'_>]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error| Failure::output(format!("{}: cannot write: {error}", out.display()));
    std::fs::create_dir_all(out).map_err(failed)?;
    let mut outcomes = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let path = out.join(format!("{}.json", case.name));
        let head = format!("── {} of {}: {}", number + 1, cases.len(), case.name);
        let record = match read(&path).filter(|record| fits(record, case, conditions)) {
            Some(record) => {
                println!("{head}: there already");
                Ok(record)
            }
            None => {
                println!("{head}");
                let record = run::run(&case.architecture, &case.config, true, conditions, root);
                record.and_then(|record| cli::write_json(&path, &record).map(|()| record))
            }
        };
        match &record {
            Ok(record) => println!("{}\n", super::tables::closing(record)),
            Err(failure) => eprintln!("{}: {failure}\n", case.name),
        }
        outcomes.push(Outcome { case, record });
        report(&outcomes)?;
    }
    let sound = |outcome: &Outcome<'_>| outcome.record.as_ref().is_ok_and(|record| record.verdict().is_ok());
    let unsound: Vec<&str> =
        outcomes.iter().filter(|o| !sound(o)).map(|outcome| outcome.case.name.as_str()).collect();
    if unsound.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Internal, format!("runs that do not count: {}; see above", unsound.join(", "))))
}

fn read(path: &Path) -> Option<BenchRecord> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// Whether a record is of this case under these conditions.
fn fits(record: &BenchRecord, case: &Case, conditions: &Conditions) -> bool {
    let threads = conditions.threads.is_none_or(|threads| usize::from(threads) == record.run.threads);
    record.bench.architecture == case.architecture
        && record.bench.config == case.config
        && record.run.profile == conditions.profile.name()
        && threads
}

//! The record of a whole folder of scans.

use crate::{Failure, bytes, seconds, sum};
use models::record::RunRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What became of a folder: one JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FolderRecord {
    /// How it went, in figures.
    pub summary: FolderSummary,
    /// Every scan, by name.
    pub cases: Vec<CaseRecord>,
    /// All that were done as one run: bytes, times and rounds added up.
    pub total: RunRecord,
}

/// How it went, in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FolderSummary {
    /// Scans in the folder.
    pub cases: usize,
    /// Segmented in this run.
    pub done: usize,
    /// Finished before it.
    pub skipped: usize,
    /// Could not be segmented.
    pub failed: usize,
    /// Not tried, because the run ended before.
    pub left: usize,
    /// From the first scan to the last, reading and writing included.
    pub seconds: f64,
    /// Bytes from Alice to Bob.
    pub bytes_alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bytes_bob_to_alice: u64,
}

/// One scan of the folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    /// Its name without ending.
    pub case: String,
    /// What became of it.
    pub status: CaseStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// Time, reading and writing included.
    pub seconds: f64,
    /// Bytes from Alice to Bob.
    pub bytes_alice_to_bob: u64,
    /// Bytes from Bob to Alice.
    pub bytes_bob_to_alice: u64,
    /// Dice per label, where there is a reference.
    pub dice: Option<BTreeMap<String, f64>>,
    /// Files written.
    pub outputs: Vec<String>,
}

/// What became of a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseStatus {
    /// Segmented in this run.
    Done,
    /// Finished before it.
    Skipped,
    /// Could not be segmented.
    Failed,
    /// Not tried.
    #[default]
    Left,
}

impl FolderRecord {
    /// Counts what became of the cases.
    pub fn of(cases: Vec<CaseRecord>, total: RunRecord, seconds: f64) -> Self {
        let count = |status| cases.iter().filter(|case| case.status == status).count();
        let phases = &total.phases;
        let all = sum([&phases.setup, &phases.offline, &phases.online]);
        let summary = FolderSummary {
            cases: cases.len(),
            done: count(CaseStatus::Done),
            skipped: count(CaseStatus::Skipped),
            failed: count(CaseStatus::Failed),
            left: count(CaseStatus::Left),
            seconds,
            bytes_alice_to_bob: all.bytes_alice_to_bob,
            bytes_bob_to_alice: all.bytes_bob_to_alice,
        };
        Self { summary, cases, total }
    }
}

impl CaseRecord {
    /// A case that has not been tried.
    pub fn left(case: String) -> Self {
        Self { case, ..Self::default() }
    }

    /// Notes why it failed.
    pub fn fail(&mut self, failure: &Failure) {
        self.status = CaseStatus::Failed;
        self.error = Some(failure.to_string());
    }
}

impl std::fmt::Display for FolderSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scans = if self.cases == 1 { "scan" } else { "scans" };
        write!(f, "{} {scans}: {} done, {} skipped", self.cases, self.done, self.skipped)?;
        write!(f, ", {} failed", self.failed)?;
        if self.left > 0 {
            write!(f, ", {} not tried", self.left)?;
        }
        let (up, down) = (bytes(self.bytes_alice_to_bob), bytes(self.bytes_bob_to_alice));
        write!(f, "; {}, {up} from Alice to Bob, {down} from Bob to Alice", seconds(self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted() {
        let case = |status| CaseRecord { status, ..CaseRecord::left("a".into()) };
        use CaseStatus::{Done, Failed, Left, Skipped};
        let cases = [Done, Done, Skipped, Failed, Left].map(case).to_vec();
        let mut total = RunRecord::default();
        total.phases.online.bytes_alice_to_bob = 1500;
        let record = FolderRecord::of(cases, total, 2.0);
        let text = record.summary.to_string();
        assert_eq!(
            text,
            "5 scans: 2 done, 1 skipped, 1 failed, 1 not tried; 2.00 s, 1.5 kB from Alice to Bob, 0 B from Bob to Alice"
        );
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["cases"][2]["status"], "skipped");
        assert_eq!(serde_json::from_value::<FolderRecord>(json).unwrap(), record);
    }
}

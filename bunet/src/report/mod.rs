//! `bunet report`: the record of a run as one HTML file that needs nothing else.

pub(crate) mod page;
mod parts;

use crate::args::Report;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cli::{Failure, FolderRecord};
use imaging::{Overwrite, check_writable, write_atomically};
use models::record::RunRecord;
use page::Page;
use std::io::Write;
use std::path::Path;

/// Largest record and picture.
const LARGEST: u64 = 64 << 20;

/// A record as its command wrote it.
enum Record {
    Run(Box<RunRecord>),
    Folder(Box<FolderRecord>),
}

impl Record {
    fn run(&self) -> &RunRecord {
        match self {
            Self::Run(run) => run,
            Self::Folder(folder) => &folder.total,
        }
    }
}

/// Writes the report.
pub(crate) fn report(flags: &Report) -> Result<(), Failure> {
    let policy = if flags.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    check_writable(&flags.output, policy).map_err(Failure::output)?;
    let text = read(&flags.record)?;
    let mut record = parse(&flags.record, &text)?;
    if let (Some(path), Record::Run(run)) = (&flags.bob, &mut record) {
        **run = cli::merge((**run).clone(), &counterpart(path, run)?);
    } else if let Some(path) = &flags.bob {
        return Err(Failure::input(format!(
            "{}: goes with the record of one run, not of a folder",
            path.display()
        )));
    }
    let pictures = flags.picture.iter().map(|path| picture(path)).collect::<Result<Vec<_>, _>>()?;
    let html = compose(&record, &pictures, &String::from_utf8_lossy(&text));
    write_atomically(&flags.output, policy, |out| out.write_all(html.as_bytes())).map_err(Failure::output)?;
    println!("{}", flags.output.display());
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > LARGEST {
        return Err(failed(&format!("{length} bytes are more than a report takes ({LARGEST})")));
    }
    std::fs::read(path).map_err(|error| failed(&error))
}

fn parse(path: &Path, text: &[u8]) -> Result<Record, Failure> {
    let wrong = |error: serde_json::Error| {
        let remedy = "give a file that a command wrote with --json";
        Failure::input(format!("{}: not the record of a run ({error}); {remedy}", path.display()))
    };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(wrong)?;
    if value.get("cases").is_some() {
        return serde_json::from_value(value).map(|record| Record::Folder(Box::new(record))).map_err(wrong);
    }
    serde_json::from_value(value).map(|record| Record::Run(Box::new(record))).map_err(wrong)
}

/// Bob's record of the same run: that with the same network and the same bytes in every phase.
fn counterpart(path: &Path, run: &RunRecord) -> Result<RunRecord, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
    let text = read(path)?;
    let bytes = |record: &RunRecord| {
        let phases = &record.phases;
        [&phases.setup, &phases.offline, &phases.online]
            .map(|phase| (phase.bytes_alice_to_bob, phase.bytes_bob_to_alice))
    };
    for line in String::from_utf8_lossy(&text).lines().rev() {
        let other: RunRecord = serde_json::from_str(line).map_err(|error| failed(&error))?;
        if other.model == run.model && bytes(&other) == bytes(run) {
            return Ok(other);
        }
    }
    Err(failed(&"no run in it has this one's network and bytes (of a scan in patches it has each by itself)"))
}

/// A PNG as a data URI.
fn picture(path: &Path) -> Result<String, Failure> {
    let bytes = read(path)?;
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(Failure::input(format!("{}: not a PNG picture; give the overlay", path.display())));
    }
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes)))
}

fn compose(record: &Record, pictures: &[String], json: &str) -> String {
    let run = record.run();
    let mut page = Page::new(&format!("Blind run of {}", run.model.name));
    parts::head(&mut page, run);
    parts::figures(&mut page, run);
    if let Record::Folder(folder) = record {
        parts::cases(&mut page, folder);
    }
    pictures.iter().for_each(|picture| page.picture(picture, "scan, blind result, reference"));
    parts::phases(&mut page, run);
    parts::layers(&mut page, run);
    parts::parameters(&mut page, run);
    page.fold("The record", json);
    page.finish()
}

//! `bunet evaluate`: how good labels are against references, and whether they are what the network yields in the clear.

mod case;
mod clear;
mod pairs;
mod summary;
mod tell;

use crate::args::Evaluate;
use case::{Case, Labelling};
use cli::Failure;
use imaging::{Overwrite, check_writable};
use pairs::Pair;
use std::path::Path;
use summary::Summary;

/// Scores labels, writes `summary.json` and overlays, and tells the means.
pub(crate) fn evaluate(flags: &Evaluate) -> Result<(), Failure> {
    let policy = if flags.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    if let Some(path) = &flags.output {
        check_writable(path, policy).map_err(Failure::output)?;
    }
    let labelling = Labelling::of(flags.model.as_deref())?;
    if flags.references.is_none() && !(labelling.has_weights() && flags.images.is_some()) {
        let remedy = "give REFERENCES, or --model MODEL.bunet with --images";
        return Err(Failure::input(format!("nothing to compare the labels with: {remedy}")));
    }
    let (pairs, missing) = pairs::of(flags)?;
    if let Some(folder) = &flags.overlays {
        make_folder(folder)?;
        for pair in &pairs {
            check_writable(&pair.overlay(folder), policy).map_err(Failure::output)?;
        }
    }
    let mut cases = Vec::with_capacity(pairs.len());
    for pair in &pairs {
        cases.push(one(flags, &labelling, pair, policy)?);
    }
    let summary = Summary::of(&cases, &labelling, missing)?;
    if let Some(path) = &flags.output {
        cli::write_json(path, &summary)?;
    }
    tell::print(flags, &labelling, &summary);
    Ok(())
}

fn one(flags: &Evaluate, labelling: &Labelling, pair: &Pair, policy: Overwrite) -> Result<Case, Failure> {
    let read = case::read(pair, labelling)?;
    let mut case = Case::score(pair, &read);
    if let Some(scan) = &read.image {
        if let Some(model) = labelling.model() {
            let clear = clear::labels(model, scan)?;
            case.compare(&read, &clear);
        }
        if let Some(folder) = &flags.overlays {
            let path = pair.overlay(folder);
            case::draw(&path, policy, pair, scan, &read, labelling)?;
        }
    }
    Ok(case)
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    let failed = |error| Failure::output(format!("{}: cannot make this folder: {error}", folder.display()));
    std::fs::create_dir(folder).map_err(failed)
}

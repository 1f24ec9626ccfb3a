//! `bunet demo`: both parties on this machine, as two processes over TLS, on a sample scan.
//!
//! The two run the same code as `alice segment` and `bob serve` and share nothing but a folder with their keys. What the
//! demo adds is a third eye, which no real run has: it may see both parties' shares of the layers that are exact only
//! up to carries, and so can demand that every voxel equals the integer reference.

mod cases;
mod check;
mod report;

use crate::args::Demo;
use crate::pair::{self, Pair};
use cases::Case;
use cli::Failure;
use protocol::Config;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(crate) use cases::names as case_names;

/// Where everything of one demo lies.
struct Stage<'a> {
    case: &'a Case,
    /// Keys, bundle, scan and audits; gone afterwards.
    folder: &'a Path,
    /// Pictures that stay.
    mask: PathBuf,
    overlay: PathBuf,
}

impl Stage<'_> {
    /// The two parties on the sample scan.
    fn pair<'a>(&'a self, flags: &Demo, config: &'a Config) -> Pair<'a> {
        let mut alice: Vec<OsString> = ["--input", self.case.scan.name].map(Into::into).into();
        alice.extend(["--reference", self.case.label.name, "--overwrite", "--output"].map(Into::into));
        alice.extend([self.mask.clone().into(), "--overlay".into(), self.overlay.clone().into()]);
        Pair { folder: self.folder, config, threads: flags.threads, profile: None, also: &[], alice }
    }
}

/// Runs the demo.
pub(crate) fn demo(flags: &Demo) -> Result<(), Failure> {
    let case = cases::choose(flags.model.as_deref(), flags.volume)?;
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::output(format!("{}: cannot write: {error}", path.display()))
    };
    std::fs::create_dir_all(&flags.out).map_err(|error| failed(&flags.out, &error))?;
    if let Some(path) = &flags.json {
        imaging::check_writable(path, imaging::Overwrite::Replace).map_err(Failure::output)?;
    }
    let folder = pair::folder("bunet-demo-")?;
    pair::remove_on_stop(folder.path());

    let absolute = flags.out.canonicalize().map_err(|error| failed(&flags.out, &error))?;
    let stage = Stage {
        case,
        folder: folder.path(),
        mask: absolute.join(format!("{}_mask{}", case.name, case.scan.suffix())),
        overlay: absolute.join(format!("{}_overlay.png", case.name)),
    };
    case.unpack(stage.folder).map_err(|error| failed(stage.folder, &error))?;
    check::job(&stage, flags)?; // what cannot run is refused before anything starts
    report::announce(&stage, flags)?;
    let mut record = stage.pair(flags, &flags.plan.config()?).run()?;
    let checked = check::check(&stage, flags)?;
    record.command = "bunet demo".into();
    record.profile = "loopback".into();
    record.agreement = Some(checked.agreement);
    record.outputs = [&stage.mask, &stage.overlay].map(|path| path.display().to_string()).into();
    report::print(&record, &checked);
    if let Some(path) = &flags.json {
        cli::write_json(path, &record)?;
    }
    Ok(())
}

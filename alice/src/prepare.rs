//! `alice prepare`: what later runs need and what does not depend on the scan, made beforehand with the provider.

use crate::{Prepare, manifest, tune};
use cli::{Failure, Run, bytes, seconds};
use imaging::{Overwrite, check_writable};
use models::bundle;
use prg::Prg;
use protocol::engine::Silent;
use protocol::report::Side;
use protocol::{Alice, Plan, ProtocolError, session};

/// Makes items for a pool, one per run.
pub fn prepare(flags: &Prepare) -> Result<(), Failure> {
    flags.run.start()?;
    let config = flags.plan.config()?;
    if let Some(path) = &flags.json {
        let policy = if flags.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
        check_writable(path, policy).map_err(Failure::output)?;
    }
    let own = flags.manifest.as_deref().map(bundle::load_manifest).transpose().map_err(Failure::input)?;
    let (mut connection, identity) = manifest::connect(&flags.server)?;
    let manifest = match own {
        Some(own) => own,
        None => manifest::ask(&mut connection, flags.server.model.as_deref())?,
    };
    let mut plan = Plan::derive(&manifest, &config)?;
    if flags.tune {
        plan = tune::fastest(&mut connection, &identity, &plan, None, flags.run.quiet)?;
    }
    let store = cli::store(&flags.pool, &identity, Side::Alice, connection.peer_fingerprint());
    let open = || store.open(&plan)?.map_or_else(|| store.begin(&plan), Ok);
    let mut pool = open().map_err(ProtocolError::from)?;
    let mut alice = Alice::new(connection.into_channel(), Prg::from_os());
    let mut run = Run::default();
    for number in 1..=flags.runs {
        let made = session::make(&mut alice, &plan, &mut pool, &mut Silent)?;
        run.add(&made);
        if !flags.run.quiet {
            let time = seconds(made.setup.seconds + made.offline.seconds);
            eprintln!("run {number} of {} prepared in {time}", flags.runs);
        }
    }
    let profile = flags.server.endpoint.profile_name();
    let mut record = run.record(&plan, Side::Alice, "alice prepare", profile);
    if let Some(path) = &flags.json {
        record.outputs.push(path.display().to_string());
        cli::write_json(path, &record)?;
    }
    if !flags.run.quiet {
        let items = pool.items().map_err(ProtocolError::from)?.len();
        let size = bytes(pool.bytes().map_err(ProtocolError::from)?);
        println!("{}: {items} runs in {size}; {}", pool.folder().display(), cli::summary(&record));
    }
    Ok(())
}

//! The server: admission, one thread per client, logs and records.
//!
//! All clients share one pool of threads. CPU seconds in a record are the process's: those of runs that overlap count
//! each other's work.

use crate::{Models, Serve};
use channels::ChannelError;
use cli::{Failure, Run, bytes, seconds};
use net::{Connection, Identity, Listener};
use prg::Prg;
use protocol::audit::FileAudit;
use protocol::engine::{Silent, run_bob_with};
use protocol::report::Side;
use protocol::session::{self, Agreed, Catalogue, Task};
use protocol::{Bob, Plan, ProtocolError};
use std::io::{Write, stdout};

/// Serves until stopped, or one client.
pub fn serve(flags: &Serve) -> Result<(), Failure> {
    flags.run.start()?;
    let (identity, trusted) = flags.endpoint.load()?;
    let models = Models::load(&flags.models)?.opening_scores(flags.allow_scores);
    if let Some(path) = &flags.json {
        cli::append_only(path)?;
    }
    let clients = usize::from(if flags.once { 1 } else { flags.clients });
    let mut listener =
        Listener::bind(&flags.listen, &identity, &trusted, &flags.endpoint.options(), clients)?;
    announce(&listener, &models)?;
    let stopper = listener.stopper();
    cli::on_stop(move || {
        tracing::info!("stopping: no more clients; those being served go on (signal again to end at once)");
        stopper.stop();
    });
    if flags.once {
        return listener.accept().map_or(Ok(()), |connection| attend(connection, &identity, &models, flags));
    }
    // What went wrong is in the log, and no business of the other clients.
    listener.serve(|connection| drop(attend(connection, &identity, &models, flags)));
    tracing::info!("stopped");
    Ok(())
}

/// Tells on standard output where the server listens: with port 0, nobody else knows.
fn announce(listener: &Listener, models: &Models) -> Result<(), Failure> {
    let failed = |error| Failure::output(format!("standard output: {error}"));
    let mut out = stdout().lock();
    writeln!(out, "listening on {}, serving {}", listener.address(), models.names().join(", "))
        .map_err(failed)?;
    out.flush().map_err(failed)
}

/// Serves one client to its end, and logs how it ended.
fn attend(
    connection: Connection,
    identity: &Identity,
    models: &Models,
    flags: &Serve,
) -> Result<(), Failure> {
    let (peer, address) = (connection.peer_name().to_owned(), connection.address());
    tracing::info!(peer, %address, "connected");
    let served = converse(connection, identity, models, flags);
    match &served {
        Ok(()) => tracing::info!(peer, %address, "left"),
        Err(error) => tracing::warn!(peer, %address, "run failed: {error}"),
    }
    served
}

/// Runs what the client asks for until it leaves.
fn converse(
    connection: Connection,
    identity: &Identity,
    models: &Models,
    flags: &Serve,
) -> Result<(), Failure> {
    let peer = connection.peer_fingerprint();
    let store = flags.pool.as_deref().map(|folder| cli::store(folder, identity, Side::Bob, peer));
    let mut bob = Bob::new(connection.into_channel(), Prg::from_os());
    if let Some(path) = &flags.run.audit {
        bob = bob.with_audit(FileAudit::new(cli::private_file(path)?, flags.run.audit_also.clone()));
    }
    loop {
        let Agreed { model, plan, task } = match session::answer(bob.channel(), models, store.as_ref()) {
            Ok(agreed) => agreed,
            Err(ProtocolError::Channel(ChannelError::Closed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (name, preset) = (&model.manifest.name, plan.config().preset.name());
        let begins = match &task {
            Task::Run(None) => "run begins",
            Task::Run(Some(_)) => "run from the pool begins",
            Task::Prepare(_) => "making an item for the pool begins",
        };
        let shows = if plan.opens_scores() { "scores" } else { "labels" };
        tracing::info!(model = name, preset, shows, plan = cli::short(&plan.hash()), "{begins}");
        let done = match task {
            Task::Run(item) => run_bob_with(&plan, &mut bob, item, model, &mut Silent)?,
            Task::Prepare(slot) => session::store_item(&mut bob, &plan, slot, &mut Silent)?,
        };
        let mut run = Run::default();
        run.add(&done);
        report(&run, &plan, flags)?;
    }
}

fn report(run: &Run, plan: &Plan, flags: &Serve) -> Result<(), Failure> {
    let record = run.record(plan, Side::Bob, "bob serve", flags.endpoint.profile_name());
    let total = cli::sum([&record.phases.setup, &record.phases.offline, &record.phases.online]);
    tracing::info!(
        "run done in {}: {} in, {} out",
        seconds(total.seconds),
        bytes(total.bytes_alice_to_bob),
        bytes(total.bytes_bob_to_alice)
    );
    flags.json.as_deref().map_or(Ok(()), |path| cli::append_json(path, &record))
}

//! `--tune`: the ways to make transfers and comparisons that suit the network between the parties.

use cli::{Failure, Kind, bytes};
use net::{Connection, Identity};
use protocol::choice::{Choice, choices, fastest as fastest_of};
use protocol::report::Side;
use protocol::store::Store;
use protocol::{Plan, ProtocolError, session};
use std::path::Path;

/// The plan that is fastest over this connection, or, of several, the one that a pool has been filled for.
pub(crate) fn fastest(
    connection: &mut Connection,
    identity: &Identity,
    plan: &Plan,
    pool: Option<&Path>,
    quiet: bool,
) -> Result<Plan, Failure> {
    let config = plan.config();
    let mut choices = choices(plan.manifest(), config)?;
    if choices.is_empty() {
        let preset = config.preset.name();
        let remedy = "drop one of the two, or take preset `fast`";
        return Err(Failure::new(
            Kind::Plan,
            format!("--tune: preset `{preset}` leaves no choice; {remedy}"),
        ));
    }
    let store = |pool| cli::store(pool, identity, Side::Alice, connection.peer_fingerprint());
    let chosen = match prepared(&choices, pool.map(store))? {
        Some(prepared) => prepared,
        None => {
            let profile = session::measure(connection.channel())?;
            let chosen = fastest_of(&choices, &profile);
            if !quiet {
                let rate = bytes(profile.bytes_per_second as u64);
                let turn = profile.round_trip.as_secs_f64() * 1e3;
                eprintln!(
                    "the way to the server: {rate}/s, {turn:.1} ms; taking {}",
                    choices[chosen].flags()
                );
            }
            chosen
        }
    };
    Ok(choices.swap_remove(chosen).plan)
}

/// The first way that something was prepared for.
fn prepared(choices: &[Choice], store: Option<Store>) -> Result<Option<usize>, Failure> {
    let Some(store) = store else { return Ok(None) };
    for (number, choice) in choices.iter().enumerate() {
        let pool = store.open(&choice.plan).map_err(ProtocolError::from)?;
        let items = pool.map_or(Ok(Vec::new()), |pool| pool.items()).map_err(ProtocolError::from)?;
        if !items.is_empty() {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

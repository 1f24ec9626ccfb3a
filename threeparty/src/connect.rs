//! Servers and clients over TLS: who calls whom, and who is who.
//!
//! Every server listens at its address of the job; server i calls server i+1; clients call all three. Certificates
//! are pinned, and their names tell the roles: `party-0`, `party-1`, `party-2`, and the clients' names of the job. A
//! caller with another name is turned away. Callers try again until the other side is up or patience ends.

use crate::client::Servers;
use crate::error::Error;
use crate::job::Job;
use crate::party::{Link, Party};
use crate::serve::{Clients, admit};
use net::{Connection, Identity, Listener, NetError, Options, Trusted};
use std::thread;
use std::time::{Duration, Instant};

/// No connection, or none with the right other side.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The transport.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Somebody else answered.
    #[error("{address} is {found}, not {expected}")]
    Stranger {
        /// The address called.
        address: String,
        /// Who answered.
        found: String,
        /// Who should have.
        expected: String,
    },
    /// The listener ended before everybody was there.
    #[error("this server stopped listening before everybody was there")]
    Stopped,
    /// The other servers or the client's greeting.
    #[error(transparent)]
    Party(#[from] Error),
}

/// The name of a server's certificate.
pub fn server_name(id: usize) -> String {
    format!("party-{id}")
}

/// Joins server `id` to its neighbours and to all clients of the job. Waits for callers without limit, and for
/// the server it calls itself for `patience`.
pub fn join(
    id: usize,
    listen: &str,
    job: &Job,
    identity: &Identity,
    trusted: &Trusted,
    options: &Options,
    patience: Duration,
) -> Result<(Party, Clients), ConnectError> {
    let mut expected = job.clients();
    let listener = Listener::bind(listen, identity, trusted, options, expected.len() + 1)?;
    let after = (id + 1) % 3;
    thread::scope(|scope| {
        let caller = scope
            .spawn(|| call(&job.servers[after], &server_name(after), identity, trusted, options, patience));
        let (prev, clients) = gather(listener, &server_name((id + 2) % 3), &mut expected, job)?;
        let next = caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let party = Party::connect(id, prev, next, job.digest())?;
        Ok((party, clients))
    })
}

/// Takes calls until the neighbour and all clients are there.
fn gather(
    mut listener: Listener,
    neighbour: &str,
    expected: &mut Vec<String>,
    job: &Job,
) -> Result<(Connection, Clients), ConnectError> {
    let (mut prev, mut clients) = (None, Clients::new());
    loop {
        if expected.is_empty()
            && let Some(prev) = prev.take()
        {
            return Ok((prev, clients));
        }
        let mut caller = listener.accept().ok_or(ConnectError::Stopped)?;
        let name = caller.peer_name().to_owned();
        if name == neighbour {
            prev = Some(caller);
        } else if expected.contains(&name) && admit(&mut caller, job).unwrap_or(false) {
            expected.retain(|other| *other != name);
            clients.insert(name, Box::new(caller));
        }
    }
}

/// Connects a client to all three servers.
pub fn call_servers(
    job: &Job,
    identity: &Identity,
    trusted: &Trusted,
    options: &Options,
    patience: Duration,
) -> Result<Servers, ConnectError> {
    let mut links = Vec::new();
    for (id, address) in job.servers.iter().enumerate() {
        let link: Box<dyn Link> =
            Box::new(call(address, &server_name(id), identity, trusted, options, patience)?);
        links.push(link);
    }
    let links = links.try_into().unwrap_or_else(|_| unreachable!("there are three servers"));
    Ok(Servers::greet(links, job)?)
}

fn call(
    address: &str,
    name: &str,
    identity: &Identity,
    trusted: &Trusted,
    options: &Options,
    patience: Duration,
) -> Result<Connection, ConnectError> {
    let start = Instant::now();
    loop {
        match net::connect(address, identity, trusted, options) {
            Ok(connection) if connection.peer_name() == name => return Ok(connection),
            Ok(connection) => {
                let found = connection.peer_name().to_owned();
                return Err(ConnectError::Stranger { address: address.into(), found, expected: name.into() });
            }
            Err(error) if start.elapsed() > patience => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

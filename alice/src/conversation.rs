//! A connection over which scans are segmented, one after the other, by one plan.

use crate::progress::Progress;
use crate::{Job, Segment};
use cli::{Failure, Run};
use models::manifest::label_bytes;
use ndarray::Array3;
use net::{Connection, Identity};
use prg::Prg;
use protocol::audit::FileAudit;
use protocol::engine::run_alice_with;
use protocol::report::Side;
use protocol::store::Pool;
use protocol::{Alice, Plan, ProtocolError, session};

/// A connection, and the pool that goes with it.
pub(crate) struct Conversation {
    alice: Alice,
    pool: Option<Pool>,
}

impl Conversation {
    /// Takes a connection for runs of `plan`.
    pub(crate) fn new(
        flags: &Segment,
        connection: Connection,
        identity: &Identity,
        plan: &Plan,
    ) -> Result<Self, Failure> {
        let store = |folder| cli::store(folder, identity, Side::Alice, connection.peer_fingerprint());
        let pool = flags.pool.as_deref().map(|folder| store(folder).open(plan)).transpose();
        let pool = pool.map_err(ProtocolError::from)?.flatten();
        let mut alice = Alice::new(connection.into_channel(), Prg::from_os());
        if let Some(path) = &flags.run.audit {
            alice = alice.with_audit(FileAudit::new(cli::private_file(path)?, flags.run.audit_also.clone()));
        }
        Ok(Self { alice, pool })
    }

    /// How many runs the pool still holds.
    pub(crate) fn items(&self) -> Result<usize, Failure> {
        let items = self.pool.as_ref().map_or(Ok(0), |pool| pool.items().map(|items| items.len()));
        Ok(items.map_err(ProtocolError::from)?)
    }

    /// Runs the network on every patch: its labels, and what it cost. After an error the connection is of no more use.
    pub(crate) fn run(
        &mut self,
        job: &Job,
        progress: &mut Progress,
    ) -> Result<(Vec<Array3<u8>>, Run), Failure> {
        let (mut labels, mut run) = (Vec::new(), Run::default());
        for input in job.inputs() {
            let alice = &mut self.alice;
            let item = match &mut self.pool {
                Some(pool) => session::propose_item(alice.channel(), &job.plan, pool)?,
                None => None,
            };
            if item.is_none() {
                session::propose(alice.channel(), &job.plan)?;
            }
            let (patch, measurements) = run_alice_with(&job.plan, alice, item, &input, progress)?;
            let bytes = label_bytes(&patch);
            labels.push(bytes.ok_or_else(|| Failure::output("a label above the 255 that masks hold"))?);
            run.add(&measurements);
        }
        progress.finish();
        Ok((labels, run))
    }
}

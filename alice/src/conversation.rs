//! A connection over which scans are segmented, one after the other, by one plan.

use crate::progress::Progress;
use crate::{Job, Segment};
use cli::{Failure, Run};
use imaging::labels_of_scores;
use models::manifest::label_bytes;
use ndarray::{Array3, Array4};
use net::{Connection, Identity};
use prg::Prg;
use protocol::audit::FileAudit;
use protocol::engine::{run_alice_to_scores, run_alice_with};
use protocol::report::Side;
use protocol::store::{Item, Pool};
use protocol::{Alice, DataHolder, Plan, ProtocolError, session};

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

    /// Runs the network on every patch: what came out, on the scan's grid, and what it cost. After an error the connection is
    /// of no more use.
    pub(crate) fn run(&mut self, job: &Job, progress: &mut Progress) -> Result<(Answer, Run), Failure> {
        let mut run = Run::default();
        let answer = if job.plan.opens_scores() {
            let mut blend = job.prepared.blend(job.score_channels());
            for input in job.inputs() {
                let item = self.propose(job)?;
                let (scores, cost) = run_alice_to_scores(&job.plan, &mut self.alice, item, &input, progress)?;
                blend.add(&job.real_scores(&scores)).map_err(Failure::output)?;
                run.add(&cost);
            }
            Answer::of_scores(blend.finish().map_err(Failure::output)?)
        } else {
            let mut labels = Vec::new();
            for input in job.inputs() {
                let item = self.propose(job)?;
                let (patch, cost) = run_alice_with(&job.plan, &mut self.alice, item, &input, progress)?;
                let bytes = label_bytes(&patch);
                labels.push(bytes.ok_or_else(|| Failure::output("a label above the 255 that masks hold"))?);
                run.add(&cost);
            }
            let labels = job.prepared.restore(&labels).map_err(Failure::output)?;
            Answer { labels, scores: None }
        };
        progress.finish();
        Ok((answer, run))
    }

    /// Agrees on the next run, from an item of the pool if one is left.
    fn propose(&mut self, job: &Job) -> Result<Option<Item<DataHolder>>, Failure> {
        let channel = self.alice.channel();
        let item = match &mut self.pool {
            Some(pool) => session::propose_item(channel, &job.plan, pool)?,
            None => None,
        };
        if item.is_none() {
            session::propose(channel, &job.plan)?;
        }
        Ok(item)
    }
}

/// What came out of a scan, on its own grid.
pub(crate) struct Answer {
    pub(crate) labels: Array3<u8>,
    /// Where they were asked for: per label, or of a network with one channel how far it exceeds its limit.
    pub(crate) scores: Option<Array4<f32>>,
}

impl Answer {
    fn of_scores(scores: Array4<f32>) -> Self {
        Self { labels: labels_of_scores(&scores), scores: Some(scores) }
    }
}

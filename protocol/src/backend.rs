//! The two-party engine as a backend: both parties in one process, over an in-memory channel.
//!
//! For comparisons and tests on data of one owner. Between two owners, `alice` and `bob` run in two processes.

use crate::audit::{self, MemoryAudit};
use crate::config::Config;
use crate::engine::{self, Silent};
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::plan::Plan;
use crate::report::{self, Side};
use channels::{Channel, memory};
use models::backend::{Backend, BackendError, Outcome, ThreatModel};
use models::manifest::Model;
use models::record::{Agreement, RunRecord};
use ndarray::{Array3, Array4};
use prg::Prg;

/// Both parties in one process.
#[derive(Clone, Debug, Default)]
pub struct TwoParty {
    /// Which strategies run.
    pub config: Config,
}

/// A run whose result was compared.
pub struct Audited {
    /// What Alice learned.
    pub labels: Array3<u16>,
    /// Her record.
    pub record: RunRecord,
    /// The labels that must come out, carries included.
    pub expected: Array3<u16>,
}

/// Runs both parties and audits the result: labels, Alice's record, and the labels that must come out, carries included.
pub fn run_both(
    plan: &Plan,
    model: &Model,
    input: &Array4<i64>,
) -> Result<(Array3<u16>, RunRecord, Array3<u16>), ProtocolError> {
    let (Audited { labels, record, expected }, _) = run_over(memory::pair(), plan, model, input)?;
    Ok((labels, record, expected))
}

/// The same over a given pair of ends, Alice's first; also the CPU seconds of both parties together.
pub fn run_over(
    (to_bob, to_alice): (Channel, Channel),
    plan: &Plan,
    model: &Model,
    input: &Array4<i64>,
) -> Result<(Audited, f64), ProtocolError> {
    let start = meter::process_seconds();
    let (shares_a, shares_b) = (MemoryAudit::default(), MemoryAudit::default());
    let mut alice = Alice::new(to_bob, Prg::from_os()).with_audit(shares_a.clone());
    let mut bob = Bob::new(to_alice, Prg::from_os()).with_audit(shares_b.clone());
    let (alice_run, bob_run) = std::thread::scope(|scope| {
        let bob = scope.spawn(move || engine::run_bob(plan, &mut bob, model, &mut Silent));
        let alice = engine::run_alice(plan, &mut alice, input, &mut Silent);
        match bob.join() {
            Ok(bob) => (alice, bob),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let (labels, measurements) = match (alice_run, bob_run) {
        (Ok(done), Ok(_)) => done,
        // The side that did not just see the other leave knows the reason.
        (Err(ProtocolError::Layer { source, .. }), Err(reason))
            if matches!(*source, ProtocolError::Channel(_)) =>
        {
            return Err(reason);
        }
        (Err(reason), _) | (_, Err(reason)) => return Err(reason),
    };
    let cpu_seconds = meter::process_seconds() - start;
    let checked =
        audit::check(plan, model, input, &mut shares_a.take(), &mut shares_b.take(), &mut |_, _| {})
            .map_err(|error| ProtocolError::Disagreement(error.to_string()))?;
    if let Some((id, wrong)) = checked.inputs.iter().find(|(_, layer)| layer.different > 0) {
        let name = &plan.manifest().graph.node(*id).name;
        let message = format!("{} of {} values that reach `{name}` are wrong", wrong.different, wrong.total);
        return Err(ProtocolError::Disagreement(message));
    }
    let mut record = report::record(plan, Side::Alice, &measurements);
    // One process runs both parties: its CPU time is not Alice's alone.
    for phase in [&mut record.phases.setup, &mut record.phases.offline, &mut record.phases.online] {
        phase.cpu_seconds_alice = None;
    }
    Ok((Audited { labels, record, expected: checked.labels }, cpu_seconds))
}

impl Backend for TwoParty {
    fn name(&self) -> &'static str {
        "two-party"
    }

    fn threat_model(&self) -> ThreatModel {
        let words = |text: &str| text.to_owned();
        ThreatModel {
            assumption: words("Alice and Bob follow the protocol and do not share what they see."),
            learns: vec![
                (words("Alice"), words("the labels of her scan, and what they tell of the weights")),
                (words("Bob"), words("nothing of the scan, of any intermediate value, or of the labels")),
            ],
            limits: words(
                "A party that deviates from the protocol; weights reconstructed from many queries' labels; \
                 timing of public work.",
            ),
        }
    }

    fn run(&mut self, model: &Model, input: &Array4<i64>) -> Result<Outcome, BackendError> {
        let failed = |source: ProtocolError| BackendError { backend: "two-party", source: Box::new(source) };
        let plan = Plan::derive(&model.manifest, &self.config).map_err(|error| failed(error.into()))?;
        let (labels, mut record, expected) = run_both(&plan, model, input).map_err(failed)?;
        let different = labels.iter().zip(&expected).filter(|(a, b)| a != b).count() as u64;
        record.agreement = Some(Agreement { total: labels.len() as u64, different });
        Ok(Outcome { labels, record })
    }
}

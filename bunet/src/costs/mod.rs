//! Where a run's time went, as tables: CPU time by primitive, and what each party waited for.

mod primitives;
mod waits;

use meter::Primitive;
use models::record::{Effort, PerParty, RunRecord};

pub(crate) use primitives::{Part, primitives_by_layer, primitives_by_phase, spent_by_both};
pub(crate) use waits::{waits_by_layer, waits_by_phase};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Alice,
    Bob,
}

impl Party {
    pub(crate) const BOTH: [Self; 2] = [Self::Alice, Self::Bob];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alice => "Alice",
            Self::Bob => "Bob",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }

    fn of<T>(self, both: &PerParty<T>) -> &T {
        match self {
            Self::Alice => &both.alice,
            Self::Bob => &both.bob,
        }
    }

    fn cpu(self, effort: &Effort) -> f64 {
        self.of(&effort.cpu_seconds).unwrap_or(0.0)
    }

    fn spent(self, effort: &Effort, primitive: Primitive) -> f64 {
        self.of(&effort.primitives).as_ref().and_then(|map| map.get(primitive.name())).copied().unwrap_or(0.0)
    }
}

/// Set-up, offline, online.
fn phases(run: &RunRecord) -> [(&'static str, &Effort); 3] {
    let efforts = &run.efforts;
    [("setup", &efforts.setup), ("offline", &efforts.offline), ("online", &efforts.online)]
}

/// How seconds of a run are shown: a short run in milliseconds, nothing as a dot.
#[derive(Clone, Copy)]
struct Scale {
    digits: usize,
}

impl Scale {
    /// Fit for a run of so many CPU seconds.
    fn of(run: &RunRecord) -> Self {
        let cpu: f64 = phases(run)
            .iter()
            .map(|(_, effort)| Party::BOTH.map(|p| p.cpu(effort)).iter().sum::<f64>())
            .sum();
        Self { digits: if cpu < 20.0 { 3 } else { 2 } }
    }

    fn shows(self, seconds: f64) -> bool {
        seconds >= 0.5 * 0.1_f64.powi(self.digits as i32)
    }

    fn cell(self, seconds: f64) -> String {
        if self.shows(seconds) { format!("{seconds:.*}", self.digits) } else { "·".to_owned() }
    }
}

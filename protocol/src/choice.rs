//! Which oblivious transfers and which form of comparison are faster on a network: silent or IKNP, chains or trees.
//! `bunet plan` shows the estimates for named networks, `alice --tune` goes by them on the one that it measured.
//!
//! Everything else of a run is the same in all four, so the estimate is what differs: exact bytes and rounds on the wire,
//! and the work of the transfers themselves, measured on a core of AMD Zen 4 with AVX-512 and VAES.

use crate::error::PlanError;
use crate::ots::{Source, Take};
use crate::{Config, Plan, Preset};
use channels::Profile;
use models::Manifest;

/// One way to run.
pub struct Choice {
    /// The plan of that way.
    pub plan: Plan,
    bytes: u64,
    rounds: u64,
    /// Seconds that each party works on transfers.
    work: f64,
}

/// Seconds of a party per OT, and for the set-up.
fn work(source: Source) -> (f64, f64) {
    match source {
        Source::Silent => (11e-9, 0.12),
        Source::Iknp => (18e-9, 0.015),
    }
}

/// Seconds of a party per byte through TLS and sockets.
const PER_BYTE: f64 = 0.65e-9;

impl Choice {
    fn new(manifest: &Manifest, config: &Config) -> Result<Self, PlanError> {
        let plan = Plan::derive(manifest, config)?;
        let flow = plan.setup_cost() + plan.cost().total();
        let bytes = flow.alice_to_bob + flow.bob_to_alice;
        let takes = plan.layers().iter().flat_map(|layer| layer.step.ots());
        let transfers: usize = takes
            .map(|take| match take {
                Take::Chosen { n, .. } | Take::Bits { n } => n,
            })
            .sum();
        let (each, setup) = work(config.ot);
        let work = setup + each * transfers as f64 + PER_BYTE * bytes as f64;
        Ok(Self { plan, bytes, rounds: flow.rounds, work })
    }

    /// Estimated seconds on a network, of what differs between the ways.
    pub fn seconds(&self, profile: &Profile) -> f64 {
        profile.seconds(self.bytes, self.rounds) + self.work
    }

    /// The flags that ask for this way.
    pub fn flags(&self) -> String {
        let config = self.plan.config();
        format!("--preset {} --ot {}", config.preset.name(), config.ot.name())
    }

    /// The way in words.
    pub fn name(&self) -> String {
        let config = self.plan.config();
        let form = if config.preset == Preset::Fast { "chains" } else { "trees" };
        format!("{}, {form}", config.ot.name())
    }
}

/// All four, where the configuration leaves the choice.
pub fn choices(manifest: &Manifest, config: &Config) -> Result<Vec<Choice>, PlanError> {
    if !matches!(config.preset, Preset::Fast | Preset::FastWan) {
        return Ok(Vec::new());
    }
    let ways =
        Source::ALL.into_iter().flat_map(|ot| [Preset::Fast, Preset::FastWan].map(|preset| (ot, preset)));
    ways.map(|(ot, preset)| Choice::new(manifest, &Config { ot, preset, ..config.clone() })).collect()
}

/// Which of them is the fastest on a network; the first where there is none.
pub fn fastest(choices: &[Choice], profile: &Profile) -> usize {
    let all = 0..choices.len();
    all.min_by(|&a, &b| choices[a].seconds(profile).total_cmp(&choices[b].seconds(profile))).unwrap_or(0)
}

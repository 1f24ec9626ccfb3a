//! Which oblivious transfers and which form of comparison are faster on a network: silent or IKNP, chains or trees.
//!
//! Everything else of a run is the same in all four, so the estimate is what differs: exact bytes and rounds on the wire,
//! and the work of the transfers themselves, measured on a core of AMD Zen 4 with AVX-512 and VAES.

use channels::Profile;
use cli::{Align, Failure, Table, seconds};
use models::Manifest;
use protocol::ots::{Source, Take};
use protocol::{Config, Plan, Preset};

/// One way to run.
pub(crate) struct Choice {
    preset: Preset,
    source: Source,
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
    fn new(manifest: &Manifest, config: &Config) -> Result<Self, Failure> {
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
        Ok(Self { preset: config.preset, source: config.ot, bytes, rounds: flow.rounds, work })
    }

    /// Estimated seconds on a network.
    fn seconds(&self, profile: &Profile) -> f64 {
        profile.seconds(self.bytes, self.rounds) + self.work
    }

    fn flags(&self) -> String {
        format!("--preset {} --ot {}", self.preset.name(), self.source.name())
    }
}

/// All four, where the configuration leaves the choice.
pub(crate) fn choices(manifest: &Manifest, config: &Config) -> Result<Vec<Choice>, Failure> {
    if !matches!(config.preset, Preset::Fast | Preset::FastWan) {
        return Ok(Vec::new());
    }
    let ways =
        Source::ALL.into_iter().flat_map(|ot| [Preset::Fast, Preset::FastWan].map(|preset| (ot, preset)));
    ways.map(|(ot, preset)| Choice::new(manifest, &Config { ot, preset, ..config.clone() })).collect()
}

/// The fastest on a network.
pub(crate) fn fastest<'a>(choices: &'a [Choice], profile: &Profile) -> Option<&'a Choice> {
    choices.iter().min_by(|a, b| a.seconds(profile).total_cmp(&b.seconds(profile)))
}

/// Estimates on these networks.
pub(crate) fn table(choices: &[Choice], profiles: &[Profile]) -> String {
    let mut columns = vec![("transfers and wire", Align::Left)];
    let names: Vec<String> = choices
        .iter()
        .map(|choice| {
            let form = if choice.preset == Preset::Fast { "chains" } else { "trees" };
            format!("{}, {form}", choice.source.name())
        })
        .collect();
    columns.extend(names.iter().map(|name| (name.as_str(), Align::Right)));
    columns.push(("fastest", Align::Left));
    let mut table = Table::new(&columns);
    for profile in profiles {
        let mut cells = vec![profile.name.to_owned()];
        cells.extend(choices.iter().map(|choice| seconds(choice.seconds(profile))));
        cells.push(fastest(choices, profile).map_or_else(String::new, Choice::flags));
        table.push(cells);
    }
    table.render()
}

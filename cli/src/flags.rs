//! Flags that both parties have.

use crate::{Failure, Kind};
use clap::Args;
use net::{Fingerprint, Identity, Options, Profile, Trusted};
use protocol::ots::Source;
use protocol::report::Side;
use protocol::store::Store;
use protocol::{Config, Operator, Preset};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who this side is, and whom it trusts.
#[derive(Args, Clone, Debug)]
pub struct Endpoint {
    /// This side's private key; its certificate lies beside it (`bunet keygen` makes both)
    #[arg(long, value_name = "FILE.key")]
    pub identity: PathBuf,
    /// The peer's certificate, or a folder of them
    #[arg(long, value_name = "FILE.crt")]
    pub trust: PathBuf,
    /// Give up after this many seconds in which the peer does not move
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, value_parser = timeout)]
    pub idle_timeout: f64,
    /// Slow down what this side sends to a named network (see `bunet plan --help`)
    #[arg(long, value_name = "NAME", value_parser = profile)]
    pub profile: Option<Profile>,
}

/// How a run is done and reported.
#[derive(Args, Clone, Debug)]
pub struct RunFlags {
    /// Threads to compute with [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Show errors only
    #[arg(short, long)]
    pub quiet: bool,
    /// Shares of the layers that are exact only up to carries; for processes of one owner
    #[arg(long, value_name = "FILE", hide = true)]
    pub audit: Option<PathBuf>,
    /// Further layers, by number, whose input shares belong into the audit
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "audit", hide = true)]
    pub audit_also: Vec<usize>,
    /// End with the process that started this one
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// Which strategies run.
#[derive(Args, Clone, Debug, Default)]
pub struct PlanFlags {
    /// Strategies for all operators: `fast` (oblivious transfer), `gc` (garbled circuits) or `bunet` (the paper's)
    /// [default: fast]
    #[arg(long, value_name = "NAME", value_parser = preset)]
    pub preset: Option<Preset>,
    /// Bits of the shares [default: what the network was quantised for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=40))]
    pub bits: Option<u32>,
    /// Where oblivious transfers come from: `silent` (few bytes) or `iknp` (16 bytes each, less computing)
    /// [default: silent]
    #[arg(long, value_name = "NAME", value_parser = source)]
    pub ot: Option<Source>,
    /// Another strategy for one operator, e.g. `convolution=ensei`; may be repeated
    #[arg(long, value_name = "OPERATOR=NAME", value_parser = strategy)]
    pub strategy: Vec<(Operator, String)>,
    /// Another strategy for one layer, e.g. `down0a=ensei`; may be repeated
    #[arg(long, value_name = "LAYER=NAME", value_parser = pair)]
    pub layer: Vec<(String, String)>,
    /// A TOML file with `preset`, `bits`, `[strategies]` and `[layers]`; flags are stronger
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// What a pool's files are sealed with is derived for this purpose.
const POOL_KEY: &str = "bunet 2026-11-21 pools on disk";

/// Where a party keeps what it prepared with a peer; sealed with a key that follows from its private key.
pub fn store(folder: &Path, identity: &Identity, side: Side, peer: Fingerprint) -> Store {
    Store::new(folder, identity.derive_key(POOL_KEY), side, *peer.as_bytes())
}

impl PlanFlags {
    /// File and flags together.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => {
                let failed = |error: &dyn std::fmt::Display| {
                    Failure::input(format!("{}: {}", path.display(), error.to_string().trim_end()))
                };
                let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
                toml::from_str(&text).map_err(|error| failed(&error))?
            }
            None => Config::default(),
        };
        config.preset = self.preset.unwrap_or(config.preset);
        config.bits = self.bits.or(config.bits);
        config.ot = self.ot.unwrap_or(config.ot);
        config.strategies.extend(self.strategy.iter().cloned());
        config.layers.extend(self.layer.iter().cloned());
        Ok(config)
    }
}

impl Endpoint {
    /// Reads keys and certificates.
    pub fn load(&self) -> Result<(Identity, Trusted), Failure> {
        Ok((Identity::load(&self.identity)?, Trusted::load(&self.trust)?))
    }

    /// How connections behave.
    pub fn options(&self) -> Options {
        Options {
            idle_timeout: Duration::from_secs_f64(self.idle_timeout),
            profile: self.profile,
            ..Options::default()
        }
    }

    /// Name of the network for the record.
    pub fn profile_name(&self) -> String {
        self.profile.map_or("unshaped", |profile| profile.name).to_owned()
    }
}

impl RunFlags {
    /// Makes the pool of threads, and ties this process to the one that started it if asked to.
    pub fn start(&self) -> Result<(), Failure> {
        if self.with_parent {
            crate::follow_parent();
        }
        let Some(threads) = self.threads else { return Ok(()) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads));
        pool.build_global().map_err(|error| Failure::new(Kind::Internal, format!("no threads: {error}")))
    }
}

fn timeout(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    (0.1..=1e6).contains(&seconds).then_some(seconds).ok_or_else(|| "not between 0.1 and 1000000".to_owned())
}

/// The network of this name, or the names that there are.
pub fn profile(name: &str) -> Result<Profile, String> {
    let known = || channels::shaper::PROFILES.map(|profile| profile.name).join(", ");
    Profile::named(name).ok_or_else(|| format!("no such network; there are: {}", known()))
}

/// The preset of this name, or the names that there are.
pub fn preset(name: &str) -> Result<Preset, String> {
    let known = || Preset::ALL.map(Preset::name).join(", ");
    Preset::ALL
        .into_iter()
        .find(|preset| preset.name() == name)
        .ok_or_else(|| format!("no such preset; there are: {}", known()))
}

fn source(name: &str) -> Result<Source, String> {
    let known = || Source::ALL.map(Source::name).join(", ");
    Source::ALL
        .into_iter()
        .find(|source| source.name() == name)
        .ok_or_else(|| format!("no such source; there are: {}", known()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, name) = text.split_once('=').ok_or("not of the form NAME=STRATEGY")?;
    Ok((key.trim().to_owned(), name.trim().to_owned()))
}

fn strategy(text: &str) -> Result<(Operator, String), String> {
    let (key, name) = pair(text)?;
    let known = || Operator::ALL.map(Operator::name).join(", ");
    let operator = Operator::ALL.into_iter().find(|operator| operator.name() == key);
    operator
        .map(|operator| (operator, name))
        .ok_or_else(|| format!("no such operator; there are: {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_stronger_than_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        let text = "preset = \"bunet\"\nbits = 20\n[strategies]\nrelu = \"gc\"\naverage-pool = \"local\"\n\
                    [layers]\n\"down0a\" = \"ensei\"\n";
        std::fs::write(&path, text).unwrap();
        let flags = PlanFlags {
            bits: Some(24),
            strategy: vec![strategy("average-pool=rotation").unwrap()],
            config: Some(path.clone()),
            ..PlanFlags::default()
        };
        let config = flags.config().unwrap();
        assert_eq!((config.preset, config.bits), (Preset::Bunet, Some(24)));
        assert_eq!(config.strategies[&Operator::AveragePool], "rotation");
        assert_eq!(config.strategies[&Operator::Relu], "gc");
        assert_eq!(config.layers["down0a"], "ensei");
        std::fs::write(&path, "present = 1").unwrap();
        let error = flags.config().unwrap_err();
        assert!(error.kind() == Kind::Input && error.to_string().contains("present"), "{error}");
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        assert!(preset("x").unwrap_err().contains("bunet"));
        assert!(strategy("x=y").unwrap_err().contains("truncation"));
        assert!(profile("x").unwrap_err().contains("cheetah-wan"));
        assert!(timeout("0").is_err() && timeout("NaN").is_err());
    }
}

//! One item: everything that one party makes for one run before the scan is there.

use super::codec::{read_count, read_word, read_words, write_word, write_words};
use crate::engine::Measure;
use crate::keys::KeySpec;
use crate::ots::Source;
use crate::party::{Party, PublicKeys, Role, SecretKeys};
use crate::plan::Plan;
use crate::strategy::Prepared;
use crate::transfers::Transfers;
use pahe::{GaloisKey, KeyError, PublicKey, SecretKey};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What a run from a pool begins with: keys, reserved oblivious transfers, and every layer's correlated randomness.
///
/// Transfers of an interactive source are not in it: those are set up in the run.
pub struct Item<R: Role> {
    pub(crate) keys: R::Keys,
    pub(crate) transfers: Option<Box<Transfers>>,
    pub(crate) prepared: Vec<Prepared>,
    /// Its number in the pool.
    pub number: u64,
    /// What making it cost this party.
    pub made: Measure,
    /// Wall and CPU seconds of reading and wiping it: part of the run's set-up.
    pub(crate) taken: (f64, f64),
}

/// One party's half of a plan's keys.
pub trait KeyRing: Default {
    /// Writes the keys of these specifications.
    fn save(&self, specs: &[KeySpec], out: &mut dyn Write) -> io::Result<()>;

    /// Reads what was saved.
    fn load(specs: &[KeySpec], input: &mut dyn Read) -> io::Result<Self>;
}

impl KeyRing for SecretKeys {
    fn save(&self, specs: &[KeySpec], out: &mut dyn Write) -> io::Result<()> {
        specs.iter().try_for_each(|spec| out.write_all(&held(self.get(&spec.base()))?.to_bytes()))
    }

    fn load(specs: &[KeySpec], input: &mut dyn Read) -> io::Result<Self> {
        let load = |spec: &KeySpec| {
            let params = spec.params().map_err(io::Error::other)?;
            let mut bytes = Zeroizing::new(vec![0; params.degree()]);
            input.read_exact(&mut bytes)?;
            Ok((spec.base(), SecretKey::from_bytes(&params, &bytes).map_err(invalid)?))
        };
        specs.iter().map(load).collect()
    }
}

impl KeyRing for PublicKeys {
    fn save(&self, specs: &[KeySpec], out: &mut dyn Write) -> io::Result<()> {
        for spec in specs {
            let (public, rotations) = held(self.get(&spec.base()))?;
            out.write_all(&public.to_bytes())?;
            for step in &spec.rotations {
                out.write_all(&held(rotations.get(step))?.to_bytes())?;
            }
        }
        Ok(())
    }

    fn load(specs: &[KeySpec], input: &mut dyn Read) -> io::Result<Self> {
        let mut read = |len: usize| {
            let mut bytes = vec![0; len];
            input.read_exact(&mut bytes).map(|()| bytes)
        };
        let mut keys = Self::new();
        for spec in specs {
            let params = spec.params().map_err(io::Error::other)?;
            let public = PublicKey::from_bytes(&params, &read(PublicKey::byte_len(&params))?);
            let mut rotations = BTreeMap::new();
            for &step in &spec.rotations {
                let bytes = read(GaloisKey::byte_len(&params))?;
                let key = GaloisKey::from_bytes(&params, step as isize, &bytes).map_err(invalid)?;
                rotations.insert(step, key);
            }
            keys.insert(spec.base(), (Arc::new(public.map_err(invalid)?), rotations));
        }
        Ok(keys)
    }
}

impl<R: Role> Item<R> {
    /// Reads an item of this plan from a file of `len` bytes.
    pub(crate) fn load(plan: &Plan, number: u64, len: u64, input: &mut dyn Read) -> io::Result<Self> {
        let prepared = plan.layers().iter().map(|_| load_prepared(len, input));
        let prepared = prepared.collect::<io::Result<Vec<_>>>()?;
        let keys = R::Keys::load(&plan.keys(), input)?;
        let kept = keeps_transfers(plan);
        let transfers =
            kept.then(|| Transfers::load(R::ME, plan.ot_directions(), input)).transpose()?.map(Box::new);
        let mut made = Measure::default();
        (made.traffic.sent, made.traffic.received) = (read_word(input)?, read_word(input)?);
        made.seconds = f64::from_bits(read_word(input)?);
        made.cpu_seconds = f64::from_bits(read_word(input)?);
        Ok(Self { keys, transfers, prepared, number, made, taken: (0.0, 0.0) })
    }
}

/// Writes one layer's randomness; items begin with that of all layers, in order.
pub(crate) fn save_prepared(prepared: &Prepared, out: &mut dyn Write) -> io::Result<()> {
    write_word(out, prepared.0.len() as u64)?;
    prepared.0.iter().try_for_each(|words| write_words(out, words))
}

fn load_prepared(len: u64, input: &mut dyn Read) -> io::Result<Prepared> {
    let mut prepared = Prepared::default();
    for _ in 0..read_count(input, len / 8)? {
        prepared.0.push(read_words(input, len / 8)?);
    }
    Ok(prepared)
}

/// Writes the rest of an item: keys, transfers, and what it cost.
pub(crate) fn save_rest<R: Role>(
    plan: &Plan,
    party: &mut Party<R>,
    made: &Measure,
    out: &mut dyn Write,
) -> io::Result<()> {
    party.keys.save(&plan.keys(), out)?;
    if keeps_transfers(plan) {
        party.transfers.save(out)?;
    }
    write_word(out, made.traffic.sent + made.traffic.control_sent)?;
    write_word(out, made.traffic.received + made.traffic.control_received)?;
    write_word(out, made.seconds.to_bits())?;
    write_word(out, made.cpu_seconds.to_bits())
}

/// Whether the plan's oblivious transfers can be made beforehand.
pub(crate) fn keeps_transfers(plan: &Plan) -> bool {
    plan.config().ot == Source::Silent
}

fn held<T>(key: Option<T>) -> io::Result<T> {
    key.ok_or_else(|| ErrorKind::NotFound.into())
}

fn invalid(error: KeyError) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

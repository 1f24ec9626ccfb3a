//! Which encryption keys a plan needs.

use ntt::Modulus;
use pahe::{GaloisKey, ParamError, Params, PublicKey};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bits of a ciphertext limb: the fast range of the vectorised NTT.
const LIMB_BITS: u32 = 50;

/// One set of keys: ring degree, limbs, plaintext modulus, and the rotations that Bob may apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeySpec {
    /// Ring degree.
    pub degree: usize,
    /// Ciphertext limbs of 50 bits.
    pub limbs: usize,
    /// Whether a limb of 50 bits more carries key switching.
    pub special: bool,
    /// Plaintext modulus, by value and kind.
    modulus: (u64, bool),
    /// Rotations in slots.
    pub rotations: Vec<usize>,
}

impl KeySpec {
    /// Keys without rotations.
    pub fn plain(degree: usize, limbs: usize, modulus: Modulus) -> Self {
        let prime = matches!(modulus, Modulus::Prime { .. });
        Self { degree, limbs, special: false, modulus: (modulus.value(), prime), rotations: Vec::new() }
    }

    /// Keys with these rotations.
    pub fn rotating(degree: usize, limbs: usize, modulus: Modulus, rotations: Vec<usize>) -> Self {
        Self { special: true, rotations, ..Self::plain(degree, limbs, modulus) }
    }

    /// The plaintext modulus.
    pub fn modulus(&self) -> Modulus {
        match self.modulus {
            (p, true) => Modulus::Prime { p },
            (m, false) => Modulus::Pow2 { bits: m.trailing_zeros() },
        }
    }

    /// The parameters, equal specifications sharing one set (their tables take milliseconds to make); refuses sets
    /// outside the guidelines.
    pub fn params(&self) -> Result<Arc<Params>, ParamError> {
        static KNOWN: Mutex<BTreeMap<KeySpec, Arc<Params>>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(params) = known.get(&self.base()) {
            return Ok(Arc::clone(params));
        }
        let special = self.special.then_some(LIMB_BITS);
        let params = Params::new(self.degree, &vec![LIMB_BITS; self.limbs], special, self.modulus())?;
        known.insert(self.base(), Arc::clone(&params));
        Ok(params)
    }

    /// Bytes of the public keys.
    pub fn bytes(&self) -> Result<u64, ParamError> {
        let params = self.params()?;
        let rotations = if self.special { self.rotations.len() * GaloisKey::byte_len(&params) } else { 0 };
        Ok((PublicKey::byte_len(&params) + rotations) as u64)
    }

    /// What names the keys apart from their rotations.
    pub(crate) fn base(&self) -> Self {
        Self { rotations: Vec::new(), ..self.clone() }
    }

    /// Distinct keys that serve all of these, rotations merged.
    pub(crate) fn union(specs: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut union: Vec<Self> = Vec::new();
        for spec in specs {
            match union.iter_mut().find(|known| known.base() == spec.base()) {
                Some(known) => known.rotations.extend(spec.rotations),
                None => union.push(spec),
            }
        }
        for spec in &mut union {
            spec.rotations.sort_unstable();
            spec.rotations.dedup();
        }
        union.sort();
        union
    }
}

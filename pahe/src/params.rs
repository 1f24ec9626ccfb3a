//! Parameter sets: degree, limbs, plaintext modulus; what is refused, and the constants derived from them.

use ntt::{Factor, Modulus, Ring, RingError, Slots, ntt_primes};
use std::sync::Arc;

/// Largest log2 of any modulus for 128 bits of classical security with a ternary secret
/// (ePrint 2024/463, table for ternary secrets).
const MAX_LOG_Q: [(usize, f64); 6] =
    [(1024, 26.0), (2048, 53.0), (4096, 106.0), (8192, 214.0), (16_384, 430.0), (32_768, 868.0)];

/// A parameter set, or a layer on it, that cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParamError {
    /// The guidelines have no row for this degree.
    #[error("ring degree {0} is not in the security table (1024 to 32768, powers of two)")]
    Degree(usize),
    /// No limb, or more than the code supports.
    #[error("{0} limbs: between 1 and 8 are possible")]
    Limbs(usize),
    /// A limb size that the transforms do not support, or with too few primes.
    #[error("no {bits}-bit prime left that is 1 mod {step} (limbs have 20 to 50 bits)")]
    LimbBits {
        /// The limb size asked for.
        bits: u32,
        /// 2n.
        step: usize,
    },
    /// A limb must exceed the plaintext modulus.
    #[error("a limb of {bits} bits does not exceed the plaintext modulus {t}")]
    LimbBelowPlaintext {
        /// The limb size.
        bits: u32,
        /// The plaintext modulus.
        t: Modulus,
    },
    /// Beyond the guidelines.
    #[error("log2 q = {log_q:.1} with the special prime exceeds {max} for degree {degree} at 128 bits")]
    Insecure {
        /// log2 of the product of all limbs.
        log_q: f64,
        /// What the guidelines allow.
        max: f64,
        /// The ring degree.
        degree: usize,
    },
    /// Noise, flooding and rounding do not fit below q/2t.
    #[error(
        "noise and flooding need a ciphertext modulus of {needed:.1} bits, this set has {available:.1}: take more \
         limbs, a larger degree, a smaller plaintext modulus or fewer dropped upload bits"
    )]
    NoRoom {
        /// log2 of the smallest q that would do.
        needed: f64,
        /// log2 q.
        available: f64,
    },
    /// More low bits dropped than the first limb has.
    #[error("{drop_bits} bits cannot be dropped from a limb of {bits}")]
    DropBits {
        /// Bits to drop.
        drop_bits: u32,
        /// Bits of the first limb.
        bits: u32,
    },
    /// Rotation needs a special prime.
    #[error("rotations need a parameter set with a special prime")]
    NoSpecialPrime,
    /// The transform refused a limb.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// A parameter set that both parties derive for themselves. Limbs are the largest primes of their size that are
/// 1 mod 2n; the special prime, which only Galois keys use, follows them.
pub struct Params {
    degree: usize,
    limbs: Vec<Ring>,
    special: Option<Ring>,
    plaintext: Modulus,
    slots: Option<Slots>,
    log_q: f64,
    /// ⌊q/t⌋ mod each limb.
    scale: Vec<Factor>,
    /// ⌊2^52·(q mod t)/t⌋.
    scale_fraction: u64,
    /// (q/p)^(−1)/p as a 64-bit and a further 52-bit fraction, per limb.
    torus: Vec<(u64, u64)>,
    /// 1/(product of the limbs before) mod each limb; unused for the first.
    garner: Vec<Vec<Factor>>,
}

impl Params {
    /// Derives the set of ring degree `degree` with limbs of `limb_bits` bits, an optional special prime and the
    /// plaintext modulus `t`.
    pub fn new(
        degree: usize,
        limb_bits: &[u32],
        special_bits: Option<u32>,
        t: Modulus,
    ) -> Result<Arc<Self>, ParamError> {
        let row = MAX_LOG_Q.iter().find(|(n, _)| *n == degree);
        let &(_, max) = row.ok_or(ParamError::Degree(degree))?;
        if limb_bits.is_empty() || limb_bits.len() > 8 {
            return Err(ParamError::Limbs(limb_bits.len()));
        }
        let all_bits: Vec<u32> = limb_bits.iter().copied().chain(special_bits).collect();
        let primes = choose_primes(degree, &all_bits, t)?;
        let log_of = |primes: &[u64]| primes.iter().map(|&p| (p as f64).log2()).sum::<f64>();
        let log_all = log_of(&primes);
        if log_all > max {
            return Err(ParamError::Insecure { log_q: log_all, max, degree });
        }
        let mut limbs = primes.iter().map(|&p| Ring::new(degree, p)).collect::<Result<Vec<_>, _>>()?;
        let special = special_bits.and_then(|_| limbs.pop());
        let slots =
            if t.value() % (2 * degree as u64) == 1 { Some(Slots::new(degree, t.value())?) } else { None };
        let log_q = log_of(&primes[..limbs.len()]);
        let (scale, scale_fraction) = scale_constants(&limbs, t.value());
        let torus = (0..limbs.len()).map(|l| torus_constant(&limbs, l)).collect();
        let garner = garner_constants(&limbs);
        let plaintext = t;
        let params =
            Self { degree, limbs, special, plaintext, slots, log_q, scale, scale_fraction, torus, garner };
        Ok(Arc::new(params))
    }

    /// n = 4096, two 50-bit limbs: coefficient packing.
    pub fn small(t: Modulus) -> Result<Arc<Self>, ParamError> {
        Self::new(4096, &[50, 50], None, t)
    }

    /// n = 8192, three 50-bit limbs: slots and large plaintext moduli.
    pub fn large(t: Modulus) -> Result<Arc<Self>, ParamError> {
        Self::new(8192, &[50, 50, 50], None, t)
    }

    /// n = 8192, three 50-bit limbs and a special prime: rotations.
    pub fn rotating(t: Modulus) -> Result<Arc<Self>, ParamError> {
        Self::new(8192, &[50, 50, 50], Some(50), t)
    }

    /// n: coefficients, or slots, of a polynomial.
    pub fn degree(&self) -> usize {
        self.degree
    }

    /// The plaintext modulus t.
    pub fn plaintext(&self) -> Modulus {
        self.plaintext
    }

    /// The ciphertext limbs.
    pub fn limbs(&self) -> &[Ring] {
        &self.limbs
    }

    /// The ring of the special prime.
    pub(crate) fn special(&self) -> Option<&Ring> {
        self.special.as_ref()
    }

    /// Whether `other` was derived from the same arguments.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.same_rings(other) && self.plaintext == other.plaintext)
    }

    /// Whether keys of `other` serve here: same degree, limbs and special prime.
    pub(crate) fn same_rings(&self, other: &Self) -> bool {
        let primes = |params: &Self| params.key_rings().map(Ring::modulus).collect::<Vec<_>>();
        self.degree == other.degree && self.limbs.len() == other.limbs.len() && primes(self) == primes(other)
    }

    /// The ciphertext limbs and the special prime: the rings of a Galois key.
    pub(crate) fn key_rings(&self) -> impl Iterator<Item = &Ring> {
        self.limbs.iter().chain(&self.special)
    }

    /// The slot encoding, where t is a prime that is 1 mod 2n.
    pub fn slots(&self) -> Option<&Slots> {
        self.slots.as_ref()
    }

    /// log2 q, without the special prime.
    pub fn log_q(&self) -> f64 {
        self.log_q
    }

    /// log2 of the largest modulus of any ciphertext or key.
    pub fn log_q_with_special(&self) -> f64 {
        self.log_q + self.special.as_ref().map_or(0.0, |ring| (ring.modulus() as f64).log2())
    }

    /// Classical security in bits. The guidelines give 128 at a largest modulus for each degree; in between, the cost
    /// of lattice reduction is taken as inversely proportional to log q, which is accurate to a few bits.
    pub fn security_estimate(&self) -> f64 {
        let row = MAX_LOG_Q.iter().find(|(n, _)| *n == self.degree);
        128.0 * row.map_or(0.0, |(_, max)| max / self.log_q_with_special())
    }

    /// Words of a polynomial with all its limbs.
    pub fn words(&self) -> usize {
        self.limbs.len() * self.degree
    }

    pub(crate) fn scale(&self) -> &[Factor] {
        &self.scale
    }

    pub(crate) fn scale_fraction(&self) -> u64 {
        self.scale_fraction
    }

    pub(crate) fn torus(&self) -> &[(u64, u64)] {
        &self.torus
    }

    /// For limb l: 1/p_j mod p_l for each j < l.
    pub(crate) fn garner(&self, limb: usize) -> &[Factor] {
        &self.garner[limb]
    }
}

/// Distinct primes of the sizes asked for, each above `t`.
fn choose_primes(degree: usize, bits: &[u32], t: Modulus) -> Result<Vec<u64>, ParamError> {
    let mut primes: Vec<u64> = Vec::new();
    for &bits in bits {
        let refused = ParamError::LimbBits { bits, step: 2 * degree };
        if !(20..=50).contains(&bits) {
            return Err(refused);
        }
        let fresh = |p: &u64| !primes.contains(p) && *p != t.value();
        let prime = ntt_primes(degree, bits).find(fresh).ok_or(refused)?;
        if prime <= t.value() {
            return Err(ParamError::LimbBelowPlaintext { bits, t });
        }
        primes.push(prime);
    }
    Ok(primes)
}

/// ⌊q/t⌋ mod each limb and the fraction ⌊2^52·(q mod t)/t⌋.
fn scale_constants(limbs: &[Ring], t: u64) -> (Vec<Factor>, u64) {
    let wide = u128::from;
    let q_mod_t = limbs.iter().fold(1, |r, ring| (wide(r) * wide(ring.modulus()) % wide(t)) as u64);
    // ⌊q/t⌋ = (q − q mod t)/t, and q is zero mod each limb.
    let scale = |ring: &Ring| {
        let p = ring.modulus();
        ring.factor(ring.mul_scalar(p - q_mod_t % p, ring.invert_scalar(t % p)))
    };
    (limbs.iter().map(scale).collect(), ((wide(q_mod_t) << 52) / wide(t)) as u64)
}

/// c/p for c = (q/p)^(−1) mod p, as fraction of 2^64 and the next 52 bits.
fn torus_constant(limbs: &[Ring], limb: usize) -> (u64, u64) {
    let ring = &limbs[limb];
    let p = u128::from(ring.modulus());
    let others = limbs.iter().enumerate().filter(|(l, _)| *l != limb);
    let product = others.fold(1, |x, (_, other)| ring.mul_scalar(x, other.modulus() % ring.modulus()));
    let c = u128::from(ring.invert_scalar(product));
    (((c << 64) / p) as u64, ((((c << 64) % p) << 52) / p) as u64)
}

fn garner_constants(limbs: &[Ring]) -> Vec<Vec<Factor>> {
    let inverse = |ring: &Ring, p: u64| ring.factor(ring.invert_scalar(p % ring.modulus()));
    let row =
        |(l, ring): (usize, &Ring)| limbs[..l].iter().map(|other| inverse(ring, other.modulus())).collect();
    limbs.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pow2(bits: u32) -> Modulus {
        Modulus::pow2(bits).unwrap()
    }

    #[test]
    fn standard_sets_stay_within_the_guidelines() {
        let small = Params::small(pow2(24)).unwrap();
        assert!((small.log_q() - 100.0).abs() < 0.01 && small.security_estimate() > 128.0);
        let rotating = Params::rotating(Modulus::prime(737_281).unwrap()).unwrap();
        assert!((rotating.log_q_with_special() - 200.0).abs() < 0.01 && rotating.security_estimate() > 128.0);
        assert!(rotating.slots().is_some() && small.slots().is_none());
        assert!(Params::large(pow2(40)).is_ok());
    }

    #[test]
    fn sets_outside_are_refused() {
        let refused = |n, limbs: &[u32], special, t| Params::new(n, limbs, special, t).err().unwrap();
        assert!(matches!(refused(2048, &[30, 30], None, pow2(16)), ParamError::Insecure { .. }));
        assert!(matches!(refused(4096, &[50, 50], Some(50), pow2(16)), ParamError::Insecure { .. }));
        assert!(matches!(refused(4096, &[36, 36, 36], None, pow2(16)), ParamError::Insecure { .. }));
        assert!(matches!(refused(8192, &[50; 5], None, pow2(16)), ParamError::Insecure { .. }));
        assert!(matches!(refused(512, &[20], None, pow2(8)), ParamError::Degree(512)));
        assert!(matches!(refused(4096, &[51], None, pow2(8)), ParamError::LimbBits { bits: 51, .. }));
        assert!(matches!(refused(4096, &[], None, pow2(8)), ParamError::Limbs(0)));
        assert!(matches!(refused(4096, &[30], None, pow2(32)), ParamError::LimbBelowPlaintext { .. }));
    }
}

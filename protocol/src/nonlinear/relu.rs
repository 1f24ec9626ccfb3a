//! ReLU with truncation by oblivious transfer, bit-sliced.
//!
//! Functionality: from shares of x mod 2^k to shares of y ≈ max(0, x / 2^s) mod 2^t. Each party first truncates its own
//! share, which is free: with a, b the shares of x + 2^s − 1 and c the carry of their low parts,
//!
//! ```text
//!   v = ⌊a/2^s⌋ + ⌊b/2^s⌋ = ⌈x/2^s⌉ − c,        y = max(0, v)
//! ```
//!
//! and max(0, v) is computed exactly (see [`super::rectify`]) mod 2^r, where r is the least width that the layer's range
//! needs: neither the s bits that the truncation drops nor the bits above the range are compared or multiplexed.
//! This is the comparison that skips low bits: a wrong sign of x only ever happens where v is 0 anyway.
//!
//! Error: against half-up rounding of max(0, x) at most one unit in the last place, unbiased; 0 stays 0; s = 0 is exact.
//! [`Carries`] gives it as a function of the shares. Ranges: |x| ≤ 2^(k−1) − 2^s.
//! Security: semi-honest; the low parts are dropped without talk, the rest is [`super::rectify`]'s. Constant time.
//! Cost, s = 8 and 24-bit shares of values below 2^23 − 2^8: 101 bits per value and 31 OTs, in 18 rounds for every
//! [`SLICE`] of values; the bound on memory holds more than any layer of the paper's 64×64×64 network.

use super::rectify::{Rectify, low};
use super::sign::Form;
use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Carries, Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use zeroize::Zeroizing;

/// ReLU with this form of comparison.
pub struct OtRelu(pub Form);

impl Strategy for OtRelu {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn operator(&self) -> Operator {
        Operator::Relu
    }

    fn converts(&self) -> bool {
        true
    }

    fn demand(&self, op: &Op, bound: u64) -> u64 {
        match *op {
            Op::Relu { shift } => 1 << (width(bound, shift) + shift),
            _ => crate::plan::plain_demand(op, bound),
        }
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::Relu { shift } = site.node.op else { return Err(Refusal("is no ReLU".into())) };
        let (Modulus::Pow2 { bits: from }, Modulus::Pow2 { bits: to }) = (site.from, site.to) else {
            return Err(Refusal("compares shares modulo powers of two, not modulo primes".into()));
        };
        let width = width(site.input_edges[0].bound, shift);
        if width + shift > from {
            return Err(Refusal(format!(
                "values up to {} need shares of {} bits, not {from}",
                site.input_edges[0].bound,
                width + shift
            )));
        }
        let core = Rectify { from: width, to, n: site.node.shape.len(), form: self.0 };
        Ok(Box::new(Relu { shift, core }))
    }
}

/// Bits r of the truncated values: 2^(r−1) > ⌈bound/2^shift⌉.
pub(crate) fn width(bound: u64, shift: u32) -> u32 {
    let largest = bound.div_ceil(1 << shift);
    (u64::BITS - largest.leading_zeros() + 1).max(2)
}

/// Values worked on at a time: about 100 bytes each are in use beside the shares. Rounds do not grow up to 64 channels of
/// 64×64×64; of a larger layer, a slice's bytes take longer than its rounds.
const SLICE: usize = if cfg!(test) { 1 << 16 } else { 1 << 24 };

struct Relu {
    shift: u32,
    core: Rectify,
}

impl Relu {
    fn slices(&self) -> impl Iterator<Item = Rectify> {
        let core = self.core;
        (0..core.n).step_by(SLICE).map(move |start| Rectify { n: SLICE.min(core.n - start), ..core })
    }

    fn alice_part(&self, share: u64) -> u64 {
        low(self.core.from, share >> self.shift)
    }

    fn bob_part(&self, share: u64) -> u64 {
        low(self.core.from, (share + (1 << self.shift) - 1) >> self.shift)
    }
}

impl Carries for Relu {
    fn value(&self, alice: u64, bob: u64) -> i64 {
        let v = low(self.core.from, self.alice_part(alice) + self.bob_part(bob)) as i64;
        if v >> (self.core.from - 1) == 0 { v } else { 0 }
    }
}

impl Step for Relu {
    fn describe(&self) -> String {
        format!("ot relu by {} {:?}", self.shift, self.core)
    }

    fn cost(&self) -> Cost {
        self.slices().map(|core| core.cost()).sum()
    }

    fn carries(&self) -> Option<&dyn Carries> {
        (self.shift > 0).then_some(self)
    }

    fn memory(&self) -> u64 {
        100 * self.core.n.min(SLICE) as u64
    }

    fn ots(&self) -> Vec<Take> {
        self.slices().flat_map(|core| core.takes()).collect()
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        let mut prepared = Prepared::default();
        self.slices().try_for_each(|core| core.prepare_alice(alice, &mut prepared))?;
        Ok(prepared)
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        let mut prepared = Prepared::default();
        self.slices().try_for_each(|core| core.prepare_bob(bob, &mut prepared))?;
        Ok(prepared)
    }

    fn alice(
        &self,
        alice: &mut Alice,
        mut prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let mut result = Vec::with_capacity(self.core.n);
        for (core, shares) in self.slices().zip(inputs[0].values.chunks(SLICE)) {
            let shares: Zeroizing<Vec<u64>> =
                Zeroizing::new(shares.iter().map(|&a| self.alice_part(a)).collect());
            result.extend_from_slice(&Zeroizing::new(core.alice(alice, &mut prepared, &shares)?));
        }
        Ok(result)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        mut prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let mut result = Vec::with_capacity(self.core.n);
        for (core, shares) in self.slices().zip(inputs[0].values.chunks(SLICE)) {
            let shares: Zeroizing<Vec<u64>> =
                Zeroizing::new(shares.iter().map(|&b| self.bob_part(b)).collect());
            result.extend_from_slice(&Zeroizing::new(core.bob(bob, &mut prepared, &shares)?));
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ots::Source;
    use crate::testing::{Layer, run_layer, run_layer_over, values_below};
    use prg::{Prg, Seed};

    fn pow2(bits: u32) -> Modulus {
        Modulus::pow2(bits).unwrap()
    }

    #[test]
    fn shares_come_out_as_the_carries_say_at_the_ends_of_every_range() {
        let mut prg = Prg::new(&Seed::from_bytes([31; 16]));
        for (from, to) in [(16, 16), (24, 24), (40, 24), (20, 32), (32, 16)] {
            for shift in [0, 1, 8] {
                let largest = (1i64 << (from.min(to + shift) - 1)) - (1 << shift);
                for (limit, form) in [(largest, Form::Chain), (largest / 5, Form::Tree), (3, Form::Chain)] {
                    let values = values_below(limit, 130, &mut prg);
                    let layer = Layer::new(Op::Relu { shift }, &values, pow2(from), pow2(to));
                    let run = run_layer(&OtRelu(form), layer, &mut prg);
                    run.assert_exact();
                    let off = run.values.iter().zip(&run.reference).map(|(a, b)| (a - b).abs()).max();
                    assert!(off <= Some(i64::from(shift > 0)), "{from} to {to} by {shift}: {off:?}");
                    assert_eq!(run.values[0], 0, "0 stays 0");
                }
            }
        }
    }

    #[test]
    fn slices_join_at_the_declared_cost() {
        let mut prg = Prg::new(&Seed::from_bytes([34; 16]));
        let values = values_below((1 << 15) - (1 << 4), SLICE + 77, &mut prg);
        for source in [Source::Silent, Source::Iknp] {
            let layer = Layer::new(Op::Relu { shift: 4 }, &values, pow2(16), pow2(18));
            run_layer_over(source, &OtRelu(Form::Chain), layer, &mut prg).assert_exact();
        }
    }

    #[test]
    fn the_error_is_unbiased() {
        let mut prg = Prg::new(&Seed::from_bytes([33; 16]));
        let (shift, n) = (8, 40_000);
        let relu = Relu { shift, core: Rectify { from: 16, to: 24, n, form: Form::Chain } };
        let mut sum = 0.0;
        for i in 0..n as i64 {
            let b = prg.next_u64() & 0xff_ffff;
            let y = relu.value(pow2(24).sub(i as u64, b), b);
            sum += y as f64 - i as f64 / 256.0;
        }
        // Half a unit would be the bias of flooring; the deviation of the mean is about 0.002.
        assert!((sum / n as f64).abs() < 0.02, "{}", sum / n as f64);
    }

    #[test]
    fn silent_oblivious_transfer_keeps_the_byte_budget() {
        let mut prg = Prg::new(&Seed::from_bytes([32; 16]));
        let n = 1 << 16;
        let values = values_below((1 << 23) - (1 << 8), n, &mut prg);
        let layer = Layer::new(Op::Relu { shift: 8 }, &values, pow2(24), pow2(24));
        let run = run_layer_over(Source::Silent, &OtRelu(Form::Chain), layer, &mut prg);
        run.assert_exact();
        let flow = run.declared.total();
        let bytes = (flow.alice_to_bob + flow.bob_to_alice) as f64 / n as f64;
        assert!(bytes <= 15.0, "{bytes} bytes per value");
        assert_eq!(run.declared.online.rounds, 18);
    }
}

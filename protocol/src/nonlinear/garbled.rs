//! Activations by garbled circuits: exact for every modulus, at kilobytes per value.
//!
//! Functionality: ReLU with truncation, truncation alone, and max pooling from shares mod m to fresh shares mod m';
//! argmax and threshold from shares to labels that only Alice learns. One circuit per value opens the shares inside,
//! computes, and re-shares (Gazelle, USENIX Security 2018, section 5; BUNET section IV), garbled by half gates.
//!
//! ```text
//!   Alice, evaluator (a)                               Bob, garbler (b, fresh mask r)
//!   choice bits of a            --correlated OT-->     labels
//!   y − r, or the label         <--tables--            share of y: r
//! ```
//!
//! Bob garbles and Alice evaluates, since Alice alone may learn the labels: Bob's decoding bits open them to her, and
//! no score is among the outputs. Security: semi-honest, see the `gc` crate; r is uniform and used once.
//! Cost: `gc::cost` of the circuit and an OT per bit of Alice's shares, from the run's source, whose offset is that of
//! the garbling; one round per layer. Constant time.

use super::words::Words;
use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate};
use gc::{Circuit, Reveal};
use models::manifest::LayerWeights;
use models::{Op, Shape};
use ntt::Modulus;
use zeroize::Zeroizing;

/// ReLU and truncation in one circuit.
pub struct GarbledRelu;
/// Exact truncation.
pub struct GarbledTruncation;
/// Max pooling by a tournament.
pub struct GarbledMaxPool;
/// Argmax or threshold, to Alice only.
pub struct GarbledReadout;

impl Strategy for GarbledRelu {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn operator(&self) -> Operator {
        Operator::Relu
    }

    fn converts(&self) -> bool {
        true
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::Relu { shift } = site.node.op else { return Err(Refusal("is no ReLU".into())) };
        check_shift(site.from, shift)?;
        Ok(step(Relu { m_in: site.from, m_out: site.to, shift }, Words::Whole, site))
    }
}

impl Strategy for GarbledTruncation {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn operator(&self) -> Operator {
        Operator::Truncation
    }

    fn converts(&self) -> bool {
        true
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::Truncate { shift } = site.node.op else { return Err(Refusal("is no truncation".into())) };
        check_shift(site.from, shift)?;
        Ok(step(Truncate { m_in: site.from, m_out: site.to, shift }, Words::Whole, site))
    }
}

impl Strategy for GarbledMaxPool {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn operator(&self) -> Operator {
        Operator::MaxPool
    }

    fn converts(&self) -> bool {
        true
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::MaxPool { window } = site.node.op else { return Err(Refusal("is no max pooling".into())) };
        let circuit =
            MaxPool { m_in: site.from, m_out: site.to, window: window.taps(), relu: false, shift: 0 };
        Ok(step(circuit, Words::Windows(window), site))
    }
}

impl Strategy for GarbledReadout {
    fn name(&self) -> &'static str {
        "gc"
    }

    fn operator(&self) -> Operator {
        Operator::Readout
    }

    fn converts(&self) -> bool {
        true
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        match site.node.op {
            Op::ArgMax => {
                let circuit = ArgMax { m_in: site.from, classes: site.inputs[0].channels };
                Ok(step(circuit, Words::Channels, site))
            }
            Op::Threshold { at } => Ok(step(Threshold { m_in: site.from, at }, Words::Whole, site)),
            _ => Err(Refusal("is no readout".into())),
        }
    }
}

fn check_shift(from: Modulus, shift: u32) -> Result<(), Refusal> {
    if shift + 2 > from.bits() {
        return Err(Refusal(format!("a shift by {shift} leaves nothing of {from}")));
    }
    Ok(())
}

fn step<C: Circuit + std::fmt::Debug + Send + 'static>(
    circuit: C,
    words: Words,
    site: &Site<'_>,
) -> Box<dyn Step> {
    let mask = (!site.node.op.is_readout()).then_some(site.to);
    Box::new(Garbled { circuit, words, input: site.inputs[0], output: site.node.shape, mask })
}

struct Garbled<C> {
    circuit: C,
    words: Words,
    input: Shape,
    output: Shape,
    /// Modulus of the masks of a shared output; `None` where Alice learns the output itself.
    mask: Option<Modulus>,
}

impl<C: Circuit + std::fmt::Debug + Send> Step for Garbled<C> {
    fn describe(&self) -> String {
        format!("garbled {:?} {:?} {:?} {:?}", self.circuit, self.words, self.input, self.output)
    }

    fn cost(&self) -> Cost {
        let cost = gc::cost(&self.circuit, self.output.len(), Reveal::ToEvaluator);
        Cost::online(cost.evaluator_to_garbler, cost.garbler_to_evaluator, cost.rounds)
    }

    fn ots(&self) -> Vec<Take> {
        gc::transfers(&self.circuit, self.output.len()).into_iter().map(Take::from_bob).collect()
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let words = Zeroizing::new(self.words.gather(self.input, self.output, &inputs[0].values));
        let words: Vec<&[u64]> = words.iter().map(Vec::as_slice).collect();
        let (ots, channel) = alice.ot()?;
        let n = self.output.len();
        let mut outputs =
            gc::evaluate(&mut **ots.cots(), channel, &self.circuit, &words, n, Reveal::ToEvaluator)?;
        Ok(outputs.swap_remove(0))
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let n = self.output.len();
        let mut mask = vec![0; n];
        if let Some(modulus) = self.mask {
            modulus.sample(&mut bob.prg, &mut mask);
        }
        let words = Zeroizing::new(self.words.gather(self.input, self.output, &inputs[0].values));
        let masks = self.mask.map(|_| mask.as_slice());
        let words: Vec<&[u64]> = words.iter().map(Vec::as_slice).chain(masks).collect();
        let (ots, channel) = bob.ot()?;
        gc::garble(&mut **ots.cots(), channel, &self.circuit, &words, n, Reveal::ToEvaluator)?;
        Ok(mask)
    }
}

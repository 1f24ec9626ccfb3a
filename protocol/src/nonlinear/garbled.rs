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
//! Cost: `gc::cost` of the circuit; one round per layer. Constant time.

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::pool::for_each_window;
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use gc::circuits::{ArgMax, MaxPool, Relu, Threshold, Truncate};
use gc::{Circuit, Reveal};
use models::manifest::LayerWeights;
use models::{Op, Shape, Window};
use ntt::Modulus;

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

/// Which values of the input each instance of the circuit reads.
#[derive(Clone, Copy, Debug)]
enum Words {
    /// Its own.
    Whole,
    /// Those of its window; where the window reaches into the padding, its first value again, which changes no maximum.
    Windows(Window),
    /// Those of all channels.
    Channels,
}

struct Garbled<C> {
    circuit: C,
    words: Words,
    input: Shape,
    output: Shape,
    /// Modulus of the masks of a shared output; `None` where Alice learns the output itself.
    mask: Option<Modulus>,
}

impl<C: Circuit> Garbled<C> {
    /// One slice of a word per instance, for each word that the circuit reads.
    fn gather(&self, values: &[u64]) -> Vec<Vec<u64>> {
        match self.words {
            Words::Whole => vec![values.to_vec()],
            Words::Channels => {
                values.chunks_exact(self.input.volume()).map(|channel| channel.to_vec()).collect()
            }
            Words::Windows(window) => {
                let mut words = vec![Vec::with_capacity(self.output.len()); window.taps()];
                for channel in values.chunks_exact(self.input.volume()) {
                    for_each_window(&window, self.input.dims, self.output.dims, |voxels| {
                        for (tap, word) in words.iter_mut().enumerate() {
                            word.push(channel[*voxels.get(tap).unwrap_or(&voxels[0])]);
                        }
                    });
                }
                words
            }
        }
    }
}

impl<C: Circuit + std::fmt::Debug + Send> Step for Garbled<C> {
    fn describe(&self) -> String {
        format!("garbled {:?} {:?} {:?} {:?}", self.circuit, self.words, self.input, self.output)
    }

    fn cost(&self) -> Cost {
        let cost = gc::cost(&self.circuit, self.output.len(), Reveal::ToEvaluator);
        Cost::online(cost.evaluator_to_garbler, cost.garbler_to_evaluator, cost.rounds)
    }

    fn needs_garbling(&self) -> bool {
        true
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let words = self.gather(&inputs[0].values);
        let words: Vec<&[u64]> = words.iter().map(Vec::as_slice).collect();
        let (evaluator, channel) = alice.garbling()?;
        let n = self.output.len();
        let mut outputs = gc::evaluate(evaluator, channel, &self.circuit, &words, n, Reveal::ToEvaluator)?;
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
        let words = self.gather(&inputs[0].values);
        let masks = self.mask.map(|_| mask.as_slice());
        let words: Vec<&[u64]> = words.iter().map(Vec::as_slice).chain(masks).collect();
        let (garbler, channel) = bob.garbling()?;
        gc::garble(garbler, channel, &self.circuit, &words, n, Reveal::ToEvaluator)?;
        Ok(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, moduli, run_layer, values_below};
    use models::Window;
    use prg::{Prg, Seed};

    #[test]
    fn activations_equal_the_integer_reference() {
        let mut prg = Prg::new(&Seed::from_bytes([21; 16]));
        for from in moduli() {
            for to in moduli() {
                let limit = from.value().min(to.value()) as i64 / 2 - 200;
                let values = values_below(limit, 129, &mut prg);
                for (op, strategy) in [
                    (Op::Relu { shift: 0 }, &GarbledRelu as &dyn Strategy),
                    (Op::Relu { shift: 7 }, &GarbledRelu),
                    (Op::Truncate { shift: 5 }, &GarbledTruncation),
                ] {
                    run_layer(strategy, Layer::new(op, &values, from, to), &mut prg).assert_exact();
                }
            }
        }
    }

    #[test]
    fn pooling_and_readout_equal_the_integer_reference() {
        let mut prg = Prg::new(&Seed::from_bytes([22; 16]));
        let overlapping = Window {
            kernel: [1, 3, 3],
            stride: [1, 2, 2],
            dilation: [1; 3],
            pad_before: [0, 1, 1],
            pad_after: [0, 1, 1],
        };
        for from in moduli() {
            let limit = from.value() as i64 / 2 - 2;
            let shape = |channels, dims| Shape { channels, dims };
            for (window, shape) in [
                (Window::tiling([2, 2, 2]), shape(2, [4, 6, 2])),
                (overlapping, shape(1, [1, 7, 5])),
                (Window::tiling([1, 1, 3]), shape(3, [1, 1, 9])),
            ] {
                let values = values_below(limit, shape.len(), &mut prg);
                let layer = Layer::shaped(Op::MaxPool { window }, shape, &values, from, from);
                run_layer(&GarbledMaxPool, layer, &mut prg).assert_exact();
            }
            let ties = [5, 5, -3, 7, 7, 7, -1, -1, 5, 5, 5, 5].map(i64::from);
            let layer = Layer::shaped(Op::ArgMax, shape(3, [1, 2, 2]), &ties, from, from);
            run_layer(&GarbledReadout, layer, &mut prg).assert_exact();
            for channels in [2, 5] {
                let values = values_below(limit, channels * 70, &mut prg);
                let layer = Layer::shaped(Op::ArgMax, shape(channels, [1, 7, 10]), &values, from, from);
                run_layer(&GarbledReadout, layer, &mut prg).assert_exact();
            }
            let values = values_below(limit, 40, &mut prg);
            let layer = Layer::new(Op::Threshold { at: 11 }, &values, from, from);
            run_layer(&GarbledReadout, layer, &mut prg).assert_exact();
        }
    }
}

//! Linear layers under encryption: a layer becomes a stencil ([`stencil`]), an engine evaluates the stencil
//! homomorphically ([`coefficient`] or [`ensei`]).

pub mod coefficient;
pub mod ensei;
pub mod layout;
pub mod stencil;

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use stencil::{Lowering, Stencil, StencilWeights};
use zeroize::Zeroizing;

/// Convolution by coefficient packing. The default.
pub struct Coefficient;
/// Convolution in the frequency domain (ENSEI): slots hold the spectrum of the share.
pub struct Ensei;
/// Transposed convolution as one small convolution per phase. The default.
pub struct Phases;
/// Transposed convolution of the zero-interleaved share.
pub struct Interleave;

/// Evaluates one stencil: Alice and Bob hold shares of its input and get shares of its output.
pub(crate) trait Engine: Send + Sync {
    fn describe(&self) -> String;
    fn cost(&self) -> Cost;
    fn keys(&self) -> KeySpec;
    fn reply_coefficients(&self) -> u64;
    /// Bytes that Bob holds: ciphertexts, weights in the NTT domain, sums.
    fn memory(&self) -> u64;
    fn alice(&self, alice: &mut Alice, input: &[u64]) -> Result<Vec<u64>, ProtocolError>;
    fn bob(&self, bob: &mut Bob, weights: &StencilWeights, input: &[u64]) -> Result<Vec<u64>, ProtocolError>;
}

/// What an engine needs to know besides the stencil.
pub(crate) struct Demand {
    pub(crate) modulus: Modulus,
    /// |w| < 2^weight_bits.
    pub(crate) weight_bits: u32,
    pub(crate) run_coefficients: u64,
}

impl Strategy for Coefficient {
    fn name(&self) -> &'static str {
        "coefficient"
    }

    fn operator(&self) -> Operator {
        Operator::Convolution
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        plan_convolution(site)
    }
}

impl Strategy for Ensei {
    fn name(&self) -> &'static str {
        "ensei"
    }

    fn operator(&self) -> Operator {
        Operator::Convolution
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        plan_convolution(site)
    }
}

impl Strategy for Phases {
    fn name(&self) -> &'static str {
        "phases"
    }

    fn operator(&self) -> Operator {
        Operator::TransposedConvolution
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        plan_transposed(site, self.name())
    }
}

impl Strategy for Interleave {
    fn name(&self) -> &'static str {
        "interleave"
    }

    fn operator(&self) -> Operator {
        Operator::TransposedConvolution
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        plan_transposed(site, self.name())
    }
}

/// The lowering that a strategy uses for a layer.
pub(crate) fn lowering(op: &Op, site: (models::Shape, models::Shape), strategy: &str) -> Option<Lowering> {
    match (op, strategy) {
        (Op::ConvTranspose { window, .. }, "interleave") => {
            Some(Lowering::interleave(*window, site.0, site.1))
        }
        _ => Lowering::of(op, site.0, site.1),
    }
}

fn plan_convolution(site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
    plan_transposed(site, "phases")
}

fn plan_transposed(site: &Site<'_>, strategy: &str) -> Result<Box<dyn Step>, Refusal> {
    let shapes = (site.inputs[0], site.node.shape);
    let lowering = lowering(&site.node.op, shapes, strategy);
    let (Some(lowering), Some(layer)) = (lowering, site.layer) else {
        return Err(Refusal("is no layer with weights".into()));
    };
    let demand = Demand {
        modulus: site.from,
        weight_bits: layer.weight_bits,
        run_coefficients: site.run_coefficients,
    };
    let stencil = *lowering.stencil();
    let engine: Box<dyn Engine> = match site.engine {
        "ensei" => Box::new(ensei::EnseiEngine::plan(stencil, &demand)?),
        _ => Box::new(coefficient::CoefficientEngine::plan(stencil, &demand)?),
    };
    Ok(Box::new(LinearStep { lowering, engine, modulus: site.from }))
}

struct LinearStep {
    lowering: Lowering,
    engine: Box<dyn Engine>,
    modulus: Modulus,
}

impl LinearStep {
    /// The input in the stencil's order, where that is another one.
    fn arranged(&self, input: &Share) -> Option<Zeroizing<Vec<u64>>> {
        self.lowering.rearranges().then(|| Zeroizing::new(self.lowering.arrange(&input.values)))
    }
}

impl Step for LinearStep {
    fn describe(&self) -> String {
        format!("{:?} {}", self.lowering, self.engine.describe())
    }

    fn cost(&self) -> Cost {
        self.engine.cost()
    }

    fn keys(&self) -> Option<KeySpec> {
        Some(self.engine.keys())
    }

    fn memory(&self) -> u64 {
        let stencil = self.lowering.stencil();
        self.engine.memory() + 8 * (stencil.input.len() + stencil.output.len()) as u64
    }

    fn reply_coefficients(&self) -> u64 {
        self.engine.reply_coefficients()
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let arranged = self.arranged(inputs[0]);
        let input = arranged.as_ref().map_or(&inputs[0].values, |arranged| &**arranged);
        let output = self.engine.alice(alice, input)?;
        Ok(self.lowering.restore(output))
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        weights: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let layer = weights.ok_or_else(|| ProtocolError::Disagreement("the layer has no weights".into()))?;
        let stencil_weights = self.lowering.weights(layer);
        let arranged = self.arranged(inputs[0]);
        let input = arranged.as_ref().map_or(&inputs[0].values, |arranged| &**arranged);
        let mut output = self.lowering.restore(self.engine.bob(bob, &stencil_weights, input)?);
        let volume = output.len() / layer.bias.len();
        for (channel, &bias) in output.chunks_exact_mut(volume).zip(&layer.bias) {
            let bias = self.modulus.reduce(bias);
            channel.iter_mut().for_each(|y| *y = self.modulus.add(*y, bias));
        }
        Ok(output)
    }
}

/// Where outputs of a stencil stand when channels are rows of this length.
pub(crate) fn volume(stencil: &Stencil) -> usize {
    stencil.output.volume()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, run_layer};
    use models::{Shape, Window};
    use prg::{Prg, Seed};

    #[test]
    fn several_windows_and_groups_of_them_work() {
        let mut prg = Prg::new(&Seed::from_bytes([33; 16]));
        let modulus = Modulus::pow2(20).unwrap();
        for (kernel, pad, dims) in [([1, 3, 3], [0, 1, 1], [1, 200, 200]), ([3; 3], [1; 3], [20, 40, 36])] {
            let op = Op::Conv { window: Window::dense(kernel, pad), channels: 3 };
            let layer = Layer::linear(op, Shape { channels: 2, dims }, modulus, "coefficient", &mut prg);
            run_layer(&Coefficient, layer, &mut prg).assert_exact();
        }
    }
}

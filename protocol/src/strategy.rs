//! What a strategy is: one way to run one operator, in one file, registered in one table.
//!
//! A [`Strategy`] looks at a [`Site`] — one layer with its shapes, scales and moduli — and either refuses with a reason
//! or yields a [`Step`]: the layer with all parameters fixed. Both parties derive equal steps; a step then knows
//! its cost, its error, and how each party runs its half.

use crate::config::Operator;
use crate::cost::{Cost, Exactness};
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::nonlinear::sign::Form;
use crate::ots::Take;
use crate::party::{Alice, Bob};
use crate::share::Share;
use models::manifest::{Edge, Layer, LayerWeights};
use models::{Node, NodeId, Op, Shape};
use ntt::Modulus;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Which share moduli a strategy works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any.
    Any,
    /// A prime with slots.
    Prime,
}

/// One layer as a strategy sees it.
pub struct Site<'a> {
    /// The node's id.
    pub id: NodeId,
    /// The node.
    pub node: &'a Node,
    /// Shapes of its inputs.
    pub inputs: Vec<Shape>,
    /// Scales and ranges of its inputs.
    pub input_edges: Vec<Edge>,
    /// Scale and range of its value.
    pub edge: Edge,
    /// What is public about its weights, if it has any.
    pub layer: Option<Layer>,
    /// Modulus of its inputs.
    pub from: Modulus,
    /// Modulus of its value.
    pub to: Modulus,
    /// For linear layers, the strategy that evaluates stencils.
    pub engine: &'static str,
    /// Coefficients of all replies of the run: statistical distances add up over them.
    pub run_coefficients: u64,
}

/// Why a strategy does not fit a site.
pub struct Refusal(pub String);

/// One way to run one operator.
pub trait Strategy: Sync {
    /// The name it is chosen by.
    fn name(&self) -> &'static str;

    /// The operator it runs.
    fn operator(&self) -> Operator;

    /// The moduli it works with.
    fn needs(&self) -> Needs {
        Needs::Any
    }

    /// Whether the value's modulus may differ from the inputs'.
    fn converts(&self) -> bool {
        false
    }

    /// Least modulus with which it can read values up to `bound` in magnitude.
    fn demand(&self, op: &Op, bound: u64) -> u64 {
        crate::plan::plain_demand(op, bound)
    }

    /// Values of a layer that it takes at most.
    fn most_values(&self) -> usize {
        usize::MAX
    }

    /// Fixes all parameters for one layer.
    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal>;
}

/// Correlated randomness that one party prepared for one layer before the scan was there: used once, then wiped.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct Prepared(pub Vec<Vec<u64>>);

/// What a step that is exact up to carries makes of a value's two shares.
pub trait Carries {
    /// The result, as a signed integer, from Alice's and Bob's share of the first input.
    fn value(&self, alice: u64, bob: u64) -> i64;
}

/// One layer, ready to run. Methods come in pairs, one per party, that talk to each other.
pub trait Step: Send + Sync {
    /// Every parameter in canonical words; part of the plan's hash.
    fn describe(&self) -> String;

    /// Exact bulk bytes and rounds, without what the OTs themselves cost: the plan adds that.
    fn cost(&self) -> Cost;

    /// For a step whose result depends on the shares: the result that they imply. `None` for a step that equals the
    /// integer reference.
    fn carries(&self) -> Option<&dyn Carries> {
        None
    }

    /// How far the result may be from the integer reference.
    fn exactness(&self) -> Exactness {
        if self.carries().is_some() { Exactness::Carry } else { Exactness::Exact }
    }

    /// Whether Alice learns the scores that a readout reads, modulo the inputs' modulus, in place of its labels.
    fn opens(&self) -> bool {
        false
    }

    /// The encryption keys it needs.
    fn keys(&self) -> Option<KeySpec> {
        None
    }

    /// The oblivious transfers that it takes. Those with chosen bits are reserved before the online phase.
    fn ots(&self) -> Vec<Take> {
        Vec::new()
    }

    /// Coefficients of the encrypted replies that Alice receives.
    fn reply_coefficients(&self) -> u64 {
        0
    }

    /// Bytes that the party with more to hold, Bob, needs while the step runs, beside the shares of its inputs and its
    /// value: an estimate.
    fn memory(&self) -> u64 {
        0
    }

    /// Alice's offline half.
    fn prepare_alice(&self, _alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        Ok(Prepared::default())
    }

    /// Bob's offline half.
    fn prepare_bob(&self, _bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        Ok(Prepared::default())
    }

    /// Alice's online half: her share of the value.
    fn alice(
        &self,
        alice: &mut Alice,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError>;

    /// Bob's online half: his share of the value.
    fn bob(
        &self,
        bob: &mut Bob,
        prepared: Prepared,
        weights: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError>;
}

/// The operator that a node is, or `None` for the input.
pub fn operator(op: &Op) -> Option<Operator> {
    Some(match op {
        Op::Input => return None,
        Op::Conv { .. } => Operator::Convolution,
        Op::ConvTranspose { .. } => Operator::TransposedConvolution,
        Op::Relu { .. } => Operator::Relu,
        Op::Square => Operator::Square,
        Op::Mul => Operator::Product,
        Op::Quadratic => Operator::Quadratic,
        Op::Truncate { .. } => Operator::Truncation,
        Op::AvgPool { .. } => Operator::AveragePool,
        Op::MaxPool { .. } => Operator::MaxPool,
        Op::ArgMax | Op::Threshold { .. } => Operator::Readout,
        // A leaky ReLU never comes here: integer networks have its parts. The local strategy refuses it.
        Op::Concat
        | Op::Add
        | Op::Raise { .. }
        | Op::Scale { .. }
        | Op::Resample(_)
        | Op::LeakyRelu { .. } => Operator::Local,
    })
}

/// The one table from names to strategies.
pub static STRATEGIES: &[&dyn Strategy] = &[
    &crate::linear::Coefficient,
    &crate::linear::Ensei,
    &crate::linear::Phases,
    &crate::linear::Interleave,
    &crate::nonlinear::garbled::GarbledTruncation,
    &crate::nonlinear::truncation::OtTruncation,
    &crate::nonlinear::garbled::GarbledRelu,
    &crate::nonlinear::relu::OtRelu(Form::Chain),
    &crate::nonlinear::relu::OtRelu(Form::Tree),
    &crate::nonlinear::beaver::BeaverSquare,
    &crate::nonlinear::square_ot::OtSquare,
    &crate::nonlinear::beaver::BeaverProduct,
    &crate::nonlinear::product_ot::OtProduct,
    &crate::nonlinear::quadratic::QuadraticSlots,
    &crate::nonlinear::quadratic::QuadraticOt,
    &crate::pool::LocalAverage,
    &crate::pool::rotation::Rotation,
    &crate::nonlinear::garbled::GarbledMaxPool,
    &crate::nonlinear::tournament::OtMaxPool(Form::Chain),
    &crate::nonlinear::tournament::OtMaxPool(Form::Tree),
    &crate::nonlinear::garbled::GarbledReadout,
    &crate::nonlinear::tournament::OtReadout(Form::Chain),
    &crate::nonlinear::tournament::OtReadout(Form::Tree),
    &crate::nonlinear::open::OpenReadout,
    &crate::local::Local,
];

/// Those that runs can choose, and those that are there for comparison only.
pub fn compared() -> Vec<&'static dyn Strategy> {
    let mut all = STRATEGIES.to_vec();
    #[cfg(feature = "tfhe")]
    all.push(&crate::nonlinear::bootstrapped::BootstrappedRelu);
    all.sort_by_key(|strategy| strategy.operator());
    all
}

/// The strategy of this name for this operator.
pub fn find(operator: Operator, name: &str) -> Option<&'static dyn Strategy> {
    STRATEGIES.iter().copied().find(|strategy| strategy.operator() == operator && strategy.name() == name)
}

//! Which strategy runs which operator: presets, and exceptions by operator and by layer.

use crate::ots::Source;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An operator that has strategies to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// Convolution.
    Convolution,
    /// Transposed convolution; the strategy says how it becomes a convolution.
    TransposedConvolution,
    /// Truncation where no activation absorbs it.
    Truncation,
    /// ReLU with its truncation.
    Relu,
    /// Square.
    Square,
    /// Product of two values.
    Product,
    /// Quadratic with trained coefficients.
    Quadratic,
    /// Average pooling.
    AveragePool,
    /// Max pooling.
    MaxPool,
    /// Argmax or threshold, to Alice only.
    Readout,
    /// Concatenation, addition, public factors and raising of fractional bits.
    Local,
}

impl Operator {
    /// All operators, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Convolution,
        Self::TransposedConvolution,
        Self::Truncation,
        Self::Relu,
        Self::Square,
        Self::Product,
        Self::Quadratic,
        Self::AveragePool,
        Self::MaxPool,
        Self::Readout,
        Self::Local,
    ];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution => "convolution",
            Self::TransposedConvolution => "transposed-convolution",
            Self::Truncation => "truncation",
            Self::Relu => "relu",
            Self::Square => "square",
            Self::Product => "product",
            Self::Quadratic => "quadratic",
            Self::AveragePool => "average-pool",
            Self::MaxPool => "max-pool",
            Self::Readout => "readout",
            Self::Local => "local",
        }
    }
}

/// A named choice for every operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's strategies, prime modulus throughout.
    Bunet,
    /// Coefficient packing and garbled circuits over 2^k shares.
    Gc,
    /// Coefficient packing and oblivious transfer over 2^k shares.
    #[default]
    Fast,
    /// The same with prefix trees instead of carry chains: fewer rounds for more bytes, where latency decides.
    FastWan,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [Self::Bunet, Self::Gc, Self::Fast, Self::FastWan];

    /// Its name in flags and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bunet => "bunet",
            Self::Gc => "gc",
            Self::Fast => "fast",
            Self::FastWan => "fast-wan",
        }
    }

    /// The strategy that runs an operator.
    pub fn strategy(self, operator: Operator) -> &'static str {
        match (self, operator) {
            (Self::Bunet, Operator::Convolution) => "ensei",
            (Self::Bunet, Operator::TransposedConvolution) => "interleave",
            (Self::Bunet, Operator::AveragePool) => "rotation",
            (_, Operator::Convolution) => "coefficient",
            (_, Operator::TransposedConvolution) => "phases",
            (_, Operator::AveragePool) => "local",
            (Self::Fast, Operator::Relu | Operator::MaxPool | Operator::Readout) => "ot",
            (Self::FastWan, Operator::Relu | Operator::MaxPool | Operator::Readout) => "ot-tree",
            (Self::Fast | Self::FastWan, Operator::Square | Operator::Product) => "beaver-ot",
            (Self::Fast | Self::FastWan, Operator::Quadratic) => "ot",
            (_, Operator::Relu | Operator::MaxPool | Operator::Readout) => "gc",
            (_, Operator::Square | Operator::Product) => "beaver",
            (_, Operator::Quadratic) => "slots",
            (_, Operator::Truncation) => "ot",
            (_, Operator::Local) => "local",
        }
    }

    /// Whether edges without needs of their own carry shares modulo a prime.
    pub fn prefers_prime(self) -> bool {
        self == Self::Bunet
    }
}

/// What a run was asked to do; public, proposed by Alice, and part of the plan that both derive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The strategies where nothing else is said.
    pub preset: Preset,
    /// Share bits; the manifest's where nothing is said.
    pub bits: Option<u32>,
    /// How oblivious transfers are made.
    pub ot: Source,
    /// Strategy by operator.
    pub strategies: BTreeMap<Operator, String>,
    /// Strategy by layer name; stronger than by operator.
    pub layers: BTreeMap<String, String>,
}

impl Config {
    /// The strategy for one layer.
    pub fn strategy(&self, operator: Operator, layer: &str) -> &str {
        let by_layer = self.layers.get(layer).or_else(|| self.strategies.get(&operator));
        by_layer.map_or(self.preset.strategy(operator), String::as_str)
    }
}

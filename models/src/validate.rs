//! What a manifest and its weights must satisfy before anyone works with them: they may come from a file or a peer.

use crate::graph::{NodeId, Op};

use crate::manifest::{Edge, FORMAT, LayerWeights, Manifest, Model};
use crate::ranges::RangeError;
use crate::reference::FLOAT_ONLY;

/// A manifest or weights that contradict themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// A field that cannot be.
    #[error("field `{field}`: {reason}")]
    Field {
        /// Its name.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// A layer that contradicts itself or its neighbours.
    #[error("layer `{layer}`: {reason}")]
    Layer {
        /// Its name.
        layer: String,
        /// What is wrong.
        reason: String,
    },
    /// Ranges that do not fit the stated shares.
    #[error(transparent)]
    Range(#[from] RangeError),
}

/// Most bits of a weight's magnitude.
pub const MAX_WEIGHT_BITS: u32 = 24;

/// Most fractional bits, either sign.
const MAX_FRAC: i32 = 60;

/// Largest integer that the reference may meet.
const MAX_SUM: f64 = (1_u64 << 62) as f64;

impl Manifest {
    /// Whether the manifest is consistent and its ranges fit `share_bits`.
    pub fn validate(&self) -> Result<(), ValidationError> {
        let field = |field: &str, reason: String| Err(ValidationError::Field { field: field.into(), reason });
        if self.format != FORMAT {
            return field("format", format!("version {}; this software reads {FORMAT}", self.format));
        }
        if self.name.len() > 256 || self.labels.iter().any(|label| label.name.len() > 256) {
            return field("name", "a name of more than 256 bytes".into());
        }
        if self.edges.len() != self.graph.nodes().len() {
            return field("edges", format!("{} for {} layers", self.edges.len(), self.graph.nodes().len()));
        }
        if !(16..=40).contains(&self.share_bits) {
            return field("share_bits", format!("{}; 16 to 40 are possible", self.share_bits));
        }
        if !(1.0..=1e3).contains(&self.margin) {
            return field("margin", format!("{}; 1 to 1000 are possible", self.margin));
        }
        self.validate_labels()?;
        for id in 0..self.edges.len() {
            let refuse = |reason| ValidationError::Layer { layer: self.graph.node(id).name.clone(), reason };
            self.validate_layer(id).map_err(refuse)?;
        }
        Ok(self.check_ranges(1 << self.share_bits)?)
    }

    fn validate_labels(&self) -> Result<(), ValidationError> {
        let last = self.graph.node(self.graph.output());
        if !last.op.is_readout() {
            let reason = "the last layer yields no labels".into();
            return Err(ValidationError::Layer { layer: last.name.clone(), reason });
        }
        let labels = self.graph.node(last.inputs[0]).shape.channels.max(2);
        if self.labels.len() != labels {
            let reason = format!("{} names for {labels} labels", self.labels.len());
            return Err(ValidationError::Field { field: "labels".into(), reason });
        }
        Ok(())
    }

    fn validate_layer(&self, id: NodeId) -> Result<(), String> {
        let node = self.graph.node(id);
        let Edge { frac, divisor, bound } = self.edges[id];
        if !(-MAX_FRAC..=MAX_FRAC).contains(&frac) || !(1..=1 << 16).contains(&divisor) || bound >= 1 << 40 {
            return Err(format!("its scale is out of range: frac {frac}, divisor {divisor}, bound {bound}"));
        }
        if node.op.has_weights() != self.layers.contains_key(&id) {
            return Err("`layers` must describe the layers with weights and no others".into());
        }
        if let Some(layer) = self.layers.get(&id)
            && (!(-MAX_FRAC..=MAX_FRAC).contains(&layer.weight_frac)
                || !(1..=MAX_WEIGHT_BITS).contains(&layer.weight_bits))
        {
            return Err(format!(
                "its weights have {} fractional and {} bits",
                layer.weight_frac, layer.weight_bits
            ));
        }
        if matches!(node.op, Op::LeakyRelu { .. }) {
            return Err(FLOAT_ONLY.into());
        }
        let Some(&input) = node.inputs.first() else { return Ok(()) };
        if node.op.is_readout() {
            return Ok(());
        }
        let expected = self.scale_after(id);
        if (frac, divisor) != expected {
            let (frac_due, divisor_due) = expected;
            return Err(format!(
                "frac {frac} and divisor {divisor} where {frac_due} and {divisor_due} follow"
            ));
        }
        let same = |&other: &NodeId| {
            (self.edges[other].frac, self.edges[other].divisor)
                == (self.edges[input].frac, self.edges[input].divisor)
        };
        if node.op == Op::Mul || node.inputs.iter().all(same) {
            Ok(())
        } else {
            Err("its inputs stand at different scales".into())
        }
    }

    /// Fractional bits and divisor that follow from the inputs'.
    fn scale_after(&self, id: NodeId) -> (i32, u32) {
        let node = self.graph.node(id);
        let Edge { frac, divisor, .. } = self.edges[node.inputs[0]];
        let weight_frac = self.layers.get(&id).map_or(0, |layer| layer.weight_frac);
        match node.op {
            Op::Conv { .. } | Op::ConvTranspose { .. } => (frac + weight_frac, 1),
            Op::Quadratic => (2 * frac + weight_frac, 1),
            Op::Mul => {
                let other = self.edges[node.inputs[1]];
                (frac + other.frac, divisor.saturating_mul(other.divisor))
            }
            Op::Scale { shift, .. } => (frac + shift as i32, divisor),
            Op::Relu { shift } | Op::Truncate { shift } => (frac - shift as i32, divisor),
            Op::Raise { shift } => (frac + shift as i32, divisor),
            Op::Square => (2 * frac, divisor.saturating_mul(divisor)),
            Op::AvgPool { window } => {
                let taps = u32::try_from(window.taps()).unwrap_or(u32::MAX);
                after_division(frac, divisor, taps)
            }
            Op::Resample(ref map) => after_division(frac, divisor, map.denominator),
            _ => (frac, divisor),
        }
    }
}

/// Fractional bits and divisor where a division by `by` is left open.
fn after_division(frac: i32, divisor: u32, by: u32) -> (i32, u32) {
    let halvings = by.trailing_zeros();
    (frac + halvings as i32, divisor.saturating_mul(by >> halvings))
}

impl Model {
    /// Whether manifest and weights are consistent, and no value can leave 64 bits.
    pub fn validate(&self) -> Result<(), ValidationError> {
        self.manifest.validate()?;
        let graph = &self.manifest.graph;
        if let Some(id) = self.weights.keys().find(|id| !self.manifest.layers.contains_key(id)) {
            let reason = format!("weights of a layer {id} that has none");
            return Err(ValidationError::Field { field: "weights".into(), reason });
        }
        for id in self.manifest.layers.keys() {
            let refuse = |reason| ValidationError::Layer { layer: graph.node(*id).name.clone(), reason };
            let layer = self.weights.get(id).ok_or_else(|| refuse("it has no weights".into()))?;
            self.validate_weights(*id, layer).map_err(refuse)?;
        }
        Ok(())
    }

    fn validate_weights(&self, id: NodeId, layer: &LayerWeights) -> Result<(), String> {
        let node = self.manifest.graph.node(id);
        let input = node.inputs[0];
        layer.check_shape(&node.op, self.manifest.graph.node(input).shape)?;
        let bits = self.manifest.layers[&id].weight_bits;
        let largest = layer.weights.iter().map(|weight| weight.unsigned_abs()).max().unwrap_or(0);
        if largest >> bits != 0 {
            return Err(format!("a weight of magnitude {largest} where less than 2^{bits} is stated"));
        }
        let bias = layer.bias.iter().map(|bias| bias.unsigned_abs()).max().unwrap_or(0) as f64;
        let terms = (layer.weights.len() / layer.bias.len().max(1)) as f64;
        let x = self.manifest.edges[input].bound as f64;
        let reads = if node.op == Op::Quadratic { x.max(1.0) * x } else { x };
        let sum = f64::from(largest) * terms * reads + bias;
        if sum < MAX_SUM { Ok(()) } else { Err("its sums may exceed 62 bits".into()) }
    }
}

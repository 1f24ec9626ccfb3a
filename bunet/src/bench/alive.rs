//! Is a random network alive? A network whose ReLUs are all off, or whose labels are all the same, costs as much as any,
//! but agreement with a reference says nothing about it.

use models::graph::Op;
use models::{Model, NodeId};
use ndarray::Array4;
use serde::{Deserialize, Serialize};

/// Least share of the voxels that every label has.
const LEAST_LABEL: f64 = 0.05;
/// Bounds of the share of a layer's ReLUs that are active.
const ACTIVE: [f64; 2] = [0.2, 0.8];

/// What was seen of a network's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Per ReLU layer, name and share of active values.
    pub(crate) active: Vec<(String, f64)>,
    /// Per label, share of the voxels.
    pub(crate) labels: Vec<f64>,
    /// Values beyond the range that was proved for them.
    pub(crate) beyond: u64,
}

impl Life {
    /// Takes up one node's value.
    pub(crate) fn see(&mut self, model: &Model, id: NodeId, value: &Array4<i64>) {
        let node = model.manifest.graph.node(id);
        let bound = model.manifest.edges[id].bound;
        let share = |count: usize| count as f64 / value.len().max(1) as f64;
        if let Op::Relu { .. } = node.op {
            let active = value.iter().filter(|&&x| x > 0).count();
            self.active.push((node.name.clone(), share(active)));
        }
        if node.op.is_readout() {
            let count = |label: i64| value.iter().filter(|&&x| x == label).count();
            self.labels = (0..model.manifest.labels.len() as i64).map(|label| share(count(label))).collect();
        } else {
            self.beyond += value.iter().filter(|value| value.unsigned_abs() > bound).count() as u64;
        }
    }

    /// Least and largest share of active ReLUs among the layers that have any.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let shares = self.active.iter().map(|(_, share)| *share);
        shares.map(|share| (share, share)).reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
    }

    /// What is dead, in words.
    pub(crate) fn complaint(&self) -> Option<String> {
        let [least, most] = ACTIVE;
        if let Some((name, share)) = self.active.iter().find(|(_, share)| !(least..=most).contains(share)) {
            return Some(format!(
                "{:.1} % of the ReLUs of `{name}` are active, not 20 to 80 %",
                100.0 * share
            ));
        }
        let scarce = self.labels.iter().position(|&share| share < LEAST_LABEL)?;
        Some(format!("label {scarce} has {:.1} % of the voxels, not 5 %", 100.0 * self.labels[scarce]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_relus_and_missing_labels_are_noticed() {
        let life = |active: f64, label: f64| Life {
            active: vec![("a.relu".into(), 0.5), ("b.relu".into(), active)],
            labels: vec![1.0 - label, label],
            beyond: 0,
        };
        assert_eq!(life(0.2, 0.05).complaint(), None);
        assert!(life(0.1, 0.5).complaint().unwrap_or_default().contains("`b.relu`"));
        assert!(life(0.9, 0.5).complaint().is_some());
        assert!(life(0.5, 0.04).complaint().unwrap_or_default().contains("label 1"));
        assert_eq!(life(0.3, 0.5).range(), Some((0.3, 0.5)));
    }
}

//! Correlated trees: the receiver learns all leaves but one, and for that one the leaf plus the sender's
//! offset.
//!
//! Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, "Half-Tree" (ePrint 2022/1431): the children of p are H(p) and H(p)
//! ^ p, and those of the root differ by delta; so every level adds up to delta. Node j of a level has its
//! children at j and m + j of the next: bit i of a leaf's number is the turn taken at level i.

use crate::Block;
use crate::kernel::Kernel;

/// The sender's side: all leaves into `nodes`, and the sum of the left nodes of each level into `sums`.
pub(super) fn send(
    kernel: Kernel,
    key: Block,
    root: Block,
    delta: Block,
    nodes: &mut [Block],
    sums: &mut [Block],
) {
    assert_eq!(nodes.len(), 1 << sums.len(), "as many leaves as the depth says");
    nodes[..2].copy_from_slice(&[root, root ^ delta]);
    sums[0] = root;
    for (level, sum) in sums.iter_mut().enumerate().skip(1) {
        *sum = kernel.expand(key, 1 << level, nodes);
    }
}

/// The receiver's side: all leaves into `nodes`, with delta added to leaf `alpha`. `sums[i]` adds up the nodes
/// of level i on the side that does not lead to `alpha`.
pub(super) fn receive(kernel: Kernel, key: Block, alpha: usize, sums: &[Block], nodes: &mut [Block]) {
    assert_eq!(nodes.len(), 1 << sums.len(), "as many leaves as the depth says");
    // The unknown node of a level is kept at zero, so that its children are the same known value.
    let mut unknown = alpha & 1;
    nodes[unknown] = 0;
    nodes[1 - unknown] = sums[0];
    let mut known = sums[0]; // the sum of all known nodes of the level
    for (level, sum) in sums.iter().enumerate().skip(1) {
        let (m, turn) = (1 << level, alpha >> level & 1);
        let left = kernel.expand(key, m, nodes);
        let side = if turn == 1 { left } else { left ^ known };
        let sibling = sum ^ side ^ nodes[unknown];
        nodes[unknown + (1 - turn) * m] = sibling;
        unknown += turn * m;
        nodes[unknown] = 0;
        known ^= sibling;
    }
    nodes[alpha] = known;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receiver_misses_the_offset_at_one_leaf() {
        let (kernel, key, root, delta) = (Kernel::best(), 7, 0x1234 << 70, (0x9876_5432 << 64) | 1);
        for depth in [1, 2, 6, 10] {
            let (mut sent, mut sums) = (vec![0; 1 << depth], vec![0; depth]);
            send(kernel, key, root, delta, &mut sent, &mut sums);
            assert_eq!(sent.iter().fold(0, |sum, leaf| sum ^ leaf), delta);
            for alpha in (0..1usize << depth).step_by(1.max((1 << depth) / 37)) {
                let other =
                    |(level, sum): (usize, &Block)| sum ^ if alpha >> level & 1 == 1 { 0 } else { delta };
                let sums: Vec<_> = sums.iter().enumerate().map(other).collect();
                let mut received = vec![0; 1 << depth];
                receive(kernel, key, alpha, &sums, &mut received);
                for (j, (sent, received)) in sent.iter().zip(received).enumerate() {
                    assert_eq!(sent ^ received, if j == alpha { delta } else { 0 });
                }
            }
            let mut leaves = sent.clone();
            leaves.sort_unstable();
            assert!(leaves.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}

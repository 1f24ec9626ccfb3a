//! The reversing attack: whoever knows C and C_ac computes M, and the channel order does not stop it.
//!
//! Let A_j be the rows of C that belong to one block of M and the columns of channel j, and B_s the same part of C_ac for
//! the channel in place s. If s holds channel j, then M⁻¹·A_j = B_s, with q² unknowns and q equations per column: the
//! system determines M⁻¹ (A_j has full row rank), and since a window spreads the block over more voxels than it has
//! values, a wrong j leaves a residual. So at most β systems are solved for the first place, and the others follow by
//! comparing M⁻¹·A_k with B_s: β² comparisons at most, not β!.

use crate::error::{PerceptualError, Result};
use crate::morph::{AugmentedModel, FirstLayer};
use models::manifest::Model;
use nalgebra::DMatrix;

/// What the attack found.
#[derive(Clone, Debug)]
pub struct Reversed {
    /// Entry s is the channel that stands in place s.
    pub order: Vec<usize>,
    /// The blocks of M⁻¹, all κ of them.
    pub inverses: Vec<DMatrix<f64>>,
    /// Systems solved before the first place's channel was found.
    pub tried: usize,
}

/// Residual, relative to the right-hand side, above which a hypothesis is wrong.
const RESIDUAL: f64 = 1e-6;

/// Runs the attack for a server that knows the plain network; `None` where no hypothesis fits.
///
/// # Errors
/// If the networks do not belong together, or one channel does not determine a block (blocks that span several input
/// channels: hypotheses on as many channels together would be needed).
pub fn reverse(model: &Model, augmented: &AugmentedModel) -> Result<Option<Reversed>> {
    let layer = FirstLayer::of(model)?;
    let refuse = |reason: &str| PerceptualError::Network { layer: layer.name.clone(), reason: reason.into() };
    let conv = layer.conv();
    let (input, output) = (conv.input, conv.output);
    let blocks = &augmented.first.blocks;
    let side = input.len() / blocks.len();
    let plain_order: Vec<usize> = (0..output.channels).collect();

    let matrix_of = |index: usize| &augmented.first.matrices[blocks[index].matrix];
    let (voxels, rows) = conv.rows(0..side, &plain_order);
    if voxels != blocks[0].voxels {
        return Err(refuse("the augmented network was made from another one"));
    }
    let split = |matrix: &DMatrix<f64>| -> Vec<DMatrix<f64>> {
        plain_order.iter().map(|&j| matrix.columns(j * voxels.len(), voxels.len()).into_owned()).collect()
    };
    let (plain, secret) = (split(&rows), split(matrix_of(0)));
    let mut order = None;
    let mut tried = 0;
    for candidate in &plain {
        tried += 1;
        let Some(inverse) = divide(&secret[0], candidate) else {
            return Err(refuse("one channel does not determine a block of the key"));
        };
        if close(&(&inverse * candidate), &secret[0]) {
            order = match_channels(&inverse, &plain, &secret);
        }
        if order.is_some() {
            break;
        }
    }
    let Some(order) = order else { return Ok(None) };
    let inverses = (0..blocks.len())
        .map(|index| divide(matrix_of(index), &conv.rows(index * side..(index + 1) * side, &order).1))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| refuse("its weights do not determine a block of the key"))?;
    Ok(Some(Reversed { order, inverses, tried }))
}

/// X with X·A = B in the least-squares sense; `None` if A lacks full row rank.
fn divide(b: &DMatrix<f64>, a: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let transposed = a.transpose();
    if transposed.nrows() < transposed.ncols() {
        return None;
    }
    let factors = transposed.qr();
    let r = factors.r();
    let largest = r.diagonal().amax();
    if r.diagonal().iter().any(|entry| entry.abs() < largest * 1e-9) {
        return None;
    }
    // Aᵀ·Xᵀ = Bᵀ with Aᵀ = Q·R.
    Some(r.solve_upper_triangular(&(factors.q().transpose() * b.transpose()))?.transpose())
}

fn match_channels(
    inverse: &DMatrix<f64>,
    plain: &[DMatrix<f64>],
    secret: &[DMatrix<f64>],
) -> Option<Vec<usize>> {
    let images: Vec<DMatrix<f64>> = plain.iter().map(|part| inverse * part).collect();
    secret.iter().map(|part| images.iter().position(|image| close(image, part))).collect()
}

fn close(a: &DMatrix<f64>, b: &DMatrix<f64>) -> bool {
    (a - b).norm() <= RESIDUAL * b.norm().max(f64::MIN_POSITIVE)
}

impl Reversed {
    /// What the adversary sees of a morphed image.
    pub fn unmorph(&self, morphed: &[f64]) -> Vec<f64> {
        super::known::unmorph(&self.inverses, morphed)
    }
}

//! The integer network in the clear: what a blind run yields, but for carries.

use cli::{Failure, Kind};
use imaging::{Scan, prepare};
use models::manifest::label_bytes;
use models::{Model, reference};
use ndarray::Array3;

/// Its labels on the scan's own grid.
pub(super) fn labels(model: &Model, scan: &Scan) -> Result<Array3<u8>, Failure> {
    let manifest = &model.manifest;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::input(format!("{}: network `{}`: {error}", scan.path().display(), manifest.name))
    };
    let steps = alice::preprocessing(manifest)?;
    let prepared = prepare(scan, &steps, manifest.graph.node(0).shape.dims).map_err(Failure::input)?;
    let mut labels = Vec::with_capacity(prepared.patch_count());
    for patch in 0..prepared.patch_count() {
        let input = manifest.quantise_input(&prepared.input(patch));
        let found = reference::run_checked(model, &input).map_err(|error| failed(&error))?;
        labels.push(label_bytes(&found).ok_or_else(|| Failure::new(Kind::Plan, "a label above 255"))?);
    }
    prepared.restore(&labels).map_err(|error| failed(&error))
}

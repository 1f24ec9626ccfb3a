//! The commands `pixel`, `morph` and `compare`: arguments and what they do, to be mounted by a program.
//!
//! Each `run` returns what is to be printed.

mod compare;
mod morph;
mod pixel;

pub use compare::{CompareArgs, prepare_scan};
pub use morph::MorphCommand;
pub use pixel::PixelCommand;

use crate::error::{PerceptualError, Result};
use models::manifest::Model;
use std::path::Path;

fn load_model(folder: &Path) -> Result<Model> {
    models::bundle::load(folder).map_err(|error| PerceptualError::file(folder, error))
}

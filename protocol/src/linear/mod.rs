//! Linear layers under encryption.

pub mod layout;
pub mod stencil;

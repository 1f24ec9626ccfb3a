//! Which instruction sets kernels may use.

use std::sync::OnceLock;

/// Instruction sets, slowest first. Every kernel of the project has a portable twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust. Packages from outside, for AES and transforms, still choose for themselves.
    Portable,
    /// AVX2 and AES-NI.
    Avx2,
    /// AVX-512 with IFMA and VAES.
    Avx512,
}

/// What kernels chosen at run time may use, if the machine has it: everything, unless the environment variable
/// `BUNET_ISA` says `portable` or `avx2`. For tests and measurements; results do not depend on it.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| match std::env::var("BUNET_ISA").as_deref() {
        Ok("portable") => Level::Portable,
        Ok("avx2") => Level::Avx2,
        _ => Level::Avx512,
    })
}

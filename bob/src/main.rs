//! The provider's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    bob::run(std::env::args_os())
}

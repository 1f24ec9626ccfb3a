//! The data holder's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    alice::run(std::env::args_os())
}

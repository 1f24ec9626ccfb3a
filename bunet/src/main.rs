//! The operator's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    bunet::run(std::env::args_os())
}

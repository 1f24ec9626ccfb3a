//! This crate's commands as a program of their own, without the other backends.
//!
//! ```text
//! cargo run --release -p perceptual --example perceptual -- compare --image SCAN --model BUNDLE [--labels FILE] [--picture PNG]
//! cargo run --release -p perceptual --example perceptual -- pixel encrypt -i FOLDER -o FOLDER -k KEY
//! ```

use clap::Parser;
use perceptual::PerceptualError;
use perceptual::commands::{CompareArgs, MorphCommand, PixelCommand};

#[derive(Parser)]
enum Command {
    /// Pixel-based encryption.
    #[command(subcommand)]
    Pixel(PixelCommand),
    /// Data morphing.
    #[command(subcommand)]
    Morph(MorphCommand),
    /// The backends of this crate on one scan and model.
    Compare(Box<CompareArgs>),
}

fn main() -> Result<(), PerceptualError> {
    let said = match Command::parse() {
        Command::Pixel(command) => command.run()?,
        Command::Morph(command) => command.run()?,
        Command::Compare(arguments) => arguments.run(Vec::new())?.table(),
    };
    println!("{}", said.trim_end());
    Ok(())
}

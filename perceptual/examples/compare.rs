//! The backends of this crate on one scan and model: table on standard output, JSON and picture as asked.
//!
//! ```text
//! cargo run --release -p perceptual --example compare -- --image SCAN --model BUNDLE [--labels FILE] [--picture PNG]
//! ```

use clap::Parser;
use perceptual::PerceptualError;
use perceptual::commands::CompareArgs;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    compare: CompareArgs,
}

fn main() -> Result<(), PerceptualError> {
    print!("{}", Arguments::parse().compare.run(Vec::new())?.table());
    Ok(())
}

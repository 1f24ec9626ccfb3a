//! `bunet pixel`, `bunet morph`, `bunet compare`: the commands of the perceptual backends, and all backends side by side.

use crate::args::Compare;
use cli::{Failure, Kind};
use imaging::ImagingError;
use perceptual::PerceptualError;
use perceptual::commands::{MorphCommand, PixelCommand};
use perceptual::compare::Contender;
use protocol::backend::TwoParty;
use threeparty::backend::ThreeParty;

/// Runs a `pixel` command.
pub(crate) fn pixel(command: &PixelCommand) -> Result<(), Failure> {
    say(command.run())
}

/// Runs a `morph` command.
pub(crate) fn morph(command: &MorphCommand) -> Result<(), Failure> {
    say(command.run())
}

/// Runs every backend on one scan.
pub(crate) fn compare(flags: &Compare) -> Result<(), Failure> {
    let note = "rounding by oblivious transfer is off by one unit at most, which may move labels at ties";
    let two = Contender::opaque(Box::new(TwoParty { config: flags.plan.config()? }), Some(note));
    let note = "bytes up: among the servers, and the input's shares; bytes down: the labels' shares";
    let three = Contender::opaque(Box::new(ThreeParty), Some(note));
    say(flags.what.run(vec![two, three]).map(|comparison| comparison.table()))
}

fn say(done: Result<String, PerceptualError>) -> Result<(), Failure> {
    println!("{}", done.map_err(refused)?.trim_end());
    Ok(())
}

fn refused(error: PerceptualError) -> Failure {
    let kind = match &error {
        PerceptualError::Imaging(ImagingError::Output { .. }) => Kind::Output,
        PerceptualError::Network { .. } | PerceptualError::Backend(_) => Kind::Plan,
        _ => Kind::Input,
    };
    Failure::new(kind, error)
}

//! The sample networks and scans, inside the program so that the demo runs from any folder.

use cli::Failure;
use std::path::Path;

/// A file inside the program.
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    bytes: &'static [u8],
}

/// A network with a scan that it was not trained on.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    volume: bool,
    manifest: Asset,
    weights: Asset,
    pub(crate) scan: Asset,
    pub(crate) label: Asset,
}

macro_rules! asset {
    ($folder:expr, $name:literal) => {
        Asset {
            name: $name,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../data/", $folder, $name)),
        }
    };
}

macro_rules! case {
    ($name:literal, $volume:literal, $scan:literal, $label:literal) => {
        Case {
            name: $name,
            volume: $volume,
            manifest: asset!(concat!("models/", $name, ".bunet/"), "manifest.json"),
            weights: asset!(concat!("models/", $name, ".bunet/"), "weights.safetensors"),
            scan: asset!("", $scan),
            label: asset!("", $label),
        }
    };
}

/// The first of each rank is the one shown unless another is asked for.
static CASES: [Case; 3] = [
    case!("em_hybrid", false, "em_slice26_image.png", "em_slice26_label.png"),
    case!("em_relu", false, "em_slice26_image.png", "em_slice26_label.png"),
    case!("hip_relu", true, "hippocampus_003.nii.gz", "hippocampus_003_label.nii.gz"),
];

/// The names that `--model` takes.
pub(crate) fn names() -> clap::builder::PossibleValuesParser {
    CASES.iter().map(|case| case.name).collect::<Vec<_>>().into()
}

/// The case asked for.
pub(crate) fn choose(name: Option<&str>, volume: bool) -> Result<&'static Case, Failure> {
    let fits = |case: &&Case| match name {
        Some(name) => case.name == name && (case.volume || !volume),
        None => case.volume == volume,
    };
    CASES.iter().find(fits).ok_or_else(|| Failure::input("this network reads pictures; leave out --volume"))
}

impl Asset {
    /// The ending of its name, from the first dot.
    pub(crate) fn suffix(&self) -> &'static str {
        self.name.find('.').map_or("", |dot| &self.name[dot..])
    }
}

impl Case {
    /// Writes bundle, scan and reference to a folder.
    pub(crate) fn unpack(&self, folder: &Path) -> std::io::Result<()> {
        let bundle = folder.join("model.bunet");
        std::fs::create_dir(&bundle)?;
        std::fs::write(bundle.join(self.manifest.name), self.manifest.bytes)?;
        std::fs::write(bundle.join(self.weights.name), self.weights.bytes)?;
        std::fs::write(folder.join(self.scan.name), self.scan.bytes)?;
        std::fs::write(folder.join(self.label.name), self.label.bytes)
    }
}

//! What quantisation made of every value: a table on the terminal, a page with pictures, or the figures as JSON.

use crate::report::page::Page;
use cli::{Align, Failure, Table};
use imaging::{Overwrite, check_writable, write_atomically};
use models::quantise::{LayerReport, Report};
use plot::{Bar, bars};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a report goes, and as what.
pub(super) struct Target {
    path: PathBuf,
    html: bool,
    policy: Overwrite,
}

impl Target {
    /// Refuses early what could not be written in the end.
    pub(super) fn new(path: &Path, overwrite: bool) -> Result<Self, Failure> {
        let html = match path.extension().and_then(|extension| extension.to_str()) {
            Some("html") => true,
            Some("json") => false,
            _ => {
                let reason = "a report is a page (.html) or figures (.json)";
                return Err(Failure::input(format!("--report {}: {reason}", path.display())));
            }
        };
        let policy = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
        check_writable(path, policy).map_err(Failure::output)?;
        Ok(Self { path: path.into(), html, policy })
    }

    pub(super) fn write(&self, name: &str, report: &Report) -> Result<(), Failure> {
        let text = if self.html {
            page(name, report)
        } else {
            serde_json::to_string_pretty(report).map_err(Failure::output)? + "\n"
        };
        write_atomically(&self.path, self.policy, |out| out.write_all(text.as_bytes()))
            .map_err(Failure::output)?;
        println!("{}", self.path.display());
        Ok(())
    }
}

/// On the terminal.
pub(super) fn print(output: &Path, name: &str, report: &Report) {
    print!("{}", table(report).render());
    let Report { images, share_bits, .. } = report;
    println!("\n{}: {name}, {share_bits}-bit shares, calibrated on {images} inputs", output.display());
    if let Some(agreement) = report.label_agreement {
        println!("same labels as the float network on {:.3} % of the calibration voxels", 100.0 * agreement);
    }
}

fn table(report: &Report) -> Table {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("value", Align::Left),
        ("operator", Align::Left),
        right("largest"),
        right("proved"),
        right("fraction bits"),
        right("bits"),
        right("needs shares of"),
        right("weight bits"),
        right("rms error"),
        right("largest error"),
        right("signal/error"),
    ]);
    let shown = |value: Option<String>| value.unwrap_or_else(|| "·".to_owned());
    for layer in &report.layers {
        table.row([
            layer.name.clone(),
            layer.kind.to_owned(),
            shown(layer.calibrated.map(|largest| format!("{largest:.3}"))),
            format!("{:.3}", layer.proved),
            layer.frac.to_string(),
            layer.bits.to_string(),
            layer.needed_bits.to_string(),
            shown(layer.weight_bits.map(|bits| bits.to_string())),
            shown(layer.error.map(|error| format!("{:.2} %", 100.0 * error))),
            shown(layer.largest_error.map(|error| format!("{error:.2e}"))),
            shown(layer.signal_to_error().map(|ratio| format!("{ratio:.1} dB"))),
        ]);
    }
    table
}

fn page(name: &str, report: &Report) -> String {
    let mut page = Page::new(&format!("{name} in integers"));
    page.paragraph(
        "What quantisation made of every value of the network, measured against the float network.",
    );
    let mut figures = vec![
        ("shares", format!("{} bits", report.share_bits)),
        ("margin", report.margin.to_string()),
        ("calibrated on", format!("{} inputs", report.images)),
    ];
    if let Some(agreement) = report.label_agreement {
        figures.push(("same labels as in floats", format!("{:.3} %", 100.0 * agreement)));
    }
    page.figures(&figures);
    page.heading("Bits");
    page.paragraph(
        "Of the bits of a share, those that the largest value seen takes with its sign, those of the margin, those that the \
         operators reading the value need beyond, and those that stay free. Nothing wraps as long as values stay within \
         the margin.",
    );
    page.drawing(&bits_picture(report));
    page.heading("Signal over error");
    page.paragraph("Decibels between a value's mean square and that of its difference from the float value; 6 dB are a bit.");
    page.drawing(&error_picture(report));
    page.heading("Values");
    page.table(&table(report));
    page.finish()
}

/// The bits of a share by what takes them.
fn bits_picture(report: &Report) -> String {
    let names = ["values seen", "margin", "operators", "free"];
    let bar = |layer: &LayerReport| {
        let width = f64::from(report.share_bits);
        // Ranges of both signs: one bit more than the magnitude's.
        let proved = f64::from(layer.bits) + 1.0;
        let needed = f64::from(layer.needed_bits).max(proved).min(width);
        let share = layer.calibrated.map_or(1.0, |seen| seen / layer.proved);
        let seen = (proved + share.min(1.0).log2()).max(0.0);
        Bar {
            label: short(&layer.name),
            parts: vec![seen, proved - seen, needed - proved, width - needed],
            note: format!("{} of {}", layer.needed_bits, report.share_bits),
        }
    };
    // The result has no shares of its own: it is opened.
    let inner = report.layers.split_last().map_or(&[][..], |(_, inner)| inner);
    bars("bits of a share", &names, &inner.iter().map(bar).collect::<Vec<_>>())
}

fn error_picture(report: &Report) -> String {
    let known = report.layers.iter().filter_map(|layer| Some((layer, layer.signal_to_error()?)));
    let bar = |(layer, ratio): (&LayerReport, f64)| Bar {
        label: short(&layer.name),
        parts: vec![ratio.max(0.0)],
        note: format!("{ratio:.1} dB"),
    };
    bars("signal over error, dB", &["signal over error"], &known.map(bar).collect::<Vec<_>>())
}

/// The end of a long name, which tells more than its beginning.
fn short(name: &str) -> String {
    const MOST: usize = 30;
    let length = name.chars().count();
    if length <= MOST {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - MOST + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let layer = |name: &str, calibrated, error| LayerReport {
            name: name.into(),
            kind: "conv",
            calibrated,
            proved: 3.0,
            frac: 4,
            bits: 6,
            needed_bits: 9,
            weight_frac: Some(5),
            weight_bits: Some(7),
            error,
            largest_error: error,
        };
        let layers = vec![
            layer("<b>first</b>", Some(2.0), Some(0.1)),
            layer(&"x".repeat(50), None, None),
            layer("labels", Some(1.0), Some(0.0)),
        ];
        Report { share_bits: 16, margin: 1.5, images: 2, layers, label_agreement: Some(0.99) }
    }

    #[test]
    fn a_page_shows_every_value_and_trusts_no_name() {
        let page = page("net", &report());
        assert!(page.contains("net in integers") && page.contains("99.000 %") && page.contains("20.0 dB"));
        assert!(page.contains("9 of 16") && page.contains("&lt;b&gt;first"));
        assert!(!page.contains("<b>first"));
        assert!(page.contains(&"x".repeat(50)) && page.contains(&format!("…{}", "x".repeat(29))));
    }

    #[test]
    fn only_pages_and_figures_are_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Target::new(&folder.path().join("report.txt"), false).is_err());
        let path = folder.path().join("report.json");
        Target::new(&path, false).unwrap().write("net", &report()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(value["layers"][0]["needed_bits"], 9);
        assert!(Target::new(&path, false).is_err() && Target::new(&path, true).is_ok());
    }
}

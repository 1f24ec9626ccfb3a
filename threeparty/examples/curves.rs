//! Draws loss and accuracy per epoch of the servers and their twins side by side, and a data owner's cost against the
//! number of images.
//!
//! `cargo run --release -p threeparty --example curves -- out.svg log…`: logs of `party`, of the example `twins`, and of
//! `client train`; several logs of one kind (seeds) are averaged, and one thin line per seed shows the spread.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Series name → epoch (or number of images) → values of all seeds.
type Series = BTreeMap<String, BTreeMap<u64, Vec<f64>>>;

const COLOURS: [(&str, &str); 5] = [
    ("float", "#888888"),
    ("integer", "#1f77b4"),
    ("servers", "#d62728"),
    ("sharing, sending", "#d62728"),
    ("reading pictures", "#888888"),
];
const TITLES: [&str; 5] = [
    "loss, training images",
    "loss, test images",
    "accuracy, training images",
    "accuracy, test images",
    "a data owner's CPU seconds by number of images",
];
const SIZE: (f64, f64) = (420.0, 260.0);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let out = args.next().ok_or("usage: curves out.svg log…")?;
    let mut series: [Series; TITLES.len()] = Default::default();
    for file in args {
        for line in std::fs::read_to_string(&file)?.lines() {
            let json = line.find('{').map_or("", |start| &line[start..]);
            read(&serde_json::from_str(json).unwrap_or_default(), &mut series);
        }
    }
    let shown: Vec<_> = TITLES.iter().zip(&series).filter(|(_, series)| !series.is_empty()).collect();
    let height = 20 + 290 * shown.len().div_ceil(2);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"880\" height=\"{height}\" fill=\"white\"/>\n",
    );
    for (i, (title, series)) in shown.into_iter().enumerate() {
        panel(&mut svg, title, series, (20.0 + 430.0 * (i % 2) as f64, 20.0 + 290.0 * (i / 2) as f64))?;
    }
    svg += "</svg>\n";
    Ok(std::fs::write(out, svg)?)
}

/// Takes up one line of a log, if it tells of an epoch or of a contribution.
fn read(line: &Value, series: &mut [Series; TITLES.len()]) {
    if let Some(images) = line["images"].as_u64() {
        for (name, key) in
            [("sharing, sending", "cpu_seconds_sharing"), ("reading pictures", "cpu_seconds_reading")]
        {
            if let Some(seconds) = line[key].as_f64() {
                series[4].entry(name.into()).or_default().entry(images).or_default().push(seconds);
            }
        }
    }
    let Some(epoch) = line["epoch"].as_u64() else { return };
    let name = line["twin"].as_str().unwrap_or("servers");
    for (i, (metric, set)) in
        [("loss", "train"), ("loss", "test"), ("accuracy", "train"), ("accuracy", "test")].iter().enumerate()
    {
        if let Some(value) = line[set][metric].as_f64() {
            series[i].entry(name.into()).or_default().entry(epoch).or_default().push(value);
        }
    }
}

/// One diagram with its upper left corner at `corner`.
fn panel(svg: &mut String, title: &str, series: &Series, corner: (f64, f64)) -> std::fmt::Result {
    let all: Vec<(f64, f64)> = series
        .values()
        .flatten()
        .flat_map(|(&x, values)| values.iter().map(move |&value| (x as f64, value)))
        .collect();
    let bounds = |f: fn(&(f64, f64)) -> f64| {
        all.iter().map(f).fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)))
    };
    let ((x0, x1), (y0, y1)) = (bounds(|p| p.0), bounds(|p| p.1));
    let (x1, y1) = (x1.max(x0 + 1.0), y1.max(y0 + 1e-3));
    let (left, top, width, height) = (corner.0 + 45.0, corner.1 + 20.0, SIZE.0 - 60.0, SIZE.1 - 50.0);
    let place =
        |(x, y): (f64, f64)| (left + (x - x0) / (x1 - x0) * width, top + (y1 - y) / (y1 - y0) * height);
    writeln!(svg, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>", corner.1 + 10.0)?;
    writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#ccc\"/>"
    )?;
    for (value, y) in [(y1, top + 10.0), (y0, top + height)] {
        writeln!(svg, "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{value:.3}</text>", left - 5.0)?;
    }
    for (value, x) in [(x0, left), (x1, left + width)] {
        writeln!(svg, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{value}</text>", top + height + 15.0)?;
    }
    for (i, (name, colour)) in COLOURS.iter().enumerate() {
        let Some(points) = series.get(*name) else { continue };
        let mut line = |width: &str, value: &dyn Fn(&[f64]) -> Option<f64>| {
            let points = points.iter().filter_map(|(&x, values)| Some((x as f64, value(values)?)));
            let path: Vec<String> = points.map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let path = path.join(" ");
            writeln!(
                svg,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
            )
        };
        let seeds = points.values().map(Vec::len).max().unwrap_or(0);
        if seeds > 1 {
            (0..seeds).try_for_each(|seed| line("0.5", &|values| values.get(seed).copied()))?;
        }
        line("2", &|values| Some(values.iter().sum::<f64>() / values.len() as f64))?;
        let (x, y) = (left + width - 8.0, top + height / 2.0 + 16.0 * i as f64);
        writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>")?;
    }
    Ok(())
}

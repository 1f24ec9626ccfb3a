//! Bars and curves as SVG, for reports: no fonts, scripts or files of their own.
//!
//! [`bars`] draws horizontal bars stacked of parts, [`groups`] bars side by side on a logarithmic scale, [`curves`] a grid
//! of diagrams with logarithmic axes. Lengths are in pixels, y downwards.
#![forbid(unsafe_code)]

use std::fmt::Write;

/// Colours that stay apart in print and for colour-blind readers, first come first served.
const COLOURS: [&str; 15] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f", "#332288",
    "#882255", "#44aa99", "#999933", "#aa4499", "#bbbbbb", "#222222",
];

/// A picture under construction.
struct Svg {
    size: (f64, f64),
    body: String,
}

impl Svg {
    fn new(width: f64, height: f64) -> Self {
        Self { size: (width, height), body: String::new() }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{element}");
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"));
    }

    fn title(&mut self, (x, y): (f64, f64), text: &str) {
        self.push(format_args!("<g font-weight=\"bold\">"));
        self.text((x, y), "start", text);
        self.push(format_args!("</g>"));
    }

    fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.push(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>"
        ));
    }

    fn line(&mut self, points: &[(f64, f64)], stroke: &str, dashed: bool) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dash = if dashed { " stroke-dasharray=\"4 3\"" } else { "" };
        self.push(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"1.5\"{dash}/>",
            points.join(" ")
        ));
    }

    fn finish(self) -> String {
        let (width, height) = self.size;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What stands to its left.
    pub label: String,
    /// Its parts, in the order of the names that [`bars`] is given.
    pub parts: Vec<f64>,
    /// What stands to its right.
    pub note: String,
}

/// Horizontal bars, stacked of named parts, on one linear scale.
pub fn bars(title: &str, names: &[&str], bars: &[Bar]) -> String {
    let [left, length, note, pitch] = [220.0, 460.0, 200.0, 30.0];
    let shown: Vec<usize> = (0..names.len())
        .filter(|&i| bars.iter().any(|bar| bar.parts.get(i).is_some_and(|&x| x > 0.0)))
        .collect();
    let legend = shown.len().div_ceil(5) as f64 * 20.0;
    let longest = bars.iter().map(|bar| bar.parts.iter().sum::<f64>()).fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = Svg::new(left + length + note, 50.0 + legend + pitch * bars.len() as f64);
    svg.title((15.0, 25.0), title);
    for (place, &part) in shown.iter().enumerate() {
        let at = (15.0 + 170.0 * (place % 5) as f64, 38.0 + 20.0 * (place / 5) as f64);
        svg.rect(at, (11.0, 11.0), COLOURS[part % COLOURS.len()]);
        svg.text((at.0 + 16.0, at.1 + 10.0), "start", names[part]);
    }
    for (row, bar) in bars.iter().enumerate() {
        let y = 42.0 + legend + pitch * row as f64;
        svg.text((left - 8.0, y + 15.0), "end", &bar.label);
        let mut x = left;
        for &part in &shown {
            let part_length = bar.parts.get(part).copied().unwrap_or(0.0).max(0.0) / longest * length;
            svg.rect((x, y), (part_length, 21.0), COLOURS[part % COLOURS.len()]);
            x += part_length;
        }
        svg.text((x + 6.0, y + 15.0), "start", &bar.note);
    }
    svg.finish()
}

/// Bars that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What stands to their left.
    pub label: String,
    /// For each bar, which of the names it has, its value, and what stands to its right.
    pub bars: Vec<(usize, f64, String)>,
}

/// Groups of horizontal bars on one logarithmic scale, which begins at the power of ten below the least value; a colour per
/// name.
pub fn groups(title: &str, names: &[&str], groups: &[Group]) -> String {
    let [left, length, note, pitch] = [220.0, 460.0, 200.0, 19.0];
    let bars = || groups.iter().flat_map(|group| &group.bars).filter(|bar| bar.1 > 0.0);
    let (least, most) =
        bars().fold((f64::MAX, 0.0_f64), |(least, most), bar| (least.min(bar.1), most.max(bar.1)));
    if bars().next().is_none() {
        return Svg::new(left + length + note, 0.0).finish();
    }
    let (first, last) = (least.log10().floor(), most.log10().floor() + 1.0);
    let at = |value: f64| (value.log10() - first) / (last - first) * length;
    let rows: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = pitch * rows as f64 + 12.0 * groups.len() as f64;
    let mut svg = Svg::new(left + length + note, 105.0 + height);
    svg.title((15.0, 25.0), title);
    for (i, name) in names.iter().enumerate() {
        let corner = (15.0 + 170.0 * (i % 5) as f64, 38.0);
        svg.rect(corner, (11.0, 11.0), COLOURS[i % COLOURS.len()]);
        svg.text((corner.0 + 16.0, 48.0), "start", name);
    }
    let (top, bottom) = (62.0, 72.0 + height);
    for power in first as i32..=last as i32 {
        let (value, x) = (10_f64.powi(power), left + at(10_f64.powi(power)));
        svg.line(&[(x, top), (x, bottom)], "#dddddd", false);
        svg.text((x, bottom + 17.0), "middle", &short(value));
    }
    let mut y = top + 10.0;
    for Group { label, bars } in groups {
        svg.text((left - 8.0, y + pitch / 2.0 * bars.len() as f64 + 3.0), "end", label);
        for (name, value, note) in bars {
            let width = at(value.max(10_f64.powf(first)));
            svg.rect((left, y), (width, pitch - 3.0), COLOURS[name % COLOURS.len()]);
            svg.text((left + width + 6.0, y + 12.5), "start", note);
            y += pitch;
        }
        y += 12.0;
    }
    svg.finish()
}

/// A diagram: named curves over one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagram {
    /// Above it.
    pub title: String,
    /// Below it.
    pub axis: String,
    /// Name and points of each curve, in the order of x.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Whether a dashed line rises linearly from each curve's first point.
    pub linear: bool,
}

/// Diagrams with logarithmic axes, `columns` side by side.
pub fn curves(diagrams: &[Diagram], columns: usize) -> String {
    const WIDTH: f64 = 320.0;
    const HEIGHT: f64 = 260.0;
    let rows = diagrams.len().div_ceil(columns);
    let mut svg = Svg::new(WIDTH * columns as f64, HEIGHT * rows as f64);
    for (i, diagram) in diagrams.iter().enumerate() {
        let corner = (WIDTH * (i % columns) as f64, HEIGHT * (i / columns) as f64);
        draw(&mut svg, diagram, corner, (WIDTH, HEIGHT));
    }
    svg.finish()
}

fn draw(svg: &mut Svg, diagram: &Diagram, corner: (f64, f64), size: (f64, f64)) {
    let (left, top) = (corner.0 + 65.0, corner.1 + 30.0);
    let (width, height) = (size.0 - 85.0, size.1 - 80.0);
    svg.title((left, top - 10.0), &diagram.title);
    svg.text((left + width / 2.0, top + height + 36.0), "middle", &diagram.axis);
    let points = || diagram.curves.iter().flat_map(|(_, points)| points).filter(|p| p.0 > 0.0 && p.1 > 0.0);
    let span = |f: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            points().map(f).fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        (low, high.max(low * 1.25))
    };
    if points().next().is_none() {
        return svg.text((left + width / 2.0, top + height / 2.0), "middle", "no runs");
    }
    let ((x0, x1), (y0, y1)) = (span(|p| p.0), span(|p| p.1));
    let at = |x: f64, y: f64| {
        let part = |v: f64, low: f64, high: f64| (v / low).ln() / (high / low).ln();
        (left + part(x, x0, x1) * width, top + (1.0 - part(y, y0, y1)) * height)
    };
    let frame = [(left, top), (left, top + height), (left + width, top + height)];
    svg.line(&frame, "#888888", false);
    for y in [y0, y1] {
        svg.text((left - 6.0, at(x0, y).1 + 4.0), "end", &short(y));
    }
    let mut ticks: Vec<f64> = points().map(|p| p.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for x in ticks {
        svg.text((at(x, y0).0, top + height + 17.0), "middle", &short(x));
    }
    for (i, (name, points)) in diagram.curves.iter().enumerate() {
        let Some(&(x, y)) = points.first() else { continue };
        let end = x1.min(x * y1 / y);
        if diagram.linear {
            svg.line(&[at(x, y), at(end, y * end / x)], "#bbbbbb", true);
        }
        let colour = COLOURS[i % COLOURS.len()];
        let places: Vec<(f64, f64)> = points.iter().map(|&(x, y)| at(x, y)).collect();
        svg.line(&places, colour, false);
        places.iter().for_each(|&(x, y)| svg.rect((x - 2.5, y - 2.5), (5.0, 5.0), colour));
        svg.push(format_args!("<g fill=\"{colour}\">"));
        svg.text((left + 8.0, top + 14.0 + 15.0 * i as f64), "start", name);
        svg.push(format_args!("</g>"));
    }
}

/// Three digits and a unit of thousands.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        ..1e3 => (value, ""),
        ..1e6 => (value / 1e3, "k"),
        ..1e9 => (value / 1e6, "M"),
        _ => (value / 1e9, "G"),
    };
    let text = format!("{scaled:.*}", if scaled < 9.95 { 2 } else { 0 });
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_parts() {
        let bar =
            |label: &str, parts: &[f64]| Bar { label: label.into(), parts: parts.into(), note: "1 s".into() };
        let svg = bars("<title>", &["a", "b", "never"], &[bar("x & y", &[1.0, 3.0]), bar("z", &[2.0])]);
        assert!(svg.contains("&lt;title>") && svg.contains("x &amp; y") && !svg.contains("never"));
        assert!(
            svg.contains("width=\"115.0\"")
                && svg.contains("width=\"345.0\"")
                && svg.contains("width=\"230.0\"")
        );
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn grouped_bars_grow_by_powers_of_ten() {
        let bars = vec![(0, 100.0, "100 s".to_owned()), (1, 10.0, "10 s".to_owned())];
        let group = |label: &str, bars| Group { label: label.into(), bars };
        let svg = groups("t", &["the paper", "own"], &[group("relu", bars), group("none", Vec::new())]);
        // From 10 to 1000, over 460 pixels.
        assert!(svg.contains("width=\"230.0\"") && svg.contains("width=\"0.0\""), "{svg}");
        for text in [">1k<", ">100 s<", ">relu<", ">own<"] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(groups("t", &[], &[]).starts_with("<svg"));
    }

    #[test]
    fn curves_span_their_diagram_and_numbers_are_short() {
        let curve = |points: &[(f64, f64)]| Diagram {
            title: "t".into(),
            axis: "voxels".into(),
            curves: vec![("c".into(), points.into())],
            linear: true,
        };
        let svg = curves(&[curve(&[(10.0, 1.0), (1000.0, 100.0)]), curve(&[])], 2);
        assert!(svg.contains("65.0,210.0 300.0,30.0") && svg.contains("no runs"), "{svg}");
        let shown = [0.5, 7.0, 262_144.0, 1e6, 2.5e9].map(short);
        assert_eq!(shown, ["0.5", "7", "262k", "1M", "2.5G"]);
    }
}

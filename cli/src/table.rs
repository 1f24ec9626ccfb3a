//! Tables for the terminal: aligned columns, units in the head.

use crate::units;
use models::record::{LayerRecord, PhaseRecord, RunRecord};

/// To which side a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text in aligned columns. A heading may have a line break, or a soft hyphen where a word may be broken.
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these headings.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Appends a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.push(cells.to_vec());
    }

    /// Appends a row of as many cells as there are columns.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Appends a rule.
    pub fn rule(&mut self) {
        self.rows.push(Vec::new());
    }

    /// The whole table in Markdown, without rules.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let (names, marks): (Vec<String>, Vec<String>) = self
            .columns
            .iter()
            .map(|(name, align)| (flat(name), if *align == Align::Left { "---" } else { "---:" }.to_owned()))
            .unzip();
        let rows = self.rows.iter().filter(|row| !row.is_empty()).map(|row| line(row));
        line(&names) + &line(&marks) + &rows.collect::<String>()
    }

    /// The whole table in HTML, without rules; numbers have the class `n`.
    pub fn html(&self) -> String {
        let class = |align: Align| if align == Align::Right { " class=\"n\"" } else { "" };
        let heads = self.columns.iter().map(|(name, align)| {
            let (class, name) = (class(*align), escape(&flat(name)));
            format!("<th{class}>{name}</th>")
        });
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.columns).map(|(cell, (_, align))| {
                let (class, cell) = (class(*align), escape(cell));
                format!("<td{class}>{cell}</td>")
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let rows: String = self.rows.iter().filter(|row| !row.is_empty()).map(line).collect();
        let heads: String = heads.collect();
        format!("<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
    }

    /// The whole table, each line ended.
    pub fn render(&self) -> String {
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |text: &str| text.chars().count();
        let heads: Vec<Vec<String>> = self.columns.iter().map(|(name, _)| broken(name)).collect();
        let widest =
            |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| width(text)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| widest(&mut cells(column)).max(widest(&mut heads[column].iter())))
            .collect();
        let line = |row: &[String]| {
            let padded =
                row.iter().zip(&self.columns).zip(&widths).map(|((cell, (_, align)), &width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)) + "\n";
        let lines = heads.iter().map(Vec::len).max().unwrap_or(0);
        // Headings stand on the rule.
        let part =
            |head: &Vec<String>, i: usize| (i + head.len()).checked_sub(lines).map(|i| head[i].clone());
        let head = (0..lines).map(|i| {
            let parts: Vec<String> = heads.iter().map(|head| part(head, i).unwrap_or_default()).collect();
            line(&parts)
        });
        let rows = self.rows.iter().map(|row| if row.is_empty() { rule.clone() } else { line(row) });
        head.collect::<String>() + &rule + &rows.collect::<String>()
    }
}

/// A heading's lines.
fn broken(heading: &str) -> Vec<String> {
    heading.replace('\u{ad}', "-\n").split('\n').map(str::to_owned).collect()
}

/// A heading on one line.
fn flat(heading: &str) -> String {
    heading.replace('\u{ad}', "").replace('\n', " ")
}

/// Text for HTML: nothing in it is taken for markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// As [`layers`], for the terminal.
pub fn layer_table(record: &RunRecord) -> String {
    layers(record).render()
}

/// What every layer cost; layers without any work of their own are left out.
pub fn layers(record: &RunRecord) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("layer", Left),
        ("operator", Left),
        ("strategy", Left),
        ("shape", Left),
        ("seconds", Right),
        ("MB up", Right),
        ("MB down", Right),
        ("rounds", Right),
    ]);
    for layer in record.layers.iter().filter(|layer| !is_idle(layer)) {
        let (up, down) = (layer.bytes_alice_to_bob, layer.bytes_bob_to_alice);
        table.row([
            layer.name.clone(),
            layer.kind.clone(),
            layer.strategy.clone(),
            shape(layer.shape),
            format!("{:.2}", layer.seconds),
            megabytes(up),
            megabytes(down),
            layer.rounds.to_string(),
        ]);
    }
    table
}

/// What every layer cost offline and online, where the record tells them apart.
pub fn layer_phases(record: &RunRecord) -> Option<Table> {
    let heads = [
        "offline\nseconds",
        "MB\nup",
        "MB\ndown",
        "rounds",
        "online\nseconds",
        "MB\nup",
        "MB\ndown",
        "rounds",
    ];
    let mut columns = vec![("layer", Align::Left)];
    columns.extend(heads.map(|head| (head, Align::Right)));
    let mut table = Table::new(&columns);
    let layers = record.layers.iter().filter(|layer| !is_idle(layer));
    for (layer, phases) in layers.filter_map(|layer| layer.phases.as_ref().map(|phases| (layer, phases))) {
        let cells = [&phases.offline, &phases.online].map(|part| {
            [
                format!("{:.3}", part.seconds),
                megabytes(part.bytes_alice_to_bob),
                megabytes(part.bytes_bob_to_alice),
                if part.rounds == 0 { "·".to_owned() } else { part.rounds.to_string() },
            ]
        });
        table.push(std::iter::once(layer.name.clone()).chain(cells.into_iter().flatten()).collect());
    }
    (!table.rows.is_empty()).then_some(table)
}

/// As [`phases`], for the terminal.
pub fn phase_lines(record: &RunRecord) -> String {
    phases(record).render()
}

/// Whether a layer has no work of its own.
pub fn is_idle(layer: &LayerRecord) -> bool {
    matches!(layer.kind.as_str(), "concat" | "add" | "raise")
}

/// The three phases and their sum.
pub fn phases(record: &RunRecord) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("phase", Left),
        ("seconds", Right),
        ("CPU s Alice", Right),
        ("CPU s Bob", Right),
        ("MB Alice→Bob", Right),
        ("MB Bob→Alice", Right),
        ("rounds", Right),
    ]);
    let mut line = |name: &str, phase: &PhaseRecord| {
        let cpu = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
        table.row([
            name.to_owned(),
            format!("{:.2}", phase.seconds),
            cpu(phase.cpu_seconds_alice),
            cpu(phase.cpu_seconds_bob),
            megabytes(phase.bytes_alice_to_bob),
            megabytes(phase.bytes_bob_to_alice),
            phase.rounds.to_string(),
        ]);
    };
    let phases = &record.phases;
    line("setup", &phases.setup);
    line("offline", &phases.offline);
    line("online", &phases.online);
    line("total", &sum([&phases.setup, &phases.offline, &phases.online]));
    table
}

/// `16×200×200`, without the depth of pictures.
pub fn shape([channels, d, h, w]: [usize; 4]) -> String {
    let dims = [channels, d, h, w];
    let shown = dims.iter().enumerate().filter(|&(axis, &extent)| axis != 1 || extent > 1);
    shown.map(|(_, extent)| extent.to_string()).collect::<Vec<_>>().join("×")
}

/// Megabytes as a bare number; nothing at all as a dot.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0 => "·".to_owned(),
        1..10_000_000 => format!("{:.3}", bytes as f64 / 1e6),
        _ => format!("{:.1}", bytes as f64 / 1e6),
    }
}

/// All phases together.
pub fn sum(phases: [&PhaseRecord; 3]) -> PhaseRecord {
    let add = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b).or(a).or(b);
    phases.into_iter().fold(PhaseRecord::default(), |sum, phase| PhaseRecord {
        seconds: sum.seconds + phase.seconds,
        cpu_seconds_alice: add(sum.cpu_seconds_alice, phase.cpu_seconds_alice),
        cpu_seconds_bob: add(sum.cpu_seconds_bob, phase.cpu_seconds_bob),
        bytes_alice_to_bob: sum.bytes_alice_to_bob + phase.bytes_alice_to_bob,
        bytes_bob_to_alice: sum.bytes_bob_to_alice + phase.bytes_bob_to_alice,
        rounds: sum.rounds + phase.rounds,
    })
}

/// One line about a whole run: time and bytes each way.
pub fn summary(record: &RunRecord) -> String {
    let total = sum([&record.phases.setup, &record.phases.offline, &record.phases.online]);
    format!(
        "{}, {} from Alice to Bob, {} from Bob to Alice",
        units::seconds(total.seconds),
        units::bytes(total.bytes_alice_to_bob),
        units::bytes(total.bytes_bob_to_alice)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "10".into()]);
        table.row(["×longer×".into(), "1".into()]);
        let lines: Vec<String> = table.render().lines().map(str::to_owned).collect();
        assert!(
            table.html().contains("<tr><td>×longer×</td><td class=\"n\">1</td></tr>"),
            "{}",
            table.html()
        );
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(table.markdown(), "| name | n |\n| --- | ---: |\n| a | 10 |\n| ×longer× | 1 |\n");
        assert_eq!(lines, ["name       n", "────────────", "a         10", "×longer×   1"]);
    }

    #[test]
    fn headings_break() {
        let mut table = Table::new(&[("a", Align::Left), ("trans\u{ad}form", Align::Right)]);
        table.row(["x".into(), "1".into()]);
        assert_eq!(table.render(), "   trans-\na    form\n─────────\nx       1\n");
        assert!(table.markdown().starts_with("| a | transform |\n"));
        assert!(table.html().contains(">transform</th>"));
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(shape([16, 1, 200, 200]), "16×200×200");
        assert_eq!(shape([8, 40, 64, 48]), "8×40×64×48");
        let shown: Vec<String> = [0, 1_234, 9_999_999, 27_345_678].map(megabytes).to_vec();
        assert_eq!(shown, ["·", "0.001", "10.000", "27.3"]);
    }
}

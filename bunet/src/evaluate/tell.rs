//! What the evaluation tells on the terminal.

use super::case::Labelling;
use super::summary::{Metrics, Summary};
use crate::args::Evaluate;
use cli::{Align, Table};

/// Cases, means, agreement.
pub(super) fn print(flags: &Evaluate, labelling: &Labelling, summary: &Summary) {
    if !summary.labels.is_empty() {
        println!("{}", cases(summary).render());
        println!("{}", means(summary).render());
        let neither = summary
            .metric_per_case
            .iter()
            .flat_map(|case| case.metrics.values())
            .filter(|m| m.dice.is_none());
        let neither = neither.count();
        if neither > 0 {
            println!(
                "-: {neither} times a label is in neither segmentation; left out of the means, as nnU-Net does.\n\
                 A label in one segmentation only has Dice 0 and no HD95."
            );
        }
        println!(
            "HD95: larger of both directions' 95th percentile surface distances, in {}",
            summary.hd95_unit
        );
    }
    if !summary.missing.is_empty() {
        println!("{} files have no counterpart and are left out", summary.missing.len());
    }
    if let (Some(agreement), Some(model)) = (summary.blind_against_clear, labelling.model()) {
        println!(
            "integer network {} in the clear: {} of {} labels differ",
            model.manifest.name, agreement.different, agreement.total
        );
    }
    for path in [&flags.output, &flags.overlays].into_iter().flatten() {
        println!("{}", path.display());
    }
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// Dice of every label by case.
fn cases(summary: &Summary) -> Table {
    let heads: Vec<String> = summary.labels.values().map(|name| format!("Dice {name}")).collect();
    let mut columns = vec![("case", Align::Left)];
    columns.extend(heads.iter().map(|head| (head.as_str(), Align::Right)));
    let agreement = summary.blind_against_clear.is_some();
    if agreement {
        columns.push(("differ from clear", Align::Right));
    }
    let mut table = Table::new(&columns);
    for case in &summary.metric_per_case {
        let mut cells = vec![imaging::scan_stem(&case.prediction_file)];
        cells.extend(case.metrics.values().map(|metrics| figure(metrics.dice, 4)));
        if agreement {
            cells
                .push(case.blind_against_clear.map_or_else(String::new, |found| found.different.to_string()));
        }
        table.push(cells);
    }
    table
}

fn means(summary: &Summary) -> Table {
    let distance = format!("HD95 {}", summary.hd95_unit);
    let columns = [
        ("mean", Align::Left),
        ("Dice", Align::Right),
        ("IoU", Align::Right),
        (distance.as_str(), Align::Right),
        ("cases with it", Align::Right),
    ];
    let mut table = Table::new(&columns);
    let mut row = |name: String, metrics: &Metrics<f64>, cases: String| {
        table.row([name, figure(metrics.dice, 4), figure(metrics.iou, 4), figure(metrics.hd95, 2), cases]);
    };
    for (label, metrics) in &summary.mean {
        let with = summary.metric_per_case.iter().filter(|case| case.metrics[label].dice.is_some()).count();
        let cases = format!("{with} of {}", summary.metric_per_case.len());
        row(summary.labels[label].clone(), metrics, cases);
    }
    row("foreground".to_owned(), &summary.foreground_mean, String::new());
    table
}

//! The closing table.

use crate::suite::{Row, Show};
use cli::{Align, Table};

/// A row per kernel: for every level the median, and how many times its bound the least sample is.
pub(crate) fn of(levels: &[(&str, Vec<Row>)]) -> Table {
    let mut columns = vec![("kernel", Align::Left), ("unit", Align::Left)];
    for (name, _) in levels {
        columns.extend([(*name, Align::Right), ("×\nbound", Align::Right)]);
    }
    columns.extend([("aim", Align::Right), ("bound", Align::Left)]);
    let mut table = Table::new(&columns);
    let Some((_, first)) = levels.first() else { return table };
    for row in first {
        let mut cells = vec![row.name.clone(), unit(row.show).to_owned()];
        for (_, rows) in levels {
            let own = rows.iter().find(|own| own.name == row.name);
            cells.push(own.map_or_else(String::new, |own| shown(own.show, own.seconds)));
            let bounded = own.filter(|own| own.bound.seconds > 0.0);
            cells.push(
                bounded.map_or_else(String::new, |own| format!("{:.1}", own.least / own.bound.seconds)),
            );
        }
        cells.extend([row.goal.clone(), row.bound.words.clone()]);
        table.push(cells);
    }
    table
}

fn unit(show: Show) -> &'static str {
    match show {
        Show::Nanoseconds => "ns",
        Show::Microseconds => "µs",
        Show::Rate => "M/s",
    }
}

fn shown(show: Show, seconds: f64) -> String {
    match show {
        Show::Nanoseconds => format!("{:.3}", 1e9 * seconds),
        Show::Microseconds => format!("{:.1}", 1e6 * seconds),
        Show::Rate => format!("{:.0}", 1e-6 / seconds),
    }
}

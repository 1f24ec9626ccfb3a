//! What the reports of studies share.

use super::run::BenchRecord;
use super::tables::wire;
use cli::{Align, Failure};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Title, machine, date, program.
pub(crate) fn head(title: &str, records: &[&BenchRecord]) -> String {
    let Some(first) = records.first() else {
        return format!("# {title}\n\nNo run yet.\n\n");
    };
    let run = &first.run;
    let commit = run.commit.as_deref().unwrap_or("unknown");
    format!(
        "# {title}\n\n{}, {} threads per party, network {}{}; version {}, commit {commit}; {}.\n\n",
        run.machine,
        run.threads,
        run.profile,
        wire(first),
        run.version,
        today()
    )
}

/// Headings: the first leans left, the others right.
pub(crate) fn columns<'a>(names: &[&'a str]) -> Vec<(&'a str, Align)> {
    let align = |i: usize| if i == 0 { Align::Left } else { Align::Right };
    names.iter().enumerate().map(|(i, name)| (*name, align(i))).collect()
}

/// Writes a file, whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    imaging::write_atomically(path, imaging::Overwrite::Replace, |file| file.write_all(text.as_bytes()))
        .map_err(Failure::output)
}

/// The date in UTC, `2026-11-21`.
fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (year, month, day) = civil((seconds / 86_400) as i64);
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day from days since 1970 (Hinnant's algorithm: eras of 400 years that begin in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + 400 * era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }
}

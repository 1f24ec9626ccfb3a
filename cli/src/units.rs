//! Numbers with units, short.

/// Bytes in decimal units: `512 B`, `9.4 kB`, `27.3 MB`, `1.24 GB`.
pub fn bytes(count: u64) -> String {
    let (scaled, unit) = match count {
        0..1_000 => return format!("{count} B"),
        1_000..999_950 => (count as f64 / 1e3, "kB"),
        999_950..999_950_000 => (count as f64 / 1e6, "MB"),
        _ => return format!("{:.2} GB", count as f64 / 1e9),
    };
    format!("{scaled:.1} {unit}")
}

/// Seconds to the precision that matters: `0.034 s`, `5.21 s`, `47.3 s`, `3 min 20 s`.
pub fn seconds(time: f64) -> String {
    match time {
        ..1.0 => format!("{time:.3} s"),
        ..10.0 => format!("{time:.2} s"),
        ..119.95 => format!("{time:.1} s"),
        _ => format!("{} min {:02} s", time as u64 / 60, time as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_change_where_they_should() {
        let shown: Vec<String> = [999, 1_000, 999_949, 999_950, 27_300_000, 999_950_000].map(bytes).to_vec();
        assert_eq!(shown, ["999 B", "1.0 kB", "999.9 kB", "1.0 MB", "27.3 MB", "1.00 GB"]);
        let shown: Vec<String> = [0.0341, 5.214, 47.26, 200.0].map(seconds).to_vec();
        assert_eq!(shown, ["0.034 s", "5.21 s", "47.3 s", "3 min 20 s"]);
    }
}

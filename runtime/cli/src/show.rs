//! Numbers, times and hashes as people read them.

use std::time::Duration;

/// 1 234 567 → "1.2 M".
pub(crate) fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{} k", number / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        _ => format!("{:.1} G", number as f64 / 1e9),
    }
}

/// 18442017 → "18 442 017".
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// "38 ms", "4.1 s", "12 min".
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}

pub(crate) fn seconds(seconds: f64) -> String {
    duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// Milliseconds since 1970 → "2026-01-31 06:00:00Z".
pub(crate) fn time(ms: i64) -> String {
    let (days, second) = (ms.div_euclid(86_400_000), ms.div_euclid(1000).rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Milliseconds since 1970 → "06:00:00".
pub(crate) fn time_of_day(ms: i64) -> String {
    time(ms)[11..19].to_owned()
}

/// The date of a day since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in
/// March, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// The first twelve digits: enough to tell two modules apart.
pub(crate) fn short_hex(bytes: &[u8]) -> String {
    hex(&bytes[..bytes.len().min(6)]) + "…"
}

/// Lines of columns, each as wide as its widest cell; numbers are for the caller to align.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|it| it.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|it| (*it).to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let pad = width - cell.chars().count();
            line.push_str(cell);
            line.push_str(&" ".repeat(pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_short() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (412_345, "412 k"),
            (1_234_567, "1.2 M"),
            (7 << 30, "7.5 G"),
        ] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0, "0"), (123, "123"), (1234, "1 234"), (18_442_017, "18 442 017")]
        {
            assert_eq!(grouped(number), text);
        }
        for (ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (1_709_208_000_500, "2024-02-29 12:00:00Z"),
            (-1, "1969-12-31 23:59:59Z"),
        ] {
            assert_eq!(time(ms), text);
        }
        assert_eq!(time_of_day(1_709_208_000_500), "12:00:00");
        for (seconds_, text) in [(0.038, "38 ms"), (4.14, "4.1 s"), (720.0, "12 min")] {
            assert_eq!(seconds(seconds_), text);
        }
    }
}

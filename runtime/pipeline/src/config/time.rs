//! `start` of `[source]`: earliest, latest, or an RFC 3339 timestamp.

use floe_core::EventTime;
use floe_core::ports::StartAt;
use toml::value::{Datetime, Offset};

const EXAMPLE: &str = "2026-01-31T06:00:00Z";

pub(super) fn parse_start(text: &str) -> Result<StartAt, String> {
    match text {
        "earliest" => Ok(StartAt::Earliest),
        "latest" => Ok(StartAt::Latest),
        _ => parse_timestamp(text).map(StartAt::Timestamp),
    }
}

pub fn parse_timestamp(text: &str) -> Result<EventTime, String> {
    let wrong =
        || format!("{text:?} is not \"earliest\", \"latest\" or a timestamp such as \"{EXAMPLE}\"");
    let Datetime { date: Some(date), time: Some(time), offset } =
        text.parse::<Datetime>().map_err(|_| wrong())?
    else {
        return Err(wrong());
    };
    let offset_minutes = match offset {
        Some(Offset::Z) => 0,
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        None => return Err(format!("{text:?} has no time zone; write \"{EXAMPLE}\"")),
    };
    let days = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let minutes = (days * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute) - offset_minutes;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    Ok(EventTime(seconds * 1000 + i64::from(time.nanosecond.unwrap_or(0) / 1_000_000)))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years are counted from March, so that the
/// leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read() {
        for (text, expected) in [
            ("earliest", Ok(StartAt::Earliest)),
            ("latest", Ok(StartAt::Latest)),
            ("1970-01-01T00:00:00Z", Ok(StartAt::Timestamp(EventTime(0)))),
            ("2024-02-29T12:00:00.5Z", Ok(StartAt::Timestamp(EventTime(1_709_208_000_500)))),
            ("2024-03-01T01:30:00+05:30", Ok(StartAt::Timestamp(EventTime(1_709_236_800_000)))),
            ("1969-12-31T23:59:59Z", Ok(StartAt::Timestamp(EventTime(-1_000)))),
            ("2024-03-01T01:30:00", Err("no time zone")),
            ("2024-03-01", Err("is not")),
            ("yesterday", Err("is not")),
        ] {
            match (parse_start(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
    }
}

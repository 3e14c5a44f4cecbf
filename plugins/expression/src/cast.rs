//! What was computed, as the value of a column.

use floe_sdk::dynamic::{Type, Value};
use floe_sdk::{Error, Result};

use crate::value::{Computed, NANOS_A_DAY, rescale};

/// `text` keeps a text that is made on the way.
///
/// Numbers become other numbers where nothing but digits behind the point is lost; texts become what they
/// spell; everything becomes a text. What does not fit is an error.
pub fn cast<'v>(value: Computed<'v>, ty: &Type, text: &'v mut String) -> Result<Value<'v>> {
    let spelled;
    let value = match value {
        Computed::Null => return Ok(Value::Null),
        Computed::Text(it) if *ty != Type::Text && *ty != Type::Bytes => {
            spelled = it;
            spell(&spelled, ty)?
        }
        other => other,
    };
    let wrong = |what: &dyn std::fmt::Display| Error::new(format!("{what} is no {}", ty.name()));
    Ok(match (ty, value) {
        (Type::Boolean, Computed::Bool(it)) => Value::Bool(it),
        (Type::F32 | Type::F64, number) => {
            Value::Float(number.to_float().ok_or_else(|| wrong(&show(&number)))?)
        }
        (Type::Decimal(_, scale), Computed::Int(it)) => {
            Value::Decimal(rescale(it, 0, *scale).ok_or_else(|| wrong(&it))?)
        }
        (Type::Decimal(_, scale), Computed::Decimal(it, from)) => {
            Value::Decimal(rescale(it, from, *scale).ok_or_else(|| wrong(&it))?)
        }
        (Type::Decimal(_, scale), Computed::Float(it)) => {
            let number = it * 10f64.powi((*scale).into());
            if number.is_nan() || number.abs() >= 1e38 {
                return Err(wrong(&it));
            }
            Value::Decimal(number.round() as i128)
        }
        (Type::Timestamp(unit, _), Computed::Time(nanos)) => {
            let nanos_a_unit = 1_000_000 / i128::from(unit.per_millisecond());
            Value::Int(i64::try_from(nanos.div_euclid(nanos_a_unit)).map_err(|_| wrong(&nanos))?)
        }
        (Type::Timestamp(..), Computed::Int(it)) => {
            Value::Int(i64::try_from(it).map_err(|_| wrong(&it))?)
        }
        (Type::Date, Computed::Time(nanos)) => Value::Int(nanos.div_euclid(NANOS_A_DAY) as i64),
        (Type::Text, Computed::Text(it)) => {
            match it {
                std::borrow::Cow::Borrowed(it) => return Ok(Value::Text(it)),
                std::borrow::Cow::Owned(it) => *text = it,
            }
            Value::Text(text)
        }
        (Type::Text, other) => {
            *text = show(&other);
            Value::Text(text)
        }
        (Type::Bytes | Type::Fixed(_), Computed::Bytes(it)) => Value::Bytes(it),
        (Type::Bytes, Computed::Text(it)) => {
            *text = it.into_owned();
            Value::Bytes(text.as_bytes())
        }
        (_, Computed::Other(it)) => it,
        (integer, number) if integer.is_integer() => {
            let whole = match number {
                Computed::Int(it) => Some(it),
                Computed::Decimal(it, scale) => rescale(it, scale, 0),
                Computed::Float(it) if it.abs() < 1e18 => Some(it as i128),
                Computed::Bool(it) => Some(it.into()),
                // A time as a number counts milliseconds.
                Computed::Time(nanos) => Some(nanos.div_euclid(1_000_000)),
                _ => None,
            };
            let whole = whole.ok_or_else(|| wrong(&show(&number)))?;
            match integer {
                Type::U64 => Value::UInt(u64::try_from(whole).map_err(|_| wrong(&whole))?),
                _ => Value::Int(i64::try_from(whole).map_err(|_| wrong(&whole))?),
            }
        }
        (_, other) => return Err(wrong(&show(&other))),
    })
}

/// What a text spells, for a column of this type.
fn spell(text: &str, ty: &Type) -> Result<Computed<'static>> {
    let text = text.trim();
    let found = match ty {
        Type::Boolean => match text {
            "true" => Some(Computed::Bool(true)),
            "false" => Some(Computed::Bool(false)),
            _ => None,
        },
        Type::F32 | Type::F64 => text.parse().ok().map(Computed::Float),
        Type::Date | Type::Timestamp(..) => parse_time(text).map(Computed::Time),
        Type::Decimal(..) => decimal(text),
        integer if integer.is_integer() => text.parse().ok().map(Computed::Int),
        _ => None,
    };
    found.ok_or_else(|| Error::new(format!("{text:?} is no {}", ty.name())))
}

fn decimal(text: &str) -> Option<Computed<'static>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = [whole, fraction].concat();
    let scale = u8::try_from(fraction.len()).ok().filter(|it| *it <= 38)?;
    fraction.bytes().all(|it| it.is_ascii_digit()).then_some(())?;
    Some(Computed::Decimal(digits.parse().ok()?, scale))
}

/// As text.
fn show(value: &Computed<'_>) -> String {
    match value {
        Computed::Null => "null".to_owned(),
        Computed::Bool(it) => it.to_string(),
        Computed::Int(it) => it.to_string(),
        Computed::Decimal(it, 0) => it.to_string(),
        Computed::Decimal(it, scale) => {
            let sign = if *it < 0 { "-" } else { "" };
            let power = 10u128.pow((*scale).into());
            let (whole, fraction) = (it.unsigned_abs() / power, it.unsigned_abs() % power);
            format!("{sign}{whole}.{fraction:0width$}", width = usize::from(*scale))
        }
        Computed::Float(it) => it.to_string(),
        Computed::Text(it) => it.to_string(),
        Computed::Bytes(it) => it.iter().map(|it| format!("{it:02x}")).collect(),
        Computed::Time(nanos) => show_time(*nanos),
        Computed::Other(it) => format!("{it:?}"),
    }
}

/// Nanoseconds since 1970 of `2026-01-31`, `2026-01-31T06:00:00Z`, `2026-01-31 06:00:00.5+05:30`. Without a
/// zone it is UTC.
pub fn parse_time(text: &str) -> Option<i128> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00:00"),
    };
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let (time, offset_minutes) = zone(time)?;
    let mut parts = time.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, fraction) = match parts.next() {
        None => (0, ""),
        Some(it) => match it.split_once('.') {
            Some((second, fraction)) => (number(second)?, fraction),
            None => (number(it)?, ""),
        },
    };
    let sound = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second)
        && fraction.len() <= 9;
    if !sound {
        return None;
    }
    let fraction = if fraction.is_empty() {
        0
    } else {
        number(fraction)? * 10i64.pow(9 - fraction.len() as u32)
    };
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
    Some(i128::from(seconds - offset_minutes * 60) * 1_000_000_000 + i128::from(fraction))
}

/// Digits alone: no sign.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The time of day, and the minutes that its zone is ahead.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':').unwrap_or((&offset[1..], "0"));
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some((time, if offset.starts_with('-') { -minutes } else { minutes }))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970, in a calendar whose years begin in March, so that the leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn show_time(nanos: i128) -> String {
    let days = nanos.div_euclid(NANOS_A_DAY) as i64 + 719_468;
    let (of_day, era) = (nanos.rem_euclid(NANOS_A_DAY), days.div_euclid(146_097));
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let second = of_day / 1_000_000_000;
    let fraction = match of_day % 1_000_000_000 {
        0 => String::new(),
        fraction => format!(".{fraction:09}").trim_end_matches('0').to_owned(),
    };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, shown) in [
            ("1970-01-01", "1970-01-01T00:00:00Z"),
            ("2024-02-29T23:59:59.25Z", "2024-02-29T23:59:59.25Z"),
            ("2026-01-31 06:00:00+05:30", "2026-01-31T00:30:00Z"),
            ("1969-12-31T23:59:59-00:30", "1970-01-01T00:29:59Z"),
            ("0001-01-01T00:00", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(show_time(parse_time(text).expect(text)), shown);
        }
        for wrong in ["", "2026", "2026-13-01", "2025-02-29", "2026-01-01T24:00:00", "+026-01-01"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
    }
}

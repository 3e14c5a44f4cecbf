//! Durations and sizes as people write them: "500ms", "10s", "2h", "64MiB", "1GB".

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

/// A number of bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanBytes(pub u64);

pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let millis = match DURATION_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => scale(number, *factor),
        None if unit.is_empty() && !number.is_empty() => {
            return Err(format!("{text:?} has no unit; write \"{number}s\" or \"{number}ms\""));
        }
        None => None,
    };
    millis.map(Duration::from_millis).ok_or_else(|| {
        format!("{text:?} is no duration; write \"500ms\", \"10s\", \"5m\" or \"2h\"")
    })
}

pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let bytes = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => scale(number, *factor),
        None if unit.is_empty() => scale(number, 1),
        None => None,
    };
    bytes.ok_or_else(|| format!("{text:?} is no size; write \"64MiB\", \"512KiB\" or \"1GB\""))
}

/// "1.5h" → ("1.5", "h").
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end =
        text.find(|it: char| !it.is_ascii_digit() && it != '.' && it != '_').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `None` for what is no number or does not fit.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let fraction = number.parse::<f64>().ok()?;
    let scaled = fraction * factor as f64;
    (scaled.is_finite() && scaled < 9e15).then_some(scaled.round() as u64)
}

/// "1.1 MiB", for people.
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = HumanDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"10s\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<HumanDuration, E> {
                parse_duration(text).map(HumanDuration).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<HumanDuration, E> {
                Err(E::custom(format!(
                    "{number} has no unit; write \"{number}s\" or \"{number}ms\""
                )))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for HumanBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = HumanBytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<HumanBytes, E> {
                parse_bytes(text).map(HumanBytes).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<HumanBytes, E> {
                u64::try_from(number)
                    .map(HumanBytes)
                    .map_err(|_| E::custom(format!("{number} is no size")))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9_.]+ ?(ms|s|m|min|h|d)$|^\$\{.*\}$",
            "examples": ["10s", "500ms", "2h"]
        })
    }
}

impl JsonSchema for HumanBytes {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^[0-9_.]+ ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$|^\$\{.*\}$",
            "minimum": 0,
            "examples": ["64MiB", "1GB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_written() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("5 min", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GB", 1_000_000_000),
            ("1_000", 1_000),
            ("0.5 KiB", 512),
            ("7B", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "s", "10", "10 parsecs", "-1s", "1..5s", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "10 XB", "-1", "99999999999TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1_150_000, "1.1 MiB"), (1 << 30, "1.0 GiB")]
        {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}

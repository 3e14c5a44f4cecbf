//! Durations as a pipeline file has them.

use crate::error::{Error, Result};

/// Milliseconds of `"48h"`, `"10s"`, `"250ms"`, `"7d"`. More than zero.
pub fn duration_ms(text: &str) -> Result<i64> {
    const UNITS: [(&str, i64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let text = text.trim();
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, ms)| *ms);
    let number = number.parse::<i64>().ok();
    let product = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    product.filter(|it| *it > 0).ok_or_else(|| {
        Error::new(format!(
            "{text:?} is no duration such as \"250ms\", \"10s\", \"5m\", \"48h\" or \"7d\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in
            [("250ms", 250), ("10s", 10_000), ("48h", 172_800_000), (" 7 d ", 604_800_000)]
        {
            assert_eq!(duration_ms(text).unwrap(), ms);
        }
        for wrong in ["", "0s", "-1s", "1", "1.5h", "9999999999999d", "1 week"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }
}

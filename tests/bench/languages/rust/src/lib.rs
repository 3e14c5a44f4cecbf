//! A running total for each merchant: what every language of the bench does, and the native limit too.
//!
//! The other languages have the same two functions, in the same order of steps.

use floe_sdk::prelude::*;

/// What comes out for each payment.
#[derive(Row)]
pub struct Total {
    pub merchant: i64,
    pub total: i64,
}

/// A power of two, some four times the merchants of the bench.
const SLOTS: usize = 4096;

/// Open addressing. Merchant 0 is an empty slot.
pub struct Totals {
    slots: Box<[(i64, i64); SLOTS]>,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { slots: Box::new([(0, 0); SLOTS]) }
    }
}

impl Totals {
    /// The merchant's total with this payment.
    #[inline]
    pub fn add(&mut self, merchant: i64, amount: i64) -> i64 {
        let mut at = ((merchant as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize;
        loop {
            let (key, total) = &mut self.slots[at % SLOTS];
            if *key == merchant {
                *total += amount;
                return *total;
            }
            if *key == 0 {
                (*key, *total) = (merchant, amount);
                return amount;
            }
            at += 1;
        }
    }
}

/// Merchant and amount of a payment as JSON: an object of texts, whole numbers and words.
#[inline]
pub fn payment(json: &[u8]) -> Option<(i64, i64)> {
    let (mut merchant, mut amount) = (None, None);
    let mut at = 1;
    if *json.first()? != b'{' {
        return None;
    }
    loop {
        let name = text(json, &mut at)?;
        if *json.get(at)? != b':' {
            return None;
        }
        at += 1;
        match *json.get(at)? {
            b'"' => drop(text(json, &mut at)?),
            b'-' | b'0'..=b'9' => {
                let value = number(json, &mut at);
                match name {
                    b"merchant" => merchant = Some(value),
                    b"amount_minor" => amount = Some(value),
                    _ => {}
                }
            }
            _ => {
                while json.get(at)?.is_ascii_lowercase() {
                    at += 1;
                }
            }
        }
        match *json.get(at)? {
            b',' => at += 1,
            b'}' => return Some((merchant?, amount?)),
            _ => return None,
        }
    }
}

/// Between its quotes, as it is written.
#[inline]
fn text<'a>(json: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    if *json.get(*at)? != b'"' {
        return None;
    }
    let begin = *at + 1;
    let mut end = begin;
    loop {
        match *json.get(end)? {
            b'"' => break,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    *at = end + 1;
    json.get(begin..end)
}

#[inline]
fn number(json: &[u8], at: &mut usize) -> i64 {
    let negative = json[*at] == b'-';
    *at += usize::from(negative);
    let mut value = 0_i64;
    while let Some(digit @ b'0'..=b'9') = json.get(*at) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        *at += 1;
    }
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payments_are_read_and_added() {
        let json = br#"{"id":"a\"b","merchant":7,"ok":true,"amount_minor":-25,"n":null}"#;
        assert_eq!(payment(json), Some((7, -25)));
        let cut = (0..json.len()).map(|it| &json[..it]);
        for broken in cut.chain([&b"[]"[..], br#"{"merchant":7}"#]) {
            assert_eq!(payment(broken), None);
        }
        let mut totals = Totals::default();
        for round in 1..=3 {
            for merchant in 1..=1000 {
                assert_eq!(totals.add(merchant, merchant), merchant * round);
            }
        }
    }
}

//! Values that are kept: keys and aggregates in an operator's state.

use crate::dynamic::value::Value;

/// A value that outlives its batch. It has an order, so that state is gone through in the same one
/// everywhere: null first, numbers by size, texts by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OwnedValue {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    /// The bits, so that they sort as the numbers do.
    Float(u64),
    Decimal(i128),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

/// Makes the bits of a number sort as the number, or undoes it.
fn ordered(bits: u64) -> u64 {
    bits ^ (((bits as i64) >> 63) as u64 >> 1)
}

const SIGN: u64 = 1 << 63;

impl OwnedValue {
    /// Keeps a value. `None`: a list or a struct, which is no key.
    pub fn of(value: Value<'_>) -> Option<OwnedValue> {
        Some(match value {
            Value::Null => OwnedValue::Null,
            Value::Bool(it) => OwnedValue::Bool(it),
            Value::Int(it) => OwnedValue::Int(it),
            Value::UInt(it) => OwnedValue::UInt(it),
            // The two zeros are one number.
            Value::Float(it) => OwnedValue::Float(ordered((it + 0.0).to_bits()) ^ SIGN),
            Value::Decimal(it) => OwnedValue::Decimal(it),
            Value::Text(it) => OwnedValue::Text(it.into()),
            Value::Bytes(it) => OwnedValue::Bytes(it.into()),
            Value::List(_) | Value::Struct(_) => return None,
        })
    }

    /// The value again.
    pub fn value(&self) -> Value<'_> {
        match self {
            OwnedValue::Null => Value::Null,
            OwnedValue::Bool(it) => Value::Bool(*it),
            OwnedValue::Int(it) => Value::Int(*it),
            OwnedValue::UInt(it) => Value::UInt(*it),
            OwnedValue::Float(it) => Value::Float(f64::from_bits(ordered(it ^ SIGN))),
            OwnedValue::Decimal(it) => Value::Decimal(*it),
            OwnedValue::Text(it) => Value::Text(it),
            OwnedValue::Bytes(it) => Value::Bytes(it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_value_and_sort_by_it() {
        let numbers = [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 1e-300, 2.0, f64::INFINITY];
        let kept: Vec<_> = numbers.map(|it| OwnedValue::of(Value::Float(it)).unwrap()).into();
        assert!(kept.is_sorted());
        for (number, kept) in numbers.iter().zip(&kept) {
            assert_eq!(kept.value(), Value::Float(*number));
        }
        assert_eq!(OwnedValue::of(Value::Float(0.0)), OwnedValue::of(Value::Float(-0.0)));
    }
}

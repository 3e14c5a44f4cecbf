//! What of a row is counted: its key as text, its amounts as whole numbers, the hash that names it.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use floe_core::{Error, Result, rng};
use serde_json::Value;

use super::super::rows::value;

/// Digits behind the point of floating-point numbers that count.
const FLOAT_DIGITS: u8 = 9;

/// Sums of less than this are kept exactly; nothing that is money comes near.
const AMOUNT_MAX: u128 = 1 << 100;

/// How many digits behind the point the numbers of a type have. `None`: it has no numbers that can be added up.
pub(super) fn digits(kind: &DataType) -> Option<u8> {
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Some(0),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => Some(0),
        DataType::Decimal128(_, digits) => u8::try_from(*digits).ok(),
        DataType::Float32 | DataType::Float64 => Some(FLOAT_DIGITS),
        // Arrow's enum, not ours.
        _ => None,
    }
}

pub(super) fn is_float(kind: &DataType) -> bool {
    matches!(kind, DataType::Float32 | DataType::Float64)
}

/// A number as that many of its smallest parts: with two digits 12.5 is 1250.
pub(super) fn amount(column: &ArrayRef, row: usize, to_digits: u8) -> Result<Option<i128>> {
    if column.is_null(row) {
        return Ok(None);
    }
    let number: i128 = match column.data_type() {
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value(row),
        DataType::Float32 => of_float(column.as_primitive::<Float32Type>().value(row).into())?,
        DataType::Float64 => of_float(column.as_primitive::<Float64Type>().value(row))?,
        other => return Err(Error::invalid(format!("{other} is no number"))),
    };
    let more = to_digits.saturating_sub(digits(column.data_type()).unwrap_or(0));
    let scaled = 10_i128.checked_pow(more.into()).and_then(|it| number.checked_mul(it));
    scaled.filter(|it| it.unsigned_abs() < AMOUNT_MAX).map(Some).ok_or_else(|| too_large(number))
}

fn of_float(number: f64) -> Result<i128> {
    let scaled = (number * 10_f64.powi(FLOAT_DIGITS.into())).round();
    match scaled.is_finite() && scaled.abs() < AMOUNT_MAX as f64 {
        true => Ok(scaled as i128),
        false => Err(too_large(number)),
    }
}

fn too_large(number: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{number} cannot be added up: sums are exact up to 30 digits"))
}

/// 1250 with two digits behind the point → "12.50".
pub(super) fn text(amount: i128, digits: u8) -> String {
    let digits = usize::from(digits);
    if digits == 0 {
        return amount.to_string();
    }
    let padded = format!("{:0>width$}", amount.unsigned_abs(), width = digits + 1);
    let (whole, part) = padded.split_at(padded.len() - digits);
    format!("{}{whole}.{part}", if amount < 0 { "-" } else { "" })
}

/// A part of the sum of hashes that tells rows apart whose amounts have the same sum.
pub(super) fn mixed(amount: Option<i128>) -> u64 {
    let Some(amount) = amount else { return 0x6e75_6c6c };
    rng::mixed((amount as u64) ^ ((amount >> 64) as u64).rotate_left(32))
}

/// The values of some columns as a JSON list: in it, an int of the one side is the long of the other.
pub(super) fn key(columns: &[&ArrayRef], row: usize) -> String {
    Value::Array(columns.iter().map(|it| value::json(it, row)).collect()).to_string()
}

/// A hash that stands for a value of any type.
pub(super) fn check(column: &ArrayRef, row: usize) -> u64 {
    let id = identity(column, row).unwrap_or_default();
    u64::from_le_bytes(std::array::from_fn(|it| id[it]))
}

/// 128 bits that stand for a value. `None` for null, which is equal to nothing.
pub(super) fn identity(column: &ArrayRef, row: usize) -> Option<[u8; 16]> {
    if column.is_null(row) {
        return None;
    }
    let hash = blake3::hash(value::json(column, row).to_string().as_bytes());
    hash.as_bytes()[..16].try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn numbers_of_all_kinds_are_added_up_by_the_same_parts() {
        let decimal = Decimal128Array::from(vec![1250]).with_precision_and_scale(9, 2).unwrap();
        let columns: [(ArrayRef, i128); 4] = [
            (Arc::new(Int32Array::from(vec![-3])), -3_000_000_000),
            (Arc::new(Int64Array::from(vec![i64::MAX])), i128::from(i64::MAX) * 1_000_000_000),
            (Arc::new(decimal), 12_500_000_000),
            (Arc::new(Float64Array::from(vec![0.1])), 100_000_000),
        ];
        for (column, expected) in columns {
            assert_eq!(amount(&column, 0, 9).unwrap(), Some(expected), "{column:?}");
        }
        let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1e40]));
        assert!(amount(&column, 0, 9).is_err() && amount(&column, 1, 9).is_err());
        let column: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        assert_eq!(amount(&column, 0, 0).unwrap(), None);
        assert_eq!(digits(&DataType::Utf8), None);
    }

    #[test]
    fn amounts_are_shown_with_their_point() {
        for (amount, digits, expected) in [
            (1250, 2, "12.50"),
            (-5, 2, "-0.05"),
            (7, 0, "7"),
            (i128::MIN, 0, &i128::MIN.to_string()),
        ] {
            assert_eq!(text(amount, digits), expected);
        }
    }

    #[test]
    fn a_key_is_the_same_whatever_the_width_of_its_numbers() {
        let narrow: [ArrayRef; 2] =
            [Arc::new(Int32Array::from(vec![7])), Arc::new(StringArray::from(vec!["m\"1"]))];
        let wide: [ArrayRef; 2] =
            [Arc::new(Int64Array::from(vec![7])), Arc::new(StringArray::from(vec!["m\"1"]))];
        let key_of = |it: &[ArrayRef; 2]| key(&[&it[0], &it[1]], 0);
        assert_eq!(key_of(&narrow), r#"[7,"m\"1"]"#);
        assert_eq!(key_of(&narrow), key_of(&wide));
    }
}

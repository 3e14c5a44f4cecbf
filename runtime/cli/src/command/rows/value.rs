//! One cell of an Arrow column as JSON.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use serde_json::{Map, Value};

use crate::show;

/// Numbers that JSON has stay numbers; dates, times, decimals and what else there is become their text.
pub(crate) fn json(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => float(f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        DataType::Utf8View => column.as_string_view().value(row).into(),
        DataType::Binary => bytes(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => bytes(column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => show::hex(column.as_fixed_size_binary().value(row)).into(),
        DataType::List(_) => list(&column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(row)),
        DataType::Struct(_) => Value::Object(object(column.as_struct(), row)),
        // Arrow's enum, not ours.
        _ => text(column, row).into(),
    }
}

pub(crate) fn object(columns: &StructArray, row: usize) -> Map<String, Value> {
    let names = columns.column_names();
    names
        .iter()
        .zip(columns.columns())
        .map(|(name, column)| ((*name).to_owned(), json(column, row)))
        .collect()
}

/// What is no text is shown as its hexadecimal digits.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => format!("0x{}", show::hex(bytes)).into(),
    }
}

/// JSON has no infinity and no NaN.
fn float(number: f64) -> Value {
    match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => number.to_string().into(),
    }
}

fn list(items: &ArrayRef) -> Value {
    (0..items.len()).map(|row| json(items, row)).collect()
}

fn text(column: &ArrayRef, row: usize) -> String {
    // The names of zones are not compiled in, and this one is known without.
    if let DataType::Timestamp(unit, Some(zone)) = column.data_type()
        && zone.as_ref() == "UTC"
    {
        let with_offset = DataType::Timestamp(*unit, Some("+00:00".into()));
        if let Ok(column) = arrow_cast::cast(&column.slice(row, 1), &with_offset) {
            return text(&column, 0);
        }
    }
    match ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default()) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => format!("({})", column.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    use super::*;

    #[test]
    fn cells_become_json() {
        let columns: [(ArrayRef, &str); 9] = [
            (Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
            (Arc::new(Float64Array::from(vec![0.5])), "0.5"),
            (Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\""),
            (Arc::new(StringArray::from(vec!["ü\""])), "\"ü\\\"\""),
            (Arc::new(BinaryArray::from(vec![&[0xff_u8, 0x01][..]])), "\"0xff01\""),
            (Arc::new(Date32Array::from(vec![0])), "\"1970-01-01\""),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("+00:00")),
                "\"1970-01-01T00:00:00.000001Z\"",
            ),
            (
                Arc::new(TimestampMicrosecondArray::from(vec![1]).with_timezone("UTC")),
                "\"1970-01-01T00:00:00.000001Z\"",
            ),
            (
                Arc::new(
                    Decimal128Array::from(vec![12345]).with_precision_and_scale(9, 2).unwrap(),
                ),
                "\"123.45\"",
            ),
        ];
        for (column, expected) in columns {
            assert_eq!(json(&column, 0).to_string(), expected);
        }
    }
}

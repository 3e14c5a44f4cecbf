//! The schema of the conformance operator, and whether a module has it.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};

pub(crate) fn expected() -> Schema {
    let utc = || Some(Arc::from("UTC"));
    let pair = Fields::from(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
    ]);
    let list =
        |item: DataType, nullable| DataType::List(Arc::new(Field::new("item", item, nullable)));
    let mut fields = vec![
        Field::new("do", DataType::Utf8, false),
        Field::new("_offset", DataType::Int64, false),
    ];
    let nullable = [
        ("boolean", DataType::Boolean),
        ("tiny", DataType::Int8),
        ("small", DataType::Int16),
        ("medium", DataType::Int32),
        ("big", DataType::Int64),
        ("utiny", DataType::UInt8),
        ("usmall", DataType::UInt16),
        ("umedium", DataType::UInt32),
        ("ubig", DataType::UInt64),
        ("single", DataType::Float32),
        ("twice", DataType::Float64),
        ("text", DataType::Utf8),
        ("binary", DataType::Binary),
        ("fixed", DataType::FixedSizeBinary(4)),
        ("date", DataType::Date32),
        ("time", DataType::Time64(TimeUnit::Microsecond)),
        ("millis", DataType::Timestamp(TimeUnit::Millisecond, utc())),
        ("micros", DataType::Timestamp(TimeUnit::Microsecond, utc())),
        ("nanos", DataType::Timestamp(TimeUnit::Nanosecond, utc())),
        ("decimal", DataType::Decimal128(20, 4)),
        ("list", list(DataType::Int64, true)),
        ("pair", DataType::Struct(pair.clone())),
        ("pairs", list(DataType::Struct(pair), false)),
    ];
    fields.extend(nullable.into_iter().map(|(name, kind)| Field::new(name, kind, true)));
    Schema::new(fields)
}

/// The first difference. What a list calls its item is the SDK's choice.
pub(crate) fn difference(found: &Schema, expected: &Schema) -> Option<String> {
    let (have, want) = (found.fields(), expected.fields());
    for (index, want) in want.iter().enumerate() {
        let Some(have) = have.get(index) else {
            return Some(format!(
                "column {index} is missing: {} {}",
                want.name(),
                want.data_type()
            ));
        };
        if !is_same(have, want, true) {
            return Some(format!("column {index} is {have}, and must be {want}"));
        }
    }
    (have.len() > want.len()).then(|| format!("column {} is one too many", have[want.len()].name()))
}

fn is_same(have: &Field, want: &Field, names_count: bool) -> bool {
    if (names_count && have.name() != want.name()) || have.is_nullable() != want.is_nullable() {
        return false;
    }
    match (have.data_type(), want.data_type()) {
        (DataType::List(have), DataType::List(want)) => is_same(have, want, false),
        (DataType::Struct(have), DataType::Struct(want)) => {
            have.len() == want.len()
                && have.iter().zip(want).all(|(have, want)| is_same(have, want, true))
        }
        (have, want) => have == want,
    }
}

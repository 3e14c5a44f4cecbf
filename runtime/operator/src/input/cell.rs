//! One value of one row, on its way from JSON to a column; and the rules by which JSON becomes one.

use std::borrow::Cow;

use arrow_array::types::{Date32Type, Time64MicrosecondType};
use arrow_cast::parse::{Parser, string_to_timestamp_nanos};
use arrow_schema::{DataType, Field, TimeUnit};
use base64::Engine as _;
use sonic_rs::{JsonValueTrait, LazyValue};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Cell<'a> {
    /// Not in the object.
    #[default]
    Missing,
    Null,
    Bool(bool),
    /// All integers, dates, times and timestamps, in the column's unit.
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Decimal(i128),
    List(Vec<Cell<'a>>),
    Struct(Vec<Cell<'a>>),
}

/// A type as people write it.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "byte".into(),
        DataType::Int16 => "short".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 => "string".into(),
        DataType::Binary | DataType::FixedSizeBinary(_) => "binary (base64)".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(_) => "list".into(),
        DataType::Struct(_) => "struct".into(),
        other => other.to_string(),
    }
}

/// What is wrong with a value, without the field's name.
pub(super) type Wrong = String;

pub(super) fn expected(field: &Field, found: &str) -> Wrong {
    format!("expected {}, found {found}", type_name(field.data_type()))
}

pub(super) fn from_bool<'a>(field: &Field, value: bool) -> Result<Cell<'a>, Wrong> {
    match field.data_type() {
        DataType::Boolean => Ok(Cell::Bool(value)),
        _ => Err(expected(field, "a boolean")),
    }
}

pub(super) fn from_null<'a>(field: &Field) -> Result<Cell<'a>, Wrong> {
    match field.is_nullable() {
        true => Ok(Cell::Null),
        false => Err(expected(field, "null")),
    }
}

pub(super) fn from_i64<'a>(field: &Field, value: i64) -> Result<Cell<'a>, Wrong> {
    let within = |min: i64, max: i64| match min <= value && value <= max {
        true => Ok(Cell::Int(value)),
        false => Err(format!("{value} is out of the range of {}", type_name(field.data_type()))),
    };
    match field.data_type() {
        DataType::Int64 | DataType::Timestamp(..) => Ok(Cell::Int(value)),
        DataType::Int32 | DataType::Date32 => within(i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::Int16 => within(i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int8 => within(i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::UInt8 => within(0, i64::from(u8::MAX)),
        DataType::UInt16 => within(0, i64::from(u16::MAX)),
        DataType::UInt32 => within(0, i64::from(u32::MAX)),
        DataType::UInt64 => within(0, i64::MAX).map(|_| Cell::UInt(value as u64)),
        DataType::Time64(_) => within(0, 86_400_000_000 - 1),
        DataType::Float64 => Ok(Cell::Float(value as f64)),
        DataType::Float32 => Ok(Cell::Float(value as f64)),
        DataType::Decimal128(..) => from_decimal_text(field, &value.to_string()),
        _ => Err(expected(field, "a number")),
    }
}

pub(super) fn from_u64<'a>(field: &Field, value: u64) -> Result<Cell<'a>, Wrong> {
    if let Ok(value) = i64::try_from(value) {
        return from_i64(field, value);
    }
    match field.data_type() {
        DataType::UInt64 => Ok(Cell::UInt(value)),
        DataType::Float32 | DataType::Float64 => Ok(Cell::Float(value as f64)),
        DataType::Decimal128(..) => from_decimal_text(field, &value.to_string()),
        DataType::Utf8 | DataType::Boolean | DataType::Binary => Err(expected(field, "a number")),
        _ => Err(format!("{value} is out of the range of {}", type_name(field.data_type()))),
    }
}

pub(super) fn from_f64<'a>(field: &Field, value: f64) -> Result<Cell<'a>, Wrong> {
    match field.data_type() {
        DataType::Float64 => Ok(Cell::Float(value)),
        DataType::Float32 if value.abs() <= f64::from(f32::MAX) => Ok(Cell::Float(value)),
        DataType::Float32 => Err(format!("{value} is out of the range of float")),
        DataType::Utf8 | DataType::Boolean | DataType::Binary => Err(expected(field, "a number")),
        _ => Err(format!("expected {}, found the number {value:?}", type_name(field.data_type()))),
    }
}

pub(super) fn from_text<'a>(field: &Field, value: Cow<'a, str>) -> Result<Cell<'a>, Wrong> {
    match field.data_type() {
        DataType::Utf8 => Ok(Cell::Text(value)),
        DataType::Binary => decode_base64(&value).map(|it| Cell::Bytes(Cow::Owned(it))),
        DataType::FixedSizeBinary(size) => {
            let bytes = decode_base64(&value)?;
            match bytes.len() == *size as usize {
                true => Ok(Cell::Bytes(Cow::Owned(bytes))),
                false => Err(format!("expected {size} bytes in base64, found {}", bytes.len())),
            }
        }
        DataType::Date32 => match Date32Type::parse(&value) {
            Some(days) => Ok(Cell::Int(i64::from(days))),
            None => Err(format!("expected a date like 2026-01-31, found {value:?}")),
        },
        DataType::Time64(_) => match Time64MicrosecondType::parse(&value) {
            Some(micros) => Ok(Cell::Int(micros)),
            None => Err(format!("expected a time like 23:59:59.5, found {value:?}")),
        },
        DataType::Timestamp(unit, _) => match string_to_timestamp_nanos(&value) {
            Ok(nanos) => Ok(Cell::Int(match unit {
                TimeUnit::Second => nanos.div_euclid(1_000_000_000),
                TimeUnit::Millisecond => nanos.div_euclid(1_000_000),
                TimeUnit::Microsecond => nanos.div_euclid(1_000),
                TimeUnit::Nanosecond => nanos,
            })),
            Err(_) => {
                Err(format!("expected a timestamp like 2026-01-31T23:59:59Z, found {value:?}"))
            }
        },
        DataType::Decimal128(..) => from_decimal_text(field, &value),
        _ => Err(expected(field, "a string")),
    }
}

fn decode_base64(text: &str) -> Result<Vec<u8>, Wrong> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| format!("expected base64: {error}"))
}

/// A decimal, exactly: digits that the scale cannot hold are refused, never rounded.
fn from_decimal_text<'a>(field: &Field, text: &str) -> Result<Cell<'a>, Wrong> {
    let DataType::Decimal128(precision, scale) = field.data_type() else {
        return Err(expected(field, "a number"));
    };
    let wrong = || format!("expected {}, found {text}", type_name(field.data_type()));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = whole.chars().chain(fraction.chars()).collect();
    if all.is_empty() || !all.bytes().all(|it| it.is_ascii_digit()) {
        return Err(wrong());
    }
    let significant = all.trim_start_matches('0');
    let mut shift = i64::from(*scale) + i64::from(exponent) - fraction.len() as i64;
    let trimmed = significant.trim_end_matches('0');
    shift += (significant.len() - trimmed.len()) as i64;
    if trimmed.is_empty() {
        return Ok(Cell::Decimal(0));
    }
    if shift < 0 {
        return Err(format!(
            "{text} has more digits behind the point than {}",
            type_name(field.data_type())
        ));
    }
    if trimmed.len() as i64 + shift > i64::from(*precision) {
        return Err(format!("{text} is out of the range of {}", type_name(field.data_type())));
    }
    let unscaled: i128 = trimmed.parse().map_err(|_| wrong())?;
    let unscaled = unscaled * 10i128.pow(shift as u32);
    Ok(Cell::Decimal(if negative { -unscaled } else { unscaled }))
}

/// A two's-complement number, big-endian, of any length that holds an i128.
pub(super) fn decimal_of(bytes: &[u8]) -> Result<i128, Wrong> {
    let negative = bytes.first().is_some_and(|it| it & 0x80 != 0);
    let sign = if negative { 0xff } else { 0 };
    let kept = bytes.len().min(16);
    let (extension, digits) = bytes.split_at(bytes.len() - kept);
    let mut whole = [sign; 16];
    whole[16 - kept..].copy_from_slice(digits);
    let number = i128::from_be_bytes(whole);
    match extension.iter().all(|it| *it == sign) && (number < 0) == negative {
        true => Ok(number),
        false => Err("the decimal has more digits than a column holds".to_owned()),
    }
}

/// A decimal of another scale, exactly.
pub(super) fn scaled<'a>(field: &Field, unscaled: i128, scale: u32) -> Result<Cell<'a>, Wrong> {
    let DataType::Decimal128(precision, wanted) = field.data_type() else {
        return Err(expected(field, "a decimal"));
    };
    let shift = i64::from(*wanted) - i64::from(scale);
    let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|it| 10i128.checked_pow(it));
    let moved = match power {
        Some(power) if shift >= 0 => unscaled.checked_mul(power),
        Some(power) if unscaled % power != 0 => {
            return Err(format!(
                "{unscaled} with {scale} digits behind the point has more of them than {}",
                type_name(field.data_type())
            ));
        }
        Some(power) => Some(unscaled / power),
        None => (unscaled == 0).then_some(0),
    };
    let limit = 10u128.checked_pow(u32::from(*precision));
    match moved.filter(|it| limit.is_none_or(|limit| it.unsigned_abs() < limit)) {
        Some(value) => Ok(Cell::Decimal(value)),
        None => Err(format!(
            "{unscaled} with {scale} digits behind the point is out of the range of {}",
            type_name(field.data_type())
        )),
    }
}

/// The slow path: nested types and decimals, from the raw text of the value.
pub(super) fn from_raw<'a>(field: &Field, raw: &LazyValue<'a>) -> Result<Cell<'a>, Wrong> {
    if raw.is_null() {
        return from_null(field);
    }
    match field.data_type() {
        DataType::List(item) => {
            if !raw.is_array() {
                return Err(expected(field, kind(raw)));
            }
            let text = raw.as_raw_str();
            let items = sonic_rs::to_array_iter(text)
                .enumerate()
                .map(|(index, value)| {
                    let value = value.map_err(|error| not_json(&error))?;
                    let cell =
                        from_raw(item, &value).map_err(|it| format!("item {index}: {it}"))?;
                    Ok(own(cell))
                })
                .collect::<Result<Vec<_>, Wrong>>()?;
            Ok(Cell::List(items))
        }
        DataType::Struct(fields) => {
            if !raw.is_object() {
                return Err(expected(field, kind(raw)));
            }
            let mut cells = vec![Cell::Missing; fields.len()];
            for member in sonic_rs::to_object_iter(raw.as_raw_str()) {
                let (name, value) = member.map_err(|error| not_json(&error))?;
                if let Some(index) =
                    fields.iter().position(|it| it.name().as_str() == name.as_ref())
                {
                    cells[index] =
                        own(from_raw(&fields[index], &value)
                            .map_err(|it| format!("{name}: {it}"))?);
                }
            }
            for (cell, field) in cells.iter_mut().zip(fields) {
                complete(field, cell)?;
            }
            Ok(Cell::Struct(cells))
        }
        DataType::Decimal128(..) if raw.is_number() => from_decimal_text(field, raw.as_raw_str()),
        _ => {
            if let Some(value) = raw.as_bool() {
                from_bool(field, value)
            } else if let Some(value) = raw.as_i64() {
                from_i64(field, value)
            } else if let Some(value) = raw.as_u64() {
                from_u64(field, value)
            } else if let Some(value) = raw.as_f64() {
                from_f64(field, value)
            } else if let Some(value) = raw.as_str() {
                from_text(field, Cow::Owned(value.to_owned()))
            } else {
                Err(expected(field, kind(raw)))
            }
        }
    }
}

/// A member that is absent is null where that is allowed.
pub(super) fn complete(field: &Field, cell: &mut Cell<'_>) -> Result<(), Wrong> {
    if *cell != Cell::Missing {
        return Ok(());
    }
    if !field.is_nullable() {
        return Err(format!("field {} is missing", field.name()));
    }
    *cell = Cell::Null;
    Ok(())
}

pub(super) fn not_json(error: &sonic_rs::Error) -> Wrong {
    let text = error.to_string();
    format!(
        "not JSON: {} (byte {})",
        text.lines().next().unwrap_or_default().trim(),
        error.offset()
    )
}

fn kind(raw: &LazyValue<'_>) -> &'static str {
    if raw.is_object() {
        "an object"
    } else if raw.is_array() {
        "a list"
    } else if raw.is_str() {
        "a string"
    } else if raw.is_boolean() {
        "a boolean"
    } else if raw.is_number() {
        "a number"
    } else {
        "null"
    }
}

fn own<'b>(cell: Cell<'_>) -> Cell<'b> {
    match cell {
        Cell::Missing => Cell::Missing,
        Cell::Null => Cell::Null,
        Cell::Bool(value) => Cell::Bool(value),
        Cell::Int(value) => Cell::Int(value),
        Cell::UInt(value) => Cell::UInt(value),
        Cell::Float(value) => Cell::Float(value),
        Cell::Text(value) => Cell::Text(Cow::Owned(value.into_owned())),
        Cell::Bytes(value) => Cell::Bytes(Cow::Owned(value.into_owned())),
        Cell::Decimal(value) => Cell::Decimal(value),
        Cell::List(cells) => Cell::List(cells.into_iter().map(own).collect()),
        Cell::Struct(cells) => Cell::Struct(cells.into_iter().map(own).collect()),
    }
}

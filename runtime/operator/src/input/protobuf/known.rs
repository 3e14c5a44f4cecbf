//! Message types that everybody knows, whose files registries do not have.

use arrow_schema::{DataType, Field, TimeUnit};

use super::super::cell::{Cell, decimal_of, from_i64, scaled, type_name};
use super::proto::Scalar;
use super::wire::{Value, Wire};
use super::{scalar_cell, scalar_fits, wrong_wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WellKnown {
    /// `google.protobuf.Timestamp`: seconds and nanoseconds.
    Timestamp,
    /// `google.protobuf.StringValue` and its kind: one field, so that it may be absent.
    Wrapped(Scalar),
    /// `confluent.type.Decimal`: unscaled bytes, precision, scale.
    Decimal,
}

impl WellKnown {
    pub(super) fn of(name: &str) -> Option<WellKnown> {
        if name == "confluent.type.Decimal" {
            return Some(WellKnown::Decimal);
        }
        Some(match name.strip_prefix("google.protobuf.")? {
            "Timestamp" => WellKnown::Timestamp,
            "DoubleValue" => WellKnown::Wrapped(Scalar::Double),
            "FloatValue" => WellKnown::Wrapped(Scalar::Float),
            "Int64Value" => WellKnown::Wrapped(Scalar::Int64),
            "UInt64Value" => WellKnown::Wrapped(Scalar::UInt64),
            "Int32Value" => WellKnown::Wrapped(Scalar::Int32),
            "UInt32Value" => WellKnown::Wrapped(Scalar::UInt32),
            "BoolValue" => WellKnown::Wrapped(Scalar::Bool),
            "StringValue" => WellKnown::Wrapped(Scalar::Text),
            "BytesValue" => WellKnown::Wrapped(Scalar::Bytes),
            _ => return None,
        })
    }

    pub(super) fn fits(self, to: &DataType) -> bool {
        match self {
            WellKnown::Timestamp => matches!(to, DataType::Timestamp(..)),
            WellKnown::Wrapped(scalar) => scalar_fits(scalar, to),
            WellKnown::Decimal => matches!(to, DataType::Decimal128(..)),
        }
    }

    pub(super) fn read<'a>(self, field: &Field, mut wire: Wire<'a>) -> Result<Cell<'a>, String> {
        match self {
            WellKnown::Wrapped(scalar) => {
                let mut last = zero(scalar);
                while !wire.is_empty() {
                    if let (1, value) = wire.field()? {
                        last = value;
                    }
                }
                scalar_cell(field, scalar, last)
            }
            WellKnown::Timestamp => {
                let (mut seconds, mut nanos) = (0i64, 0i64);
                while !wire.is_empty() {
                    match wire.field()? {
                        (1, Value::Varint(it)) => seconds = it as i64,
                        (2, Value::Varint(it)) => nanos = i64::from(it as i32),
                        (1 | 2, other) => return Err(wrong_wire(other)),
                        _ => {}
                    }
                }
                timestamp(field, seconds, nanos)
            }
            WellKnown::Decimal => {
                let (mut unscaled, mut scale) = (&[][..], 0u32);
                while !wire.is_empty() {
                    match wire.field()? {
                        (1, Value::Bytes(it)) => unscaled = it,
                        (3, Value::Varint(it)) => {
                            scale = u32::try_from(it).map_err(|_| "a scale below zero")?;
                        }
                        (1 | 3, other) => return Err(wrong_wire(other)),
                        _ => {}
                    }
                }
                scaled(field, decimal_of(unscaled)?, scale)
            }
        }
    }
}

/// A field that is not there, in the form of its wire type.
fn zero(scalar: Scalar) -> Value<'static> {
    match scalar {
        Scalar::Text | Scalar::Bytes => Value::Bytes(&[]),
        Scalar::Double | Scalar::Fixed64 | Scalar::SFixed64 => Value::Eight([0; 8]),
        Scalar::Float | Scalar::Fixed32 | Scalar::SFixed32 => Value::Four([0; 4]),
        _ => Value::Varint(0),
    }
}

fn timestamp<'a>(field: &Field, seconds: i64, nanos: i64) -> Result<Cell<'a>, String> {
    let per_second = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => 1,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
        _ => 1_000_000_000,
    };
    let nanos_each = 1_000_000_000 / per_second;
    if !(0..1_000_000_000).contains(&nanos) || nanos % nanos_each != 0 {
        return Err(format!("{nanos} ns are no whole number of the column's units"));
    }
    let units = seconds.checked_mul(per_second).and_then(|it| it.checked_add(nanos / nanos_each));
    let units = units.ok_or_else(|| {
        format!("{seconds} s are out of the range of {}", type_name(field.data_type()))
    })?;
    from_i64(field, units)
}

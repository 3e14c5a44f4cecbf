//! What an expression computes with.

use std::borrow::Cow;
use std::cmp::Ordering;

use floe_sdk::dynamic::{Type, Value};

/// A value on the way. Numbers keep their kind: whole, with a fixed point, or floating.
#[derive(Clone, Debug, PartialEq)]
pub enum Computed<'b> {
    Null,
    Bool(bool),
    Int(i128),
    /// The number without its point, and how many digits stand behind it.
    Decimal(i128, u8),
    Float(f64),
    Text(Cow<'b, str>),
    Bytes(&'b [u8]),
    /// Nanoseconds since 1970.
    Time(i128),
    /// As it came: a list, a struct, a time of day.
    Other(Value<'b>),
}

pub(crate) const NANOS_A_DAY: i128 = 86_400_000_000_000;

impl<'b> Computed<'b> {
    /// A column's value.
    #[inline]
    pub fn of(value: Value<'b>, ty: &Type) -> Computed<'b> {
        match (value, ty) {
            (Value::Null, _) => Computed::Null,
            (Value::Bool(it), _) => Computed::Bool(it),
            (Value::Int(it), Type::Timestamp(unit, _)) => {
                Computed::Time(i128::from(it) * i128::from(1_000_000 / unit.per_millisecond()))
            }
            (Value::Int(it), Type::Date) => Computed::Time(i128::from(it) * NANOS_A_DAY),
            (Value::Int(_), Type::Time) => Computed::Other(value),
            (Value::Int(it), _) => Computed::Int(it.into()),
            (Value::UInt(it), _) => Computed::Int(it.into()),
            (Value::Float(it), _) => Computed::Float(it),
            (Value::Decimal(it), Type::Decimal(_, scale)) => Computed::Decimal(it, *scale),
            (Value::Text(it), _) => Computed::Text(Cow::Borrowed(it)),
            (Value::Bytes(it), _) => Computed::Bytes(it),
            (Value::Decimal(_) | Value::List(_) | Value::Struct(_), _) => Computed::Other(value),
        }
    }

    /// `None`: one of them is null or not a number, or they are of two kinds.
    pub(crate) fn compare(&self, other: &Computed<'_>) -> Option<Ordering> {
        use Computed::{Bool, Bytes, Decimal, Float, Int, Text, Time};
        match (self, other) {
            (Bool(a), Bool(b)) => Some(a.cmp(b)),
            (Int(a), Int(b)) | (Time(a), Time(b)) => Some(a.cmp(b)),
            (Text(a), Text(b)) => Some(a.cmp(b)),
            (Bytes(a), Bytes(b)) => Some(a.cmp(b)),
            (Decimal(..) | Int(_), Decimal(..) | Int(_)) => match aligned(self, other) {
                Some((a, b, _)) => Some(a.cmp(&b)),
                None => self.to_float()?.partial_cmp(&other.to_float()?),
            },
            (Float(_), _) | (_, Float(_)) => self.to_float()?.partial_cmp(&other.to_float()?),
            _ => None,
        }
    }

    pub(crate) fn to_float(&self) -> Option<f64> {
        match self {
            Computed::Float(it) => Some(*it),
            Computed::Int(it) => Some(*it as f64),
            Computed::Decimal(it, scale) => Some(*it as f64 / 10f64.powi((*scale).into())),
            _ => None,
        }
    }

    fn to_fixed(&self) -> Option<(i128, u8)> {
        match self {
            Computed::Int(it) => Some((*it, 0)),
            Computed::Decimal(it, scale) => Some((*it, *scale)),
            _ => None,
        }
    }
}

/// Two numbers with the same digits behind the point. `None`: no such numbers, or too large.
pub(crate) fn aligned(a: &Computed<'_>, b: &Computed<'_>) -> Option<(i128, i128, u8)> {
    let ((a, a_scale), (b, b_scale)) = (a.to_fixed()?, b.to_fixed()?);
    let scale = a_scale.max(b_scale);
    Some((rescale(a, a_scale, scale)?, rescale(b, b_scale, scale)?, scale))
}

/// Digits that do not fit are cut off, towards zero.
pub(crate) fn rescale(number: i128, from: u8, to: u8) -> Option<i128> {
    let power = 10i128.checked_pow(from.abs_diff(to).into())?;
    if from <= to { number.checked_mul(power) } else { Some(number / power) }
}

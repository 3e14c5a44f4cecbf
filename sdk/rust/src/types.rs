//! The types of columns that Rust itself has none for.

use crate::column::primitive::{PrimitiveColumn, PrimitiveReader};
use crate::row::{Field, Value};

/// A moment in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(
    /// Milliseconds since 1970.
    pub i64,
);

/// A moment in microseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampMicros(
    /// Microseconds since 1970.
    pub i64,
);

/// A moment in nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampNanos(
    /// Nanoseconds since 1970.
    pub i64,
);

/// A time of day in microseconds since midnight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeMicros(
    /// Microseconds since midnight.
    pub i64,
);

/// A day, without a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(
    /// Days since 1970-01-01.
    pub i32,
);

/// A decimal number of `P` digits, `S` of them after the point: `Decimal::<10, 2>(1999)` is 19.99.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const P: u8, const S: i8>(
    /// The number times 10 to the power of `S`.
    pub i128,
);

impl From<Timestamp> for TimestampMicros {
    fn from(time: Timestamp) -> Self {
        TimestampMicros(time.0 * 1000)
    }
}

/// A newtype over a number is a column of that number, under another format.
macro_rules! newtype_value {
    ($name:ident, $number:ty, $format:expr $(, const $generic:ident: $kind:ty)*) => {
        impl<$(const $generic: $kind),*> Value for $name<$($generic),*> {
            type Of<'b> = Self;
            type Column = PrimitiveColumn<$number>;
            type Reader<'b> = PrimitiveReader<'b, $number>;

            fn field(name: &str) -> Field {
                Field::new(name, $format, Vec::new())
            }
            #[inline]
            fn append(self, column: &mut Self::Column) {
                column.push(self.0);
            }
            fn reader<'b>(array: crate::abi::ArrayView<'b>) -> Self::Reader<'b> {
                PrimitiveReader::new(array)
            }
            #[inline]
            fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
                $name(reader.get(row))
            }
        }
    };
}

newtype_value!(Timestamp, i64, "tsm:UTC");
newtype_value!(TimestampMicros, i64, "tsu:UTC");
newtype_value!(TimestampNanos, i64, "tsn:UTC");
newtype_value!(TimeMicros, i64, "ttu");
newtype_value!(Date, i32, "tdD");
newtype_value!(Decimal, i128, {
    const { assert!(1 <= P && P <= 38, "a decimal has 1 to 38 digits") };
    const { assert!(0 <= S && S as u8 <= P, "a decimal has 0 to P digits after the point") };
    format!("d:{P},{S}")
}, const P: u8, const S: i8);

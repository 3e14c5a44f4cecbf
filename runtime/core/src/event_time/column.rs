//! The column of the first operator's input that holds the event time, and the greatest one in a batch.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, RecordBatch};
use arrow_schema::{DataType, Schema, TimeUnit};

use crate::error::{Error, Result};
use crate::event_time::EventTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimeColumn {
    index: usize,
    unit: TimeUnit,
}

impl EventTimeColumn {
    /// Finds the column. `unit` is what a number counts, milliseconds if nothing is said; a timestamp
    /// brings its own.
    pub fn find(schema: &Schema, field: &str, unit: Option<TimeUnit>) -> Result<EventTimeColumn> {
        let Some((index, found)) = schema.column_with_name(field) else {
            let names: Vec<&str> = schema.fields().iter().map(|it| it.name().as_str()).collect();
            return Err(Error::invalid(format!(
                "event-time: the first operator takes no column {field:?}\n  it takes {}\n→ field = one of them in [source] event-time, or leave field out for the records' own timestamps",
                names.join(", ")
            )));
        };
        let unit = match (found.data_type(), unit) {
            (DataType::Timestamp(own, _), None) => *own,
            (DataType::Timestamp(own, _), Some(said)) if *own == said => *own,
            (DataType::Timestamp(own, _), Some(_)) => {
                return Err(Error::invalid(format!(
                    "event-time: column {field:?} is a timestamp in {own:?}s by its type\n→ take unit out of [source] event-time"
                )));
            }
            (DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64, said) => {
                said.unwrap_or(TimeUnit::Millisecond)
            }
            (other, _) => {
                return Err(Error::invalid(format!(
                    "event-time: column {field:?} is {other}, and event time is a timestamp or a whole number\n→ name another field in [source] event-time"
                )));
            }
        };
        Ok(EventTimeColumn { index, unit })
    }

    /// The greatest event time of the rows; `None` where no row has one. A null is no event time.
    pub fn newest(&self, batch: &RecordBatch) -> Option<EventTime> {
        let column = batch.column(self.index);
        let newest = match column.data_type() {
            DataType::Int32 => greatest::<Int32Type>(column).map(i64::from),
            DataType::Int64 => greatest::<Int64Type>(column),
            DataType::UInt32 => greatest::<UInt32Type>(column).map(i64::from),
            DataType::UInt64 => {
                greatest::<UInt64Type>(column).map(|it| i64::try_from(it).unwrap_or(i64::MAX))
            }
            DataType::Timestamp(TimeUnit::Second, _) => greatest::<TimestampSecondType>(column),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                greatest::<TimestampMillisecondType>(column)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                greatest::<TimestampMicrosecondType>(column)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                greatest::<TimestampNanosecondType>(column)
            }
            other => unreachable!("{other} was refused when the column was found"),
        };
        newest.map(|it| EventTime(in_ms(it, self.unit)))
    }
}

fn greatest<T: ArrowPrimitiveType>(column: &dyn Array) -> Option<T::Native>
where
    T::Native: Ord,
{
    let column = column.as_primitive::<T>();
    match column.null_count() {
        0 => column.values().iter().copied().max(),
        _ => column.iter().flatten().max(),
    }
}

/// Rounded down, so that no watermark is ahead of its record.
fn in_ms(value: i64, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1000),
        TimeUnit::Millisecond => value,
        TimeUnit::Microsecond => value.div_euclid(1000),
        TimeUnit::Nanosecond => value.div_euclid(1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([("ts", column, true)]).unwrap()
    }

    fn newest(column: ArrayRef, unit: Option<TimeUnit>) -> Option<i64> {
        let batch = batch(column);
        let found = EventTimeColumn::find(&batch.schema(), "ts", unit).unwrap();
        found.newest(&batch).map(|it| it.0)
    }

    #[test]
    fn the_greatest_counts_in_its_unit_and_a_null_does_not() {
        let numbers = || Arc::new(Int64Array::from(vec![Some(7), None, Some(3)]));
        assert_eq!(newest(numbers(), None), Some(7));
        assert_eq!(newest(numbers(), Some(TimeUnit::Second)), Some(7000));
        assert_eq!(newest(numbers(), Some(TimeUnit::Microsecond)), Some(0));
        assert_eq!(
            newest(Arc::new(Int64Array::from(vec![-1])), Some(TimeUnit::Nanosecond)),
            Some(-1)
        );
        assert_eq!(newest(Arc::new(Int64Array::from(vec![None::<i64>])), None), None);
        assert_eq!(
            newest(Arc::new(TimestampMicrosecondArray::from(vec![1_999, 5])), None),
            Some(1)
        );
    }

    #[test]
    fn what_is_no_time_is_refused_by_name() {
        let text = batch(Arc::new(StringArray::from(vec!["x"]))).schema();
        let wrong = EventTimeColumn::find(&text, "ts", None).unwrap_err();
        assert!(wrong.message.contains("\"ts\" is Utf8"), "{wrong}");
        let wrong = EventTimeColumn::find(&text, "when", None).unwrap_err();
        assert!(wrong.message.contains("no column \"when\""), "{wrong}");
        assert!(wrong.message.contains("it takes ts"), "{wrong}");
        let micros = batch(Arc::new(TimestampMicrosecondArray::from(vec![1]))).schema();
        let wrong = EventTimeColumn::find(&micros, "ts", Some(TimeUnit::Second)).unwrap_err();
        assert!(wrong.message.contains("Microseconds by its type"), "{wrong}");
    }
}

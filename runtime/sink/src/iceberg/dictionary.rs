//! Which columns a dictionary does not pay for: decided from a sample of the rows before files are opened.
//!
//! Parquet tries a dictionary for every column, and gives it up at 1 MiB: a column of mostly different
//! values has paid for hashing them until then, in every row group.

use std::collections::HashSet;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

/// Values looked at in a column. Ten thousand values that come equally often are told from values that
/// never come again: 3,360 of 4,096 differ against all.
const SAMPLE_MAX: usize = 4096;

/// Fewer tell nothing.
const SAMPLE_MIN: usize = 256;

/// Where the Parquet writer gives a dictionary up, whatever was put into it.
const DICTIONARY_BYTES_MAX: f64 = (1 << 20) as f64;

/// The names of the columns whose values hardly repeat within a row group of so many rows.
pub(super) fn without_dictionary(rows: &RecordBatch, row_group_rows: usize) -> Vec<String> {
    rows.schema()
        .fields()
        .iter()
        .zip(rows.columns())
        .filter_map(|(field, column)| Some((field, Sample::of(column.as_ref())?)))
        .filter(|(_, sample)| !sample.pays(row_group_rows as f64))
        .map(|(field, _)| field.name().clone())
        .collect()
}

type Value<'a> = Box<dyn Fn(usize) -> &'a [u8] + 'a>;

/// What was seen of a column.
struct Sample {
    values: f64,
    distinct: f64,
    bytes: f64,
}

impl Sample {
    /// Over the whole batch, for neighbours are alike. None for too few values, and for nested ones.
    fn of(column: &dyn Array) -> Option<Sample> {
        let data = column.to_data();
        let step = (column.len() / SAMPLE_MAX).max(1);
        let places = (0..column.len()).step_by(step).filter(|it| column.is_valid(*it));
        let value: Value<'_> = match column.data_type() {
            DataType::Utf8 => {
                let strings = column.as_string::<i32>();
                Box::new(|it| strings.value(it).as_bytes())
            }
            DataType::LargeUtf8 => {
                let strings = column.as_string::<i64>();
                Box::new(|it| strings.value(it).as_bytes())
            }
            DataType::Binary => {
                let bytes = column.as_binary::<i32>();
                Box::new(|it| bytes.value(it))
            }
            DataType::LargeBinary => {
                let bytes = column.as_binary::<i64>();
                Box::new(|it| bytes.value(it))
            }
            DataType::FixedSizeBinary(_) => {
                let bytes = column.as_fixed_size_binary();
                Box::new(|it| bytes.value(it))
            }
            other => {
                let width = other.primitive_width()?;
                let (values, offset) = (data.buffers().first()?, data.offset());
                Box::new(move |it| &values.as_slice()[(offset + it) * width..][..width])
            }
        };
        let (mut values, mut bytes) = (0usize, 0usize);
        let mut distinct = HashSet::with_capacity(SAMPLE_MAX);
        for place in places {
            let value = value(place);
            values += 1;
            bytes += value.len();
            distinct.insert(value);
        }
        (values >= SAMPLE_MIN).then_some(Sample {
            values: values as f64,
            distinct: distinct.len() as f64,
            bytes: bytes as f64,
        })
    }

    /// A dictionary pays where a value comes twice on average, and where all of them fit into it.
    fn pays(&self, row_group_rows: f64) -> bool {
        let Some(kinds) = kinds(self.distinct, self.values) else { return false };
        let in_group = seen(kinds, row_group_rows);
        in_group <= row_group_rows / 2.0
            && in_group * (self.bytes / self.values) <= DICTIONARY_BYTES_MAX
    }
}

/// How many of `kinds` equally frequent values are seen in `draws` (the occupancy problem).
fn seen(kinds: f64, draws: f64) -> f64 {
    kinds * (1.0 - (-draws / kinds).exp())
}

/// How many kinds of values there are if `draws` showed `distinct`, by bisection. None: no end in sight.
fn kinds(distinct: f64, draws: f64) -> Option<f64> {
    const KINDS_MAX: f64 = 1e7;
    if distinct >= seen(KINDS_MAX, draws) {
        return None;
    }
    let (mut low, mut high) = (distinct, KINDS_MAX);
    while high - low > 0.5 {
        let middle = (low + high) / 2.0;
        match seen(middle, draws) < distinct {
            true => low = middle,
            false => high = middle,
        }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    const GROUP: usize = 131_072;

    /// A number that looks drawn, the same for the same place.
    fn drawn(place: i64) -> i64 {
        (place.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64) >> 20) & 0xFFFF_FFFF
    }

    #[test]
    fn columns_that_repeat_keep_their_dictionary() {
        let rows = 60_000i64;
        let int = |of: &dyn Fn(i64) -> Option<i64>| -> ArrayRef {
            Arc::new((0..rows).map(of).collect::<Int64Array>())
        };
        let text = |of: &dyn Fn(i64) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values((0..rows).map(of)))
        };
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("id", text(&|it| format!("txn-{it:020}")), false),
            ("merchant", text(&|it| format!("m-{}", drawn(it) % 10_000)), false),
            ("currency", text(&|it| ["INR", "EUR"][it as usize % 2].into()), false),
            ("long", text(&|it| format!("{}{}", drawn(it) % 10_000, "x".repeat(500))), false),
            ("total", int(&|it| Some(drawn(it))), false),
            ("constant", int(&|_| Some(7)), false),
            ("few", int(&|it| (it % 1000 == 0).then_some(it)), true),
            ("none", int(&|_| None), true),
            ("half_new", int(&|it| Some(drawn(it / 2))), false),
        ])
        .unwrap();
        // "long" repeats, and does not fit; "few" and "none" tell nothing.
        assert_eq!(without_dictionary(&batch, GROUP), ["id", "long", "total", "half_new"]);
        // The same in a slice, whose values begin elsewhere in their buffers.
        assert_eq!(
            without_dictionary(&batch.slice(10_000, 50_000), GROUP),
            ["id", "long", "total", "half_new"]
        );
        assert!(without_dictionary(&batch.slice(0, 100), GROUP).is_empty());
    }

    #[test]
    fn kinds_are_found_again_from_what_they_show() {
        for wanted in [1.0, 2.0, 300.0, 10_000.0, 100_000.0] {
            let found = kinds(seen(wanted, 4096.0), 4096.0).unwrap();
            assert!((found - wanted).abs() <= wanted * 0.01 + 1.0, "{wanted}: {found}");
        }
        assert_eq!(kinds(4096.0, 4096.0), None);
    }
}

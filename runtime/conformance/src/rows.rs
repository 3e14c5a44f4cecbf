//! Rows for the operator: a command, what it is about, and values of every type.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, FieldRef, Fields, SchemaRef};

#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub(crate) command: &'static str,
    pub(crate) text: Option<String>,
    pub(crate) big: Option<i64>,
    pub(crate) medium: Option<i32>,
    /// Which values the other columns have; without one they are null.
    pub(crate) sample: Option<usize>,
}

impl Row {
    pub(crate) fn new(command: &'static str) -> Row {
        Row { command, ..Row::default() }
    }

    pub(crate) fn text(mut self, text: impl Into<String>) -> Row {
        self.text = Some(text.into());
        self
    }

    pub(crate) fn big(mut self, big: i64) -> Row {
        self.big = Some(big);
        self
    }

    pub(crate) fn medium(mut self, medium: i32) -> Row {
        self.medium = Some(medium);
        self
    }

    /// A row of values at the ends of their types, and of some in between.
    pub(crate) fn sample(mut self, sample: usize) -> Row {
        self.sample = Some(sample % SAMPLES);
        self.text = Some(TEXTS[sample % SAMPLES].to_owned());
        self.big = Some([i64::MIN, i64::MAX, 0, -1][sample % SAMPLES]);
        self.medium = Some([i32::MIN, i32::MAX, 0, -1][sample % SAMPLES]);
        self
    }
}

pub(crate) const SAMPLES: usize = 4;
const TEXTS: [&str; SAMPLES] = ["a", "", "é𝄞 \u{0}\u{10ffff}", "\u{feff}नमस्ते 😀"];

/// The batch of these rows, in the columns that the module declares; offsets count from `first`.
pub(crate) fn batch(schema: &SchemaRef, first: i64, rows: &[Row]) -> RecordBatch {
    let columns = schema.fields().iter().map(|it| column(it, first, rows)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns are of the schema")
}

fn column(field: &FieldRef, first: i64, rows: &[Row]) -> ArrayRef {
    // By the row's own sample, in the order of SAMPLES.
    macro_rules! samples {
        ($array:ty, $values:expr) => {{
            let values = $values;
            Arc::new(rows.iter().map(|it| it.sample.map(|at| values[at])).collect::<$array>())
        }};
    }
    match field.name().as_str() {
        "do" => Arc::new(rows.iter().map(|it| Some(it.command)).collect::<StringArray>()),
        "_offset" => Arc::new(Int64Array::from_iter_values(first..first + rows.len() as i64)),
        "text" => Arc::new(rows.iter().map(|it| it.text.as_deref()).collect::<StringArray>()),
        "big" => Arc::new(rows.iter().map(|it| it.big).collect::<Int64Array>()),
        "medium" => Arc::new(rows.iter().map(|it| it.medium).collect::<Int32Array>()),
        "boolean" => samples!(BooleanArray, [true, false, true, false]),
        "tiny" => samples!(Int8Array, [i8::MIN, i8::MAX, 0, -1]),
        "small" => samples!(Int16Array, [i16::MIN, i16::MAX, 0, -1]),
        "utiny" => samples!(UInt8Array, [255, 0, 1, 128]),
        "usmall" => samples!(UInt16Array, [65535, 0, 1, 32768]),
        "umedium" => samples!(UInt32Array, [u32::MAX, 0, 1, 1 << 31]),
        "ubig" => samples!(UInt64Array, [u64::MAX, 0, 1, 1 << 63]),
        "single" => samples!(Float32Array, [0.5, -2.0, f32::MAX, f32::MIN_POSITIVE]),
        "twice" => samples!(Float64Array, [-1e300, 0.0, f64::INFINITY, 5e-324]),
        "binary" => {
            let values: [&[u8]; SAMPLES] = [&[0xff, 0x00], &[], b"text", &[0; 300]];
            samples!(BinaryArray, values)
        }
        "fixed" => fixed(rows),
        "date" => samples!(Date32Array, [-1, 20_484, 0, 2_932_896]),
        "time" => samples!(Time64MicrosecondArray, [86_399_999_999, 0, 1, 43_200_000_000]),
        "millis" => samples!(TimestampMillisecondArray, [-1, 1, 0, 1_769_817_600_500]).utc(field),
        "micros" => {
            samples!(TimestampMicrosecondArray, [-1, 1, 0, 1_769_817_600_000_001]).utc(field)
        }
        "nanos" => {
            samples!(TimestampNanosecondArray, [-1, 1, 0, 1_769_817_600_000_000_001]).utc(field)
        }
        "decimal" => decimals(rows),
        "list" => lists(field, rows),
        "pair" => pairs(struct_fields(field.data_type()), rows.iter().map(|it| it.sample)),
        "pairs" => lists_of_pairs(field, rows),
        other => panic!("column {other} is not of the conformance operator"),
    }
}

trait Utc {
    fn utc(self, field: &FieldRef) -> ArrayRef;
}

impl<T: arrow_array::types::ArrowTimestampType> Utc for Arc<arrow_array::PrimitiveArray<T>> {
    fn utc(self, _: &FieldRef) -> ArrayRef {
        Arc::new(self.as_ref().clone().with_timezone("UTC"))
    }
}

fn fixed(rows: &[Row]) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(4);
    for row in rows {
        match row.sample {
            Some(at) => builder.append_value([at as u8, 1, 0, 255]).expect("4 bytes"),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn decimals(rows: &[Row]) -> ArrayRef {
    let values = [-99_999_999_999_999_999_999, 1, 0, 99_999_999_999_999_999_999];
    let array: Decimal128Array = rows.iter().map(|it| it.sample.map(|at| values[at])).collect();
    Arc::new(array.with_precision_and_scale(20, 4).expect("within the precision"))
}

/// Numbers, some null, in lists, some empty.
fn lists(field: &FieldRef, rows: &[Row]) -> ArrayRef {
    let samples: [&[Option<i64>]; SAMPLES] =
        [&[Some(1), None, Some(i64::MAX)], &[], &[None], &[Some(-1); 20]];
    let taken = || rows.iter().map(|it| it.sample.map_or(&[][..], |at| samples[at]));
    let values: Int64Array = taken().flatten().copied().collect();
    let ends = OffsetBuffer::from_lengths(taken().map(<[_]>::len));
    let nulls = NullBuffer::from_iter(rows.iter().map(|it| it.sample.is_some()));
    Arc::new(ListArray::new(item(field), ends, Arc::new(values), Some(nulls)))
}

fn pairs(fields: &Fields, samples: impl Iterator<Item = Option<usize>>) -> ArrayRef {
    let (mut numbers, mut texts, mut valid) = (Vec::new(), StringBuilder::new(), Vec::new());
    for sample in samples {
        valid.push(sample.is_some());
        numbers.push(sample.map_or(0, |at| at as i64 - 2));
        texts.append_option(sample.and_then(|at| (at % 2 == 0).then_some(TEXTS[at])));
    }
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(numbers)), Arc::new(texts.finish())];
    let nulls = Some(NullBuffer::from(valid)).filter(|it| it.null_count() > 0);
    Arc::new(StructArray::new(fields.clone(), columns, nulls))
}

/// As many pairs as the sample's number.
fn lists_of_pairs(field: &FieldRef, rows: &[Row]) -> ArrayRef {
    let item = item(field);
    let count = |row: &Row| row.sample.unwrap_or(0);
    let samples = rows.iter().flat_map(|it| (0..count(it)).map(Some));
    let values = pairs(struct_fields(item.data_type()), samples);
    let ends = OffsetBuffer::from_lengths(rows.iter().map(count));
    let nulls = NullBuffer::from_iter(rows.iter().map(|it| it.sample.is_some()));
    Arc::new(ListArray::new(item, ends, values, Some(nulls)))
}

fn item(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::List(item) => Arc::clone(item),
        other => panic!("{other} is no list"),
    }
}

fn struct_fields(kind: &DataType) -> &Fields {
    match kind {
        DataType::Struct(fields) => fields,
        other => panic!("{other} is no struct"),
    }
}

/// A cell of an emitted row.
pub(crate) fn text_at(batch: &RecordBatch, row: usize) -> Option<String> {
    let column = batch.column_by_name("text")?.as_any().downcast_ref::<StringArray>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

pub(crate) fn big_at(batch: &RecordBatch, row: usize) -> Option<i64> {
    let column = batch.column_by_name("big")?.as_any().downcast_ref::<Int64Array>()?;
    column.is_valid(row).then(|| column.value(row))
}

pub(crate) fn ubig_at(batch: &RecordBatch, row: usize) -> Option<u64> {
    let column = batch.column_by_name("ubig")?.as_any().downcast_ref::<UInt64Array>()?;
    column.is_valid(row).then(|| column.value(row))
}

//! Columns that are fields of the record itself: their names begin with `_` (A8).

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{
    ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, TimeUnit};
use floe_core::{Error, Record, Records, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordField {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
    /// The name of the source that the record came by.
    Source,
}

impl RecordField {
    /// The field that a column names; `None` for a column of the value.
    pub(super) fn of(field: &Field) -> Result<Option<RecordField>> {
        let Some(name) = field.name().strip_prefix('_') else { return Ok(None) };
        use DataType::{Binary, Int32, Int64, List, Timestamp, Utf8};
        let found = match (name, field.data_type()) {
            ("topic", Utf8) => RecordField::Topic,
            ("partition", Int32) => RecordField::Partition,
            ("offset", Int64) => RecordField::Offset,
            ("timestamp", Int64 | Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _)) => {
                RecordField::Timestamp
            }
            // Text too would need a rule for keys that are no UTF-8: they are bytes.
            ("key", Binary) => RecordField::Key,
            ("value", Binary) => RecordField::Value,
            ("headers", List(item)) if is_header(item) => RecordField::Headers,
            ("source", Utf8) => RecordField::Source,
            (
                "topic" | "partition" | "offset" | "timestamp" | "key" | "value" | "headers"
                | "source",
                other,
            ) => {
                return Err(Error::invalid(format!(
                    "column _{name} of the operator's input is declared as {other}: _topic is string, _partition int, _offset long, _timestamp long or timestamp (ms, us), _key and _value nullable binary, _headers a list of {{name string, value nullable binary}}, _source string"
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "column _{name} of the operator's input is no field of a record: there are _topic, _partition, _offset, _timestamp, _key, _value, _headers and _source"
                )));
            }
        };
        let may_be_absent = matches!(found, RecordField::Key | RecordField::Value);
        if may_be_absent && !field.is_nullable() {
            return Err(Error::invalid(format!(
                "column _{name} of the operator's input must be nullable: a record may have none"
            )));
        }
        Ok(Some(found))
    }

    /// The column for all records, or for those at `rows`.
    pub(super) fn column(
        self,
        field: &Field,
        (source, records): (&str, &Records),
        rows: Option<&[u32]>,
    ) -> ArrayRef {
        match rows {
            None => self.build(field, source, records, records.iter()),
            Some(rows) => {
                self.build(field, source, records, rows.iter().map(|it| records.get(*it as usize)))
            }
        }
    }

    fn build<'a>(
        self,
        field: &Field,
        source: &str,
        records: &Records,
        rows: impl Iterator<Item = Record<'a>>,
    ) -> ArrayRef {
        let task = records.topic_partition();
        match self {
            RecordField::Topic => {
                Arc::new(StringArray::from_iter_values(rows.map(|_| &*task.topic)))
            }
            RecordField::Source => Arc::new(StringArray::from_iter_values(rows.map(|_| source))),
            RecordField::Partition => {
                Arc::new(Int32Array::from_iter_values(rows.map(|_| task.partition)))
            }
            RecordField::Offset => {
                Arc::new(Int64Array::from_iter_values(rows.map(|it| it.offset().0)))
            }
            RecordField::Timestamp => {
                let times = rows.map(|it| it.timestamp().0);
                match field.data_type() {
                    DataType::Timestamp(TimeUnit::Microsecond, zone) => Arc::new(
                        TimestampMicrosecondArray::from_iter_values(
                            times.map(|it| it.saturating_mul(1000)),
                        )
                        .with_timezone_opt(zone.clone()),
                    ),
                    DataType::Timestamp(_, zone) => Arc::new(
                        TimestampMillisecondArray::from_iter_values(times)
                            .with_timezone_opt(zone.clone()),
                    ),
                    _ => Arc::new(Int64Array::from_iter_values(times)),
                }
            }
            RecordField::Key => binary(rows.map(|it| it.key())),
            RecordField::Value => binary(rows.map(|it| it.value())),
            RecordField::Headers => headers(field, rows),
        }
    }
}

fn is_header(item: &Field) -> bool {
    let DataType::Struct(members) = item.data_type() else { return false };
    matches!(
        (
            members.first().map(|it| (it.name().as_str(), it.data_type())),
            members.get(1).map(|it| (it.name().as_str(), it.data_type(), it.is_nullable())),
            members.len()
        ),
        (Some(("name", DataType::Utf8)), Some(("value", DataType::Binary, true)), 2)
    )
}

fn binary<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let mut column = BinaryBuilder::new();
    values.for_each(|it| column.append_option(it));
    Arc::new(column.finish())
}

fn headers<'a>(field: &Field, rows: impl Iterator<Item = Record<'a>>) -> ArrayRef {
    let DataType::List(item) = field.data_type() else { unreachable!("checked by `of`") };
    let DataType::Struct(members) = item.data_type() else { unreachable!("checked by `of`") };
    let columns: Vec<Box<dyn arrow_array::builder::ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    let header = StructBuilder::new(members.clone(), columns);
    let mut list = ListBuilder::new(header).with_field(Arc::clone(item));
    for row in rows {
        for (name, value) in row.headers() {
            let header = list.values();
            let names: &mut StringBuilder =
                header.field_builder(0).expect("the first member is the name");
            // A header's name is text by the protocol; other bytes are shown as replacement characters.
            names.append_value(String::from_utf8_lossy(name));
            let values: &mut BinaryBuilder =
                header.field_builder(1).expect("the second member is the value");
            values.append_option(value);
            header.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}

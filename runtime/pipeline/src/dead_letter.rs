//! Dead letters: records that were rejected, as rows of a table of their own, committed with the epoch.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use floe_core::record::Record;
use floe_core::{Epoch, TopicPartition};

/// One row a rejected record. `offset`, `key` and `value` are absent where an operator behind the first
/// rejects a row: then the message names the batch's offsets.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, true),
        Field::new(
            "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            true,
        ),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("operator", DataType::Utf8, false),
        Field::new("class", DataType::Utf8, false),
        Field::new("message", DataType::Utf8, false),
        Field::new("epoch", DataType::Int64, false),
    ]))
}

/// Why a record is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Its value could not be decoded to what the operator declares.
    Decode,
    /// An operator rejected it.
    Reject,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Decode => "decode",
            Class::Reject => "reject",
        }
    }
}

/// Collects the dead letters of one batch.
pub(crate) struct DeadLetters {
    topic: StringBuilder,
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    operator: StringBuilder,
    class: StringBuilder,
    message: StringBuilder,
    epoch: Int64Builder,
    len: usize,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        DeadLetters {
            topic: StringBuilder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_timezone("+00:00"),
            key: BinaryBuilder::new(),
            value: BinaryBuilder::new(),
            operator: StringBuilder::new(),
            class: StringBuilder::new(),
            message: StringBuilder::new(),
            epoch: Int64Builder::new(),
            len: 0,
        }
    }

    pub(crate) fn push(
        &mut self,
        task: &TopicPartition,
        record: Option<Record<'_>>,
        operator: &str,
        class: Class,
        message: &str,
        epoch: Epoch,
    ) {
        self.topic.append_value(&task.topic);
        self.partition.append_value(task.partition);
        self.offset.append_option(record.map(|it| it.offset().0));
        self.timestamp.append_option(record.and_then(|it| it.timestamp().0.checked_mul(1000)));
        self.key.append_option(record.and_then(|it| it.key()));
        self.value.append_option(record.and_then(|it| it.value()));
        self.operator.append_value(operator);
        self.class.append_value(class.name());
        self.message.append_value(message);
        self.epoch.append_value(epoch.0 as i64);
        self.len += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn finish(mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.operator.finish()),
            Arc::new(self.class.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.epoch.finish()),
        ];
        RecordBatch::try_new(dead_letter_schema(), columns)
            .expect("the builders stand in the order of the schema")
    }
}

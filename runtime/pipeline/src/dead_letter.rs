//! Dead letters: records that were rejected, as rows of a table of their own, committed with the epoch.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
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
    /// It made an operator trap, found by running its batch again in ever smaller parts.
    Trap,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Decode, Class::Reject, Class::Trap];

    pub fn name(self) -> &'static str {
        match self {
            Class::Decode => "decode",
            Class::Reject => "reject",
            Class::Trap => "trap",
        }
    }
}

/// Collects the dead letters of one batch.
#[derive(Default)]
pub(crate) struct DeadLetters {
    letters: Vec<Letter>,
}

struct Letter {
    topic: Arc<str>,
    partition: i32,
    offset: Option<i64>,
    timestamp_us: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    operator: String,
    class: Class,
    message: String,
    epoch: i64,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        DeadLetters::default()
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
        self.letters.push(Letter {
            topic: Arc::clone(&task.topic),
            partition: task.partition,
            offset: record.map(|it| it.offset().0),
            timestamp_us: record.and_then(|it| it.timestamp().0.checked_mul(1000)),
            key: record.and_then(|it| it.key()).map(<[u8]>::to_vec),
            value: record.and_then(|it| it.value()).map(<[u8]>::to_vec),
            operator: operator.to_owned(),
            class,
            message: message.to_owned(),
            epoch: epoch.0 as i64,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Takes back what a run that is repeated had pushed.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.letters.truncate(len);
    }

    pub(crate) fn finish(self) -> RecordBatch {
        let all = &self.letters;
        let timestamps = TimestampMicrosecondArray::from_iter(all.iter().map(|it| it.timestamp_us));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &*it.topic))),
            Arc::new(Int32Array::from_iter_values(all.iter().map(|it| it.partition))),
            Arc::new(Int64Array::from_iter(all.iter().map(|it| it.offset))),
            Arc::new(timestamps.with_timezone("+00:00")),
            Arc::new(BinaryArray::from_iter(all.iter().map(|it| it.key.as_deref()))),
            Arc::new(BinaryArray::from_iter(all.iter().map(|it| it.value.as_deref()))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.operator))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| it.class.name()))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.message))),
            Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.epoch))),
        ];
        RecordBatch::try_new(dead_letter_schema(), columns)
            .expect("the columns stand in the order of the schema")
    }
}

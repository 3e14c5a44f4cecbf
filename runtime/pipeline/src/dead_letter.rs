//! Dead letters: records that were rejected, as rows of a table of their own, committed with the epoch.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use floe_core::record::Record;
use floe_core::{Epoch, Offset, TopicPartition};

/// One row a rejected record. Where an operator behind the first rejects a row that it was handed, the row's
/// record is not known: `offset` and `last_offset` are those of the batch that it was made from, and `key`,
/// `value` and `headers` are absent. At a watermark there are no offsets at all.
///
/// A row of class `retried` says that this record was given back: letters of it from epochs before are
/// settled.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, true),
        Field::new("last_offset", DataType::Int64, true),
        Field::new(
            "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            true,
        ),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        // JSON: [{"name":"…","value":"…"}], a value that is no text as {"hex":"…"}.
        Field::new("headers", DataType::Utf8, true),
        Field::new("operator", DataType::Utf8, false),
        Field::new("module_hash", DataType::Utf8, false),
        Field::new("class", DataType::Utf8, false),
        Field::new("message", DataType::Utf8, false),
        Field::new("backtrace", DataType::Utf8, true),
        Field::new("epoch", DataType::Int64, false),
    ]))
}

/// The last of these rows, for people: where its record is, its operator and why.
pub(crate) fn last_of(letters: &RecordBatch) -> String {
    let Some(row) = letters.num_rows().checked_sub(1) else { return String::new() };
    let text = |name: &str| letters.column_by_name(name)?.as_string_opt::<i32>();
    let partition = letters.column_by_name("partition").and_then(|it| it.as_primitive_opt());
    let offset = letters.column_by_name("offset").and_then(|it| it.as_primitive_opt());
    let task = text("topic").zip(partition).map_or_else(String::new, |(topic, partition)| {
        let partition: &Int32Array = partition;
        format!("{}/{}", topic.value(row), partition.value(row))
    });
    let at = offset.filter(|it: &&Int64Array| it.is_valid(row));
    let at = at.map_or_else(String::new, |it| format!(" @ {}", it.value(row)));
    let word = |name| text(name).map_or("", |it: &StringArray| it.value(row));
    let message = word("message").replace('\n', " ");
    format!("{task}{at}, operator {:?}: {message}", word("operator"))
}

/// The class of a row that says that a letter was given back.
pub const RETRIED: &str = "retried";

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

/// Collects the dead letters of one batch, and counts what was not taken.
#[derive(Default)]
pub(crate) struct DeadLetters {
    letters: Vec<Letter>,
    refused: Vec<Class>,
}

/// How far it was filled, to go back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    letters: usize,
    refused: usize,
}

/// Who would not take it, and why.
pub(crate) struct Reason<'a> {
    pub(crate) operator: &'a str,
    pub(crate) module_hash: [u8; 32],
    pub(crate) class: &'static str,
    pub(crate) message: &'a str,
}

struct Letter {
    topic: Arc<str>,
    partition: i32,
    offsets: Option<(Offset, Offset)>,
    timestamp_us: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Option<String>,
    operator: String,
    module_hash: String,
    class: &'static str,
    message: String,
    backtrace: Option<String>,
    epoch: i64,
}

impl DeadLetters {
    pub(crate) fn new() -> Self {
        DeadLetters::default()
    }

    /// `offsets` are the first and the last of what the row came from.
    pub(crate) fn push(
        &mut self,
        task: &TopicPartition,
        record: Option<Record<'_>>,
        offsets: Option<(Offset, Offset)>,
        reason: &Reason<'_>,
        epoch: Epoch,
    ) {
        // A trap's message ends with the frames that it came from.
        let (message, backtrace) = match reason.message.split_once(FRAME) {
            Some((message, frames)) => (message, Some(format!("{}{frames}", FRAME.trim_start()))),
            None => (reason.message, None),
        };
        self.letters.push(Letter {
            topic: Arc::clone(&task.topic),
            partition: task.partition,
            offsets,
            timestamp_us: record.and_then(|it| it.timestamp().0.checked_mul(1000)),
            key: record.and_then(|it| it.key()).map(<[u8]>::to_vec),
            value: record.and_then(|it| it.value()).map(<[u8]>::to_vec),
            headers: record.and_then(headers_json),
            operator: reason.operator.to_owned(),
            module_hash: reason.module_hash.iter().map(|it| format!("{it:02x}")).collect(),
            class: reason.class,
            message: message.to_owned(),
            backtrace,
            epoch: epoch.0 as i64,
        });
    }

    /// Counts a row that was not taken, whatever becomes of it.
    pub(crate) fn count(&mut self, class: Class) {
        self.refused.push(class);
    }

    pub(crate) fn refused(&self) -> &[Class] {
        &self.refused
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { letters: self.letters.len(), refused: self.refused.len() }
    }

    /// Takes back what a run that is repeated had pushed.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        self.letters.truncate(mark.letters);
        self.refused.truncate(mark.refused);
    }

    pub(crate) fn finish(self) -> RecordBatch {
        let all = &self.letters;
        let timestamps = TimestampMicrosecondArray::from_iter(all.iter().map(|it| it.timestamp_us));
        let firsts = all.iter().map(|it| it.offsets.map(|it| it.0.0));
        let lasts = all.iter().map(|it| it.offsets.map(|it| it.1.0));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &*it.topic))),
            Arc::new(Int32Array::from_iter_values(all.iter().map(|it| it.partition))),
            Arc::new(Int64Array::from_iter(firsts)),
            Arc::new(Int64Array::from_iter(lasts)),
            Arc::new(timestamps.with_timezone("+00:00")),
            Arc::new(BinaryArray::from_iter(all.iter().map(|it| it.key.as_deref()))),
            Arc::new(BinaryArray::from_iter(all.iter().map(|it| it.value.as_deref()))),
            Arc::new(StringArray::from_iter(all.iter().map(|it| it.headers.as_deref()))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.operator))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.module_hash))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| it.class))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.message))),
            Arc::new(StringArray::from_iter(all.iter().map(|it| it.backtrace.as_deref()))),
            Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.epoch))),
        ];
        RecordBatch::try_new(dead_letter_schema(), columns)
            .expect("the columns stand in the order of the schema")
    }
}

/// How the operator crate begins each frame of a backtrace.
const FRAME: &str = "\n    at ";

/// `None` where there is no header.
fn headers_json(record: Record<'_>) -> Option<String> {
    let headers: Vec<serde_json::Value> = record
        .headers()
        .map(|(name, value)| {
            let name = String::from_utf8_lossy(name);
            let value = match value.map(std::str::from_utf8) {
                None => serde_json::Value::Null,
                Some(Ok(text)) => text.into(),
                Some(Err(_)) => {
                    let hex: String =
                        value.unwrap_or_default().iter().map(|it| format!("{it:02x}")).collect();
                    serde_json::json!({ "hex": hex })
                }
            };
            serde_json::json!({ "name": name, "value": value })
        })
        .collect();
    (!headers.is_empty()).then(|| serde_json::Value::Array(headers).to_string())
}

//! A dead letter as the table has it, and which of them still wait.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use floe_core::{Error, EventTime, Offset, Records, Result, TopicPartition};
use floe_pipeline::dead_letter::{RETRIED, dead_letter_schema};
use serde_json::{Value, json};

use crate::show;

#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) task: TopicPartition,
    pub(super) offset: Option<i64>,
    pub(super) last_offset: Option<i64>,
    timestamp_us: Option<i64>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    headers: Option<String>,
    pub(super) operator: String,
    pub(super) module_hash: String,
    pub(super) class: String,
    pub(super) message: String,
    pub(super) backtrace: Option<String>,
    pub(super) epoch: i64,
    /// Given back since.
    pub(super) settled: bool,
}

impl Letter {
    /// `topic/partition@offset`, or a range of offsets where the record is not known.
    pub(super) fn id(&self) -> String {
        match (self.offset, self.last_offset) {
            (Some(first), Some(last)) if first != last => format!("{}@{first}..{last}", self.task),
            (Some(offset), _) => format!("{}@{offset}", self.task),
            (None, _) => format!("{}@", self.task),
        }
    }

    /// The record is here, and can be given back.
    pub(super) fn has_record(&self) -> bool {
        self.offset.is_some() && self.offset == self.last_offset && self.timestamp_us.is_some()
    }

    pub(super) fn json(&self) -> Value {
        let headers = self.headers.as_deref().and_then(|it| serde_json::from_str::<Value>(it).ok());
        json!({
            "id": self.id(),
            "class": self.class,
            "operator": self.operator,
            "epoch": self.epoch,
            "topic": &*self.task.topic,
            "partition": self.task.partition,
            "offset": self.offset,
            "last_offset": self.last_offset,
            "timestamp": self.timestamp_us.map(|it| it.div_euclid(1000)),
            "key": bytes_json(self.key.as_deref()),
            "value": bytes_json(self.value.as_deref()),
            "headers": headers,
            "message": self.message,
            "backtrace": self.backtrace,
            "module_hash": self.module_hash,
            "settled": self.settled,
        })
    }

    pub(super) fn push_to(&self, records: &mut Records) -> Result<()> {
        let time = EventTime(self.timestamp_us.unwrap_or(0).div_euclid(1000));
        let offset = Offset(self.offset.unwrap_or(0));
        records.push(offset, time, self.key.as_deref(), self.value.as_deref());
        let headers: Vec<Value> = match &self.headers {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Error::corrupt(format!("the headers of dead letter {}: {error}", self.id()))
            })?,
        };
        for header in headers {
            let name = header["name"].as_str().unwrap_or_default().as_bytes();
            records.push_header(name, bytes_of(&header["value"])?.as_deref());
        }
        Ok(())
    }
}

/// Text as it is; what is none as `{"hex":"…"}`.
fn bytes_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => json!({ "hex": show::hex(bytes.unwrap_or_default()) }),
    }
}

/// The way back.
pub(super) fn bytes_of(value: &Value) -> Result<Option<Vec<u8>>> {
    let wrong = || Error::invalid(format!("{value} is neither a text, null nor {{\"hex\":\"…\"}}"));
    match (value, value["hex"].as_str()) {
        (Value::Null, _) => Ok(None),
        (Value::String(text), _) => Ok(Some(text.clone().into_bytes())),
        (_, Some(hex)) if hex.len().is_multiple_of(2) && hex.is_ascii() => {
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| wrong());
            (0..hex.len()).step_by(2).map(byte).collect::<Result<_>>().map(Some)
        }
        _ => Err(wrong()),
    }
}

/// The table's rows, oldest first. Marks are none of them: they say which letters are settled.
pub(super) fn letters(batches: &[RecordBatch]) -> Result<Vec<Letter>> {
    let mut all = Vec::new();
    for batch in batches {
        read(batch, &mut all)?;
    }
    let mut given_back: BTreeMap<(TopicPartition, Option<i64>), i64> = BTreeMap::new();
    for it in all.iter().filter(|it| it.class == RETRIED) {
        let epoch = given_back.entry((it.task.clone(), it.offset)).or_default();
        *epoch = (*epoch).max(it.epoch);
    }
    all.retain(|it| it.class != RETRIED);
    for it in &mut all {
        // Of the epoch itself are those that were rejected again.
        let marked = given_back.get(&(it.task.clone(), it.offset));
        it.settled = it.has_record() && marked.is_some_and(|epoch| it.epoch < *epoch);
    }
    all.sort_by(|a, b| (a.epoch, &a.task, a.offset).cmp(&(b.epoch, &b.task, b.offset)));
    Ok(all)
}

fn read(batch: &RecordBatch, all: &mut Vec<Letter>) -> Result<()> {
    // A reader of the table may have other types of the same values.
    let column = |name: &str| -> Result<ArrayRef> {
        let schema = dead_letter_schema();
        let wanted = schema.field_with_name(name).map_err(|_| missing(name))?.data_type().clone();
        let found = batch.column_by_name(name).ok_or_else(|| missing(name))?;
        arrow_cast::cast(found, &wanted)
            .map_err(|error| Error::invalid(format!("column {name} of the dead letters: {error}")))
    };
    let texts = |name: &str| Ok::<_, Error>(column(name)?.as_string::<i32>().clone());
    let bytes = |name: &str| Ok::<_, Error>(column(name)?.as_binary::<i32>().clone());
    let numbers = |name: &str| Ok::<_, Error>(column(name)?.as_primitive::<Int64Type>().clone());
    let (topic, operator, module) = (texts("topic")?, texts("operator")?, texts("module_hash")?);
    let (class, message, backtrace) = (texts("class")?, texts("message")?, texts("backtrace")?);
    let (headers, key, value) = (texts("headers")?, bytes("key")?, bytes("value")?);
    let (offset, last_offset, epoch) =
        (numbers("offset")?, numbers("last_offset")?, numbers("epoch")?);
    let partition = column("partition")?.as_primitive::<Int32Type>().clone();
    let timestamp = column("timestamp")?.as_primitive::<TimestampMicrosecondType>().clone();
    let mut topics: BTreeMap<String, Arc<str>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let name = topic.value(row);
        let topic = topics.entry(name.to_owned()).or_insert_with(|| name.into());
        let number = |it: &arrow_array::Int64Array| it.is_valid(row).then(|| it.value(row));
        all.push(Letter {
            task: TopicPartition { topic: Arc::clone(topic), partition: partition.value(row) },
            offset: number(&offset),
            last_offset: number(&last_offset),
            timestamp_us: timestamp.is_valid(row).then(|| timestamp.value(row)),
            key: key.is_valid(row).then(|| key.value(row).to_vec()),
            value: value.is_valid(row).then(|| value.value(row).to_vec()),
            headers: headers.is_valid(row).then(|| headers.value(row).to_owned()),
            operator: operator.value(row).to_owned(),
            module_hash: module.value(row).to_owned(),
            class: class.value(row).to_owned(),
            message: message.value(row).to_owned(),
            backtrace: backtrace.is_valid(row).then(|| backtrace.value(row).to_owned()),
            epoch: epoch.value(row),
            settled: false,
        });
    }
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::invalid(format!(
        "the table of dead letters has no column {name}: it is none of floe's, or of another version"
    ))
}

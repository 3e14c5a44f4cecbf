//! The letters of a topic: what a consumer of committed transactions sees, as rows of the letters' schema.

use std::collections::BTreeMap;
use std::io::Cursor;

use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use floe_core::ports::Source;
use floe_core::{Error, Record, Result, TopicPartition};
use floe_pipeline::config::TopicSpec;
use floe_pipeline::dead_letter::dead_letter_schema;

use crate::replay::input::{Ranges, Reading};
use crate::wire;

/// All that the topic has now. What an aborted transaction left is not shown, nor what is not committed yet.
pub(super) fn read(topic: &TopicSpec) -> Result<Vec<RecordBatch>> {
    let mut source: Box<dyn Source> = Box::new(wire::topic_reader(topic)?);
    let mut ranges = Ranges::new();
    for facts in source.partitions()? {
        if facts.earliest < facts.end {
            ranges.insert(facts.topic_partition, facts.earliest..facts.end);
        }
    }
    let mut letters = Letters::default();
    if !ranges.is_empty() {
        let mut reading = Reading::new(source, ranges)?;
        while let Some(runs) = reading.next()? {
            for records in &runs {
                for record in records.iter() {
                    letters.take(records.topic_partition(), &record)?;
                }
            }
        }
    }
    letters.rows()
}

/// The lines of the records, and where each is from.
#[derive(Default)]
struct Letters {
    of_partition: BTreeMap<TopicPartition, Vec<u8>>,
}

impl Letters {
    fn take(&mut self, from: &TopicPartition, record: &Record<'_>) -> Result<()> {
        // A topic that is compacted may have tombstones of somebody who deletes letters.
        let Some(value) = record.value() else { return Ok(()) };
        let text = self.of_partition.entry(from.clone()).or_default();
        text.extend_from_slice(value);
        text.push(b'\n');
        Ok(())
    }

    fn rows(self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (from, text) in self.of_partition {
            let wrong = |error: arrow_schema::ArrowError| {
                Error::invalid(format!(
                    "{from} has a record that is no dead letter of floe's: {error}\n→ a topic for dead letters is for them alone"
                ))
            };
            let lines = ReaderBuilder::new(dead_letter_schema()).build(Cursor::new(text));
            for batch in lines.map_err(wrong)? {
                batches.push(batch.map_err(wrong)?);
            }
        }
        Ok(batches)
    }
}

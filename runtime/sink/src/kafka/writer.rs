//! The first phase: an epoch's records go into the outbox, where no consumer sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use floe_core::committable::Committable;
use floe_core::ports::SinkWriter;
use floe_core::{Epoch, Result};

use super::encode::{Encoder, OutRecord};
use super::outbox::{Outbox, Segment, encode_segments};

pub(super) struct KafkaWriter {
    encoder: Encoder,
    outbox: Arc<Outbox>,
    open: BTreeMap<Epoch, OpenEpoch>,
}

#[derive(Default)]
struct OpenEpoch {
    records: Vec<OutRecord>,
    bytes: usize,
    rows: u64,
    value_bytes: u64,
    segments: Vec<Segment>,
}

/// A segment goes out at this size, so that an epoch of any size needs little memory.
const SEGMENT_BYTES_MAX: usize = 8 << 20;

impl KafkaWriter {
    pub(super) fn new(encoder: Encoder, outbox: Arc<Outbox>) -> Self {
        KafkaWriter { encoder, outbox, open: BTreeMap::new() }
    }
}

#[async_trait]
impl SinkWriter for KafkaWriter {
    async fn write(&mut self, epoch: Epoch, batch: RecordBatch) -> Result<()> {
        let records = self.encoder.encode(&batch)?;
        let open = self.open.entry(epoch).or_default();
        open.rows += records.len() as u64;
        for record in records {
            let len = record.value.len() + record.key.as_ref().map_or(0, Vec::len);
            open.bytes += len;
            open.value_bytes += len as u64;
            open.records.push(record);
            if open.bytes >= SEGMENT_BYTES_MAX {
                open.bytes = 0;
                let records = std::mem::take(&mut open.records);
                open.segments.push(self.outbox.put(epoch, records).await?);
            }
        }
        Ok(())
    }

    async fn prepare(&mut self, epoch: Epoch) -> Result<Committable> {
        let Some(mut open) = self.open.remove(&epoch) else { return Ok(Committable::EMPTY) };
        if !open.records.is_empty() {
            open.segments.push(self.outbox.put(epoch, open.records).await?);
        }
        if open.rows == 0 {
            return Ok(Committable::EMPTY);
        }
        let held: u64 = open.segments.iter().map(|it| it.records).sum();
        // I1: what the checkpoint will name holds exactly the rows that were handed in.
        assert_eq!(held, open.rows, "records in the segments of epoch {epoch}");
        Ok(Committable {
            rows: open.rows,
            file_count: open.segments.len() as u32,
            file_bytes: open.value_bytes,
            content: encode_segments(&open.segments),
        })
    }

    /// Segments that were written stay in the outbox, and nothing will ever name them: a sweep takes them.
    fn abandon(&mut self) {
        self.open.clear();
    }
}

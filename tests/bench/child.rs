//! What floe is measured beside: reading alone, and the same work without any guarantee.
//!
//! The native job reads by the same batch call, parses with the same parser, keeps the same exact set of
//! ids, and writes Parquet of the same compression into as many files. It checkpoints and commits nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arrow_array::builder::{Int32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use floe_core::ports::{Source, StartAt};
use floe_core::{Offset, Records, TopicPartition};
use floe_sdk::collections::{HashMap, StringSet};
use floe_source::{KafkaConfig, KafkaSource, Topics};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;

/// The allocator is floe's own: the difference shall be floe's work.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let [what, broker, topic, folder] = arguments else {
        bail!("child takes what, broker, topic, folder")
    };
    match what.as_str() {
        "consume" => read_all(broker, topic, |_| Ok(())),
        "native" => native(broker, topic, Path::new(folder)),
        other => bail!("no child {other}"),
    }
}

fn read_all(broker: &str, topic: &str, mut take: impl FnMut(&Records) -> Result<()>) -> Result<()> {
    let topics = Topics::Names(vec![topic.to_owned()]);
    let mut source = KafkaSource::connect(KafkaConfig::new(broker, topics, "bench"))?;
    let partitions = source.partitions()?;
    let tasks: Vec<TopicPartition> =
        partitions.iter().map(|it| it.topic_partition.clone()).collect();
    let mut position = source.resolve_start(&tasks, StartAt::Earliest)?;
    source.assign(&position)?;
    let ends: BTreeMap<TopicPartition, Offset> =
        partitions.into_iter().map(|it| (it.topic_partition, it.end)).collect();
    while ends.iter().any(|(task, end)| position.0[task] < *end) {
        for records in source.poll(Duration::from_millis(20), 8192)? {
            position.0.insert(records.topic_partition().clone(), records.next_offset());
            take(&records)?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Payment<'a> {
    #[serde(borrow)]
    txn_id: &'a str,
    #[serde(borrow)]
    merchant_id: &'a str,
    amount_minor: i64,
}

#[derive(Default)]
struct State {
    seen: StringSet,
    totals: HashMap<Box<str>, i64>,
}

fn native(broker: &str, topic: &str, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut states: BTreeMap<TopicPartition, State> = BTreeMap::new();
    let mut files =
        (0..BUCKETS).map(|it| Bucket::create(folder, it)).collect::<Result<Vec<_>>>()?;
    read_all(broker, topic, |records| {
        let task = records.topic_partition();
        let state = states.entry(task.clone()).or_default();
        for record in records.iter() {
            let value = record.value().context("a payment has a value")?;
            let payment: Payment<'_> = sonic_rs::from_slice(value)?;
            if !state.seen.insert(payment.txn_id) {
                continue;
            }
            let total = match state.totals.get_mut(payment.merchant_id) {
                Some(total) => total,
                None => state.totals.entry(payment.merchant_id.into()).or_default(),
            };
            *total = total.checked_add(payment.amount_minor).context("a total leaves 64 bits")?;
            let bucket = bucket(payment.merchant_id);
            files[bucket].push(&payment, *total, task.partition, record.offset().0)?;
        }
        Ok(())
    })?;
    files.into_iter().try_for_each(Bucket::close)
}

const BUCKETS: usize = 4;

fn bucket(merchant: &str) -> usize {
    merchant.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
        % BUCKETS
}

struct Bucket {
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    txn_id: StringBuilder,
    merchant_id: StringBuilder,
    amount: Int64Builder,
    total: Int64Builder,
    partition: Int32Builder,
    offset: Int64Builder,
    rows: usize,
}

impl Bucket {
    fn create(folder: &Path, number: usize) -> Result<Bucket> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("txn_id", DataType::Utf8, false),
            Field::new("merchant_id", DataType::Utf8, false),
            Field::new("amount_minor", DataType::Int64, false),
            Field::new("running_total", DataType::Int64, false),
            Field::new("kafka_partition", DataType::Int32, false),
            Field::new("kafka_offset", DataType::Int64, false),
        ]));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_max_row_group_row_count(Some(131_072));
        // What floe's writer finds out from a sample is known here: these hardly repeat.
        for column in ["txn_id", "amount_minor", "running_total", "kafka_offset"] {
            properties = properties.set_column_dictionary_enabled(column.into(), false);
        }
        let properties = properties.build();
        let file = File::create(folder.join(format!("{number}.parquet")))?;
        Ok(Bucket {
            writer: ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?,
            schema,
            txn_id: StringBuilder::new(),
            merchant_id: StringBuilder::new(),
            amount: Int64Builder::new(),
            total: Int64Builder::new(),
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            rows: 0,
        })
    }

    fn push(
        &mut self,
        payment: &Payment<'_>,
        total: i64,
        partition: i32,
        offset: i64,
    ) -> Result<()> {
        self.txn_id.append_value(payment.txn_id);
        self.merchant_id.append_value(payment.merchant_id);
        self.amount.append_value(payment.amount_minor);
        self.total.append_value(total);
        self.partition.append_value(partition);
        self.offset.append_value(offset);
        self.rows += 1;
        if self.rows == 8192 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.txn_id.finish()),
            Arc::new(self.merchant_id.finish()),
            Arc::new(self.amount.finish()),
            Arc::new(self.total.finish()),
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
        ];
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        self.flush()?;
        self.writer.close()?;
        Ok(())
    }
}

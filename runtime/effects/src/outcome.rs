//! The outcomes' topic: one record an intent, keyed by its idempotency key, written before its offset counts.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use floe_core::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::deliver::Outcome;

/// Of each partition so many of the newest outcomes are read at the start. Those of intents whose offset
/// does not count yet are among the very newest.
const NEWEST: i64 = 10_000;
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Outcomes {
    producer: FutureProducer,
    topic: String,
    known: HashSet<String>,
}

impl Outcomes {
    pub(crate) fn open(client: &ClientConfig, topic: &str) -> Result<Outcomes> {
        let failed = |error: KafkaError| Error::retry(format!("topic {topic}: {error}"));
        let mut config = client.clone();
        config.set("enable.idempotence", "true").set("message.timeout.ms", "60000");
        let producer: FutureProducer = config.create().map_err(failed)?;
        let known = read_newest(client, topic)?;
        Ok(Outcomes { producer, topic: topic.to_owned(), known })
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.known.contains(key)
    }

    /// Durable when it returns.
    pub(crate) async fn put(&mut self, key: &str, outcome: &Outcome) -> Result<()> {
        let text = serde_json::to_string(outcome)
            .map_err(|it| Error::invalid(format!("an outcome cannot be written: {it}")))?;
        loop {
            let record = FutureRecord::to(&self.topic).key(key).payload(&text);
            match self.producer.send(record, DEADLINE).await {
                Ok(_) => break,
                // The intent is done: what came of it must not be lost for a broker that is away.
                Err((error, _)) => {
                    tracing::warn!(key, "outcome not written, trying again: {error}")
                }
            }
        }
        self.known.insert(key.to_owned());
        Ok(())
    }
}

fn read_newest(client: &ClientConfig, topic: &str) -> Result<HashSet<String>> {
    let failed = |error: KafkaError| Error::retry(format!("topic {topic}: {error}"));
    let mut config = client.clone();
    config
        .set("group.id", "floe-effects-outcomes")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).map_err(failed)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .filter(|it| it.error().is_none())
        .flat_map(|it| it.partitions().iter().map(|it| it.id()))
        .collect();
    if partitions.is_empty() {
        return Err(Error::invalid(format!(
            "topic {topic} of outcomes is not there\n  → make it, with cleanup.policy=compact, or name another with --outcomes"
        )));
    }
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        let (low, high) = consumer.fetch_watermarks(topic, *partition, DEADLINE).map_err(failed)?;
        let from = Offset::Offset(low.max(high - NEWEST));
        assignment.add_partition_offset(topic, *partition, from).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    let (mut known, mut open, begin) = (HashSet::new(), partitions.len(), Instant::now());
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                known.extend(record.key().map(|it| String::from_utf8_lossy(it).into_owned()));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) if begin.elapsed() > DEADLINE => return Err(failed(error)),
            None if begin.elapsed() > DEADLINE => {
                return Err(Error::retry(format!("topic {topic} could not be read in 30 s")));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(known)
}

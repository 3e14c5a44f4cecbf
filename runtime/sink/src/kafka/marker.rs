//! The marker: the newest record of a compacted topic tells which epoch was published last. It is written
//! in the transaction that publishes, so it is there exactly if the epoch's records are.

use std::time::{Duration, Instant};

use floe_core::protocol::judge::Marker;
use floe_core::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::config::{DEADLINE, TopicConfig};

/// Offsets looked at first: a marker and the end of its transaction are two.
const NEWEST_OFFSETS: i64 = 256;

pub(super) async fn make_topic(config: &TopicConfig) -> Result<()> {
    let name = config.marker_topic();
    let admin: AdminClient<DefaultClientContext> =
        config.admin()?.create().map_err(|it| away(config, &it))?;
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(-1))
        .set("cleanup.policy", "compact")
        // Small segments, so that what compaction leaves is read in a moment.
        .set("segment.bytes", "1048576")
        .set("min.cleanable.dirty.ratio", "0.1");
    let options = AdminOptions::new().request_timeout(Some(DEADLINE));
    let made = admin.create_topics([&topic], &options).await.map_err(|it| away(config, &it))?;
    match made.into_iter().next() {
        Some(Err((_, Code::TopicAlreadyExists))) | Some(Ok(_)) => Ok(()),
        Some(Err((name, code))) => Err(Error::invalid(format!(
            "the topic of markers {name} cannot be made at {}: {code}\n  → make it by hand with one partition and cleanup.policy=compact, or allow floe to",
            config.bootstrap_servers
        ))),
        None => Err(Error::retry(format!("Kafka did not say whether it made topic {name}"))),
    }
}

/// The newest committed marker. Of a topic that is not there, none.
pub(super) async fn read(config: &TopicConfig) -> Result<Option<Marker>> {
    let config = config.clone();
    match tokio::task::spawn_blocking(move || read_now(&config)).await {
        Ok(read) => read,
        Err(_) => Err(Error::retry("the thread that read the marker ended early")),
    }
}

pub(super) fn read_now(config: &TopicConfig) -> Result<Option<Marker>> {
    let topic = config.marker_topic();
    let consumer: BaseConsumer = config.consumer()?.create().map_err(|it| away(config, &it))?;
    let metadata =
        consumer.fetch_metadata(Some(&topic), DEADLINE).map_err(|it| away(config, &it))?;
    let there =
        metadata.topics().iter().any(|it| it.error().is_none() && !it.partitions().is_empty());
    if !there {
        return Ok(None);
    }
    let (low, high) =
        consumer.fetch_watermarks(&topic, 0, DEADLINE).map_err(|it| away(config, &it))?;
    let near = low.max(high - NEWEST_OFFSETS);
    match newest_from(config, &consumer, &topic, near)? {
        None if near > low => newest_from(config, &consumer, &topic, low),
        found => Ok(found),
    }
}

fn newest_from(
    config: &TopicConfig,
    consumer: &BaseConsumer,
    topic: &str,
    from: i64,
) -> Result<Option<Marker>> {
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Offset(from))
        .and_then(|()| consumer.assign(&assignment))
        .map_err(|it| away(config, &it))?;
    let (key, begin) = (config.marker_key(), Instant::now());
    let mut newest = None;
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) if record.key() == Some(key.as_bytes()) => {
                newest = Some(record.payload().unwrap_or_default().to_vec());
            }
            Some(Ok(_)) => {}
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if begin.elapsed() > DEADLINE => return Err(away(config, &error)),
            None if begin.elapsed() > DEADLINE => {
                return Err(Error::retry(format!(
                    "the marker in topic {topic} could not be read in {} s",
                    DEADLINE.as_secs()
                )));
            }
            // The client goes on by itself.
            Some(Err(_)) | None => {}
        }
    }
    let Some(text) = newest else { return Ok(None) };
    let text = String::from_utf8_lossy(&text).into_owned();
    match Marker::parse(&text) {
        Some(marker) => Ok(Some(marker)),
        None => Err(Error::refused(format!(
            "topic {topic} holds no marker that this floe can read: {text:?}\n  → use the floe that wrote it"
        ))),
    }
}

pub(super) fn away(config: &TopicConfig, error: &KafkaError) -> Error {
    Error::retry(format!("Kafka at {}: {error}", config.bootstrap_servers))
}

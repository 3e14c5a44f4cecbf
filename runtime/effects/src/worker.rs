//! The loop: an intent, its delivery, its outcome, its offset. In this order, one at a time a worker.

use std::collections::BTreeMap;
use std::time::Duration;

use floe_core::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::watch;

use crate::IDEMPOTENCY_KEY;
use crate::deliver::{OutcomeKind, deliver};
use crate::outcome::Outcomes;

#[derive(Clone, Debug)]
pub struct EffectsConfig {
    pub bootstrap_servers: String,
    pub intents: String,
    pub outcomes: String,
    pub url: String,
    /// Workers of one group share the partitions.
    pub group: String,
    /// One request; past it the outcome is unknown, and it is sent again under the same key.
    pub timeout: Duration,
    /// End when every partition is read to its end.
    pub until_end: bool,
    /// Any librdkafka property.
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    pub done: u64,
    pub refused: u64,
    /// Intents that had an outcome already.
    pub known: u64,
}

/// Runs until `stop` turns true, the end is reached, or something fails that no waiting mends.
pub async fn run(config: EffectsConfig, mut stop: watch::Receiver<bool>) -> Result<Summary> {
    let client = client(&config);
    let http = reqwest::Client::builder()
        .timeout(config.timeout)
        .build()
        .map_err(|it| Error::invalid(format!("the HTTP client does not start: {it}")))?;
    let (for_outcomes, topic) = (client.clone(), config.outcomes.clone());
    let mut outcomes = tokio::task::spawn_blocking(move || Outcomes::open(&for_outcomes, &topic))
        .await
        .map_err(|_| Error::retry("the thread that read the outcomes ended early"))??;
    let consumer = subscribe(&config, client)?;
    let mut summary = Summary::default();
    let mut ends = Ends::default();
    loop {
        let received = tokio::select! {
            received = consumer.recv() => received,
            _ = stop.wait_for(|it| *it) => return Ok(summary),
        };
        let intent = match received {
            Ok(intent) => intent,
            Err(KafkaError::PartitionEOF(partition)) => {
                ends.reached(partition);
                if config.until_end && ends.all(&consumer) {
                    return Ok(summary);
                }
                continue;
            }
            // The client goes on by itself; what it cannot mend it says again.
            Err(error) => {
                tracing::warn!("topic {}: {error}", config.intents);
                continue;
            }
        };
        ends.left(intent.partition());
        let key = idempotency_key(&intent)?;
        if outcomes.has(&key) {
            summary.known += 1;
        } else {
            let body = intent.payload().unwrap_or_default();
            let Some(outcome) = deliver(&http, &config.url, &key, body, &mut stop).await? else {
                return Ok(summary);
            };
            match outcome.outcome {
                OutcomeKind::Done => summary.done += 1,
                OutcomeKind::Refused => {
                    summary.refused += 1;
                    tracing::warn!(key, status = outcome.status, "refused: {}", outcome.body);
                }
            }
            outcomes.put(&key, &outcome).await?;
        }
        if let Err(error) = consumer.commit_message(&intent, CommitMode::Sync) {
            // The outcome is written: read again, the intent is known.
            tracing::warn!(key, "the group's offset was not written: {error}");
        }
    }
}

fn client(config: &EffectsConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Critical);
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client.set("bootstrap.servers", &config.bootstrap_servers);
    client
}

fn subscribe(config: &EffectsConfig, mut client: ClientConfig) -> Result<StreamConsumer> {
    client
        .set("group.id", &config.group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true");
    let failed = |error: KafkaError| {
        Error::invalid(format!("topic {} cannot be read: {error}", config.intents))
    };
    let consumer: StreamConsumer = client.create().map_err(failed)?;
    consumer.subscribe(&[&config.intents]).map_err(failed)?;
    Ok(consumer)
}

fn idempotency_key(intent: &BorrowedMessage<'_>) -> Result<String> {
    let headers = intent.headers();
    let found = headers.and_then(|it| {
        it.iter().find(|header| header.key == IDEMPOTENCY_KEY).and_then(|header| header.value)
    });
    match found {
        Some(key) => Ok(String::from_utf8_lossy(key).into_owned()),
        None => Err(Error::invalid(format!(
            "record {}/{} @ {} has no header {IDEMPOTENCY_KEY}: it is no intent\n  → write the topic by a pipeline with intents = true in [sink]",
            intent.topic(),
            intent.partition(),
            intent.offset()
        ))),
    }
}

/// The partitions whose end was reached and that had nothing since.
#[derive(Default)]
struct Ends(std::collections::BTreeSet<i32>);

impl Ends {
    fn reached(&mut self, partition: i32) {
        self.0.insert(partition);
    }

    fn left(&mut self, partition: i32) {
        self.0.remove(&partition);
    }

    fn all(&self, consumer: &StreamConsumer) -> bool {
        consumer.assignment().is_ok_and(|assigned| {
            assigned.count() > 0
                && assigned.elements().iter().all(|it| self.0.contains(&it.partition()))
        })
    }
}

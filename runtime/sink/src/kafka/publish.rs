//! One transaction: the epoch's records and the marker, seen together or not at all.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::EntryId;
use floe_core::protocol::judge::Marker;
use floe_core::{Error, Result};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::config::{DEADLINE, TopicConfig};
use super::encode::OutRecord;
use super::marker;

/// A producer that has fenced every older one of this pipeline and sink, and what it then found.
pub(super) struct Session {
    producer: BaseProducer<Deliveries>,
    /// Nobody else can move it while this producer is not fenced.
    pub(super) marker: Option<Marker>,
}

/// Remembers why a record was not taken.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Option<String>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut first = self.0.lock().expect("no holder of this lock panics");
            first.get_or_insert_with(|| error.to_string());
        }
    }
}

/// So often deliveries are served while records go out.
const SENDS_PER_POLL: usize = 256;

impl Session {
    /// Initialises the transactional id first: what an older producer had in the air is then aborted or
    /// committed, and the marker that is read next is the last word.
    pub(super) fn open(config: &TopicConfig) -> Result<Session> {
        let producer: BaseProducer<Deliveries> = config
            .producer()?
            .create_with_context(Deliveries::default())
            .map_err(|it| Error::invalid(format!("[sink] properties: {it}")))?;
        producer.init_transactions(DEADLINE).map_err(|it| failed(config, "begin", &it))?;
        let marker = marker::read_now(config)?;
        Ok(Session { producer, marker })
    }

    /// After an error the session is not to be used again: a new one finds out what became of it.
    pub(super) fn publish(
        &mut self,
        config: &TopicConfig,
        segments: impl Iterator<Item = Result<Vec<OutRecord>>>,
        marker: Marker,
    ) -> Result<()> {
        self.producer.begin_transaction().map_err(|it| failed(config, "begin", &it))?;
        for records in segments {
            for (index, record) in records?.iter().enumerate() {
                if index % SENDS_PER_POLL == 0 {
                    self.producer.poll(Duration::ZERO);
                }
                let mut out = BaseRecord::<[u8], [u8]>::to(&config.topic).payload(&record.value);
                if let Some(key) = &record.key {
                    out = out.key(key);
                    if config.intents {
                        out = out.headers(idempotency_key(marker.manifest.id, key));
                    }
                }
                self.send(config, out)?;
            }
        }
        let (topic, key, text) = (config.marker_topic(), config.marker_key(), marker.to_string());
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .key(key.as_bytes())
            .payload(text.as_bytes());
        self.send(config, record)?;
        self.flush(config)?;
        let refused =
            self.producer.context().0.lock().expect("no holder of this lock panics").take();
        if let Some(why) = refused {
            return Err(Error::retry(format!(
                "topic {} did not take a record: {why}",
                config.topic
            )));
        }
        let committed = self.producer.commit_transaction(DEADLINE);
        hit(CrashPoint::AfterCommitSent);
        match committed {
            Ok(()) => {
                self.marker = Some(marker);
                Ok(())
            }
            Err(error) => Err(Error::unknown(format!(
                "nobody knows whether topic {} took epoch {}: {error}",
                config.topic, marker.manifest.epoch
            ))),
        }
    }

    /// Until every record is delivered or refused. The binding's own flush serves deliveries for 100 ms at a
    /// time, whether any are left or not.
    fn flush(&self, config: &TopicConfig) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.producer.flush(Duration::ZERO) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Flush(Code::OperationTimedOut)) if begin.elapsed() < DEADLINE => {
                    self.producer.poll(Duration::from_millis(1));
                }
                Err(error) => return Err(failed(config, "send to", &error)),
            }
        }
    }

    /// Waits while the client's queue is full.
    fn send(&self, config: &TopicConfig, record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        let mut record = record;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(2));
                }
                Err((KafkaError::MessageProduction(Code::MessageSizeTooLarge), back)) => {
                    let bytes = back.payload.map_or(0, <[u8]>::len);
                    return Err(Error::refused(format!(
                        "a record of {bytes} bytes is too large for topic {}\n  → raise message.max.bytes in [sink] properties, and max.message.bytes of the topic",
                        config.topic
                    )));
                }
                Err((error, _)) => return Err(failed(config, "send to", &error)),
            }
        }
    }
}

/// The checkpoint that publishes an intent, and the intent: it is published once, so this never changes.
fn idempotency_key(checkpoint: EntryId, key: &[u8]) -> OwnedHeaders {
    let value = format!("{checkpoint}-{}", String::from_utf8_lossy(key));
    OwnedHeaders::new().insert(Header { key: "idempotency-key", value: Some(&value) })
}

fn failed(config: &TopicConfig, what: &str, error: &KafkaError) -> Error {
    // Fenced by another producer of this pipeline: the log says who owns it, and it is asked at the next write.
    Error::retry(format!(
        "{what} a transaction of {} at {}: {error}",
        config.transactional_id(),
        config.bootstrap_servers
    ))
}

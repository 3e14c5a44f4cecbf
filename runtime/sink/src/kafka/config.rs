//! What a pipeline says about its output topic, and the librdkafka properties that follow from it.

use std::collections::BTreeMap;
use std::time::Duration;

use floe_core::protocol::judge::Marker;
use floe_core::{Error, Result};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// A topic to publish to.
#[derive(Clone)]
pub struct TopicConfig {
    pub pipeline: String,
    /// The sink's name in checkpoints and markers.
    pub sink: String,
    pub topic: String,
    pub bootstrap_servers: String,
    /// Columns that make a record's key; records of one key keep their order.
    pub key: Vec<String>,
    /// Each record gets the header `idempotency-key`: checkpoint id and key. It needs a key.
    pub intents: bool,
    /// Any librdkafka property but those that floe owns.
    pub properties: BTreeMap<String, String>,
}

/// The topic's own id: one that was deleted and made anew has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicIdentity(pub [u8; 16]);

/// One request to the cluster. A transaction that takes longer is of unknown outcome.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// What floe sets, and a user may change.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "floe"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    // The partition of a key is the one that Java's clients choose.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.messages", "200000"),
    ("transaction.timeout.ms", "60000"),
];

/// What the promise rests on.
const REFUSED: [(&str, &str); 7] = [
    ("bootstrap.servers", "set `bootstrap-servers` in [sink] instead"),
    ("metadata.broker.list", "set `bootstrap-servers` in [sink] instead"),
    (
        "transactional.id",
        "it is named after the pipeline, so that a successor fences its predecessor",
    ),
    ("enable.idempotence", "a transaction needs it"),
    ("acks", "a transaction needs all"),
    ("request.required.acks", "a transaction needs all"),
    ("isolation.level", "the marker is read committed"),
];

impl TopicConfig {
    /// One for each pipeline and sink: a successor that initialises it fences its predecessor.
    pub(super) fn transactional_id(&self) -> String {
        format!("floe.{}.{}", self.pipeline, self.sink)
    }

    /// The compacted topic that tells which epoch was published last.
    pub fn marker_topic(&self) -> String {
        format!("floe.markers.{}.{}", self.pipeline, self.sink)
    }

    pub(super) fn marker_key(&self) -> String {
        Marker::key(&self.pipeline, &self.sink, BRANCH)
    }

    pub(super) fn producer(&self) -> Result<ClientConfig> {
        let mut client = self.client(&DEFAULTS)?;
        client.set("transactional.id", self.transactional_id());
        client.set("enable.idempotence", "true");
        Ok(client)
    }

    pub(super) fn consumer(&self) -> Result<ClientConfig> {
        let mut client = self.client(&[])?;
        client
            .set("group.id", self.transactional_id())
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("allow.auto.create.topics", "false");
        Ok(client)
    }

    pub(super) fn admin(&self) -> Result<ClientConfig> {
        self.client(&[])
    }

    fn client(&self, defaults: &[(&str, &str)]) -> Result<ClientConfig> {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Critical);
        for (name, value) in defaults {
            client.set(*name, *value);
        }
        let producer_only = defaults.is_empty();
        for (name, value) in &self.properties {
            if let Some((_, why)) = REFUSED.iter().find(|(it, _)| it == name) {
                return Err(Error::invalid(format!(
                    "[sink] properties: {name} cannot be set here: {why}"
                )));
            }
            // Consumer and admin need what reaches and opens the door, and no more.
            if producer_only && !is_connection(name) {
                continue;
            }
            client.set(name, value);
        }
        client.set("bootstrap.servers", &self.bootstrap_servers);
        Ok(client)
    }
}

/// A topic has no branches.
pub(super) const BRANCH: &str = "main";

fn is_connection(name: &str) -> bool {
    ["security.", "ssl.", "sasl.", "client.", "socket.", "broker.", "enable.ssl"]
        .iter()
        .any(|it| name.starts_with(it))
}

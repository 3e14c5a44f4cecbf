//! A topic as the sink: found and identified through the source's client, published by the sink's.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use floe_checkpoint::paths::pipeline_prefix;
use floe_core::ports::{MarkerSnapshot, ObjectStore, PartitionFacts, Source, TableFacts};
use floe_core::{Error, Result};
use floe_pipeline::config::{PipelineSpec, TopicSpec};
use floe_pipeline::run::SinkWiring;
use floe_sink::kafka::{KafkaSink, Outbox, TopicConfig, TopicIdentity};
use floe_source::{KafkaConfig, KafkaSource, Topics};

use super::{blocking, store};

pub(super) async fn open(
    spec: &PipelineSpec,
    name: &str,
    topic: &TopicSpec,
    rows: &SchemaRef,
) -> Result<SinkWiring> {
    let identity = identity(&look(topic).await?);
    let outbox = outbox(spec, name, store(spec)?)?;
    let sink = KafkaSink::open(&config(spec, name, topic), identity, outbox, rows).await?;
    Ok(SinkWiring {
        name: name.to_owned(),
        table: topic.topic.clone(),
        table_uuid: identity.0,
        committer: sink.committer(),
        writer: sink.writer(),
    })
}

pub(super) fn outbox(
    spec: &PipelineSpec,
    sink: &str,
    store: Arc<dyn ObjectStore>,
) -> Result<Outbox> {
    let folder = format!("{}/outbox", pipeline_prefix(&spec.id)?);
    Ok(Outbox { store, folder, sink: sink.to_owned() })
}

pub(super) async fn check(
    spec: &PipelineSpec,
    name: &str,
    topic: &TopicSpec,
    rows: &SchemaRef,
) -> Result<String> {
    KafkaSink::check(&config(spec, name, topic), rows)?;
    let partitions = look(topic).await?;
    Ok(format!(
        "topic {} at {}: {} partitions; markers in {}",
        topic.topic,
        topic.bootstrap_servers,
        partitions.len(),
        config(spec, name, topic).marker_topic()
    ))
}

pub(super) async fn observe(
    spec: &PipelineSpec,
    name: &str,
    topic: &TopicSpec,
) -> Result<Option<TableFacts>> {
    let identity = identity(&look(topic).await?);
    let marker = KafkaSink::marker(&config(spec, name, topic)).await?;
    Ok(Some(TableFacts {
        table: topic.topic.clone(),
        table_uuid: identity.0,
        marker_snapshot: match marker {
            None => MarkerSnapshot::NoMarker,
            Some(_) => MarkerSnapshot::Found,
        },
        marker,
        appended: None,
    }))
}

fn config(spec: &PipelineSpec, name: &str, topic: &TopicSpec) -> TopicConfig {
    TopicConfig {
        pipeline: spec.id.clone(),
        sink: name.to_owned(),
        topic: topic.topic.clone(),
        bootstrap_servers: topic.bootstrap_servers.clone(),
        key: topic.key.clone(),
        intents: topic.intents,
        properties: topic.properties.expose().clone(),
    }
}

/// The topic must be there: how many partitions it has, and how long it keeps records, is its owner's choice.
async fn look(topic: &TopicSpec) -> Result<Vec<PartitionFacts>> {
    let config = reader_config(topic);
    blocking(move || KafkaSource::connect(config)?.partitions())
        .await
        .map_err(|error| Error::new(error.kind, format!("[sink] kafka: {}", error.message)))
}

/// Reads the records of committed transactions alone. Joins no group.
pub(crate) fn topic_reader(topic: &TopicSpec) -> Result<KafkaSource> {
    KafkaSource::connect(reader_config(topic))
}

fn reader_config(topic: &TopicSpec) -> KafkaConfig {
    let mut config = KafkaConfig::new(
        topic.bootstrap_servers.clone(),
        Topics::Names(vec![topic.topic.clone()]),
        "floe",
    );
    let connection = |name: &String| {
        ["security.", "ssl.", "sasl.", "socket."].iter().any(|it| name.starts_with(it))
    };
    config.properties = topic
        .properties
        .expose()
        .iter()
        .filter(|(name, _)| connection(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    config
}

/// Kafka's topic id is a UUID in base64. A broker that tells none leaves the name alone to go by.
fn identity(partitions: &[PartitionFacts]) -> TopicIdentity {
    let id = partitions.first().and_then(|it| it.topic_id.as_deref()).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(id).or_else(|_| STANDARD_NO_PAD.decode(id));
    TopicIdentity(bytes.ok().and_then(|it| it.try_into().ok()).unwrap_or_default())
}

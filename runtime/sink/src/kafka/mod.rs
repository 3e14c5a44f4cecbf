//! The Kafka sink: an epoch's records wait in the checkpoint store, and one transaction publishes them
//! together with the marker that tells they were.
//!
//! librdkafka cannot go on with a transaction that another process began, so none is open while an epoch
//! runs. The checkpoint holds what is to go out; publishing is repeated until the marker says that it was.

mod config;
mod encode;
mod outbox;
mod writer;
mod marker;
mod publish;
mod commit;

pub use config::{TopicConfig, TopicIdentity};
pub use outbox::Outbox;

use std::sync::Arc;

use arrow_schema::SchemaRef;
use floe_core::Result;
use floe_core::ports::{Committer, SinkWriter};

/// One topic, connected.
pub struct KafkaSink {
    committer: Arc<commit::KafkaCommitter>,
    writer: writer::KafkaWriter,
}

impl KafkaSink {
    /// Makes the topic of markers if it is not there, and checks the rows' key columns. The topic itself is
    /// known by `identity`.
    pub async fn open(
        config: &TopicConfig,
        identity: TopicIdentity,
        outbox: Outbox,
        rows: &SchemaRef,
    ) -> Result<KafkaSink> {
        let encoder = encode::Encoder::new(rows, &config.key)?;
        marker::make_topic(config).await?;
        let outbox = Arc::new(outbox);
        Ok(KafkaSink {
            committer: Arc::new(commit::KafkaCommitter::new(
                config.clone(),
                identity,
                Arc::clone(&outbox),
            )),
            writer: writer::KafkaWriter::new(encoder, outbox),
        })
    }

    /// Whether the rows can be written as the configuration says.
    pub fn check(config: &TopicConfig, rows: &SchemaRef) -> Result<()> {
        encode::Encoder::new(rows, &config.key).map(|_| ())
    }

    /// What the marker says, for people: nothing is made, and nobody is fenced.
    pub async fn marker(
        config: &TopicConfig,
    ) -> Result<Option<floe_core::protocol::judge::Marker>> {
        marker::read(config).await
    }

    pub fn committer(&self) -> Arc<dyn Committer> {
        Arc::clone(&self.committer) as Arc<dyn Committer>
    }

    pub fn writer(self) -> Box<dyn SinkWriter> {
        Box::new(self.writer)
    }
}

//! Sources: where records come in. A Kafka cluster, or a recording of one in a file.

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod recording;
pub mod registry;
mod several;

#[cfg(feature = "kafka")]
pub use kafka::{KafkaConfig, KafkaSource, Topics};
pub use recording::RecordingSource;
pub use several::{Member, SeveralSources};

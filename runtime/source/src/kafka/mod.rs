//! The Kafka source: partitions that floe assigns itself, read from the offsets of a checkpoint.
//!
//! Nothing here joins a consumer group: the group is told how far the pipeline is, and never asked.

pub mod config;
mod facts;
mod link;
mod native;
mod source;

pub use config::{KafkaConfig, Topics};
pub use source::KafkaSource;

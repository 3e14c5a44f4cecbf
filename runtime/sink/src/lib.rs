//! Sink: rows go out. The first phase makes data files that no reader sees, the second makes them visible.

pub mod iceberg;
#[cfg(feature = "kafka")]
pub mod kafka;

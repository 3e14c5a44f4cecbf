//! Core: the types every crate shares, and the decisions no crate may make on its own.
//!
//! Nothing here reads a clock, a file, a socket or an environment variable, and nothing waits.
//! Facts come in as values, decisions go out as values, and the caller does what was decided.

pub mod record;
pub mod schema;
pub mod position;
pub mod event_time;
pub mod rng;
pub mod epoch;
pub mod journal;
pub mod image;
pub mod in_flight;
pub mod task;
pub mod committable;
pub mod encoding;
pub mod manifest;
pub mod log_entry;
pub mod protocol;
pub mod crash_point;
pub mod error;
pub mod ports;
pub mod graph;
pub mod exchange;
pub mod chain;

pub use epoch::{Epoch, Generation};
pub use error::{Error, ErrorKind, Result};
pub use event_time::EventTime;
pub use position::{Offset, Position, TopicPartition};
pub use record::{Record, Records};

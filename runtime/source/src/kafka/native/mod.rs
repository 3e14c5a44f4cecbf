//! The part of librdkafka that its Rust binding does not offer safely: records in batches, the
//! client's events apart from its records, topic ids and offsets of many partitions at once.
//!
//! All unsafe code of this crate is in this folder (decision record 001).

mod admin;
mod batch;
mod events;

use std::ptr::NonNull;

use rdkafka::bindings as rd;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

pub(super) use admin::{AdminFailure, OffsetQuery, TopicDescription};
pub(super) use batch::{Batch, Message};
pub(super) use events::Event;

/// One consumer with its queues.
///
/// Invariant: the queues belong to `consumer` and are dropped before it (fields drop in order).
pub(super) struct Client {
    /// Records, and errors of partitions.
    records: Queue,
    /// Everything else: the client's log, errors of connections, answers to commits.
    events: Queue,
    consumer: BaseConsumer,
}

/// An owned reference to one of librdkafka's queues.
struct Queue(NonNull<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's objects may be used from any thread (its INTRODUCTION.md, "Threads and
// callbacks"); the pointer is not shared with anybody who relies on the thread.
unsafe impl Send for Queue {}

/// The code by name. A broker newer than librdkafka may send one that has none here.
fn error_code(raw: i32) -> RDKafkaErrorCode {
    RDKafkaRespErr::try_from(raw).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from)
}

impl Client {
    /// `config` must name a group: without one librdkafka gives no consumer queue.
    pub(super) fn open(config: &ClientConfig) -> KafkaResult<Client> {
        let consumer: BaseConsumer = config.create()?;
        let handle = consumer.client().native_ptr();
        // SAFETY: `handle` is the live client inside `consumer`. Each call returns a new reference or
        // NULL; `Queue` owns it.
        let queues = unsafe {
            [
                rd::rd_kafka_queue_get_consumer(handle),
                rd::rd_kafka_queue_get_main(handle),
                rd::rd_kafka_queue_new(handle),
            ]
        };
        let [Some(consumed), Some(events), Some(records)] =
            queues.map(|it| NonNull::new(it).map(Queue))
        else {
            return Err(KafkaError::ClientCreation("the client has no consumer queue".to_owned()));
        };
        // Records that are still queued keep their partitions alive, and the end of a client waits for
        // its partitions for ever. A queue of our own drops its records, and all that come later, when
        // it is destroyed, which is before the client is.
        // SAFETY: both queues are live; the forwarding keeps its own reference of the destination.
        unsafe { rd::rd_kafka_queue_forward(consumed.0.as_ptr(), records.0.as_ptr()) };
        // The binding forwards events to the queue of records, where taking records in batches
        // would swallow them. Both go their own way from here.
        // SAFETY: `events` is a live queue; a NULL destination ends its forwarding.
        unsafe { rd::rd_kafka_queue_forward(events.0.as_ptr(), std::ptr::null_mut()) };
        Ok(Client { records, events, consumer })
    }

    pub(super) fn consumer(&self) -> &BaseConsumer {
        &self.consumer
    }

    fn handle(&self) -> *mut rd::rd_kafka_t {
        self.consumer.client().native_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference, and gives it back once.
        unsafe { rd::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

//! The client's events: its log, and errors that belong to no partition.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;

use super::{Client, error_code};

pub(in crate::kafka) enum Event {
    /// `level` counts as syslog does: 0 emergency … 7 debug.
    Log {
        level: i32,
        facility: String,
        text: String,
    },
    Error {
        code: RDKafkaErrorCode,
        text: String,
    },
    /// Nothing that a source needs to know.
    Other,
}

impl Client {
    /// The next event, without waiting.
    pub(in crate::kafka) fn event(&mut self) -> Option<Event> {
        // SAFETY: the queue is live as long as `self`; a non-NULL event is ours and destroyed below.
        let event = unsafe { rd::rd_kafka_queue_poll(self.events.0.as_ptr(), 0) };
        if event.is_null() {
            return None;
        }
        // SAFETY: the event is live until it is destroyed, once; `read` copies what it returns.
        unsafe {
            let read = read(event);
            rd::rd_kafka_event_destroy(event);
            Some(read)
        }
    }
}

/// `event` must be live.
unsafe fn read(event: *mut rd::rd_kafka_event_t) -> Event {
    // SAFETY: the event is live; each reader is called on the type of event that it belongs to,
    // and texts are copied before the event goes.
    unsafe {
        match rd::rd_kafka_event_type(event) {
            rd::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (std::ptr::null(), std::ptr::null(), 7);
                match rd::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) {
                    0 => Event::Log { level, facility: owned(facility), text: owned(text) },
                    _ => Event::Other,
                }
            }
            rd::RD_KAFKA_EVENT_ERROR => Event::Error {
                code: error_code(rd::rd_kafka_event_error(event) as i32),
                text: owned(rd::rd_kafka_event_error_string(event)),
            },
            _ => Event::Other,
        }
    }
}

/// Waits for the answer to one admin request on a queue of its own.
pub(super) fn wait(queue: &super::Queue, timeout: Duration) -> Option<AdminEvent> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the queue is live; a non-NULL event is ours, and `AdminEvent` destroys it.
    let event = unsafe { rd::rd_kafka_queue_poll(queue.0.as_ptr(), timeout_ms) };
    (!event.is_null()).then_some(AdminEvent(event))
}

/// The owned answer to an admin request.
pub(super) struct AdminEvent(*mut rd::rd_kafka_event_t);

impl AdminEvent {
    pub(super) fn pointer(&self) -> *mut rd::rd_kafka_event_t {
        self.0
    }

    /// Code and text, when the request as a whole failed.
    pub(super) fn failure(&self) -> Option<(RDKafkaErrorCode, String)> {
        // SAFETY: the event is live as long as `self`; the text is copied.
        unsafe {
            match rd::rd_kafka_event_error(self.0) as i32 {
                0 => None,
                code => Some((error_code(code), owned(rd::rd_kafka_event_error_string(self.0)))),
            }
        }
    }
}

impl Drop for AdminEvent {
    fn drop(&mut self) {
        // SAFETY: this value owns the event and gives it back once.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// `text` must be NULL or a live C string.
pub(super) unsafe fn owned(text: *const std::ffi::c_char) -> String {
    match text.is_null() {
        true => String::new(),
        // SAFETY: the caller promises it.
        false => unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned(),
    }
}

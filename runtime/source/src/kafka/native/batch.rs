//! Records taken from the consumer's queue many at a time.
//!
//! One call for a batch costs 0.41 CPU-seconds a million records, one call for each 0.70.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;

use super::{Client, error_code};

/// What one call to librdkafka takes at the most; the pointers to it are 32 KiB.
const TAKEN_MAX: usize = 4096;

/// One record, or an error in the stream of records. It lives until the batch is dropped.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Message<'a> {
    // A pointer and not a reference: `err` is an enum in the binding, and a broker may send a code
    // that it does not list.
    pointer: *const rd::rd_kafka_message_t,
    batch: PhantomData<&'a Batch>,
}

/// Messages taken and not yet given back.
pub(in crate::kafka) struct Batch(Vec<*mut rd::rd_kafka_message_t>);

impl Client {
    /// Takes up to `count_max` messages that are there already, after waiting up to `wait` for the first.
    pub(in crate::kafka) fn take(&mut self, wait: Duration, count_max: usize) -> Batch {
        let mut batch = Batch(Vec::with_capacity(count_max.min(TAKEN_MAX)));
        // librdkafka waits until the batch is full or the time is over, so the first message is
        // taken alone and the rest without waiting.
        if wait.is_zero() || self.take_into(&mut batch, wait, 1) {
            self.take_into(&mut batch, Duration::ZERO, count_max.min(TAKEN_MAX));
        }
        batch
    }

    /// Fills `batch` up to `count_max` messages; false if it got none.
    fn take_into(&mut self, batch: &mut Batch, wait: Duration, count_max: usize) -> bool {
        let messages = &mut batch.0;
        messages.reserve(count_max.saturating_sub(messages.len()));
        let free_count = count_max.saturating_sub(messages.len());
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let free = messages.spare_capacity_mut();
        assert!(free_count <= free.len());
        // SAFETY: the queue is live as long as `self`. `free` has room for `free_count` pointers;
        // librdkafka writes the first `taken` of them, each a message that we then own.
        let taken = unsafe {
            rd::rd_kafka_consume_batch_queue(
                self.records.0.as_ptr(),
                wait_ms,
                free.as_mut_ptr().cast(),
                free_count,
            )
        };
        // -1 stands for an error of the call itself, of which the queue's form has none.
        let taken = usize::try_from(taken).unwrap_or(0);
        assert!(taken <= free_count, "librdkafka took more than there was room for");
        let len = messages.len() + taken;
        // SAFETY: the pointers up to `len` were written just now, within the capacity.
        unsafe { messages.set_len(len) };
        taken > 0
    }
}

impl Batch {
    pub(in crate::kafka) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::kafka) fn get(&self, index: usize) -> Message<'_> {
        Message { pointer: self.0[index], batch: PhantomData }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for message in &self.0 {
            // SAFETY: each message is owned by the batch and given back once; no `Message` outlives it.
            unsafe { rd::rd_kafka_message_destroy(*message) };
        }
    }
}

impl<'a> Message<'a> {
    /// Absent for a record.
    pub(in crate::kafka) fn error(self) -> Option<RDKafkaErrorCode> {
        // SAFETY: the message is live, and the field is an enum of 32 bits read as a number.
        match unsafe { (&raw const (*self.pointer).err).cast::<i32>().read() } {
            0 => None,
            code => Some(error_code(code)),
        }
    }

    pub(in crate::kafka) fn error_text(self) -> String {
        // SAFETY: the message is live; the text lives as long and is copied at once.
        unsafe {
            let text = rd::rd_kafka_message_errstr(self.pointer);
            match text.is_null() {
                true => String::new(),
                false => CStr::from_ptr(text).to_string_lossy().into_owned(),
            }
        }
    }

    /// Tells topics of one batch apart, cheaper than their names.
    pub(in crate::kafka) fn topic_key(self) -> usize {
        // SAFETY: the message is live; the pointer is only compared.
        unsafe { (&raw const (*self.pointer).rkt).read() as usize }
    }

    /// Absent for an error that belongs to no topic.
    pub(in crate::kafka) fn topic(self) -> Option<&'a str> {
        // SAFETY: the message is live and keeps its topic alive, whose name lives as long.
        unsafe {
            let topic = (&raw const (*self.pointer).rkt).read();
            if topic.is_null() {
                return None;
            }
            CStr::from_ptr(rd::rd_kafka_topic_name(topic)).to_str().ok()
        }
    }

    pub(in crate::kafka) fn partition(self) -> i32 {
        // SAFETY: the message is live.
        unsafe { (&raw const (*self.pointer).partition).read() }
    }

    pub(in crate::kafka) fn offset(self) -> i64 {
        // SAFETY: the message is live.
        unsafe { (&raw const (*self.pointer).offset).read() }
    }

    /// Milliseconds since 1970, -1 when the record has none.
    pub(in crate::kafka) fn timestamp_ms(self) -> i64 {
        // SAFETY: the message is live; a NULL type is not written to.
        unsafe { rd::rd_kafka_message_timestamp(self.pointer, std::ptr::null_mut()) }
    }

    pub(in crate::kafka) fn key(self) -> Option<&'a [u8]> {
        // SAFETY: key and length of a live message belong together; NULL stands for no key.
        unsafe {
            let (key, len) = ((*self.pointer).key, (*self.pointer).key_len);
            bytes(key, len)
        }
    }

    pub(in crate::kafka) fn value(self) -> Option<&'a [u8]> {
        // SAFETY: payload and length of a live message belong together; NULL stands for a tombstone.
        unsafe {
            let (value, len) = ((*self.pointer).payload, (*self.pointer).len);
            bytes(value, len)
        }
    }

    pub(in crate::kafka) fn headers(self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is live and keeps the headers, which it parses now. They are read
        // only when the call says that there are some.
        let error = unsafe { rd::rd_kafka_message_headers(self.pointer, &mut headers) };
        if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: `headers` is live; past the last index the call writes nothing and says so.
            let error = unsafe {
                rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut len)
            };
            if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: the name is a C string and the value is `len` bytes or NULL, both of the live headers.
            let (name, value) = unsafe { (CStr::from_ptr(name), bytes(value, len)) };
            each(name.to_bytes(), value);
        }
    }
}

/// `pointer` must be NULL or stand for `len` bytes that live for `'a`.
unsafe fn bytes<'a>(pointer: *const std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller promises it.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast(), len) })
}

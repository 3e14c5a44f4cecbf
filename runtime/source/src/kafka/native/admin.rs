//! Facts about topics: their ids and partitions, and offsets of many partitions in one request.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use floe_core::{Offset, TopicPartition};
use rdkafka::bindings as rd;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::events::{AdminEvent, owned, wait};
use super::{Client, Queue, error_code};

/// Why a request as a whole has no answer.
#[derive(Debug)]
pub(in crate::kafka) struct AdminFailure {
    pub(in crate::kafka) code: RDKafkaErrorCode,
    pub(in crate::kafka) text: String,
}

pub(in crate::kafka) struct TopicDescription {
    pub(in crate::kafka) topic: String,
    /// Why this topic has no description.
    pub(in crate::kafka) error: Option<RDKafkaErrorCode>,
    /// Absent when the brokers are older than topic ids.
    pub(in crate::kafka) topic_id: Option<String>,
    pub(in crate::kafka) partitions: Vec<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum OffsetQuery {
    Earliest,
    /// The end of what is written, uncommitted records included.
    HighWatermark,
    /// The end of what a reader of committed records can read.
    LastStable,
    /// The first record at or after so many milliseconds since 1970.
    Timestamp(i64),
}

pub(in crate::kafka) struct ListedOffset {
    pub(in crate::kafka) topic_partition: TopicPartition,
    /// Why this partition has no offset.
    pub(in crate::kafka) error: Option<RDKafkaErrorCode>,
    /// Absent when no record is as late as the timestamp.
    pub(in crate::kafka) offset: Option<Offset>,
}

/// The answer comes a little later than the request's own time-out.
const ANSWER_SLACK: Duration = Duration::from_millis(500);

impl Client {
    /// Descriptions in the order of `topics`.
    pub(in crate::kafka) fn describe_topics(
        &self,
        topics: &[String],
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, AdminFailure> {
        let names: Vec<CString> =
            topics.iter().filter_map(|it| CString::new(it.as_str()).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|it| it.as_ptr()).collect();
        let queue = self.answers();
        let options =
            self.options(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        // SAFETY: `pointers` are C strings that live until the collection has copied them, which it
        // does in its constructor. Client, options and queue are live; the request copies them.
        unsafe {
            let collection =
                rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(self.handle(), collection, options.0, queue.0.as_ptr());
            rd::rd_kafka_TopicCollection_destroy(collection);
        }
        let answer = answer(&queue, timeout)?;
        let mut count = 0;
        // SAFETY: the event is the answer to a DescribeTopics request, so that its result is one; the
        // array of `count` descriptions lives as long as the event, which outlives this block.
        unsafe {
            let result = rd::rd_kafka_event_DescribeTopics_result(answer.pointer());
            let described = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            Ok((0..count).map(|index| description(*described.add(index))).collect())
        }
    }

    pub(in crate::kafka) fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        query: OffsetQuery,
        timeout: Duration,
    ) -> Result<Vec<ListedOffset>, AdminFailure> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for it in partitions {
            asked.add_partition(&it.topic, it.partition);
        }
        let spec = match query {
            OffsetQuery::Earliest => {
                rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64
            }
            OffsetQuery::HighWatermark | OffsetQuery::LastStable => {
                rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64
            }
            OffsetQuery::Timestamp(timestamp_ms) => timestamp_ms.max(0),
        };
        let isolation = match query {
            OffsetQuery::HighWatermark => {
                rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
            OffsetQuery::Earliest | OffsetQuery::LastStable | OffsetQuery::Timestamp(_) => {
                rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
        };
        let queue = self.answers();
        let options = self.options(rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout);
        // SAFETY: the list is live and ours alone, with `cnt` elements; client, options and queue are
        // live, and the request copies all of them. The isolation level is valid for this request, so
        // that the error is NULL, which destroying allows.
        unsafe {
            let list = asked.ptr();
            for index in 0..(*list).cnt as usize {
                (*(*list).elems.add(index)).offset = spec;
            }
            rd::rd_kafka_error_destroy(rd::rd_kafka_AdminOptions_set_isolation_level(
                options.0, isolation,
            ));
            rd::rd_kafka_ListOffsets(self.handle(), list, options.0, queue.0.as_ptr());
        }
        let answer = answer(&queue, timeout)?;
        let mut count = 0;
        // SAFETY: as in `describe_topics`: the event answers a ListOffsets request, and its `count`
        // results live as long as it does.
        unsafe {
            let result = rd::rd_kafka_event_ListOffsets_result(answer.pointer());
            let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
            Ok((0..count).map(|index| listed(*infos.add(index))).collect())
        }
    }

    /// A queue for the answer to one request.
    fn answers(&self) -> Queue {
        // SAFETY: the client is live; the call returns a new reference and never NULL.
        let queue = unsafe { rd::rd_kafka_queue_new(self.handle()) };
        Queue(NonNull::new(queue).expect("librdkafka aborts when it cannot allocate"))
    }

    fn options(&self, request: rd::rd_kafka_admin_op_t, timeout: Duration) -> Options {
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is live; the options are new and owned by `Options`. A time-out is valid
        // for every request; where it is not, the default of a minute stands and `answer` ends sooner.
        unsafe {
            let options = rd::rd_kafka_AdminOptions_new(self.handle(), request);
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options,
                timeout_ms,
                std::ptr::null_mut(),
                0,
            );
            Options(options)
        }
    }
}

struct Options(*mut rd::rd_kafka_AdminOptions_t);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: this value owns the options and gives them back once.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

fn answer(queue: &Queue, timeout: Duration) -> Result<AdminEvent, AdminFailure> {
    let Some(event) = wait(queue, timeout + ANSWER_SLACK) else {
        let code = RDKafkaErrorCode::OperationTimedOut;
        return Err(AdminFailure { code, text: "no answer".to_owned() });
    };
    match event.failure() {
        None => Ok(event),
        Some((code, text)) => Err(AdminFailure { code, text }),
    }
}

/// `description` must be live.
unsafe fn description(description: *const rd::rd_kafka_TopicDescription_t) -> TopicDescription {
    let mut count = 0;
    // SAFETY: everything read here belongs to the live description; strings are copied. The uuid's
    // halves are numbers, and its text lives inside the uuid.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(description);
        let code = match error.is_null() {
            true => 0,
            false => rd::rd_kafka_error_code(error) as i32,
        };
        let error = (code != 0).then(|| error_code(code));
        let topic = owned(rd::rd_kafka_TopicDescription_name(description));
        if error.is_some() {
            return TopicDescription { topic, error, topic_id: None, partitions: Vec::new() };
        }
        let uuid = rd::rd_kafka_TopicDescription_topic_id(description);
        let is_given = !uuid.is_null()
            && (rd::rd_kafka_Uuid_most_significant_bits(uuid) != 0
                || rd::rd_kafka_Uuid_least_significant_bits(uuid) != 0);
        let topic_id = is_given.then(|| owned(rd::rd_kafka_Uuid_base64str(uuid)));
        let infos = rd::rd_kafka_TopicDescription_partitions(description, &mut count);
        let mut partitions: Vec<i32> = (0..count)
            .map(|index| rd::rd_kafka_TopicPartitionInfo_partition(*infos.add(index)))
            .collect();
        partitions.sort_unstable();
        TopicDescription { topic, error: None, topic_id, partitions }
    }
}

/// `info` must be live.
unsafe fn listed(info: *const rd::rd_kafka_ListOffsetsResultInfo_t) -> ListedOffset {
    // SAFETY: the partition belongs to the live info; its topic is a C string and copied. The error
    // is read as a number, for a broker may send a code that the binding does not list.
    unsafe {
        let partition = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let offset = (*partition).offset;
        let code = (&raw const (*partition).err).cast::<i32>().read();
        ListedOffset {
            topic_partition: TopicPartition::new(
                &owned((*partition).topic),
                (*partition).partition,
            ),
            error: (code != 0).then(|| error_code(code)),
            offset: (offset >= 0).then_some(Offset(offset)),
        }
    }
}

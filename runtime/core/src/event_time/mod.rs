//! Event time, in milliseconds since 1970-01-01T00:00:00Z: where a record has it, and how the watermark follows.

mod column;
mod watermark;

pub use column::EventTimeColumn;
pub use watermark::{PartitionWatermark, WatermarkRule, follow, frontier};

/// When an event happened, by its record. Also an operator's virtual time: the greatest so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before any record.
    pub const MIN: EventTime = EventTime(i64::MIN);

    /// `None` before any record: what has not begun is no moment.
    pub fn begun(self) -> Option<EventTime> {
        (self != EventTime::MIN).then_some(self)
    }
}

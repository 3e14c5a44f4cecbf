//! Event time, in milliseconds since 1970-01-01T00:00:00Z.

/// When an event happened, by its record. Also an operator's virtual time: the greatest so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before any record.
    pub const MIN: EventTime = EventTime(i64::MIN);
}

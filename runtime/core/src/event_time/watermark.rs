//! The watermark of a partition: how it follows the records, and how it goes on while there are none.
//!
//! A watermark `w` promises that no record with an event time before `w` will come any more.
//! It never goes back, whatever the rule was before a restart.

use std::time::Duration;

use crate::event_time::{EventTime, EventTimeColumn};
use crate::position::TopicPartition;

/// What `[source] event-time` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkRule {
    /// `None`: the records' own timestamps.
    pub column: Option<EventTimeColumn>,
    /// How far a record may lie behind the newest one of its partition and not be late.
    pub out_of_order: Duration,
    /// A partition without a record for this long no longer waits for one. `None`: it waits for ever.
    pub idle_after: Option<Duration>,
}

impl WatermarkRule {
    /// The watermark behind a batch whose greatest event time is `newest`; `None` if it stays.
    pub fn after(&self, watermark: EventTime, newest: EventTime) -> Option<EventTime> {
        let out_of_order = i64::try_from(self.out_of_order.as_millis()).unwrap_or(i64::MAX);
        let next = EventTime(newest.0.saturating_sub(out_of_order));
        (next > watermark).then_some(next)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionWatermark {
    pub task: TopicPartition,
    pub watermark: EventTime,
    /// It has no data, so the others don't wait for it.
    pub idle: bool,
}

/// The least watermark of those that have data; `None` when none has.
pub fn frontier<'a>(
    partitions: impl IntoIterator<Item = &'a PartitionWatermark>,
) -> Option<EventTime> {
    partitions.into_iter().filter(|it| !it.idle).map(|it| it.watermark).min()
}

/// Idle partitions follow those that have data: the partitions whose watermark goes on, and to where.
///
/// When all are idle none goes on: nobody knows how far event time has come.
pub fn follow(partitions: &[PartitionWatermark]) -> Vec<(TopicPartition, EventTime)> {
    let Some(frontier) = frontier(partitions) else { return Vec::new() };
    let behind = partitions.iter().filter(|it| it.idle && it.watermark < frontier);
    behind.map(|it| (it.task.clone(), frontier)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(of: &[(i64, bool)]) -> Vec<PartitionWatermark> {
        let partition = |(number, (watermark, idle)): (usize, &(i64, bool))| PartitionWatermark {
            task: TopicPartition::new("t", number as i32),
            watermark: EventTime(*watermark),
            idle: *idle,
        };
        of.iter().enumerate().map(partition).collect()
    }

    fn followed(of: &[(i64, bool)]) -> Vec<(i32, i64)> {
        follow(&partitions(of)).into_iter().map(|(task, to)| (task.partition, to.0)).collect()
    }

    #[test]
    fn it_follows_the_newest_record_at_a_distance_and_never_goes_back() {
        let rule = WatermarkRule {
            column: None,
            out_of_order: Duration::from_millis(10),
            idle_after: None,
        };
        assert_eq!(rule.after(EventTime::MIN, EventTime(100)), Some(EventTime(90)));
        assert_eq!(rule.after(EventTime(90), EventTime(100)), None);
        assert_eq!(rule.after(EventTime(90), EventTime(99)), None);
        assert_eq!(rule.after(EventTime(90), EventTime(101)), Some(EventTime(91)));
        assert_eq!(rule.after(EventTime::MIN, EventTime::MIN), None);
        let more = WatermarkRule { out_of_order: Duration::from_secs(3600), ..rule };
        assert_eq!(more.after(EventTime(90), EventTime(200)), None);
    }

    #[test]
    fn idle_ones_follow_the_least_of_the_others() {
        assert_eq!(followed(&[(50, false), (40, false), (10, true), (45, true)]), [(2, 40)]);
        assert_eq!(followed(&[(50, false), (i64::MIN, true)]), [(1, 50)]);
        // One that has not begun, and is not idle yet, is waited for.
        assert_eq!(followed(&[(50, false), (i64::MIN, false), (1, true)]), []);
        assert_eq!(followed(&[(50, true), (40, true)]), []);
        assert_eq!(followed(&[]), []);
    }
}

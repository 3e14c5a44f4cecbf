//! Idle partitions: the reader notices them by the wall clock and sends their tasks the others' watermark.
//!
//! What a task was told is a step of its journal, so that a re-execution asks no clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use floe_core::event_time::{PartitionWatermark, follow};
use floe_core::ports::{Clock, PartitionFacts};
use floe_core::{EventTime, Offset, Position, TopicPartition};

/// The watermark of each task: written by its worker, read by the reader. One that is read a moment too early
/// is a smaller one, and holds just as well.
#[derive(Debug, Default)]
pub(crate) struct Watermarks(BTreeMap<TopicPartition, AtomicI64>);

impl Watermarks {
    pub(crate) fn of(tasks: impl Iterator<Item = (TopicPartition, EventTime)>) -> Watermarks {
        Watermarks(tasks.map(|(task, watermark)| (task, AtomicI64::new(watermark.0))).collect())
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.keys()
    }

    pub(crate) fn put(&self, task: &TopicPartition, watermark: EventTime) {
        if let Some(it) = self.0.get(task) {
            it.store(watermark.0, Ordering::Relaxed);
        }
    }
}

pub(crate) struct IdleWatch {
    /// For each task whose partition may be idle; never empty.
    after: BTreeMap<TopicPartition, Duration>,
    clock: Arc<dyn Clock>,
    watermarks: Arc<Watermarks>,
    /// When the last record of a partition came, or reading began.
    last_record: BTreeMap<TopicPartition, Duration>,
    /// The ends of the partitions when they were last looked at.
    ends: BTreeMap<TopicPartition, Offset>,
    looked: Duration,
}

/// Looks within the time after which a partition is idle: it is noticed at most a quarter too late.
const LOOKS: u32 = 4;

impl IdleWatch {
    pub(crate) fn new(
        after: BTreeMap<TopicPartition, Duration>,
        clock: Arc<dyn Clock>,
        watermarks: Arc<Watermarks>,
        partitions: &[PartitionFacts],
    ) -> IdleWatch {
        let now = clock.monotonic();
        let last_record = watermarks.0.keys().map(|it| (it.clone(), now)).collect();
        let mut watch =
            IdleWatch { after, clock, watermarks, last_record, ends: BTreeMap::new(), looked: now };
        watch.ends(partitions);
        watch
    }

    pub(crate) fn record(&mut self, task: &TopicPartition) {
        let now = self.clock.monotonic();
        if let Some(last) = self.last_record.get_mut(task) {
            *last = now;
        }
    }

    pub(crate) fn ends(&mut self, partitions: &[PartitionFacts]) {
        for it in partitions {
            self.ends.insert(it.topic_partition.clone(), it.end);
        }
    }

    /// While input was held back nothing could come: that time does not count.
    pub(crate) fn resume(&mut self) {
        let now = self.clock.monotonic();
        self.last_record.values_mut().for_each(|it| *it = now);
    }

    /// The tasks that are to be told a watermark. A partition with records that can be read, and were not,
    /// is not idle, however long they take to come.
    pub(crate) fn look(&mut self, position: &Position) -> Vec<(TopicPartition, EventTime)> {
        let now = self.clock.monotonic();
        let shortest = self.after.values().min().copied().unwrap_or(Duration::MAX);
        if now.saturating_sub(self.looked) < shortest / LOOKS {
            return Vec::new();
        }
        self.looked = now;
        let partition = |(task, watermark): (&TopicPartition, &AtomicI64)| {
            let unread = self.ends.get(task).zip(position.0.get(task)).is_some_and(|(e, p)| p < e);
            let since = now.saturating_sub(self.last_record[task]);
            let quiet = self.after.get(task).is_some_and(|after| since >= *after);
            PartitionWatermark {
                task: task.clone(),
                watermark: EventTime(watermark.load(Ordering::Relaxed)),
                idle: quiet && !unread,
            }
        };
        let partitions: Vec<_> = self.watermarks.0.iter().map(partition).collect();
        follow(&partitions)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Default)]
    struct HandClock(AtomicU64);

    impl Clock for HandClock {
        fn wall_ms(&self) -> i64 {
            0
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn task(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn facts(partition: i32, end: i64) -> PartitionFacts {
        PartitionFacts {
            topic_partition: task(partition),
            topic_id: None,
            earliest: Offset(0),
            end: Offset(end),
        }
    }

    #[test]
    fn a_quiet_partition_without_unread_records_follows_the_others() {
        let clock = Arc::new(HandClock::default());
        let at = |ms| clock.0.store(ms, Ordering::Relaxed);
        let begin = (0..3).map(|it| (task(it), EventTime::MIN));
        let watermarks = Arc::new(Watermarks::of(begin));
        let after = (0..3).map(|it| (task(it), Duration::from_millis(100))).collect();
        let known = [facts(0, 9), facts(1, 0), facts(2, 5)];
        let shared = Arc::<HandClock>::clone(&clock);
        let mut watch = IdleWatch::new(after, shared, Arc::clone(&watermarks), &known);
        let mut position = Position((0..3).map(|it| (task(it), Offset(0))).collect());

        position.0.insert(task(0), Offset(9));
        watermarks.put(&task(0), EventTime(70));
        at(99);
        watch.record(&task(0));
        assert_eq!(watch.look(&position), [], "nobody was quiet for 100 ms");
        at(130);
        assert_eq!(
            watch.look(&position),
            [],
            "partition 2 has five records to read: it is waited for"
        );
        position.0.insert(task(2), Offset(5));
        at(160);
        let idle = [(task(1), EventTime(70)), (task(2), EventTime(70))];
        assert_eq!(watch.look(&position), idle);
        at(170);
        assert_eq!(watch.look(&position), [], "it was looked at just now");
        watch.resume();
        at(200);
        assert_eq!(watch.look(&position), [], "input was held back until 170 ms");
        at(300);
        assert_eq!(watch.look(&position), [], "all are idle");
    }
}

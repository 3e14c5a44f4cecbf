//! What a run shows of itself: numbers that the loop writes and the status page, the progress line and
//! the metrics read. They inform; nothing decides by them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use floe_core::{ErrorKind, TopicPartition};
use serde::Serialize;

use crate::dead_letter::Class;

/// Names of everything that is exported, in one place.
pub mod names {
    pub const RECORDS: &str = "floe_records";
    pub const SOURCE_LAG_RECORDS: &str = "floe_source_lag_records";
    pub const SOURCE_LAG_SECONDS: &str = "floe_source_lag_seconds";
    pub const WATERMARK_SECONDS: &str = "floe_watermark_seconds";
    pub const BATCH_SECONDS: &str = "floe_batch_seconds";
    pub const CHECKPOINT_PAUSE_SECONDS: &str = "floe_checkpoint_pause_seconds";
    pub const ALIGNMENT_SECONDS: &str = "floe_alignment_seconds";
    pub const BARRIERS_OVERTOOK: &str = "floe_barriers_overtook";
    pub const OVERTAKEN_BYTES: &str = "floe_overtaken_bytes";
    pub const CHECKPOINT_SECONDS: &str = "floe_checkpoint_seconds";
    pub const CHECKPOINT_BYTES: &str = "floe_checkpoint_bytes";
    pub const CHECKPOINT_EPOCH: &str = "floe_checkpoint_epoch";
    pub const COMMIT_SECONDS: &str = "floe_commit_seconds";
    pub const COMMIT_AGE_SECONDS: &str = "floe_commit_age_seconds";
    pub const COMMITS_PENDING: &str = "floe_commits_pending";
    pub const COMMIT_RETRIES: &str = "floe_commit_retries";
    pub const STORE_RETRIES: &str = "floe_store_retries";
    pub const GUEST_MEMORY_BYTES: &str = "floe_guest_memory_bytes";
    pub const GUEST_SECONDS: &str = "floe_guest_seconds";
    pub const DEAD_LETTERS: &str = "floe_dead_letters";
    pub const VERIFIED_EPOCHS: &str = "floe_verified_epochs";
    pub const BACKPRESSURE_SECONDS: &str = "floe_backpressure_seconds";
}

/// Why a commit was tried again: its outcome is not known, or it was not applied.
pub const RETRY_REASONS: [&str; 2] = ["outcome-unknown", "not-applied"];

/// How long calls of operators took, or whatever else is done often.
#[derive(Debug, Default)]
pub struct CallTimes {
    buckets: [AtomicU64; CALL_BUCKETS],
    nanos: AtomicU64,
}

/// Upper ends of 16 µs × 2ⁿ, to 8.6 s; the last has none.
const CALL_BUCKETS: usize = 21;
const FIRST_BUCKET_NANOS: u64 = 1 << 14;

impl CallTimes {
    pub fn observe(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        let over = nanos.div_ceil(FIRST_BUCKET_NANOS).max(1);
        let bucket = over.next_power_of_two().ilog2() as usize;
        self.buckets[bucket.min(CALL_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// (upper end in seconds, calls in the bucket).
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let end = |bucket: usize| match bucket == CALL_BUCKETS - 1 {
            true => f64::MAX,
            false => Duration::from_nanos(FIRST_BUCKET_NANOS << bucket).as_secs_f64(),
        };
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        self.buckets.iter().enumerate().map(|(bucket, it)| (end(bucket), count(it))).collect()
    }
}

/// Shared by the loop (writes) and everybody who shows something (reads).
#[derive(Debug, Default)]
pub struct Status {
    pub records_in: AtomicU64,
    pub rows_out: AtomicU64,
    /// Records that were not taken, by class in the order of `Class::ALL`.
    pub rejected: [AtomicU64; Class::ALL.len()],
    pub guest_calls: CallTimes,
    /// From the first barrier at a worker behind a re-keying to the last of them.
    pub alignments: CallTimes,
    /// Barriers that overtook rows at a worker, and what they overtook.
    pub barriers_overtook: AtomicU64,
    pub bytes_overtaken: AtomicU64,
    pub backpressure_nanos: AtomicU64,
    pub commits_pending: AtomicU64,
    /// Commits tried again, by the reasons of `RETRY_REASONS`.
    pub commit_retries: [AtomicU64; RETRY_REASONS.len()],
    /// The log's own count of requests to the store that were asked again.
    pub store_retries: OnceLock<Arc<AtomicU64>>,
    pub guest_memory_bytes: AtomicU64,
    /// Greatest record timestamp, ms; `i64::MIN` before the first.
    pub virtual_time_ms: AtomicI64,
    /// Restored and reading.
    pub ready: AtomicU64,
    pub generation: AtomicU64,
    /// When this process last looked for files prepared in vain, by the clock that never goes back; 0: never.
    pub swept_ms: AtomicU64,
    tasks: Mutex<BTreeMap<TopicPartition, TaskStatus>>,
    epochs: Mutex<Vec<EpochStatus>>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct TaskStatus {
    pub next_offset: i64,
    /// The end of the partition when it was last looked at.
    pub end_offset: i64,
    pub records: u64,
    pub memory_bytes: u64,
    pub virtual_time_ms: Option<i64>,
    /// `None` where none was told yet.
    pub watermark_ms: Option<i64>,
}

/// One epoch of the strip on the status page; times are seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EpochStatus {
    pub epoch: u64,
    pub records: u64,
    pub rows: u64,
    pub pause_seconds: f64,
    pub checkpoint_seconds: f64,
    /// The operators' memory.
    pub image_bytes: u64,
    /// Pages that the pause copied.
    pub dirty_bytes: u64,
    /// What was stored of them.
    pub written_bytes: u64,
    pub completed_ms: i64,
    pub commit_seconds: Option<f64>,
    pub committed_ms: Option<i64>,
    pub snapshot_id: Option<i64>,
}

/// Epochs kept for the strip.
pub const EPOCHS_MAX: usize = 120;

impl Status {
    pub fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub fn reject(&self, class: Class) {
        Status::add(&self.rejected[class as usize], 1);
    }

    pub fn rejected_by_class(&self) -> [u64; Class::ALL.len()] {
        self.rejected.each_ref().map(|it| it.load(Ordering::Relaxed))
    }

    pub fn rejected_total(&self) -> u64 {
        self.rejected_by_class().iter().sum()
    }

    pub fn retry_commit(&self, reason: &ErrorKind) {
        let known = usize::from(*reason != ErrorKind::Unknown);
        Status::add(&self.commit_retries[known], 1);
    }

    pub fn update_task(&self, task: &TopicPartition, update: impl FnOnce(&mut TaskStatus)) {
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        match tasks.get_mut(task) {
            Some(status) => update(status),
            None => update(tasks.entry(task.clone()).or_default()),
        }
    }

    pub fn tasks(&self) -> Vec<(TopicPartition, TaskStatus)> {
        let tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks.iter().map(|(task, status)| (task.clone(), status.clone())).collect()
    }

    /// Records that can be read and were not.
    pub fn lag_records(&self) -> u64 {
        self.tasks().iter().map(|(_, it)| (it.end_offset - it.next_offset).max(0) as u64).sum()
    }

    pub fn epochs(&self) -> Vec<EpochStatus> {
        self.epochs.lock().expect("no holder of this lock panics").clone()
    }

    pub fn push_epoch(&self, epoch: EpochStatus) {
        let mut epochs = self.epochs.lock().expect("no holder of this lock panics");
        if epochs.len() == EPOCHS_MAX {
            epochs.remove(0);
        }
        epochs.push(epoch);
    }

    pub fn update_epoch(&self, number: u64, update: impl FnOnce(&mut EpochStatus)) {
        let mut epochs = self.epochs.lock().expect("no holder of this lock panics");
        if let Some(epoch) = epochs.iter_mut().rev().find(|it| it.epoch == number) {
            update(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_in_the_bucket_that_holds_it() {
        let times = CallTimes::default();
        for nanos in [0, 1 << 14, (1 << 14) + 1, 1 << 20, u64::MAX >> 1] {
            times.observe(Duration::from_nanos(nanos));
        }
        let filled: Vec<(f64, u64)> =
            times.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
        let wanted =
            [(seconds(1 << 14), 2), (seconds(1 << 15), 1), (seconds(1 << 20), 1), (f64::MAX, 1)];
        assert_eq!(filled, wanted);
    }
}

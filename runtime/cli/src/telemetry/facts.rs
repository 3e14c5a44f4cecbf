//! What a run is, and how it stands: the one value behind `/status.json`, the page and `floe status`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use floe_pipeline::config::{Origin, PipelineSpec, SourceSpec, Topics};
use floe_pipeline::telemetry::{EpochStatus, Status, TaskStatus};
use serde::Serialize;

use crate::guarantee::HeldGuarantee;
use crate::replay::verifier::Verified;
use crate::telemetry::sampler::Rates;

/// What does not change while a pipeline runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) version: &'static str,
    pub(crate) pipeline: String,
    pub(crate) file: String,
    pub(crate) guarantee: HeldGuarantee,
    pub(crate) source: String,
    pub(crate) operators: Vec<OperatorFacts>,
    pub(crate) sink: String,
    pub(crate) table: String,
    pub(crate) dead_letters: Option<String>,
    pub(crate) checkpoint_store: String,
    pub(crate) interval_seconds: f64,
    pub(crate) started_ms: i64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct OperatorFacts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) file: String,
    /// blake3 of the module, as hexadecimal digits.
    pub(crate) module_hash: String,
    pub(crate) on_error: &'static str,
}

/// How the run stands now.
#[derive(Debug, Serialize)]
pub(crate) struct View<'a> {
    #[serde(flatten)]
    pub(crate) facts: &'a Facts,
    pub(crate) now_ms: i64,
    pub(crate) ready: bool,
    pub(crate) generation: u64,
    pub(crate) records_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) rejected: u64,
    pub(crate) records_per_second: f64,
    pub(crate) rows_per_second: f64,
    pub(crate) lag_records: u64,
    pub(crate) lag_seconds: f64,
    pub(crate) virtual_time_ms: Option<i64>,
    /// The least of the tasks; `None` until each has one.
    pub(crate) watermark_ms: Option<i64>,
    pub(crate) commits_pending: u64,
    pub(crate) commit_retries: u64,
    pub(crate) commit_age_seconds: f64,
    pub(crate) guest_memory_bytes: u64,
    pub(crate) guest_seconds: f64,
    pub(crate) backpressure_seconds: f64,
    pub(crate) tasks: Vec<TaskView>,
    pub(crate) epochs: Vec<EpochStatus>,
}

impl View<'_> {
    /// The newest epoch whose manifest is visible; the strip may end with one under way.
    pub(crate) fn newest_complete(&self) -> Option<&EpochStatus> {
        self.epochs.iter().rev().find(|it| is_complete(it))
    }
}

pub(crate) fn is_complete(epoch: &EpochStatus) -> bool {
    epoch.completed_ms > 0
}

#[derive(Debug, Serialize)]
pub(crate) struct TaskView {
    pub(crate) task: String,
    pub(crate) lag_records: u64,
    #[serde(flatten)]
    pub(crate) status: TaskStatus,
}

/// A run, seen from outside of its loop.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) facts: Arc<Facts>,
    pub(crate) status: Arc<Status>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) verified: Arc<Verified>,
}

impl Watched {
    pub(crate) fn view(&self) -> View<'_> {
        let status = &self.status;
        let now_ms = wall_ms();
        let tasks: Vec<TaskView> = status
            .tasks()
            .into_iter()
            .map(|(task, status)| TaskView {
                task: task.to_string(),
                lag_records: lag(&status),
                status,
            })
            .collect();
        let epochs = status.epochs();
        View {
            facts: &self.facts,
            now_ms,
            ready: status.ready.load(Ordering::Relaxed) != 0,
            generation: status.generation.load(Ordering::Relaxed),
            records_in: status.records_in.load(Ordering::Relaxed),
            rows_out: status.rows_out.load(Ordering::Relaxed),
            rejected: status.rejected_total(),
            records_per_second: self.rates.records_per_second(),
            rows_per_second: self.rates.rows_per_second(),
            lag_records: tasks.iter().map(|it| it.lag_records).sum(),
            lag_seconds: tasks.iter().map(|it| lag_seconds(&it.status, now_ms)).fold(0.0, f64::max),
            virtual_time_ms: tasks.iter().filter_map(|it| it.status.virtual_time_ms).max(),
            // `None` is less than any.
            watermark_ms: tasks.iter().map(|it| it.status.watermark_ms).min().flatten(),
            commits_pending: status.commits_pending.load(Ordering::Relaxed),
            commit_retries: status.commit_retries.iter().map(|it| it.load(Ordering::Relaxed)).sum(),
            commit_age_seconds: commit_age_seconds(&epochs, self.facts.started_ms, now_ms),
            guest_memory_bytes: tasks.iter().map(|it| it.status.memory_bytes).sum(),
            guest_seconds: status.guest_calls.seconds(),
            backpressure_seconds: nanos(&status.backpressure_nanos),
            tasks,
            epochs,
        }
    }
}

/// Since the last commit; since the start, where there was none. An epoch without rows is committed too.
fn commit_age_seconds(epochs: &[EpochStatus], started_ms: i64, now_ms: i64) -> f64 {
    let last = epochs.iter().rev().find_map(|it| it.committed_ms).unwrap_or(started_ms);
    (now_ms - last).max(0) as f64 / 1e3
}

fn nanos(counter: &std::sync::atomic::AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64 / 1e9
}

pub(crate) fn lag(task: &TaskStatus) -> u64 {
    (task.end_offset - task.next_offset).max(0) as u64
}

/// How old the newest record that was taken is, while there are newer ones.
pub(crate) fn lag_seconds(task: &TaskStatus, now_ms: i64) -> f64 {
    match task.virtual_time_ms {
        Some(newest) if lag(task) > 0 => (now_ms - newest).max(0) as f64 / 1e3,
        Some(_) | None => 0.0,
    }
}

/// "kafka payments at 127.0.0.1:9092".
pub(crate) fn source_text(spec: &PipelineSpec) -> String {
    match spec.sources.as_slice() {
        [one] => origin_text(&one.origin),
        several => {
            let named = |it: &SourceSpec| format!("{}: {}", it.name, origin_text(&it.origin));
            several.iter().map(named).collect::<Vec<_>>().join("; ")
        }
    }
}

pub(crate) fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::Recording { file, topics } if topics.is_empty() => {
            format!("recording {}", file.display())
        }
        Origin::Recording { file, topics } => {
            format!("{} of recording {}", topics.join(", "), file.display())
        }
        Origin::Kafka { topics: Topics::Named(names), bootstrap_servers, .. } => {
            format!("kafka {} at {bootstrap_servers}", names.join(", "))
        }
        Origin::Kafka { topics: Topics::Pattern(pattern), bootstrap_servers, .. } => {
            format!("kafka /{pattern}/ at {bootstrap_servers}")
        }
    }
}

pub(crate) fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
}

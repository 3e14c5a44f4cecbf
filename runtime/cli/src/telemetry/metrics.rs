//! The metrics, in Prometheus's text format: read from the run's status at each scrape.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use floe_pipeline::dead_letter::Class;
use floe_pipeline::telemetry::{CallTimes, EpochStatus, RETRY_REASONS, Status, names};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::replay::verifier::RESULTS;
use crate::telemetry::facts::{Watched, is_complete, lag, lag_seconds};

/// 1 ms to 65 s.
const BUCKETS: (f64, f64, u16) = (0.001, 2.0, 17);

pub(crate) struct Metrics {
    registry: Registry,
    pauses: Histogram,
    checkpoints: Histogram,
    commits: Histogram,
    seen: Mutex<Seen>,
}

/// The newest epochs that the histograms hold.
#[derive(Default)]
struct Seen {
    completed: u64,
    committed: u64,
}

impl Metrics {
    pub(crate) fn new(watched: Watched) -> Metrics {
        let (start, factor, length) = BUCKETS;
        let histogram = || Histogram::new(exponential_buckets(start, factor, length));
        let (pauses, checkpoints, commits) = (histogram(), histogram(), histogram());
        let pipeline = watched.facts.pipeline.clone();
        let mut registry =
            Registry::with_labels([("pipeline".into(), pipeline.into())].into_iter());
        for (name, help, histogram) in [
            (
                names::CHECKPOINT_PAUSE_SECONDS,
                "How long a task stood still for a checkpoint, the longest of each epoch",
                &pauses,
            ),
            (names::CHECKPOINT_SECONDS, "From a barrier to its visible manifest", &checkpoints),
            (names::COMMIT_SECONDS, "One table commit, verified", &commits),
        ] {
            registry.register(name, help, histogram.clone());
        }
        registry.register_collector(Box::new(StatusCollector(watched)));
        Metrics { registry, pauses, checkpoints, commits, seen: Mutex::default() }
    }

    /// Takes new epochs into the histograms. Called more often than epochs pass out of the strip.
    pub(crate) fn observe(&self, status: &Status) {
        let mut seen = self.seen.lock().expect("no holder of this lock panics");
        for epoch in status.epochs() {
            if is_complete(&epoch) && epoch.epoch > seen.completed {
                seen.completed = epoch.epoch;
                self.pauses.observe(epoch.pause_seconds);
                self.checkpoints.observe(epoch.checkpoint_seconds);
            }
            if let Some(seconds) = epoch.commit_seconds
                && epoch.epoch > seen.committed
            {
                seen.committed = epoch.epoch;
                self.commits.observe(seconds);
            }
        }
    }

    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[derive(Debug)]
struct StatusCollector(Watched);

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for StatusCollector {
    fn encode(&self, mut e: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let view = self.0.view();
        let now_ms = view.now_ms;
        let operator = view.facts.operators.last().map_or("", |it| it.name.as_str());
        let mut records: Vec<(Labels<'_>, u64)> = view
            .tasks
            .iter()
            .map(|it| {
                let first = view.facts.operators.first().map_or("", |it| it.name.as_str());
                (
                    vec![
                        ("operator", operator_of(&it.task, first)),
                        ("task", &it.task),
                        ("direction", "in"),
                    ],
                    it.status.records,
                )
            })
            .collect();
        records.push((
            vec![("operator", operator), ("task", ""), ("direction", "out")],
            view.rows_out,
        ));
        counters(&mut e, names::RECORDS, "Records taken and rows handed on", &records)?;

        let each_task = |of: &dyn Fn(&crate::telemetry::facts::TaskView) -> f64| {
            view.tasks
                .iter()
                .map(|it| (vec![("task", it.task.as_str())], of(it)))
                .collect::<Vec<(Labels<'_>, f64)>>()
        };
        gauges(
            &mut e,
            names::SOURCE_LAG_RECORDS,
            "Records that can be read and were not",
            &each_task(&|it| lag(&it.status) as f64),
        )?;
        gauges(
            &mut e,
            names::SOURCE_LAG_SECONDS,
            "Age of the newest record taken, while there are newer ones",
            &each_task(&|it| lag_seconds(&it.status, now_ms)),
        )?;
        let watermarks: Vec<(Labels<'_>, f64)> = view
            .tasks
            .iter()
            .filter_map(|it| {
                let seconds = it.status.watermark_ms? as f64 / 1e3;
                Some((vec![("task", it.task.as_str())], seconds))
            })
            .collect();
        gauges(
            &mut e,
            names::WATERMARK_SECONDS,
            "The watermark, as seconds since 1970; no record before it is awaited",
            &watermarks,
        )?;
        gauges(
            &mut e,
            names::GUEST_MEMORY_BYTES,
            "Linear memory of the operators",
            &each_task(&|it| it.status.memory_bytes as f64),
        )?;

        let newest: EpochStatus = view.newest_complete().cloned().unwrap_or_default();
        gauge(
            &mut e,
            names::CHECKPOINT_EPOCH,
            "The newest complete checkpoint",
            newest.epoch as f64,
        )?;
        gauges(
            &mut e,
            names::CHECKPOINT_BYTES,
            "Bytes of the newest checkpoint: memory of the operators, of it copied in the pause, and stored",
            &[
                (vec![("kind", "image")], newest.image_bytes as f64),
                (vec![("kind", "dirty")], newest.dirty_bytes as f64),
                (vec![("kind", "written")], newest.written_bytes as f64),
            ],
        )?;
        gauge(
            &mut e,
            names::COMMIT_AGE_SECONDS,
            "Since the last table commit; alert on this one",
            view.commit_age_seconds,
        )?;
        gauge(
            &mut e,
            names::COMMITS_PENDING,
            "Complete checkpoints that wait for their commit",
            view.commits_pending as f64,
        )?;
        let status = &self.0.status;
        let retries: Vec<(Labels<'_>, u64)> = RETRY_REASONS
            .iter()
            .zip(&status.commit_retries)
            .map(|(reason, it)| (vec![("reason", *reason)], it.load(Ordering::Relaxed)))
            .collect();
        counters(&mut e, names::COMMIT_RETRIES, "Table commits tried again", &retries)?;
        let retries = status.store_retries.get().map_or(0, |it| it.load(Ordering::Relaxed));
        let what = "Requests to the checkpoint store that were asked again";
        counter(&mut e, names::STORE_RETRIES, what, retries)?;
        counter(&mut e, names::GUEST_SECONDS, "Time inside of operators", view.guest_seconds)?;
        counter(
            &mut e,
            names::BACKPRESSURE_SECONDS,
            "Time that input was held back",
            view.backpressure_seconds,
        )?;
        let verified: Vec<(Labels<'_>, u64)> = RESULTS
            .iter()
            .zip(&self.0.verified.counts)
            .map(|(result, it)| (vec![("result", *result)], it.load(Ordering::Relaxed)))
            .collect();
        counters(&mut e, names::VERIFIED_EPOCHS, "Sampled epochs run again", &verified)?;
        let rejected: Vec<(Labels<'_>, u64)> = Class::ALL
            .iter()
            .zip(status.rejected_by_class())
            .map(|(class, count)| (vec![("class", class.name())], count))
            .collect();
        counters(&mut e, names::DEAD_LETTERS, "Records that were not taken", &rejected)?;
        let alignments = "From the first barrier at a worker behind a re-keying to the last";
        times(&mut e, names::ALIGNMENT_SECONDS, alignments, &status.alignments)?;
        let overtook = status.barriers_overtook.load(Ordering::Relaxed);
        let what = "Barriers that overtook rows behind a re-keying, one for each worker";
        counter(&mut e, names::BARRIERS_OVERTOOK, what, overtook)?;
        let bytes = status.bytes_overtaken.load(Ordering::Relaxed);
        let what = "Bytes of rows that barriers overtook";
        counter(&mut e, names::OVERTAKEN_BYTES, what, bytes)?;
        times(&mut e, names::BATCH_SECONDS, "One call of an operator", &status.guest_calls)
    }
}

fn times(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    times: &CallTimes,
) -> Result<(), fmt::Error> {
    let buckets = times.buckets();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let mut histogram = e.encode_descriptor(name, help, None, MetricType::Histogram)?;
    histogram.encode_histogram::<NoLabelSet>(times.seconds(), count, &buckets, None)
}

fn counter<T>(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: T,
) -> Result<(), fmt::Error>
where
    T: EncodeCounterValue + Copy,
{
    let mut metric = e.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn counters<T>(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(Labels<'_>, T)],
) -> Result<(), fmt::Error>
where
    T: EncodeCounterValue + Copy,
{
    let mut family = e.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)?;
    }
    Ok(())
}

fn gauge<T: EncodeGaugeValue>(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: T,
) -> Result<(), fmt::Error> {
    e.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn gauges<T: EncodeGaugeValue>(
    e: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(Labels<'_>, T)],
) -> Result<(), fmt::Error> {
    let mut family = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        family.encode_family(labels)?.encode_gauge(value)?;
    }
    Ok(())
}

/// The operator that takes a task's input: of a keyed stage, the one that its name has.
fn operator_of<'a>(task: &'a str, first: &'a str) -> &'a str {
    let keyed = task.strip_prefix('@').and_then(|it| it.rsplit_once('/'));
    keyed.map_or(first, |(operator, _)| operator)
}

#[cfg(test)]
mod tests;

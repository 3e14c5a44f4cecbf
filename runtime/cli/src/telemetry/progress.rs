//! The progress line, and what is done with every epoch that passes.

use std::sync::Arc;
use std::time::Duration;

use floe_pipeline::config::units::show_bytes;

use crate::show;
use crate::telemetry::facts::{View, Watched};
use crate::telemetry::metrics::Metrics;
use crate::terminal::Terminal;

const TICK: Duration = Duration::from_millis(250);

/// Samples, counts epochs and rewrites the line until it is aborted.
pub(crate) async fn watch(watched: Watched, metrics: Arc<Metrics>, terminal: Terminal) {
    let mut tick = tokio::time::interval(TICK);
    loop {
        tick.tick().await;
        watched.rates.sample(&watched.status);
        metrics.observe(&watched.status);
        if terminal.is_terminal() {
            terminal.progress(&line(&watched.view()));
        }
    }
}

/// "payments  epoch 412  412 k rec/s  lag 1.2 M (3 s)  checkpoint 38 ms ago: 4 ms pause, 1.1 MiB  …"
fn line(view: &View<'_>) -> String {
    let mut parts = vec![view.facts.pipeline.clone()];
    let newest = view.newest_complete();
    match newest {
        Some(newest) => parts.push(format!("epoch {}", newest.epoch)),
        None if view.ready => parts.push("reading".to_owned()),
        None => parts.push("starting".to_owned()),
    }
    parts.push(format!("{} rec/s", show::count(view.records_per_second as u64)));
    parts.push(if view.lag_seconds >= 1.0 {
        format!("lag {} ({})", show::count(view.lag_records), show::seconds(view.lag_seconds))
    } else {
        format!("lag {}", show::count(view.lag_records))
    });
    if let Some(newest) = newest {
        parts.push(format!(
            "checkpoint {} ago: {} pause, {}",
            ago(view, newest.completed_ms),
            show::seconds(newest.pause_seconds),
            show_bytes(newest.written_bytes)
        ));
    }
    if let Some((committed, epoch)) =
        view.epochs.iter().rev().find_map(|it| it.committed_ms.map(|ms| (ms, it)))
    {
        parts.push(format!(
            "commit {} ago: {} rows",
            ago(view, committed),
            show::grouped(epoch.rows)
        ));
    }
    if view.rejected > 0 {
        parts.push(format!("rejected {}", show::count(view.rejected)));
    }
    if let Some(watermark) = view.watermark_ms {
        parts.push(format!("watermark {}", show::time_of_day(watermark)));
    } else if let Some(virtual_time) = view.virtual_time_ms {
        parts.push(format!("time {}", show::time_of_day(virtual_time)));
    }
    parts.join("  ")
}

fn ago(view: &View<'_>, ms: i64) -> String {
    show::seconds((view.now_ms - ms).max(0) as f64 / 1e3)
}

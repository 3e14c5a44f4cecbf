//! The second phase: commits of completed epochs, one after the other, off the hot path.

use std::sync::Arc;
use std::time::Duration;

use floe_core::committable::{CommitOutcome, CommitRequest, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::manifest::{CheckpointManifest, SinkEntry};
use floe_core::ports::{Committer, LogView};
use floe_core::{ErrorKind, EventTime, Result};

use crate::telemetry::Status;

#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) name: String,
    pub(crate) table: String,
    pub(crate) table_uuid: [u8; 16],
    pub(crate) committer: Arc<dyn Committer>,
}

/// Between two attempts, doubled each time: a busy catalog is not hammered, and one that is back is
/// noticed within seconds.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Repeats the commit until it is known to be in the table, or must not be.
///
/// Repeating is harmless: each attempt re-enters through the guard, which finds an applied one by its marker.
pub(crate) async fn commit_until_settled(
    sink: &Sink,
    request: &CommitRequest,
    log: &dyn LogView,
    status: &Status,
) -> Result<CommitOutcome> {
    let mut backoff = BACKOFF_MIN;
    loop {
        hit(CrashPoint::BeforeCommit);
        let error = match sink.committer.commit(request, log).await {
            Ok(outcome) => {
                hit(CrashPoint::AfterCommit);
                return Ok(outcome);
            }
            Err(error) => error,
        };
        match error.kind {
            ErrorKind::Retry | ErrorKind::Unknown => {
                status.retry_commit(&error.kind);
                tracing::warn!(
                    epoch = request.manifest.epoch.0,
                    table = %sink.table,
                    "commit not settled, trying again in {backoff:?}: {error}"
                );
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            ErrorKind::Fenced { .. }
            | ErrorKind::Invalid
            | ErrorKind::Refused
            | ErrorKind::Corrupt
            | ErrorKind::Operator => {
                return Err(error.context(format!(
                    "commit of epoch {} to table {}",
                    request.manifest.epoch, sink.table
                )));
            }
        }
    }
}

/// The commit of one sink's committable in a completed checkpoint.
pub(crate) fn commit_request(
    place: ManifestRef,
    manifest: &CheckpointManifest,
    entry: &SinkEntry,
) -> CommitRequest {
    let positions: Vec<String> =
        manifest.tasks.iter().map(|it| format!("{}:{}", it.task, it.next_offset)).collect();
    let time =
        manifest.tasks.iter().map(|it| it.virtual_time).filter(|it| *it != EventTime::MIN).max();
    let mut information = vec![
        ("floe.pipeline".to_owned(), manifest.identity.pipeline.clone()),
        ("floe.epoch".to_owned(), manifest.epoch.to_string()),
        ("floe.generation".to_owned(), manifest.generation.to_string()),
        ("floe.positions".to_owned(), positions.join(",")),
    ];
    if let Some(time) = time {
        information.push(("floe.event-time-max-ms".to_owned(), time.0.to_string()));
    }
    if let Some(watermark) = manifest.watermark() {
        information.push(("floe.watermark-ms".to_owned(), watermark.0.to_string()));
    }
    CommitRequest {
        pipeline: manifest.identity.pipeline.clone(),
        sink: entry.name.clone(),
        table_uuid: entry.table_uuid,
        manifest: place,
        predecessor: entry.predecessor,
        committable: entry.committable.clone(),
        information,
    }
}

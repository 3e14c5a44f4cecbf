//! The second phase: commits of completed epochs, one after the other, off the hot path.

use std::sync::Arc;
use std::time::Duration;

use floe_core::committable::{
    AppendRequest, Carried, CommitOutcome, CommitRequest, GapRule, ManifestRef,
};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::manifest::{CheckpointManifest, SinkEntry};
use floe_core::ports::{CheckpointDraft, Committer, LogView};
use floe_core::protocol::guarantee::{AfterFailure, Guarantee};
use floe_core::{Epoch, EventTime, Generation, Offset, Result, TopicPartition};

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

/// Repeats the commit until it is known to be in the table, or must not be. `None`: under at-most-once nobody
/// knows whether it is there, and it is not repeated.
///
/// Repeating is harmless: each attempt re-enters through the guard, which finds an applied one by its marker.
pub(crate) async fn commit_until_settled(
    sink: &Sink,
    request: &CommitRequest,
    guarantee: Guarantee,
    log: &dyn LogView,
    status: &Status,
) -> Result<Option<CommitOutcome>> {
    let epoch = request.manifest.epoch;
    let attempt = || async {
        hit(CrashPoint::BeforeCommit);
        let outcome = sink.committer.commit(request, log).await?;
        hit(CrashPoint::AfterCommit);
        Ok(outcome)
    };
    until_settled(sink, epoch, guarantee, status, attempt).await
}

/// Repeats a commit ahead of its checkpoint until it is known to be in the table. A repeat may add the rows
/// again, as at-least-once allows. Gives the snapshot's id.
pub(crate) async fn append_until_settled(
    sink: &Sink,
    request: &AppendRequest,
    status: &Status,
) -> Result<Option<i64>> {
    let attempt = || async {
        hit(CrashPoint::BeforeCommit);
        let snapshot = sink.committer.append(request).await?;
        hit(CrashPoint::AfterCommit);
        Ok(snapshot)
    };
    until_settled(sink, request.epoch, Guarantee::AtLeastOnce, status, attempt).await
}

async fn until_settled<T, F: Future<Output = Result<T>>>(
    sink: &Sink,
    epoch: Epoch,
    guarantee: Guarantee,
    status: &Status,
    attempt: impl Fn() -> F,
) -> Result<Option<T>> {
    let mut backoff = BACKOFF_MIN;
    loop {
        let error = match attempt().await {
            Ok(outcome) => return Ok(Some(outcome)),
            Err(error) => error,
        };
        match guarantee.after_failure(error.kind) {
            AfterFailure::TryAgain => {
                status.retry_commit(&error.kind);
                tracing::warn!(
                    epoch = epoch.0,
                    table = %sink.table,
                    "commit not settled, trying again in {backoff:?}: {error}"
                );
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            AfterFailure::GiveUp => {
                tracing::warn!(
                    epoch = epoch.0,
                    table = %sink.table,
                    "the rows of this epoch may be missing, and are not committed again (at-most-once): {error}"
                );
                return Ok(None);
            }
            AfterFailure::Stop => {
                return Err(
                    error.context(format!("commit of epoch {epoch} to table {}", sink.table))
                );
            }
        }
    }
}

/// The commit of one sink's committables in completed checkpoints that follow each other; `None` if they
/// hold no rows for it. An epoch without rows for a sink writes nothing to its table.
pub(crate) fn commit_request(
    checkpoints: &[(ManifestRef, Arc<CheckpointManifest>)],
    sink: &str,
    guarantee: Guarantee,
) -> Option<CommitRequest> {
    let mut earlier: Vec<(ManifestRef, &CheckpointManifest, &SinkEntry)> = checkpoints
        .iter()
        .filter_map(|(place, manifest)| Some((*place, &**manifest, manifest.sink(sink)?)))
        .filter(|(_, _, entry)| !entry.committable.is_empty())
        .collect();
    let (place, manifest, entry) = earlier.pop()?;
    let predecessor = earlier.first().map_or(entry.predecessor, |it| it.2.predecessor);
    let carried = |it: &(ManifestRef, &CheckpointManifest, &SinkEntry)| Carried {
        manifest: it.0,
        committable: it.2.committable.clone(),
    };
    let earlier: Vec<Carried> = earlier.iter().map(carried).collect();
    let moments = manifest.tasks.iter().map(|it| Moment {
        task: &it.task,
        next_offset: it.next_offset,
        virtual_time: it.virtual_time,
        watermark: it.watermark,
        in_flight_rows: it.in_flight_rows,
    });
    let pipeline = manifest.identity.pipeline.clone();
    let mut information = information(&pipeline, manifest.epoch, manifest.generation, moments);
    if let Some(first) = earlier.first() {
        information.push(("floe.first-epoch".to_owned(), first.manifest.epoch.to_string()));
    }
    Some(CommitRequest {
        information,
        pipeline,
        sink: entry.name.clone(),
        table_uuid: entry.table_uuid,
        manifest: place,
        predecessor,
        earlier,
        committable: entry.committable.clone(),
        gap: match guarantee {
            Guarantee::ExactlyOnce | Guarantee::AtLeastOnce => GapRule::Refuse,
            Guarantee::AtMostOnce => GapRule::Pass,
        },
    })
}

/// The commit of one sink's committable ahead of its checkpoint.
pub(crate) fn append_request(
    draft: &CheckpointDraft,
    entry: &SinkEntry,
    generation: Generation,
) -> AppendRequest {
    let moments = draft.tasks.iter().map(|it| Moment {
        task: &it.task,
        next_offset: it.next_offset,
        virtual_time: it.virtual_time,
        watermark: it.watermark,
        in_flight_rows: it.in_flight.rows(),
    });
    let pipeline = draft.identity.pipeline.clone();
    AppendRequest {
        information: information(&pipeline, draft.epoch, generation, moments),
        pipeline,
        sink: entry.name.clone(),
        table_uuid: entry.table_uuid,
        epoch: draft.epoch,
        committable: entry.committable.clone(),
    }
}

/// Where a task stands in an epoch.
struct Moment<'a> {
    task: &'a TopicPartition,
    next_offset: Offset,
    virtual_time: EventTime,
    watermark: EventTime,
    in_flight_rows: u64,
}

/// What a snapshot's summary says for people and other programs.
fn information<'a>(
    pipeline: &str,
    epoch: Epoch,
    generation: Generation,
    tasks: impl Iterator<Item = Moment<'a>> + Clone,
) -> Vec<(String, String)> {
    let source = tasks.clone().filter(|it| it.task.stage().is_none());
    let positions: Vec<String> =
        source.map(|it| format!("{}:{}", it.task, it.next_offset)).collect();
    let mut information = vec![
        ("floe.pipeline".to_owned(), pipeline.to_owned()),
        ("floe.epoch".to_owned(), epoch.to_string()),
        ("floe.generation".to_owned(), generation.to_string()),
        ("floe.positions".to_owned(), positions.join(",")),
    ];
    if let Some(time) = tasks.clone().filter_map(|it| it.virtual_time.begun()).max() {
        information.push(("floe.event-time-max-ms".to_owned(), time.0.to_string()));
    }
    let in_flight_rows: u64 = tasks.clone().map(|it| it.in_flight_rows).sum();
    if in_flight_rows > 0 {
        // Made of records before the positions, and in the table with the next epoch.
        information.push(("floe.in-flight-rows".to_owned(), in_flight_rows.to_string()));
    }
    // The least of the tasks: no record before it is missing. None until each task has one.
    if let Some(watermark) = tasks.map(|it| it.watermark).min().and_then(EventTime::begun) {
        information.push(("floe.watermark-ms".to_owned(), watermark.0.to_string()));
    }
    information
}

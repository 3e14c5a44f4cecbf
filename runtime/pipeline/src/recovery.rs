//! Recovery: observes the log and the tables, lets core decide, commits what the tables lack, restores.

use std::collections::BTreeMap;
use std::sync::Arc;

use floe_core::committable::{CommittedSnapshot, ManifestRef};
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::Epoch;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity};
use floe_core::ports::{CheckpointLog, LogAnswer, LogView, PartitionFacts};
use floe_core::protocol::guarantee::Guarantee;
use floe_core::protocol::identity::{self, NewPartitions};
use floe_core::protocol::recover::{
    MarkerRelation, SinkCheckpoint, SinkDecision, SinkFacts, decide_sink,
};
use floe_core::{Error, Offset, Position, Result, TopicPartition};

use crate::commit::{Sink, commit_request, commit_until_settled};
use crate::telemetry::Status;

/// Where the run starts.
pub(crate) struct Start {
    pub(crate) newest: Option<(ManifestRef, Arc<CheckpointManifest>)>,
    /// For each sink, the newest manifest with a non-empty committable, and the newest verified commit.
    pub(crate) sinks: Vec<SinkHistory>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SinkHistory {
    pub(crate) newest_committing: Option<ManifestRef>,
    pub(crate) committed: Option<CommittedSnapshot>,
}

impl Start {
    pub(crate) fn next_epoch(&self) -> Epoch {
        self.newest.as_ref().map_or(Epoch(1), |(_, manifest)| manifest.epoch.next())
    }
}

/// Decides and recommits. After it every completed epoch is in the tables, once.
pub(crate) async fn recover(
    log: &dyn CheckpointLog,
    sinks: &[Sink],
    identity_now: &PipelineIdentity,
    guarantee: Guarantee,
    new_partitions: NewPartitions,
    status: &Status,
) -> Result<Start> {
    let manifests = log.manifests();
    let newest = manifests.last().cloned();
    let view = log.view();

    let mut decisions = Vec::new();
    let mut histories = Vec::new();
    for sink in sinks {
        let entry = newest
            .as_ref()
            .and_then(|(place, manifest)| Some((*place, manifest.sink(&sink.name)?)));
        let history = entry.map_or_else(SinkHistory::default, |(place, entry)| SinkHistory {
            newest_committing: if entry.committable.is_empty() {
                entry.predecessor
            } else {
                Some(place)
            },
            committed: entry.committed,
        });
        let (facts, appended) =
            observe_sink(sink, entry.map(|(_, it)| it.table_uuid), &history, view.as_ref()).await?;
        let epoch = newest.as_ref().map(|(place, _)| place.epoch);
        if !guarantee.may_begin(epoch, appended) {
            return Err(ahead_of_checkpoint(sink, epoch, appended, guarantee));
        }
        decisions.push(decide_sink(&facts));
        histories.push(history);
    }
    let refusals: Vec<String> = decisions
        .iter()
        .filter_map(|it| match it {
            SinkDecision::Refuse(refusal) => Some(refusal.to_string()),
            SinkDecision::Settled | SinkDecision::Recommit { .. } => None,
        })
        .collect();
    if !refusals.is_empty() {
        return Err(Error::refused(refusals.join("\n")));
    }

    if let Some((_, manifest)) = &newest {
        let settled = decisions.iter().all(|it| *it == SinkDecision::Settled);
        refuse_other_pipeline(manifest, identity_now, new_partitions, settled)?;
        refuse_lost_sinks(manifest, sinks)?;
    }

    // Each sink gets what it lacks as one commit, in the order of the log.
    for (index, sink) in sinks.iter().enumerate() {
        let SinkDecision::Recommit { after } = &decisions[index] else { continue };
        let lacking: Vec<_> = manifests
            .iter()
            .filter(|(place, _)| after.is_none_or(|it| place.slot > it.slot))
            .cloned()
            .collect();
        let Some(mut request) = commit_request(&lacking, &sink.name, guarantee) else { continue };
        let (first_epoch, epoch) = (request.first_epoch().0, request.manifest.epoch.0);
        if !guarantee.recommits() {
            let rows: u64 = request.committables().map(|it| it.rows).sum();
            tracing::warn!(first_epoch, epoch, rows, table = %sink.table, "these rows are missing in the table, and are not committed again ({})", guarantee.name());
            continue;
        }
        // What the snapshot says of itself is the same whoever commits it.
        request.information.push(("recommit".into(), "true".into()));
        hit(CrashPoint::BeforeRecommit);
        tracing::info!(first_epoch, epoch, table = %sink.table, "commit again what the checkpoints carry");
        let outcome =
            commit_until_settled(sink, &request, guarantee, view.as_ref(), status).await?;
        hit(CrashPoint::AfterRecommit);
        histories[index].committed = outcome.map(|it| it.snapshot).or(histories[index].committed);
    }
    Ok(Start { newest, sinks: histories })
}

async fn observe_sink(
    sink: &Sink,
    checkpoint_uuid: Option<[u8; 16]>,
    history: &SinkHistory,
    view: &dyn LogView,
) -> Result<(SinkFacts, Option<Epoch>)> {
    let observed = sink.committer.observe(history.committed.as_ref()).await?;
    let marker = observed.marker.map(|it| it.manifest);
    let relation = match marker {
        None => MarkerRelation::NoMarker,
        Some(marker) => match view.find(&marker).await? {
            LogAnswer::Known => MarkerRelation::InLog,
            LogAnswer::Absent => MarkerRelation::NotInLog,
            LogAnswer::FencedBy(by) => {
                return Err(Error::fenced(
                    Some(by),
                    format!(
                        "fenced: generation {by} has taken over the pipeline while this process started"
                    ),
                ));
            }
        },
    };
    let facts = SinkFacts {
        name: sink.name.clone(),
        table: sink.table.clone(),
        table_uuid: observed.table_uuid,
        checkpoint: checkpoint_uuid.map(|table_uuid| SinkCheckpoint {
            table_uuid,
            newest_committing: history.newest_committing,
            committed: history.committed.map(|it| it.manifest),
        }),
        marker,
        relation,
        snapshot: observed.marker_snapshot,
    };
    Ok((facts, observed.appended))
}

fn ahead_of_checkpoint(
    sink: &Sink,
    newest: Option<Epoch>,
    appended: Option<Epoch>,
    guarantee: Guarantee,
) -> Error {
    let table = &sink.table;
    let appended = appended.unwrap_or(Epoch(0));
    let newest = newest.map_or("there is no checkpoint".to_owned(), |it| {
        format!("the newest checkpoint is of epoch {it}")
    });
    Error::refused(format!(
        "table {table} holds epoch {appended}, which was committed ahead of its checkpoint (at-least-once), and {newest}: its rows would come again, which {} does not allow\n  → run once with guarantee = \"at-least-once\" until epoch {appended} has its checkpoint, then change it",
        guarantee.name()
    ))
}

fn refuse_other_pipeline(
    manifest: &CheckpointManifest,
    now: &PipelineIdentity,
    new_partitions: NewPartitions,
    settled: bool,
) -> Result<()> {
    let found = identity::compare(&manifest.identity, now, new_partitions, settled);
    if found.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found.iter().map(|it| format!("  {it}")).collect();
    Err(Error::refused(format!(
        "the pipeline is not the one that made checkpoint {}, nothing was started\n{}",
        manifest.epoch,
        lines.join("\n")
    )))
}

/// A sink that left the file takes rows with it that were checkpointed and never committed.
fn refuse_lost_sinks(manifest: &CheckpointManifest, sinks: &[Sink]) -> Result<()> {
    for entry in &manifest.sinks {
        let open = !entry.committable.is_empty()
            || entry.predecessor != entry.committed.map(|it| it.manifest);
        if open && sinks.iter().all(|it| it.name != entry.name) {
            return Err(Error::refused(format!(
                "sink {:?} (table {}) is in checkpoint {} with rows that may not be committed, and not in the pipeline file\n  → put it back, run until it is committed, then remove it",
                entry.name, entry.table, manifest.epoch
            )));
        }
    }
    Ok(())
}

/// The position to read from: the checkpoint's, and `fresh` for partitions it does not know.
pub(crate) fn start_position(
    newest: Option<&CheckpointManifest>,
    partitions: &[PartitionFacts],
    fresh: &Position,
) -> Position {
    let known = newest.map(CheckpointManifest::position).unwrap_or_default();
    let offset = |task: &TopicPartition| -> Offset {
        known
            .0
            .get(task)
            .or_else(|| fresh.0.get(task))
            .copied()
            .expect("each partition is known or fresh")
    };
    let all: BTreeMap<TopicPartition, Offset> = partitions
        .iter()
        .map(|it| (it.topic_partition.clone(), offset(&it.topic_partition)))
        .collect();
    Position(all)
}

//! A pipeline's first checkpoint, written before it reads: at positions that a person chose, with operators
//! as they are opened or as another pipeline's checkpoint has them.
//!
//! It is one entry by the owner, like any other: until its manifest is visible nothing has happened, and from
//! then on each start goes on from it.

use floe_core::committable::{Committable, ManifestRef};
use floe_core::epoch::Epoch;
use floe_core::journal::Journal;
use floe_core::manifest::{CheckpointManifest, PipelineIdentity, SinkEntry};
use floe_core::ports::{CheckpointDraft, PartitionFacts};
use floe_core::task::CapturedTask;
use floe_core::{Position, Result};

use crate::keyed::KeyedTask;
use crate::recovery::Start;
use crate::start::{TaskParts, identity_now, open_tasks};
use crate::task::Task;
use crate::wiring::{RunConfig, Wiring};

/// With operators as they are opened.
pub async fn begin_at(
    config: &RunConfig,
    wiring: &mut Wiring,
    partitions: &[PartitionFacts],
    position: &Position,
) -> Result<ManifestRef> {
    let Wiring { decoder, operators, graph, log, .. } = &*wiring;
    let identity = identity_now(config, decoder.as_ref(), operators, graph, partitions);
    let parts = TaskParts { decoder, operators, graph };
    let start = Start { newest: None, sinks: Vec::new() };
    let mut tasks = open_tasks(config, log.as_ref(), &start, &parts, position).await?;
    let mut captured: Vec<CapturedTask> =
        tasks.source.iter_mut().map(Task::capture).collect::<Result<_>>()?;
    let keyed = tasks.keyed.iter_mut().flatten().map(KeyedTask::capture);
    captured.extend(keyed.collect::<Result<Vec<_>>>()?);
    captured.sort_by(|a, b| a.task.cmp(&b.task));
    complete(wiring, Epoch(1), identity, captured).await
}

/// With another pipeline's tasks. What makes them fit, its operators and topics, is compared as at any start.
pub async fn begin_with(
    config: &RunConfig,
    wiring: &mut Wiring,
    from: &CheckpointManifest,
    tasks: Vec<CapturedTask>,
    position: &Position,
) -> Result<ManifestRef> {
    let identity = PipelineIdentity { pipeline: config.pipeline.clone(), ..from.identity.clone() };
    let tasks = tasks
        .into_iter()
        .map(|task| CapturedTask {
            // A task of a keyed stage has no place in the input.
            next_offset: position.0.get(&task.task).copied().unwrap_or(task.next_offset),
            journal: Journal::default(),
            ..task
        })
        .collect();
    complete(wiring, from.epoch.next(), identity, tasks).await
}

async fn complete(
    wiring: &mut Wiring,
    epoch: Epoch,
    identity: PipelineIdentity,
    tasks: Vec<CapturedTask>,
) -> Result<ManifestRef> {
    assert!(wiring.log.manifests().is_empty(), "it is the log's first checkpoint");
    let sinks = wiring.sinks.iter().chain(&wiring.dead_letters).map(|it| SinkEntry {
        name: it.name.clone(),
        table: it.table.clone(),
        table_uuid: it.table_uuid,
        committable: Committable::EMPTY,
        predecessor: None,
        committed: None,
    });
    let draft = CheckpointDraft {
        epoch,
        identity,
        tasks,
        sinks: sinks.collect(),
        created_ms: wiring.clock.wall_ms(),
        savepoint: false,
    };
    wiring.log.complete(draft).await.map(|it| it.0)
}

//! What `floe checkpoint list` and `show` tell people. Reading only: nothing is claimed.

use std::sync::Arc;

use floe_core::committable::ManifestRef;
use floe_core::epoch::Epoch;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::ObjectStore;
use floe_core::{Error, EventTime, Result};
use serde::Serialize;

use crate::log::read_log;
use crate::register::Register;
use crate::savepoint::below_the_log;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointSummary {
    pub epoch: u64,
    pub slot: u64,
    pub id: String,
    pub generation: u64,
    pub predecessor_epoch: Option<u64>,
    pub created_ms: i64,
    pub savepoint: bool,
    pub tasks: usize,
    pub objects: usize,
    pub bytes: u64,
    /// Records taken since the pipeline began.
    pub records: u64,
    /// Rows of this epoch, over all sinks.
    pub rows: u64,
    /// Rows on their way, which are in the tables with the next epoch.
    pub in_flight_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointDetail {
    #[serde(flatten)]
    pub summary: CheckpointSummary,
    pub pipeline: String,
    pub guarantee: String,
    pub decoder: String,
    pub engine: String,
    pub isa: String,
    pub operators: Vec<OperatorDetail>,
    pub task_details: Vec<TaskDetail>,
    pub object_details: Vec<ObjectDetail>,
    pub sinks: Vec<SinkDetail>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorDetail {
    pub name: String,
    pub module_hash: String,
    pub config_hash: String,
    pub state_version: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskDetail {
    pub task: String,
    pub next_offset: i64,
    /// `None` before the first record.
    pub virtual_time_ms: Option<i64>,
    pub watermark_ms: Option<i64>,
    pub records: u64,
    pub bytes: u64,
    pub state_hash: String,
    pub in_flight_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectDetail {
    pub path: String,
    pub bytes: u64,
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SinkDetail {
    pub name: String,
    pub table: String,
    pub rows: u64,
    pub files: u32,
    pub file_bytes: u64,
    /// The newest commit that was verified when the checkpoint was written.
    pub committed_epoch: Option<u64>,
    pub snapshot_id: Option<i64>,
}

/// All checkpoints in the log, oldest first.
pub async fn list_checkpoints(
    store: &dyn ObjectStore,
    pipeline: &str,
) -> Result<Vec<CheckpointSummary>> {
    Ok(kept_manifests(store, pipeline).await?.iter().map(|(at, it)| summary(*at, it)).collect())
}

/// Every manifest that can be restored, oldest first: those of the log, and the savepoints below it. One
/// whose savepoint was given up says so.
pub async fn kept_manifests(
    store: &dyn ObjectStore,
    pipeline: &str,
) -> Result<Vec<(ManifestRef, Arc<CheckpointManifest>)>> {
    // The log first: a savepoint below what is read of it was in the register before.
    let reading = read_log(store, pipeline).await?;
    let register = Register::read(store, pipeline).await?;
    let mut kept = below_the_log(store, pipeline, &reading, &register).await?;
    kept.extend(reading.manifests().map(|(at, manifest)| {
        match manifest.savepoint && register.is_given_up(at.slot) {
            false => (at, Arc::clone(manifest)),
            true => (at, Arc::new(CheckpointManifest { savepoint: false, ..(**manifest).clone() })),
        }
    }));
    Ok(kept)
}

/// One checkpoint, the newest if none is named.
pub async fn show_checkpoint(
    store: &dyn ObjectStore,
    pipeline: &str,
    epoch: Option<Epoch>,
) -> Result<CheckpointDetail> {
    let kept = kept_manifests(store, pipeline).await?;
    let found = match epoch {
        Some(epoch) => kept.iter().find(|(at, _)| at.epoch == epoch),
        None => kept.last(),
    };
    match (found, kept.first(), kept.last()) {
        (Some((at, manifest)), _, _) => Ok(detail(*at, manifest)),
        (None, Some((oldest, _)), Some((newest, _))) => Err(Error::invalid(format!(
            "pipeline {pipeline:?} has no checkpoint of epoch {}, it has {} to {}",
            epoch.map_or_else(String::new, |it| it.to_string()),
            oldest.epoch,
            newest.epoch
        ))),
        (None, _, _) => Err(Error::invalid(format!("pipeline {pipeline:?} has no checkpoint yet"))),
    }
}

fn summary(at: ManifestRef, manifest: &CheckpointManifest) -> CheckpointSummary {
    CheckpointSummary {
        epoch: at.epoch.0,
        slot: at.slot.0,
        id: at.id.to_string(),
        generation: manifest.generation.0,
        predecessor_epoch: manifest.predecessor.map(|it| it.epoch.0),
        created_ms: manifest.created_ms,
        savepoint: manifest.savepoint,
        tasks: manifest.tasks.len(),
        objects: manifest.objects.len(),
        bytes: manifest.objects.iter().map(|it| it.len).sum(),
        records: taken(manifest),
        rows: manifest.sinks.iter().map(|it| it.committable.rows).sum(),
        in_flight_rows: manifest.in_flight_rows(),
    }
}

/// Records of the source; those that were passed from task to task count once.
fn taken(manifest: &CheckpointManifest) -> u64 {
    let source = manifest.tasks.iter().filter(|it| it.task.stage().is_none());
    source.map(|it| it.records).sum()
}

fn detail(at: ManifestRef, manifest: &CheckpointManifest) -> CheckpointDetail {
    let identity = &manifest.identity;
    let time = |it: EventTime| (it != EventTime::MIN).then_some(it.0);
    CheckpointDetail {
        summary: summary(at, manifest),
        pipeline: identity.pipeline.clone(),
        guarantee: identity.guarantee.clone(),
        decoder: identity.decoder.clone(),
        engine: identity.engine.clone(),
        isa: identity.isa.clone(),
        operators: identity
            .operators
            .iter()
            .map(|it| OperatorDetail {
                name: it.name.clone(),
                module_hash: hex(&it.module_hash),
                config_hash: hex(&it.config_hash),
                state_version: it.state_version,
            })
            .collect(),
        task_details: manifest
            .tasks
            .iter()
            .map(|it| TaskDetail {
                task: it.task.to_string(),
                next_offset: it.next_offset.0,
                virtual_time_ms: time(it.virtual_time),
                watermark_ms: time(it.watermark),
                records: it.records,
                bytes: it.parts().map(|it| it.len).sum(),
                state_hash: hex(&it.state_hash),
                in_flight_rows: it.in_flight_rows,
            })
            .collect(),
        object_details: manifest
            .objects
            .iter()
            .map(|it| ObjectDetail { path: it.path.clone(), bytes: it.len, hash: hex(&it.hash) })
            .collect(),
        sinks: manifest
            .sinks
            .iter()
            .map(|it| SinkDetail {
                name: it.name.clone(),
                table: it.table.clone(),
                rows: it.committable.rows,
                files: it.committable.file_count,
                file_bytes: it.committable.file_bytes,
                committed_epoch: it.committed.map(|it| it.manifest.epoch.0),
                snapshot_id: it.committed.map(|it| it.snapshot_id),
            })
            .collect(),
    }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

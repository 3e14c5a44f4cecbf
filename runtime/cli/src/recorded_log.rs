//! `[recording]` while a pipeline runs: the input of each epoch, put beside its checkpoint.
//!
//! It decides nothing: an epoch that could not be recorded is said, and goes on.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use floe_checkpoint::{OwnedLog, Recordings};
use floe_core::committable::ManifestRef;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointDraft, CheckpointLog, LogView, Source, SweepReport};
use floe_core::task::CapturedTask;
use floe_core::{Epoch, Generation, Position, Result};
use floe_pipeline::config::{PipelineSpec, RecordingSpec};
use floe_source::recording::{Keeper, keep};

use crate::wire;

/// The source and the log of a run, with what its file says of recording.
pub(crate) fn recorded(
    spec: &PipelineSpec,
    source: Box<dyn Source>,
    log: OwnedLog,
) -> Result<(Box<dyn Source>, Box<dyn CheckpointLog>)> {
    let Some(settings) = spec.recording else {
        return Ok((source, Box::new(log)));
    };
    let recordings = Recordings::of(wire::store(spec)?, &spec.id)?;
    let (source, keeper) = keep(source, settings.epoch_bytes_max);
    Ok((source, Box::new(RecordedLog { log, keeper, recordings, settings })))
}

struct RecordedLog {
    log: OwnedLog,
    keeper: Keeper,
    recordings: Recordings,
    settings: RecordingSpec,
}

impl RecordedLog {
    async fn record(
        keeper: Keeper,
        recordings: &mut Recordings,
        until: Position,
        epoch: Epoch,
        generation: Generation,
    ) {
        let put = async {
            let bytes = wire::blocking(move || keeper.take(until)).await?;
            match bytes.is_empty() {
                true => Ok(()),
                false => recordings.put(epoch, generation, bytes.into()).await,
            }
        };
        if let Err(error) = put.await {
            tracing::warn!(epoch = epoch.0, "the epoch's input was not recorded: {error}");
        }
    }
}

#[async_trait]
impl CheckpointLog for RecordedLog {
    fn generation(&self) -> Generation {
        CheckpointLog::generation(&self.log)
    }

    fn manifests(&self) -> Vec<(ManifestRef, Arc<CheckpointManifest>)> {
        self.log.manifests()
    }

    fn view(&self) -> Arc<dyn LogView> {
        self.log.view()
    }

    fn store_retries(&self) -> Arc<AtomicU64> {
        self.log.store_retries()
    }

    async fn restore(&self, manifest: &CheckpointManifest) -> Result<Vec<CapturedTask>> {
        self.log.restore(manifest).await
    }

    async fn complete(
        &mut self,
        draft: CheckpointDraft,
    ) -> Result<(ManifestRef, Arc<CheckpointManifest>)> {
        let until = draft.tasks.iter().map(|it| (it.task.clone(), it.next_offset)).collect();
        let (keeper, generation) = (self.keeper.clone(), self.log.generation());
        let recording =
            Self::record(keeper, &mut self.recordings, Position(until), draft.epoch, generation);
        // The recording comes first: whoever sees the checkpoint finds it.
        recording.await;
        self.log.complete(draft).await
    }

    async fn savepoint_asked(&mut self) -> Result<bool> {
        self.log.savepoint_asked().await
    }

    async fn sweep(&mut self, keep: usize, pending: &[ManifestRef]) -> Result<SweepReport> {
        let report = self.log.sweep(keep, pending).await?;
        let newest = self.log.manifests().last().map(|it| it.0.epoch);
        if let Some(newest) = newest {
            let first = Epoch((newest.0 + 1).saturating_sub(self.settings.keep_epochs));
            self.recordings.sweep(first).await?;
        }
        Ok(report)
    }
}

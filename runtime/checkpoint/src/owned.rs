//! OwnedLog: the log of one pipeline after the claim. Completing a checkpoint is filling its next slot.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use floe_core::committable::ManifestRef;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::{EntryId, Epoch, Generation, Slot};
use floe_core::log_entry::{Claim, LogEntry};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{CheckpointDraft, CheckpointLog, LogView, ObjectStore, SweepReport};
use floe_core::task::CapturedTask;
use floe_core::{Error, ErrorKind, Result};

use crate::chain::Chains;
use crate::claim::time_of_day;
use crate::fill::{Filled, fill_slot};
use crate::log::{LogReading, read_entry, reference, seal};
use crate::paths::Paths;
use crate::patient::PatientStore;
use crate::read::read_with_chains;
use crate::sweep::Swept;
use crate::view::View;
use crate::write::{Written, write_onto};

/// The right to write. Only `claim` makes one.
pub struct OwnedLog {
    store: Arc<dyn ObjectStore>,
    pipeline: String,
    paths: Paths,
    generation: Generation,
    reading: LogReading,
    view: Arc<View>,
    new_id: Box<dyn FnMut() -> EntryId + Send + Sync>,
    patience: Duration,
    retries: Arc<AtomicU64>,
    swept: Swept,
    /// What the next checkpoint is written onto: the newest one, since it was completed or restored here.
    /// Locked for a moment only, since a restore does not need the log for itself.
    chains: Mutex<Chains>,
    /// Set while a put is under way and once nothing more may be written: why.
    closed: Option<Error>,
}

impl OwnedLog {
    /// After the claim, which is the last entry of `reading`.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        pipeline: &str,
        reading: LogReading,
        new_id: Box<dyn FnMut() -> EntryId + Send + Sync>,
        patience: Duration,
    ) -> Result<OwnedLog> {
        let generation = reading.highest_generation();
        // Commits ask again by themselves.
        let view = Arc::new(View::new(store.clone(), pipeline, generation, &reading));
        let retries = Arc::default();
        let store = PatientStore::over(store, patience, &retries);
        Ok(OwnedLog {
            store,
            pipeline: pipeline.to_owned(),
            paths: Paths::of(pipeline)?,
            generation,
            reading,
            view,
            new_id,
            patience,
            retries,
            swept: Swept::default(),
            chains: Mutex::default(),
            closed: None,
        })
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Everything kept, our own entries included.
    pub fn reading(&self) -> &LogReading {
        &self.reading
    }

    /// Writes the manifest into the next slot, and no other: this completes the checkpoint (I1, I2, I3).
    ///
    /// After any error nothing more is written, and the same error comes again: the start settles the slot.
    pub async fn append(&mut self, manifest: CheckpointManifest) -> Result<ManifestRef> {
        assert_eq!(manifest.generation, self.generation);
        assert_eq!(manifest.identity.pipeline, self.pipeline);
        let newest = self.reading.newest_manifest().map(|it| it.0);
        assert_eq!(manifest.predecessor, newest);
        assert!(newest.is_none_or(|it| it.epoch < manifest.epoch));
        self.check_open()?;

        let slot = self.reading.end();
        let at = reference(slot, &manifest);
        let entry = LogEntry::Manifest(manifest);
        let sealed = seal(&self.pipeline, slot, &entry);
        // A caller that drops this future leaves the slot in doubt, and the log closed.
        self.closed = Some(Error::unknown(format!(
            "whether epoch {} was completed is not known: writing it was interrupted\n  → start again: the start settles it",
            at.epoch
        )));
        hit(CrashPoint::BeforeManifest);
        let filled =
            fill_slot(&*self.store, &self.pipeline, slot, at.id, &sealed, self.patience).await;
        match filled {
            Ok(Filled::Ours) => {
                hit(CrashPoint::AfterManifest);
                self.closed = None;
                self.reading.push(&self.paths, entry)?;
                let (_, manifest) = self.reading.newest_manifest().expect("it was just appended");
                self.view.note(at, manifest.clone());
                Ok(at)
            }
            Ok(Filled::Taken(found)) => Err(self.close(self.fenced(slot, &found))),
            Err(error) => Err(self.close(error)),
        }
    }

    pub(crate) fn new_id(&mut self) -> EntryId {
        (self.new_id)()
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match &self.closed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn close(&mut self, error: Error) -> Error {
        self.closed = Some(error.clone());
        error
    }

    fn fenced(&self, slot: Slot, found: &LogEntry) -> Error {
        let by = found.generation();
        if by <= self.generation {
            return Error::corrupt(format!(
                "{} holds an entry of generation {by} that this process, generation {}, did not write",
                self.paths.entry(slot),
                self.generation
            ));
        }
        let newest = self.reading.newest_manifest().map(|it| it.0.epoch);
        let claim = match found {
            LogEntry::Claim(claim) => Some(claim),
            LogEntry::Manifest(_) => None,
        };
        Error::fenced(Some(by), fenced_text(&self.pipeline, self.generation, by, claim, newest))
    }
}

pub(crate) fn fenced_text(
    pipeline: &str,
    ours: Generation,
    by: Generation,
    claim: Option<&Claim>,
    newest: Option<Epoch>,
) -> String {
    let since = newest.map_or(Epoch(1), Epoch::next);
    let mut text = format!(
        "fenced: generation {by} has owned pipeline \"{pipeline}\" since epoch {since}; this process is generation {ours}"
    );
    if let Some(claim) = claim {
        let started = time_of_day(claim.started_ms);
        text += &format!("\n  started by  {} pid {} at {started}", claim.host, claim.pid);
    }
    text += "\n  this process has stopped writing; ";
    text += &match newest {
        Some(epoch) => format!("epochs up to {epoch} are complete, nothing is lost"),
        None => "no epoch was complete, nothing is lost".to_owned(),
    };
    text
}

#[async_trait]
impl CheckpointLog for OwnedLog {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn manifests(&self) -> Vec<(ManifestRef, Arc<CheckpointManifest>)> {
        self.reading.manifests().map(|(at, manifest)| (at, manifest.clone())).collect()
    }

    fn view(&self) -> Arc<dyn LogView> {
        self.view.clone()
    }

    fn store_retries(&self) -> Arc<AtomicU64> {
        self.retries.clone()
    }

    async fn restore(&self, manifest: &CheckpointManifest) -> Result<Vec<CapturedTask>> {
        let read = read_with_chains(&*self.store, &self.pipeline, manifest).await;
        let error = match read {
            Ok((tasks, chains)) => {
                let newest = self.reading.newest_manifest().map(|it| it.0.id);
                if newest == Some(manifest.id) {
                    *self.chains.lock().unwrap_or_else(PoisonError::into_inner) = chains;
                }
                return Ok(tasks);
            }
            Err(error) if error.kind == ErrorKind::Corrupt => error,
            Err(error) => return Err(error),
        };
        // A new owner sweeps, also what this process is about to read: then nothing is damaged.
        let slot = self.reading.end();
        match read_entry(&*self.store, &self.pipeline, slot).await? {
            Some(found) if found.generation() > self.generation => Err(self.fenced(slot, &found)),
            Some(_) | None => Err(error),
        }
    }

    async fn complete(
        &mut self,
        draft: CheckpointDraft,
    ) -> Result<(ManifestRef, Arc<CheckpointManifest>)> {
        self.check_open()?;
        let id = (self.new_id)();
        // Taken out: after an error the chains are not what any visible checkpoint holds.
        let before =
            std::mem::take(&mut *self.chains.lock().unwrap_or_else(PoisonError::into_inner));
        let Written { objects, tasks, chains } =
            write_onto(&self.store, &self.pipeline, draft.epoch, id, draft.tasks, before).await?;
        let manifest = CheckpointManifest {
            id,
            epoch: draft.epoch,
            generation: self.generation,
            predecessor: self.reading.newest_manifest().map(|it| it.0),
            identity: draft.identity,
            objects,
            tasks,
            sinks: draft.sinks,
            created_ms: draft.created_ms,
            savepoint: draft.savepoint,
        };
        let at = self.append(manifest).await?;
        let (newest, manifest) = self.reading.newest_manifest().expect("it was just appended");
        assert_eq!(newest, at);
        *self.chains.lock().unwrap_or_else(PoisonError::into_inner) = chains;
        Ok((at, manifest.clone()))
    }

    async fn savepoint_asked(&mut self) -> Result<bool> {
        self.check_open()?;
        let register = self.swept.register(&*self.store, &self.pipeline).await?;
        let newest = self.reading.manifests().filter(|(_, it)| it.savepoint).map(|it| it.0.slot);
        let newest = newest.chain(register.all().map(|it| it.slot)).max();
        Ok(register.asks(newest))
    }

    async fn sweep(&mut self, keep: usize, pending: &[ManifestRef]) -> Result<SweepReport> {
        self.check_open()?;
        let report = self
            .swept
            .sweep(&*self.store, &self.pipeline, &mut self.reading, keep, pending)
            .await?;
        self.view.forget_below(self.reading.first_kept(), self.swept.apart().collect());
        Ok(report)
    }
}

//! View: what a committer may ask of the log, from any thread, while the owner writes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use floe_core::Result;
use floe_core::committable::ManifestRef;
use floe_core::epoch::{Generation, Slot};
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{LogAnswer, LogView, ObjectStore};

use crate::log::{LogReading, read_entry, sign_beyond};

pub struct View {
    store: Arc<dyn ObjectStore>,
    pipeline: String,
    generation: Generation,
    known: Mutex<Known>,
}

/// What the owner has read or written.
struct Known {
    first_kept: Slot,
    end: Slot,
    manifests: BTreeMap<Slot, Kept>,
    /// The savepoints below `first_kept`, once a sweep has read where they are.
    savepoints: Option<Vec<Kept>>,
}

type Kept = (ManifestRef, Arc<CheckpointManifest>);

impl View {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        pipeline: &str,
        generation: Generation,
        reading: &LogReading,
    ) -> View {
        let known = Known {
            first_kept: reading.first_kept(),
            end: reading.end(),
            manifests: reading.manifests().map(|(at, it)| (at.slot, (at, it.clone()))).collect(),
            savepoints: None,
        };
        View { store, pipeline: pipeline.to_owned(), generation, known: Mutex::new(known) }
    }

    /// The owner appended a manifest.
    pub(crate) fn note(&self, at: ManifestRef, manifest: Arc<CheckpointManifest>) {
        let mut known = self.lock();
        known.manifests.insert(at.slot, (at, manifest));
        known.end = at.slot.next();
    }

    /// The owner swept.
    pub(crate) fn forget_below(&self, first_kept: Slot, savepoints: Vec<Kept>) {
        let mut known = self.lock();
        known.first_kept = first_kept;
        known.manifests = known.manifests.split_off(&first_kept);
        known.savepoints = Some(savepoints);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        // Each change is some assignments that can't panic, so what a panicking thread left is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_memory(&self, manifest: &ManifestRef) -> Option<LogAnswer> {
        let known = self.lock();
        let is_known = manifest.slot < known.first_kept
            || known.manifests.get(&manifest.slot).is_some_and(|it| it.0.id == manifest.id);
        is_known.then_some(LogAnswer::Known)
    }
}

#[async_trait]
impl LogView for View {
    async fn find(&self, manifest: &ManifestRef) -> Result<LogAnswer> {
        if let Some(answer) = self.in_memory(manifest) {
            return Ok(answer);
        }
        let mut slot = self.lock().end;
        let mut found = false;
        while let Some(entry) = read_entry(&*self.store, &self.pipeline, slot).await? {
            if entry.generation() > self.generation {
                return Ok(LogAnswer::FencedBy(entry.generation()));
            }
            found |= slot == manifest.slot
                && entry.id() == manifest.id
                && matches!(entry, LogEntry::Manifest(_));
            slot = slot.next();
        }
        if found {
            return Ok(LogAnswer::Known);
        }
        // A free slot is not the end where a successor swept what stood in it.
        match sign_beyond(&*self.store, &self.pipeline, slot).await? {
            Some(entry) if entry.generation() > self.generation => {
                Ok(LogAnswer::FencedBy(entry.generation()))
            }
            Some(_) | None => Ok(LogAnswer::Absent),
        }
    }

    fn kept(&self) -> Option<Vec<Kept>> {
        let known = self.lock();
        let savepoints = known.savepoints.as_ref()?;
        Some(savepoints.iter().chain(known.manifests.values()).cloned().collect())
    }
}

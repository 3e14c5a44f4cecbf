//! Does what `core::protocol::sweep` decided. It may be killed between any two steps.
//!
//! Never deleted, whatever the decision says: claims, so that an old owner's next slot stays taken for
//! ever and its put can never succeed; and the spine, so that the end is found without the hint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use floe_core::committable::ManifestRef;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::Slot;
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{ObjectStore, SweepReport};
use floe_core::protocol::sweep::{ListedObject, SweepFacts, decide_abandoned, decide_sweep};
use floe_core::{Error, ErrorKind, Result};

use crate::hint::Hint;
use crate::log::{KeptEntry, LogReading, read_entry};
use crate::paths::Paths;
use crate::register::{Register, RegisterEntry};
use crate::spine;

/// What this owner has swept so far.
#[derive(Default)]
pub(crate) struct Swept {
    /// Objects that are deleted, and that manifests between kept ones still name.
    gone: BTreeSet<String>,
    /// What a killed predecessor left half swept, and what attempts of others left, was looked for.
    tidied: bool,
    register: Option<Register>,
    /// Savepoints below the log, those given up included until they are swept.
    apart: BTreeMap<Slot, (ManifestRef, Arc<CheckpointManifest>)>,
    apart_swept: BTreeSet<Slot>,
}

impl Swept {
    /// The register of savepoints as it is now.
    pub(crate) async fn register(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
    ) -> Result<&Register> {
        let mut register = self.register.take().unwrap_or_default();
        let refreshed = register.refresh(store, pipeline).await;
        let register = self.register.insert(register);
        refreshed.map(|()| &*register)
    }

    pub(crate) async fn sweep(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
        reading: &mut LogReading,
        keep: usize,
        pending: &[ManifestRef],
    ) -> Result<SweepReport> {
        let facts = self.look(store, pipeline, reading, pending).await?;
        let mut sweep =
            Sweep { store, pipeline, paths: Paths::of(pipeline)?, report: SweepReport::default() };
        if !self.tidied {
            let named = self.named(reading);
            sweep.tidy(reading, &self.given_up(), &named).await?;
            sweep.sweep_abandoned(reading, &named).await?;
            self.tidied = true;
        }
        let first = reading.first_kept();
        let plan = decide_sweep(first, &facts, keep);
        if let Some((at, manifest)) = reading.newest_manifest() {
            assert!(plan.hint.is_none_or(|it| it <= at.slot));
            assert!(manifest.objects.iter().all(|it| !plan.objects.contains(&it.path)));
        }

        self.write_down_savepoints(store, pipeline, reading).await?;
        if let Some(hint) = plan.hint {
            let claim = reading.newest_claim().map(|it| it.0);
            hit(CrashPoint::BeforeHint);
            let bytes = Hint { first: hint, claim }.encode();
            store.put(&sweep.paths.hint(), bytes).await?;
            hit(CrashPoint::AfterHint);
        }
        for object in plan.objects.iter().filter(|it| !self.gone.contains(*it)) {
            sweep.delete_object(object).await?;
        }
        self.gone = plan.objects.iter().cloned().collect();
        let begin = plan.hint.unwrap_or(first);
        let kept = spine::kept_below(begin);
        for slot in plan.entries.iter().filter(|it| **it < first) {
            if !kept.contains(slot) {
                sweep.delete_entry(*slot).await?;
            }
            self.apart.remove(slot);
            self.apart_swept.insert(*slot);
        }
        if let Some(hint) = plan.hint {
            // What the spine held for the old first slot alone.
            for slot in spine::kept_below(first).difference(&kept) {
                if self.apart.contains_key(slot) {
                    continue;
                }
                match read_entry(store, pipeline, *slot).await {
                    Ok(Some(LogEntry::Manifest(_))) => sweep.delete_entry(*slot).await?,
                    Ok(Some(LogEntry::Claim(_)) | None) => {}
                    // Nobody needs it, and nobody will miss what is damaged in it.
                    Err(error) if error.kind == ErrorKind::Corrupt => {}
                    Err(error) => return Err(error),
                }
            }
            for (slot, entry) in &reading.entries {
                let claim = matches!(entry, KeptEntry::Claim(_));
                if plan.entries.contains(slot) && !claim && !kept.contains(slot) {
                    sweep.delete_entry(*slot).await?;
                }
            }
            for (at, manifest) in reading.manifests().filter(|it| it.0.slot < hint) {
                if self.is_savepoint(at.slot, manifest) {
                    self.apart.insert(at.slot, (at, manifest.clone()));
                }
            }
            reading.drop_below(hint);
        }
        Ok(sweep.report)
    }

    /// All that the decision needs: reads the register, and the savepoints that the log goes back to no more.
    pub(crate) async fn look(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
        reading: &LogReading,
        pending: &[ManifestRef],
    ) -> Result<Vec<SweepFacts>> {
        let register = match &self.register {
            Some(register) => register,
            None => self.register(store, pipeline).await?,
        };
        let below: Vec<ManifestRef> =
            register.all().filter(|it| it.slot < reading.first_kept()).collect();
        for at in below {
            if self.apart.contains_key(&at.slot) || self.apart_swept.contains(&at.slot) {
                continue;
            }
            match read_entry(store, pipeline, at.slot).await? {
                Some(LogEntry::Manifest(manifest)) if manifest.id == at.id => {
                    self.apart.insert(at.slot, (at, Arc::new(manifest)));
                }
                // Given up, and swept by an owner before us.
                Some(_) | None => {
                    self.apart_swept.insert(at.slot);
                }
            }
        }
        let apart = self.apart.values().map(|(at, manifest)| (*at, manifest));
        Ok(apart
            .chain(reading.manifests())
            .map(|(at, manifest)| SweepFacts {
                slot: at.slot,
                savepoint: self.is_savepoint(at.slot, manifest),
                pending: pending.contains(&at),
                objects: manifest.objects.iter().map(|it| it.path.clone()).collect(),
            })
            .collect())
    }

    /// Every object that a manifest of the log or a savepoint names.
    pub(crate) fn named(&self, reading: &LogReading) -> BTreeSet<String> {
        let apart = self.apart.iter().map(|(slot, (_, manifest))| (*slot, manifest));
        let apart = apart.filter(|(slot, manifest)| self.is_savepoint(*slot, manifest));
        let in_log = reading.manifests().map(|(at, manifest)| (at.slot, manifest));
        apart
            .chain(in_log)
            .flat_map(|(_, manifest)| &manifest.objects)
            .map(|it| it.path.clone())
            .collect()
    }

    /// The savepoints that stand below the log.
    pub(crate) fn apart(
        &self,
    ) -> impl Iterator<Item = (ManifestRef, Arc<CheckpointManifest>)> + '_ {
        self.apart.values().cloned()
    }

    fn is_savepoint(&self, slot: Slot, manifest: &CheckpointManifest) -> bool {
        let given_up = self.register.as_ref().is_some_and(|it| it.is_given_up(slot));
        manifest.savepoint && !given_up
    }

    fn given_up(&self) -> BTreeSet<Slot> {
        let register = self.register.iter().flat_map(|register| {
            register.all().filter(|it| register.is_given_up(it.slot)).map(|it| it.slot)
        });
        register.collect()
    }

    /// Before the log goes back to a savepoint no more, the register says where it stands.
    async fn write_down_savepoints(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
        reading: &LogReading,
    ) -> Result<()> {
        let register = self.register.get_or_insert_default();
        for (at, manifest) in reading.manifests() {
            if manifest.savepoint && !register.is_known(at.slot) {
                hit(CrashPoint::BeforeSavepointKept);
                register.append(store, pipeline, RegisterEntry::Kept(at)).await?;
                hit(CrashPoint::AfterSavepointKept);
            }
        }
        Ok(())
    }
}

struct Sweep<'a> {
    store: &'a dyn ObjectStore,
    pipeline: &'a str,
    paths: Paths,
    report: SweepReport,
}

impl Sweep<'_> {
    /// Deletes what a sweep left that was killed after it had moved the hint: the unbroken run of entries
    /// just below the first kept one. They were classified then; savepoints among them stay.
    async fn tidy(
        &mut self,
        reading: &LogReading,
        given_up: &BTreeSet<Slot>,
        named: &BTreeSet<String>,
    ) -> Result<()> {
        let first = reading.first_kept();
        let kept = spine::kept_below(first);
        let mut named = named.clone();
        let mut leftover = Vec::new();
        let mut slot = first;
        while slot > Slot::FIRST {
            slot = Slot(slot.0 - 1);
            match read_entry(self.store, self.pipeline, slot).await {
                Ok(Some(LogEntry::Manifest(manifest))) => {
                    match manifest.savepoint && !given_up.contains(&slot) {
                        true => named.extend(manifest.objects.into_iter().map(|it| it.path)),
                        false => leftover.push((slot, manifest)),
                    }
                }
                Ok(Some(LogEntry::Claim(_))) => {}
                Ok(None) => break,
                Err(Error { kind: ErrorKind::Corrupt, message }) => {
                    tracing::warn!(message, "a swept entry is damaged and stays");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        for (_, manifest) in leftover.iter().rev() {
            for object in manifest.objects.iter().filter(|it| !named.contains(&it.path)) {
                self.delete_object(&object.path).await?;
            }
        }
        for (slot, _) in leftover.iter().rev().filter(|(slot, _)| !kept.contains(slot)) {
            self.delete_entry(*slot).await?;
        }
        Ok(())
    }

    /// Deletes what attempts at complete epochs wrote and no manifest names.
    async fn sweep_abandoned(
        &mut self,
        reading: &LogReading,
        named: &BTreeSet<String>,
    ) -> Result<()> {
        let listed = listed_parts(self.store, &self.paths).await?;
        let newest = reading.newest_manifest().map(|it| it.0.epoch);
        let listed: Vec<ListedObject> = listed.into_iter().map(|it| it.0).collect();
        for object in decide_abandoned(&listed, newest, named) {
            self.delete_object(&object).await?;
        }
        Ok(())
    }

    async fn delete_object(&mut self, relative: &str) -> Result<()> {
        hit(CrashPoint::BeforeSweepObject);
        self.store.delete(&self.paths.object(relative)?).await?;
        hit(CrashPoint::AfterSweepObject);
        self.report.objects += 1;
        Ok(())
    }

    async fn delete_entry(&mut self, slot: Slot) -> Result<()> {
        hit(CrashPoint::BeforeSweepEntry);
        self.store.delete(&self.paths.entry(slot)).await?;
        hit(CrashPoint::AfterSweepEntry);
        self.report.entries += 1;
        Ok(())
    }
}

/// The parts that a listing shows, with their sizes.
pub(crate) async fn listed_parts(
    store: &dyn ObjectStore,
    paths: &Paths,
) -> Result<Vec<(ListedObject, u64)>> {
    let listed = store.list(&paths.parts()).await?;
    let parts = listed.into_iter().filter_map(|it| {
        let (epoch, name) = paths.part_in(&it.path)?;
        Some((ListedObject { epoch, name }, it.bytes))
    });
    Ok(parts.collect())
}

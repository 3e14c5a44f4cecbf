//! Does what `core::protocol::sweep` decided. It may be killed between any two steps.
//!
//! Never deleted, whatever the decision says: claims, so that an old owner's next slot stays taken for
//! ever and its put can never succeed; and the spine, so that the end is found without the hint.

use std::collections::BTreeSet;

use floe_core::committable::ManifestRef;
use floe_core::crash_point::{CrashPoint, hit};
use floe_core::epoch::Slot;
use floe_core::log_entry::LogEntry;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::{ObjectStore, SweepReport};
use floe_core::protocol::sweep::{SweepFacts, decide_sweep};
use floe_core::{Error, ErrorKind, Result};

use crate::hint::Hint;
use crate::log::{KeptEntry, LogReading, read_entry};
use crate::paths::Paths;
use crate::spine;

/// What this owner has swept so far.
#[derive(Default)]
pub(crate) struct Swept {
    /// Objects that are deleted, and that manifests between kept ones still name.
    gone: BTreeSet<String>,
    /// What a killed predecessor left half swept was looked for.
    tidied: bool,
}

impl Swept {
    pub(crate) async fn sweep(
        &mut self,
        store: &dyn ObjectStore,
        pipeline: &str,
        reading: &mut LogReading,
        keep: usize,
        pending: &[ManifestRef],
    ) -> Result<SweepReport> {
        let mut sweep =
            Sweep { store, pipeline, paths: Paths::of(pipeline)?, report: SweepReport::default() };
        if !self.tidied {
            sweep.tidy(reading).await?;
            self.tidied = true;
        }
        let first = reading.first_kept();
        let facts: Vec<SweepFacts> =
            reading.manifests().map(|(at, it)| facts(at, it, pending)).collect();
        let plan = decide_sweep(first, &facts, keep);
        let newest = reading.newest_manifest().map(|(at, it)| (at.slot, it.clone()));
        if let Some((slot, manifest)) = &newest {
            assert!(plan.hint.is_none_or(|it| it <= *slot));
            assert!(manifest.objects.iter().all(|it| !plan.objects.contains(&it.path)));
        }

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
        if let Some(hint) = plan.hint {
            let kept = spine::kept_below(hint);
            // What the spine held for the old first slot alone.
            for slot in spine::kept_below(first).difference(&kept) {
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
            reading.drop_below(hint);
        }
        Ok(sweep.report)
    }
}

fn facts(at: ManifestRef, manifest: &CheckpointManifest, pending: &[ManifestRef]) -> SweepFacts {
    SweepFacts {
        slot: at.slot,
        savepoint: manifest.savepoint,
        pending: pending.contains(&at),
        objects: manifest.objects.iter().map(|it| it.path.clone()).collect(),
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
    /// just below the first kept one. They were classified then; a savepoint among them ends the run.
    async fn tidy(&mut self, reading: &LogReading) -> Result<()> {
        let first = reading.first_kept();
        let kept = spine::kept_below(first);
        let named: BTreeSet<&str> = reading
            .manifests()
            .flat_map(|(_, it)| &it.objects)
            .map(|it| it.path.as_str())
            .collect();
        let mut leftover = Vec::new();
        let mut slot = first;
        while slot > Slot::FIRST {
            slot = Slot(slot.0 - 1);
            match read_entry(self.store, self.pipeline, slot).await {
                Ok(Some(LogEntry::Manifest(manifest))) if !manifest.savepoint => {
                    leftover.push((slot, manifest));
                }
                Ok(Some(LogEntry::Claim(_))) => {}
                Ok(Some(LogEntry::Manifest(_)) | None) => break,
                Err(Error { kind: ErrorKind::Corrupt, message }) => {
                    tracing::warn!(message, "a swept entry is damaged and stays");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        for (_, manifest) in leftover.iter().rev() {
            for object in manifest.objects.iter().filter(|it| !named.contains(it.path.as_str())) {
                self.delete_object(&object.path).await?;
            }
        }
        for (slot, _) in leftover.iter().rev().filter(|(slot, _)| !kept.contains(slot)) {
            self.delete_entry(*slot).await?;
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

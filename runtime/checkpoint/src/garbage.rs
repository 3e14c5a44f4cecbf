//! `floe sweep`: the housekeeping of an owner, by any process, with or without an owner beside it.
//!
//! It claims nothing. It deletes what the log and the register say nobody needs, as an owner of these
//! checkpoints would, and what attempts at complete epochs wrote in vain. What the running owner writes
//! now is of a later epoch, so it is never touched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use floe_core::Result;
use floe_core::committable::ManifestRef;
use floe_core::epoch::Epoch;
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::ObjectStore;
use floe_core::protocol::sweep::{decide_abandoned, decide_sweep};
use serde::Serialize;

use crate::log::{LogReading, read_log};
use crate::paths::Paths;
use crate::spine;
use crate::sweep::{Swept, listed_parts};

/// What was swept, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GarbageFound {
    /// Manifests taken out of the log.
    pub checkpoints: u64,
    /// Objects of these, and of attempts that came to nothing.
    pub objects: u64,
    pub bytes: u64,
    /// Of the objects: those that attempts wrote which never completed.
    pub abandoned_objects: u64,
    pub kept_checkpoints: u64,
    pub kept_savepoints: Vec<Epoch>,
}

/// Finds the garbage of a pipeline, and deletes it unless `dry_run`. May be killed at any point.
pub async fn sweep_garbage(
    store: Arc<dyn ObjectStore>,
    pipeline: &str,
    keep: usize,
    dry_run: bool,
) -> Result<GarbageFound> {
    let paths = Paths::of(pipeline)?;
    // The log before the register: a savepoint that the log goes back to no more was written there before.
    let mut reading = read_log(&*store, pipeline).await?;
    let listed = listed_parts(&*store, &paths).await?;
    let mut swept = Swept::default();
    let pending = not_known_as_committed(&reading);
    let facts = swept.look(&*store, pipeline, &reading, &pending).await?;

    let newest = reading.newest_manifest().map(|it| it.0.epoch);
    let plan = decide_sweep(reading.first_kept(), &facts, keep);
    let parts: Vec<_> = listed.iter().map(|it| it.0.clone()).collect();
    let abandoned = decide_abandoned(&parts, newest, &swept.named(&reading));

    let sizes: BTreeMap<&str, u64> =
        listed.iter().map(|(part, bytes)| (part.name.as_str(), *bytes)).collect();
    let there = |it: &&String| sizes.contains_key(it.as_str());
    let doomed: BTreeSet<&String> = plan.objects.iter().chain(&abandoned).filter(there).collect();
    let gone: BTreeSet<_> = plan.entries.iter().collect();
    let kept = |it: &&(ManifestRef, Arc<CheckpointManifest>)| !gone.contains(&it.0.slot);
    let all: Vec<_> =
        swept.apart().chain(reading.manifests().map(|(at, it)| (at, it.clone()))).collect();
    // The spine's entries stay when all that they named is gone.
    let spine = spine::kept_below(reading.first_kept());
    let was_swept = |(at, manifest): &&(ManifestRef, Arc<CheckpointManifest>)| {
        spine.contains(&at.slot) && !manifest.objects.iter().any(|it| doomed.contains(&it.path))
    };
    let savepoints: BTreeSet<_> =
        facts.iter().filter(|it| it.savepoint).map(|it| it.slot).collect();
    let found = GarbageFound {
        checkpoints: all.iter().filter(|it| !kept(it) && !was_swept(it)).count() as u64,
        objects: doomed.len() as u64,
        bytes: doomed.iter().filter_map(|it| sizes.get(it.as_str())).sum(),
        abandoned_objects: abandoned.len() as u64,
        kept_checkpoints: all.iter().filter(kept).count() as u64,
        kept_savepoints: all
            .iter()
            .filter(|it| savepoints.contains(&it.0.slot))
            .map(|it| it.0.epoch)
            .collect(),
    };
    if !dry_run && reading.newest_manifest().is_some() {
        swept.sweep(&*store, pipeline, &mut reading, keep, &pending).await?;
    }
    Ok(found)
}

/// The manifests that hold rows which no later manifest says were seen in the table: more than are
/// really pending, never fewer.
fn not_known_as_committed(reading: &LogReading) -> Vec<ManifestRef> {
    let Some((_, newest)) = reading.newest_manifest() else { return Vec::new() };
    let committed =
        |sink: &str| newest.sink(sink).and_then(|it| it.committed).map(|it| it.manifest.slot);
    let holds_rows = |at: ManifestRef, manifest: &CheckpointManifest| {
        manifest.sinks.iter().any(|it| {
            !it.committable.is_empty() && committed(&it.name).is_none_or(|it| it < at.slot)
        })
    };
    reading
        .manifests()
        .filter(|(at, manifest)| holds_rows(*at, manifest))
        .map(|(at, _)| at)
        .collect()
}

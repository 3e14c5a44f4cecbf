//! Savepoints: asked of the process that runs, or made from the newest checkpoint where none does.

use std::sync::Arc;
use std::time::Duration;

use floe_core::committable::{Committable, ManifestRef};
use floe_core::epoch::{Epoch, Slot};
use floe_core::log_entry::LogEntry;
use floe_core::manifest::{CheckpointManifest, SinkEntry};
use floe_core::ports::ObjectStore;
use floe_core::{Error, Result};

use crate::claim::{ClaimRequest, claim, dead_on_this_host};
use crate::list::kept_manifests;
use crate::log::{LogReading, read_entry, read_log};
use crate::register::{Register, RegisterEntry};

/// A savepoint by its place, and its manifest.
pub type Savepoint = (ManifestRef, Arc<CheckpointManifest>);

/// A running process looks into the register every two seconds, and then takes one checkpoint.
const LOOKS: Duration = Duration::from_secs(5);
/// How often the log is looked at for the answer.
const STEP: Duration = Duration::from_millis(100);

/// What a log that stands still says of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// A process that runs adds an entry each interval.
    WithCheckpoints,
    /// A run is one epoch, however long it takes: it writes nothing before its end.
    AsOneEpoch,
}

/// Makes a savepoint. `request.watch` is two checkpoint intervals, as for a run.
///
/// A running process is asked, and answers with its next checkpoint. Where none answers and the log stands
/// still, this process claims the pipeline as a run would, and writes the newest checkpoint once more as
/// a savepoint: same state, same objects, nothing to commit.
/// Of a pipeline that runs as one epoch that is only done where the owner is known to be dead: silence says
/// nothing, and a claim would take a batch's work from it.
pub async fn make_savepoint(
    store: Arc<dyn ObjectStore>,
    pipeline: &str,
    created_ms: i64,
    runs: Runs,
    request: ClaimRequest<'_>,
) -> Result<Savepoint> {
    let before = read_log(&*store, pipeline).await?;
    if before.newest_manifest().is_none() {
        return Err(Error::invalid(format!(
            "pipeline {pipeline:?} has no checkpoint yet, so there is nothing to keep\n  → run it first"
        )));
    }
    if !dead_on_this_host(&before, &request) {
        let from = before.end();
        let mut register = Register::read(&*store, pipeline).await?;
        register.append(&*store, pipeline, RegisterEntry::Asked { from }).await?;
        if runs == Runs::AsOneEpoch {
            return Err(Error::refused(format!(
                "a run of pipeline {pipeline:?} is one epoch, with one checkpoint at its end, and one may be under way\n  → it is asked: the run's checkpoint, or the next run's, is the savepoint; floe checkpoint list shows it\n  → of a run that ended, the savepoint is made on the host where it ran"
            )));
        }
        let patience = request.watch.max(Duration::from_secs(1)) + LOOKS * 2;
        if let Some(answer) = wait_for(&*store, pipeline, from, patience).await? {
            return Ok(answer);
        }
        let now = read_log(&*store, pipeline).await?;
        if now.end() != from && !dead_on_this_host(&now, &request) {
            return Err(Error::refused(format!(
                "pipeline {pipeline:?} is running, and its process did not make a savepoint within {} s\n  → is its catalog or its source away? it makes the savepoint as soon as it can; floe checkpoint list shows it",
                patience.as_secs()
            )));
        }
    }
    // The log was watched above for longer than a claim would.
    let mut log = claim(store, pipeline, ClaimRequest { watch: Duration::ZERO, ..request }).await?;
    let (at, newest) =
        log.reading().newest_manifest().map(|(at, it)| (at, it.clone())).ok_or_else(|| {
            Error::corrupt(format!("the log of {pipeline:?} lost its manifests meanwhile"))
        })?;
    let manifest = CheckpointManifest {
        id: log.new_id(),
        epoch: at.epoch.next(),
        generation: log.generation(),
        predecessor: Some(at),
        sinks: newest.sinks.iter().map(|it| nothing_more(at, it)).collect(),
        created_ms,
        savepoint: true,
        ..(*newest).clone()
    };
    let kept = Arc::new(manifest.clone());
    let at = log.append(manifest).await?;
    Ok((at, kept))
}

/// The sink's entry in a checkpoint that follows at once: no rows, and the same history.
fn nothing_more(newest: ManifestRef, entry: &SinkEntry) -> SinkEntry {
    let predecessor = if entry.committable.is_empty() { entry.predecessor } else { Some(newest) };
    SinkEntry { committable: Committable::EMPTY, predecessor, ..entry.clone() }
}

async fn wait_for(
    store: &dyn ObjectStore,
    pipeline: &str,
    from: Slot,
    patience: Duration,
) -> Result<Option<Savepoint>> {
    let until = tokio::time::Instant::now() + patience;
    let mut next = from;
    loop {
        while let Some(entry) = read_entry(store, pipeline, next).await? {
            if let LogEntry::Manifest(manifest) = entry
                && manifest.savepoint
            {
                let at = ManifestRef { slot: next, id: manifest.id, epoch: manifest.epoch };
                return Ok(Some((at, Arc::new(manifest))));
            }
            next = next.next();
        }
        // The entry that is missing may be one that the owner swept since, and the savepoint behind it.
        let kept = savepoints(store, pipeline).await?;
        if let Some(answer) = kept.into_iter().find(|(at, _)| at.slot >= from) {
            return Ok(Some(answer));
        }
        if tokio::time::Instant::now() >= until {
            return Ok(None);
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Gives a savepoint up: the next sweep takes what nothing else needs of it.
pub async fn drop_savepoint(
    store: &dyn ObjectStore,
    pipeline: &str,
    epoch: Epoch,
) -> Result<ManifestRef> {
    let kept = savepoints(store, pipeline).await?;
    let Some((at, _)) = kept.iter().find(|(at, _)| at.epoch == epoch) else {
        let epochs: Vec<String> = kept.iter().map(|(at, _)| at.epoch.to_string()).collect();
        let there = match epochs.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", epochs.join(", ")),
        };
        return Err(Error::invalid(format!(
            "pipeline {pipeline:?} has no savepoint of epoch {epoch}; {there}"
        )));
    };
    let mut register = Register::read(store, pipeline).await?;
    register.append(store, pipeline, RegisterEntry::GivenUp(*at)).await?;
    Ok(*at)
}

/// All savepoints that were not given up, oldest first, whether the log still goes back to them or not.
pub async fn savepoints(store: &dyn ObjectStore, pipeline: &str) -> Result<Vec<Savepoint>> {
    let kept = kept_manifests(store, pipeline).await?;
    Ok(kept.into_iter().filter(|(_, manifest)| manifest.savepoint).collect())
}

/// The savepoints that stand below the first entry of `reading`.
pub(crate) async fn below_the_log(
    store: &dyn ObjectStore,
    pipeline: &str,
    reading: &LogReading,
    register: &Register,
) -> Result<Vec<Savepoint>> {
    let mut kept = Vec::new();
    let below = register.all().filter(|it| it.slot < reading.first_kept());
    for at in below.filter(|it| !register.is_given_up(it.slot)) {
        kept.push((at, Arc::new(read_savepoint(store, pipeline, at).await?)));
    }
    Ok(kept)
}

async fn read_savepoint(
    store: &dyn ObjectStore,
    pipeline: &str,
    at: ManifestRef,
) -> Result<CheckpointManifest> {
    match read_entry(store, pipeline, at.slot).await? {
        Some(LogEntry::Manifest(manifest)) if manifest.id == at.id => Ok(manifest),
        Some(_) | None => Err(Error::corrupt(format!(
            "the savepoint of epoch {} (entry {} of the log of {pipeline:?}) is missing\n  → restore the object from a backup of the store, or give it up: floe savepoint --drop {}",
            at.epoch, at.slot, at.epoch
        ))),
    }
}

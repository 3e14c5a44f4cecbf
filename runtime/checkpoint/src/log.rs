//! Reading the log: from the hint to the first free slot, every entry verified, and the end proved.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use floe_core::committable::ManifestRef;
use floe_core::epoch::{EntryId, Generation, Slot};
use floe_core::log_entry::{Claim, LogEntry};
use floe_core::manifest::CheckpointManifest;
use floe_core::ports::ObjectStore;
use floe_core::{Error, Result};
use futures::future::try_join_all;

use crate::hint::Hint;
use crate::paths::Paths;
use crate::spine;

/// Entries are asked for this many at a time: a look past the end costs less than a round trip.
const READ_AHEAD: u64 = 8;

/// A reading is repeated only if the log was begun or swept during it.
const READINGS_MAX: usize = 10;

/// An entry of the log as it is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptEntry {
    Claim(Claim),
    Manifest(Arc<CheckpointManifest>),
}

/// What one reading of the log found. It never shrinks; entries swept meanwhile stay in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogReading {
    /// In the order of their slots, without a hole.
    pub entries: Vec<(Slot, KeptEntry)>,
    /// The newest claim if it stands before all `entries`.
    earlier_claim: Option<(Slot, Claim)>,
}

impl LogReading {
    /// The slot of the first entry; `Slot::FIRST` for an empty log.
    pub fn first_kept(&self) -> Slot {
        self.entries.first().map_or(Slot::FIRST, |it| it.0)
    }

    /// The next free slot.
    pub fn end(&self) -> Slot {
        self.entries.last().map_or(Slot::FIRST, |it| it.0.next())
    }

    pub fn manifests(
        &self,
    ) -> impl DoubleEndedIterator<Item = (ManifestRef, &Arc<CheckpointManifest>)> {
        self.entries.iter().filter_map(|(slot, entry)| match entry {
            KeptEntry::Manifest(manifest) => Some((reference(*slot, manifest), manifest)),
            KeptEntry::Claim(_) => None,
        })
    }

    pub fn newest_manifest(&self) -> Option<(ManifestRef, &Arc<CheckpointManifest>)> {
        self.manifests().next_back()
    }

    /// The claim of the owner. `None` for an empty log, or if sweeping and a lost hint hid it.
    pub fn newest_claim(&self) -> Option<(Slot, &Claim)> {
        let within = self.entries.iter().rev().find_map(|(slot, entry)| match entry {
            KeptEntry::Claim(claim) => Some((*slot, claim)),
            KeptEntry::Manifest(_) => None,
        });
        within.or(self.earlier_claim.as_ref().map(|(slot, claim)| (*slot, claim)))
    }

    /// `Generation(0)` for an empty log.
    pub fn highest_generation(&self) -> Generation {
        self.entries.last().map_or(Generation(0), |(_, entry)| entry.generation())
    }

    /// Takes the entry of the next slot, after checking that it may follow (I2, I3).
    pub(crate) fn push(&mut self, paths: &Paths, entry: LogEntry) -> Result<()> {
        let slot = self.end();
        self.push_at(paths, slot, entry)
    }

    fn push_at(&mut self, paths: &Paths, slot: Slot, entry: LogEntry) -> Result<()> {
        let wrong = |what: String| Err(Error::corrupt(format!("{}: {what}", paths.entry(slot))));
        if let Some((_, previous)) = self.entries.last() {
            let before = previous.generation();
            match &entry {
                LogEntry::Claim(claim) if claim.generation <= before => {
                    return wrong(format!(
                        "a claim of generation {} after generation {before}",
                        claim.generation
                    ));
                }
                LogEntry::Manifest(manifest) if manifest.generation != before => {
                    return wrong(format!(
                        "a manifest of generation {} while generation {before} owned the pipeline",
                        manifest.generation
                    ));
                }
                LogEntry::Claim(_) | LogEntry::Manifest(_) => {}
            }
        }
        if let (LogEntry::Manifest(manifest), Some((newest, _))) = (&entry, self.newest_manifest())
        {
            if manifest.epoch <= newest.epoch {
                return wrong(format!("epoch {} after epoch {}", manifest.epoch, newest.epoch));
            }
            if manifest.predecessor != Some(newest) {
                return wrong(format!(
                    "the manifest of epoch {} does not name the one before it",
                    manifest.epoch
                ));
            }
        }
        self.entries.push((slot, KeptEntry::from(entry)));
        Ok(())
    }

    /// Is the last entry a claim that stands in a hole, as the entry behind it shows?
    pub(crate) fn ends_in_a_hole(&self, behind: &LogEntry) -> bool {
        let last = self.entries.last().map(|it| &it.1);
        last.is_some_and(|it| stands_in_a_hole(it, &behind.clone().into()))
    }

    /// Forgets what a sweep deleted, and keeps the owner's claim.
    pub(crate) fn drop_below(&mut self, first: Slot) {
        self.earlier_claim = self.newest_claim().map(|(slot, claim)| (slot, claim.clone()));
        self.entries.retain(|(slot, _)| *slot >= first);
    }
}

impl KeptEntry {
    pub fn id(&self) -> EntryId {
        match self {
            KeptEntry::Claim(claim) => claim.id,
            KeptEntry::Manifest(manifest) => manifest.id,
        }
    }

    pub fn generation(&self) -> Generation {
        match self {
            KeptEntry::Claim(claim) => claim.generation,
            KeptEntry::Manifest(manifest) => manifest.generation,
        }
    }
}

impl From<LogEntry> for KeptEntry {
    fn from(entry: LogEntry) -> Self {
        match entry {
            LogEntry::Claim(claim) => KeptEntry::Claim(claim),
            LogEntry::Manifest(manifest) => KeptEntry::Manifest(Arc::new(manifest)),
        }
    }
}

pub(crate) fn reference(slot: Slot, manifest: &CheckpointManifest) -> ManifestRef {
    ManifestRef { slot, id: manifest.id, epoch: manifest.epoch }
}

/// Reads the log of a pipeline to its end.
///
/// The hint only saves time. Without it, or with one that leads into a hole, the end is searched over
/// the entries that no sweep deletes (`spine`); an end is believed only when none of those is behind it.
pub async fn read_log(store: &dyn ObjectStore, pipeline: &str) -> Result<LogReading> {
    let log = Log { store, pipeline, paths: Paths::of(pipeline)? };
    for _ in 0..READINGS_MAX {
        if let Some(reading) = log.read().await? {
            return Ok(reading);
        }
    }
    Err(Error::retry(format!("the log of {pipeline} changes faster than it can be read")))
}

/// Reads one entry; `None` where the slot is free.
pub(crate) async fn read_entry(
    store: &dyn ObjectStore,
    pipeline: &str,
    slot: Slot,
) -> Result<Option<LogEntry>> {
    Log { store, pipeline, paths: Paths::of(pipeline)? }.entry(slot).await
}

/// Is there an entry behind `last`? Then `last` stands before a hole that a sweep left.
pub(crate) async fn goes_on_beyond(
    store: &dyn ObjectStore,
    pipeline: &str,
    last: Slot,
) -> Result<bool> {
    Log { store, pipeline, paths: Paths::of(pipeline)? }.goes_on_beyond(last).await
}

/// The newest entry behind `last` that no sweep deletes.
pub(crate) async fn sign_beyond(
    store: &dyn ObjectStore,
    pipeline: &str,
    last: Slot,
) -> Result<Option<LogEntry>> {
    let log = Log { store, pipeline, paths: Paths::of(pipeline)? };
    match log.last_sign_beyond(last).await? {
        None => Ok(None),
        Some(slot) => log.entry(slot).await,
    }
}

/// The stored bytes of an entry: its encoding, then a checksum that also covers its slot and pipeline,
/// so that an entry in another's place is refused too.
pub(crate) fn seal(pipeline: &str, slot: Slot, entry: &LogEntry) -> Bytes {
    let mut bytes = entry.encode();
    let checksum = checksum(pipeline, slot, &bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.into()
}

pub(crate) fn unseal(paths: &Paths, pipeline: &str, slot: Slot, bytes: &[u8]) -> Result<LogEntry> {
    let refuse = |why: String| {
        Error::corrupt(format!(
            "{} is damaged: {why}\n  → restore the object from a backup of the store; nothing was changed",
            paths.entry(slot)
        ))
    };
    let Some((body, stored)) =
        bytes.len().checked_sub(32).and_then(|at| bytes.split_at_checked(at))
    else {
        return Err(refuse(format!("it has {} bytes only", bytes.len())));
    };
    if checksum(pipeline, slot, body).as_bytes() != stored {
        return Err(refuse("its checksum is wrong".into()));
    }
    let entry = LogEntry::decode(body).map_err(|error| refuse(error.to_string()))?;
    let named = match &entry {
        LogEntry::Claim(claim) => &claim.pipeline,
        LogEntry::Manifest(manifest) => &manifest.identity.pipeline,
    };
    match named == pipeline {
        true => Ok(entry),
        false => Err(refuse(format!("it is of pipeline {named:?}"))),
    }
}

fn checksum(pipeline: &str, slot: Slot, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(body);
    hasher.update(&slot.0.to_le_bytes());
    hasher.update(pipeline.as_bytes());
    hasher.finalize()
}

/// Where a run of entries without a hole led.
enum Run {
    ToTheEnd(LogReading),
    ToAHole(LogReading),
}

/// Why a run of entries was read no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The next slot is free.
    Free,
    /// The entry before the next slot is a claim that stands in a hole.
    Stray,
}

/// A claim that was written into a slot that a sweep had freed, by a process that had read the log before
/// it: the entry right behind it is of an older generation, or the same one's claim. It claims nothing;
/// its writer deletes it, unless it was killed first or its put landed late.
fn stands_in_a_hole(entry: &KeptEntry, behind: &KeptEntry) -> bool {
    match entry {
        KeptEntry::Claim(claim) => {
            behind.generation() < claim.generation
                || matches!(behind, KeptEntry::Claim(_)) && behind.generation() == claim.generation
        }
        KeptEntry::Manifest(_) => false,
    }
}

struct Log<'a> {
    store: &'a dyn ObjectStore,
    pipeline: &'a str,
    paths: Paths,
}

impl Log<'_> {
    /// `None` if it was written or swept meanwhile, so that the reading makes no sense.
    async fn read(&self) -> Result<Option<LogReading>> {
        let hinted = self.store.get(&self.paths.hint()).await?;
        let hint = hinted.as_deref().and_then(Hint::decode);
        let first = hint.map_or(Slot::FIRST, |it| it.first);
        let mut reading = match self.read_from(first).await? {
            Run::ToTheEnd(reading) => reading,
            // The first entry is at a power of two, and never deleted.
            Run::ToAHole(before) if before.entries.is_empty() && first == Slot::FIRST => {
                return Err(self.missing(Slot::FIRST));
            }
            Run::ToAHole(before) => {
                let Some(found) = self.search().await? else { return Ok(None) };
                self.check_hole(&before, &found).await?;
                found
            }
        };
        if reading.entries.is_empty() && !self.is_empty(hinted.is_some()).await? {
            return Ok(None);
        }
        if reading.newest_claim().is_none()
            && let Some(slot) = hint.and_then(|it| it.claim)
            && let Some(LogEntry::Claim(claim)) = self.entry(slot).await?
            && claim.generation == reading.highest_generation()
        {
            reading.earlier_claim = Some((slot, claim));
        }
        Ok(Some(reading))
    }

    async fn entry(&self, slot: Slot) -> Result<Option<LogEntry>> {
        match self.store.get(&self.paths.entry(slot)).await? {
            Some(bytes) => unseal(&self.paths, self.pipeline, slot, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The log from `first` on.
    async fn read_from(&self, first: Slot) -> Result<Run> {
        let mut reading = LogReading::default();
        let mut next = first;
        loop {
            let stop;
            (next, stop) = self.read_on(&mut reading, next).await?;
            if stop == Stop::Stray {
                return Ok(Run::ToAHole(reading));
            }
            if reading.entries.is_empty() && first > Slot::FIRST {
                return Ok(Run::ToAHole(reading));
            }
            if !self.goes_on_beyond(Slot(next.0 - 1)).await? {
                return Ok(Run::ToTheEnd(reading));
            }
            // Somebody may have written on while we looked; else it is a hole.
            if self.entry(next).await?.is_none() {
                return Ok(Run::ToAHole(reading));
            }
        }
    }

    /// Reads up to the first free slot or a stray claim, and returns the slot behind what was read.
    async fn read_on(&self, reading: &mut LogReading, mut next: Slot) -> Result<(Slot, Stop)> {
        loop {
            let slots = (next.0..).take(READ_AHEAD as usize).map(Slot);
            for entry in try_join_all(slots.map(|it| self.entry(it))).await? {
                let Some(entry) = entry else { return Ok((next, Stop::Free)) };
                if reading.ends_in_a_hole(&entry) {
                    return Ok((next, Stop::Stray));
                }
                reading.push_at(&self.paths, next, entry)?;
                next = next.next();
            }
        }
    }

    async fn goes_on_beyond(&self, last: Slot) -> Result<bool> {
        Ok(self.last_sign_beyond(last).await?.is_some())
    }

    async fn last_sign_beyond(&self, last: Slot) -> Result<Option<Slot>> {
        let slots = spine::signs_beyond(last);
        let found = try_join_all(slots.iter().map(|it| self.exists(*it))).await?;
        Ok(slots.into_iter().zip(found).rev().find(|(_, exists)| *exists).map(|it| it.0))
    }

    async fn exists(&self, slot: Slot) -> Result<bool> {
        Ok(self.store.get(&self.paths.entry(slot)).await?.is_some())
    }

    /// Finds the last entry without any pointer, then the first of the unbroken run that ends with it.
    async fn search(&self) -> Result<Option<LogReading>> {
        let mut last = Slot(0);
        while let Some(further) = self.last_sign_beyond(last).await? {
            last = further;
        }
        let mut first = last;
        let mut behind = self.entry(last).await?.map(KeptEntry::from);
        while first > Slot::FIRST
            && let Some(entry) = self.entry(Slot(first.0 - 1)).await?
        {
            let entry = KeptEntry::from(entry);
            if behind.is_none_or(|it| stands_in_a_hole(&entry, &it)) {
                break;
            }
            first = Slot(first.0 - 1);
            behind = Some(entry);
        }
        match self.read_from(first.max(Slot::FIRST)).await? {
            Run::ToTheEnd(reading) => Ok(Some(reading)),
            Run::ToAHole(_) => Ok(None),
        }
    }

    /// A hole is a sweep's, or an entry was lost. A sweep goes from the oldest on, objects first, and leaves
    /// only claims and the spine behind, so any other whole manifest before the hole tells of a loss.
    ///
    /// No sign of one: what was swept between our look at it and our look at the hole; and an entry that
    /// came back because an earlier attempt at its put landed late. Neither has its objects, but for those
    /// that newer checkpoints are built upon: these say nothing.
    async fn check_hole(&self, before: &LogReading, found: &LogReading) -> Result<()> {
        let mut left = BTreeSet::new();
        let built_upon: BTreeSet<&str> = found
            .manifests()
            .flat_map(|(_, it)| it.objects.iter().map(|object| object.path.as_str()))
            .collect();
        // A savepoint stays whole, alone, while the log goes on.
        for (at, manifest) in before.manifests().filter(|(_, it)| !it.savepoint) {
            let own = || {
                manifest.objects.iter().filter(|object| !built_upon.contains(object.path.as_str()))
            };
            let mut whole = own().next().is_some() && self.exists(at.slot).await?;
            for object in own() {
                let path = self.paths.object(&object.path)?;
                whole = whole && self.store.get(&path).await?.is_some();
            }
            if whole {
                left.insert(at.slot);
            }
        }
        let firsts = found.first_kept().0..found.end().0;
        if left.is_empty() || firsts.map(Slot).any(|it| left.is_subset(&spine::kept_below(it))) {
            return Ok(());
        }
        Err(self.missing(before.end()))
    }

    /// A log that was ever written has its first entry, as it has every one at a power of two. False if
    /// it was begun just now.
    async fn is_empty(&self, hinted: bool) -> Result<bool> {
        let probes = (1..33).map(|bit| self.exists(Slot(1 << bit)));
        if !hinted && !try_join_all(probes).await?.contains(&true) {
            return Ok(true);
        }
        match self.exists(Slot::FIRST).await? {
            true => Ok(false),
            false => Err(self.missing(Slot::FIRST)),
        }
    }

    fn missing(&self, slot: Slot) -> Error {
        Error::corrupt(format!(
            "{} is missing, and the log goes on behind it\n  → restore the object from a backup of the store; nothing was changed",
            self.paths.entry(slot)
        ))
    }
}

//! Reads the parts of a checkpoint, and hands out only what is verified.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use floe_core::image::{MemoryImage, PAGE_BYTES, PageRun};
use floe_core::manifest::{CheckpointManifest, ObjectRef, PartRef, TaskEntry};
use floe_core::ports::ObjectStore;
use floe_core::task::CapturedTask;
use floe_core::{Error, Result};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::chain::{Chains, MemoryChain, ObjectNumber};
use crate::part::{DecodedPages, decode_head, decode_pages, decode_version_1, is_version_1};
use crate::paths::Paths;
use crate::state_hash::{PageHash, page_hash};
use crate::write::{on_a_thread, state_hash};

/// Objects that are read, verified and decoded at a time while restoring.
const OBJECTS_MAX: usize = 4;

/// Reads every task of a checkpoint, in the manifest's order, with whole images.
///
/// An object that is missing, torn or altered, and a part that is not what the manifest says, is an error
/// of kind `Corrupt` with the object's path.
pub async fn read_parts(
    store: &dyn ObjectStore,
    pipeline: &str,
    manifest: &CheckpointManifest,
) -> Result<Vec<CapturedTask>> {
    Ok(read_with_chains(store, pipeline, manifest).await?.0)
}

/// Reads what a checkpoint holds of its tasks beside their memories: positions and journals.
///
/// The operators' memories are empty, so the state hash is not checked; all else is, as in `read_parts`.
pub async fn read_heads(
    store: &dyn ObjectStore,
    pipeline: &str,
    manifest: &CheckpointManifest,
) -> Result<Vec<CapturedTask>> {
    let paths = Paths::of(pipeline)?;
    let mut kept: BTreeMap<u32, Bytes> = BTreeMap::new();
    let mut tasks = Vec::with_capacity(manifest.tasks.len());
    for entry in &manifest.tasks {
        let object = object_of(manifest, entry.head.object)?;
        let path = paths.object(&object.path)?;
        let bytes = match kept.entry(entry.head.object) {
            Entry::Occupied(kept) => kept.into_mut(),
            Entry::Vacant(kept) => kept.insert(read_object(store, &paths, object).await?),
        };
        let part = part_of(&path, bytes, entry.head, &entry.task)?;
        let task = match is_version_1(&part) {
            true => read_version_1(&path, entry, part).await?.0,
            false => decode_head(&part)
                .map_err(|error| damaged(&path, &format!("the part of {}: {error}", entry.task)))?,
        };
        check_agrees(&path, &task, entry)?;
        tasks.push(task);
    }
    Ok(tasks)
}

/// With the chains onto which the next checkpoint is written.
pub(crate) async fn read_with_chains(
    store: &dyn ObjectStore,
    pipeline: &str,
    manifest: &CheckpointManifest,
) -> Result<(Vec<CapturedTask>, Chains)> {
    let paths = Paths::of(pipeline)?;
    let mut reading = Reading::begin(store, &paths, manifest).await?;
    let wanted = wanted_pages(manifest)?;
    let objects = wanted.into_iter().map(|(object, parts)| {
        let kept = reading.kept.remove(&object);
        fetch(store, &paths, manifest, object, kept, parts)
    });
    let objects: Vec<_> = objects.collect();
    let mut objects = stream::iter(objects).buffered(OBJECTS_MAX);
    while let Some(fetched) = objects.next().await {
        let (path, parts) = fetched?;
        for decoded in parts {
            reading.apply(&path, manifest, decoded)?;
        }
    }
    reading.finish(manifest)
}

/// A memory: the task's place in the manifest, the operator's in the chain.
#[derive(Clone, Copy)]
struct MemoryPlace {
    task: usize,
    operator: usize,
}

/// One part, and the memories that name it.
struct Wanted {
    part: PartRef,
    memories: Vec<MemoryPlace>,
}

/// For each object the parts of memories in it, oldest first.
fn wanted_pages(manifest: &CheckpointManifest) -> Result<BTreeMap<u32, Vec<Wanted>>> {
    let mut wanted: BTreeMap<(u32, u64, u64), Vec<MemoryPlace>> = BTreeMap::new();
    for (task, entry) in manifest.tasks.iter().enumerate() {
        for (operator, parts) in entry.memories.iter().enumerate() {
            if !parts.is_sorted_by_key(|it| (it.object, it.start)) {
                return Err(Error::corrupt(format!(
                    "the manifest of epoch {} names the parts of {} out of order",
                    manifest.epoch, entry.task
                )));
            }
            for part in parts {
                let place = (part.object, part.start, part.len);
                wanted.entry(place).or_default().push(MemoryPlace { task, operator });
            }
        }
    }
    let mut by_object: BTreeMap<u32, Vec<Wanted>> = BTreeMap::new();
    for ((object, start, len), memories) in wanted {
        let part = PartRef { object, start, len };
        by_object.entry(object).or_default().push(Wanted { part, memories });
    }
    Ok(by_object)
}

/// An object's path, and its parts.
async fn fetch(
    store: &dyn ObjectStore,
    paths: &Paths,
    manifest: &CheckpointManifest,
    object: u32,
    kept: Option<Bytes>,
    parts: Vec<Wanted>,
) -> Result<(String, Vec<Decoded>)> {
    let object = object_of(manifest, object)?;
    let path = paths.object(&object.path)?;
    let bytes = match kept {
        Some(bytes) => bytes,
        None => read_object(store, paths, object).await?,
    };
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    let decoded = stream::iter(parts)
        .map(|wanted| decode_one(&path, &bytes, manifest, wanted))
        .buffered(threads)
        .try_collect()
        .await?;
    Ok((path, decoded))
}

fn object_of(manifest: &CheckpointManifest, object: u32) -> Result<&ObjectRef> {
    manifest.objects.get(object as usize).ok_or_else(|| {
        Error::corrupt(format!("the manifest of epoch {} names no object {object}", manifest.epoch))
    })
}

/// The object as it was written: length and hash agree.
pub(crate) async fn read_object(
    store: &dyn ObjectStore,
    paths: &Paths,
    object: &ObjectRef,
) -> Result<Bytes> {
    let path = paths.object(&object.path)?;
    let Some(bytes) = store.get(&path).await? else {
        return Err(damaged(&path, "it is missing"));
    };
    if bytes.len() as u64 != object.len {
        let what = format!("it has {} bytes, {} were written", bytes.len(), object.len);
        return Err(damaged(&path, &what));
    }
    let hashed = bytes.clone();
    let hash = on_a_thread(move || *blake3::hash(&hashed).as_bytes()).await?;
    if hash != object.hash {
        return Err(damaged(&path, "its content is not what was written: the hash differs"));
    }
    Ok(bytes)
}

struct Decoded {
    wanted: Wanted,
    pages: Arc<DecodedPages>,
    hashes: Vec<PageHash>,
}

async fn decode_one(
    path: &str,
    object: &Bytes,
    manifest: &CheckpointManifest,
    wanted: Wanted,
) -> Result<Decoded> {
    let task = &manifest.tasks[wanted.memories[0].task].task;
    let part = part_of(path, object, wanted.part, task)?;
    let decoded = on_a_thread(move || {
        let pages = decode_pages(&part)?;
        let hashes = pages.iter().map(|it| page_hash(it.content)).collect();
        Ok(Decoded { wanted, pages: Arc::new(pages), hashes })
    });
    decoded.await?.map_err(|error: crate::part::PartError| {
        damaged(path, &format!("a part of {task}: {error}"))
    })
}

fn part_of(
    path: &str,
    object: &Bytes,
    part: PartRef,
    task: &floe_core::TopicPartition,
) -> Result<Bytes> {
    let end = part.start.checked_add(part.len).filter(|it| *it <= object.len() as u64);
    match end {
        Some(end) => Ok(object.slice(part.start as usize..end as usize)),
        None => Err(damaged(path, &format!("a part of {task} is outside of it"))),
    }
}

/// One operator's memory. Its pages stay where they were decompressed, and an image is made of slices:
/// the guest's own memory is the only place they are copied to.
#[derive(Default)]
struct Memory {
    chain: MemoryChain,
    /// What the chain's parts hold, by their number in it.
    contents: Vec<Arc<DecodedPages>>,
}

impl Memory {
    fn of(bytes: u64) -> Memory {
        let mut memory = Memory::default();
        memory.chain.resize(bytes as usize / PAGE_BYTES);
        memory
    }

    /// False if the part holds a page that the memory has not.
    fn add(
        &mut self,
        place: (ObjectNumber, u64, u64),
        version_1: bool,
        pages: Arc<DecodedPages>,
        hashes: &[PageHash],
    ) -> bool {
        if pages.numbers.last().is_some_and(|it| *it as usize >= self.chain.page_count()) {
            return false;
        }
        self.chain.add(place, version_1, pages.numbers.iter().copied().zip(hashes.iter().copied()));
        self.contents.push(pages);
        true
    }

    /// The newest content of every page that is not zeros.
    fn runs(&self) -> Vec<PageRun> {
        let mut pages: Vec<(u32, u32, u32)> = Vec::with_capacity(self.chain.page_count());
        for (part, content) in self.contents.iter().enumerate() {
            let stored = content.numbers.iter().zip(&content.places);
            let stored = stored.filter_map(|(page, place)| Some((*page, (*place)?)));
            let live = stored.filter(|(page, _)| self.chain.is_live(part, *page));
            pages.extend(live.map(|(page, place)| (page, part as u32, place)));
        }
        pages.sort_unstable();
        let follows = |a: &(u32, u32, u32), b: &(u32, u32, u32)| {
            b.0 == a.0 + 1 && b.1 == a.1 && b.2 == a.2 + 1
        };
        pages
            .chunk_by(follows)
            .map(|run| {
                let (first_page, part, place) = run[0];
                let start = place as usize * PAGE_BYTES;
                let stored = &self.contents[part as usize].stored;
                PageRun { first_page, content: stored.slice(start..start + run.len() * PAGE_BYTES) }
            })
            .collect()
    }
}

/// The tasks so far.
struct Reading {
    tasks: Vec<CapturedTask>,
    /// For each task, by operator.
    memories: Vec<Vec<Memory>>,
    /// For each task, the path of its head's object.
    paths: Vec<String>,
    /// Objects that hold heads, which may hold pages too.
    kept: BTreeMap<u32, Bytes>,
}

impl Reading {
    /// Reads the heads.
    async fn begin(
        store: &dyn ObjectStore,
        paths: &Paths,
        manifest: &CheckpointManifest,
    ) -> Result<Reading> {
        let mut reading = Reading {
            tasks: Vec::new(),
            memories: Vec::new(),
            paths: Vec::new(),
            kept: BTreeMap::new(),
        };
        for entry in &manifest.tasks {
            let object = object_of(manifest, entry.head.object)?;
            let path = paths.object(&object.path)?;
            let bytes = match reading.kept.entry(entry.head.object) {
                Entry::Occupied(kept) => kept.into_mut(),
                Entry::Vacant(kept) => kept.insert(read_object(store, paths, object).await?),
            };
            let part = part_of(&path, bytes, entry.head, &entry.task)?;
            let (task, memories) = match is_version_1(&part) {
                true => read_version_1(&path, entry, part).await?,
                false => read_head(&path, entry, &part)?,
            };
            reading.tasks.push(task);
            reading.memories.push(memories);
            reading.paths.push(path);
        }
        Ok(reading)
    }

    fn apply(&mut self, path: &str, manifest: &CheckpointManifest, decoded: Decoded) -> Result<()> {
        let Decoded { wanted, pages, hashes } = decoded;
        let place = (ObjectNumber(wanted.part.object.into()), wanted.part.start, wanted.part.len);
        for MemoryPlace { task, operator } in wanted.memories {
            let memory = &mut self.memories[task][operator];
            if !memory.add(place, false, Arc::clone(&pages), &hashes) {
                let task = &manifest.tasks[task].task;
                return Err(damaged(path, &format!("a part of {task} is outside of its memory")));
            }
        }
        Ok(())
    }

    /// Compares all with the manifest.
    fn finish(self, manifest: &CheckpointManifest) -> Result<(Vec<CapturedTask>, Chains)> {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        let mut chains = Chains {
            epoch: None,
            objects: (0u64..).map(ObjectNumber).zip(manifest.objects.iter().cloned()).collect(),
            tasks: BTreeMap::new(),
        };
        let all = self.tasks.into_iter().zip(self.memories).zip(self.paths);
        for (((mut task, memories), path), entry) in all.zip(&manifest.tasks) {
            check_agrees(&path, &task, entry)?;
            for ((_, image), memory) in task.operators.iter_mut().zip(&memories) {
                image.memory.runs = memory.runs();
            }
            let of_task: Vec<_> = memories.into_iter().map(|it| it.chain).collect();
            if state_hash(&task, &of_task) != entry.state_hash {
                return Err(damaged(&path, &format!("the state hash of {} differs", entry.task)));
            }
            chains.tasks.insert(task.task.clone(), of_task);
            tasks.push(task);
        }
        Ok((tasks, chains))
    }
}

fn check_agrees(path: &str, task: &CapturedTask, entry: &TaskEntry) -> Result<()> {
    let agrees = task.task == entry.task
        && task.next_offset == entry.next_offset
        && task.virtual_time == entry.virtual_time
        && task.watermark == entry.watermark
        && task.records == entry.records
        && task.in_flight.rows() == entry.in_flight_rows;
    match agrees {
        true => Ok(()),
        false => {
            let what = format!("the part of {} is not the one that the manifest names", entry.task);
            Err(damaged(path, &what))
        }
    }
}

fn read_head(path: &str, entry: &TaskEntry, part: &Bytes) -> Result<(CapturedTask, Vec<Memory>)> {
    let task = decode_head(part)
        .map_err(|error| damaged(path, &format!("the part of {}: {error}", entry.task)))?;
    if task.operators.len() != entry.memories.len() {
        let what = format!("the part of {} has other operators than the manifest", entry.task);
        return Err(damaged(path, &what));
    }
    let memories = task.operators.iter().map(|(_, it)| Memory::of(it.memory.bytes)).collect();
    Ok((task, memories))
}

/// The memories are in the same part.
async fn read_version_1(
    path: &str,
    entry: &TaskEntry,
    part: Bytes,
) -> Result<(CapturedTask, Vec<Memory>)> {
    let place = (ObjectNumber(entry.head.object.into()), entry.head.start, entry.head.len);
    let decoded = on_a_thread(move || {
        let task = decode_version_1(&part)?;
        let memory = |image: &MemoryImage| {
            let mut memory = Memory::of(image.bytes);
            let pages = Arc::new(DecodedPages::from(image.clone()));
            let hashes: Vec<_> = pages.iter().map(|it| page_hash(it.content)).collect();
            assert!(memory.add(place, true, pages, &hashes), "an image lies in its memory");
            memory
        };
        let memories = task.operators.iter().map(|(_, it)| memory(&it.memory)).collect();
        Ok((task, memories))
    });
    decoded.await?.map_err(|error: crate::part::PartError| {
        damaged(path, &format!("the part of {}: {error}", entry.task))
    })
}

fn damaged(path: &str, why: &str) -> Error {
    Error::corrupt(format!(
        "{path} is damaged: {why}\n  → restore the object from a backup of the store, or start from another checkpoint; nothing was changed"
    ))
}

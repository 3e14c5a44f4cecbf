//! Writes the parts of a checkpoint: what changed is hashed and compressed on blocking threads and packed
//! into few objects; what did not change is named where it is.

use std::sync::Arc;

use bytes::Bytes;
use floe_core::epoch::{EntryId, Epoch};
use floe_core::image::{MemoryImage, PAGE_BYTES, PageRun, ZERO_PAGE};
use floe_core::manifest::{ObjectRef, TaskEntry};
use floe_core::ports::ObjectStore;
use floe_core::task::CapturedTask;
use floe_core::{Error, Result, TopicPartition};
use futures::future::ready;
use futures::stream::{StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::chain::{Chains, MemoryChain, part_ref};
use crate::clean::clean;
use crate::compressor::{Compressor, Compressors};
use crate::pack::Packer;
use crate::part::{PART_PAGES_MAX, Page, encode_head, encode_pages};
use crate::paths::Paths;
use crate::share::{ChangedMemory, ChangedPage, ChangedPiece, SharedPages, share};
use crate::state_hash::{PageHash, StateHasher, ZERO_PAGE_HASH, page_hash, with_in_flight};

/// A thousand small tasks are a few objects; an object is one put, and is read as a whole. Three of them
/// are in memory at a time. The odd MiB is for two parts of pages that do not compress.
pub(crate) const OBJECT_BYTES: usize = 9 * 1024 * 1024;

/// Writes a checkpoint of whole images that builds on no other.
///
/// When this returns, every object named is durable (I1). The names hold the manifest's id, so the objects
/// of an attempt that comes to nothing are named by nobody, and are harmless.
pub async fn write_parts(
    store: &Arc<dyn ObjectStore>,
    pipeline: &str,
    epoch: Epoch,
    manifest: EntryId,
    tasks: Vec<CapturedTask>,
) -> Result<(Vec<ObjectRef>, Vec<TaskEntry>)> {
    let written = write_onto(store, pipeline, epoch, manifest, tasks, Chains::default()).await?;
    Ok((written.objects, written.tasks))
}

pub(crate) struct Written {
    pub(crate) objects: Vec<ObjectRef>,
    pub(crate) tasks: Vec<TaskEntry>,
    /// Once the manifest is visible, the next checkpoint builds on these.
    pub(crate) chains: Chains,
}

/// Writes a checkpoint onto the one that `chains` are of. After an error they are gone, and with them the
/// right to write changes: only whole images, or those of a restore, go on.
pub(crate) async fn write_onto(
    store: &Arc<dyn ObjectStore>,
    pipeline: &str,
    epoch: Epoch,
    manifest: EntryId,
    tasks: Vec<CapturedTask>,
    chains: Chains,
) -> Result<Written> {
    let paths = Paths::of(pipeline)?;
    let own = chains.next_object();
    let mut packer = Packer::new(store, paths.clone(), epoch, manifest, own);
    let mut chains = Onto::of(epoch, &tasks, chains)?;

    let mut heads = Vec::with_capacity(tasks.len());
    let mut all = Vec::new();
    for task in tasks {
        let (head, memories) = take_memories(task);
        for (index, memory) in memories.into_iter().enumerate() {
            let pieces = changed_pieces(in_pieces(memory, chains.memory(&head.task, index)));
            all.push(ChangedMemory { task: heads.len(), index, pieces: pieces.await? });
        }
        heads.push(head);
    }
    // Before all that is a memory's own, so that the order of a memory's parts is that of their places.
    let groups = share(&mut all);
    write_shared(&mut packer, &mut chains, &heads, &all, groups).await?;
    for memory in all {
        let task = &heads[memory.task].task;
        write_own(&mut packer, chains.memory(task, memory.index), memory.pieces)
            .await
            .map_err(|error| error.context(format!("write the state of {task}")))?;
    }
    let mut chains = chains.0;
    for group in chains.to_clean(own) {
        clean(&**store, &paths, &mut chains, &mut packer, &group).await?;
    }
    chains.retire(own);

    let mut places = Vec::with_capacity(heads.len());
    for head in &heads {
        let encoded = encode_head(head).map_err(|error| {
            Error::retry(format!("encode the checkpoint of {}: {error}", head.task))
        })?;
        places.push(packer.add(&encoded).await?);
    }
    chains.objects.extend(packer.finish().await?);
    chains.epoch = Some(epoch.next());
    let (objects, indexes) = chains.named();
    let entry = |(head, (object, start, len)): (&CapturedTask, _)| {
        let memories = &chains.tasks[&head.task];
        TaskEntry {
            task: head.task.clone(),
            head: part_ref(&indexes, object, start, len),
            memories: memories
                .iter()
                .map(|it| {
                    let parts = it.parts().iter();
                    parts.map(|it| part_ref(&indexes, it.object, it.start, it.len)).collect()
                })
                .collect(),
            state_hash: state_hash(head, memories),
            next_offset: head.next_offset,
            virtual_time: head.virtual_time,
            watermark: head.watermark,
            records: head.records,
            in_flight_rows: head.in_flight.rows(),
        }
    };
    let tasks = heads.iter().zip(places).map(entry).collect();
    Ok(Written { objects, tasks, chains })
}

pub(crate) fn state_hash(head: &CapturedTask, memories: &[MemoryChain]) -> [u8; 32] {
    let mut state = StateHasher::new(head.operators.len());
    for ((_, image), chain) in head.operators.iter().zip(memories) {
        state.operator(image, &chain.hashes);
    }
    with_in_flight(state.finish(), head.in_flight.batches())
}

/// The chains with a place for every memory that is written, and for no other.
struct Onto(Chains);

impl Onto {
    fn of(epoch: Epoch, tasks: &[CapturedTask], mut chains: Chains) -> Result<Onto> {
        let in_step = chains.epoch.is_none_or(|it| it == epoch);
        let mut before = std::mem::take(&mut chains.tasks);
        for task in tasks {
            let mut memories = before.remove(&task.task).unwrap_or_default();
            let known = memories.len();
            memories.resize_with(task.operators.len(), MemoryChain::default);
            for (index, (name, image)) in task.operators.iter().enumerate() {
                let page_count = image.memory.bytes as usize / PAGE_BYTES;
                if !image.memory.whole {
                    let fits = index < known && memories[index].page_count() <= page_count;
                    if !in_step || !fits {
                        return Err(Error::corrupt(format!(
                            "the changes of operator {name} of {} do not follow the checkpoint before epoch {epoch}: this is a defect of floe\n  → start it again: it goes on at the newest checkpoint",
                            task.task
                        )));
                    }
                } else if page_count < memories[index].page_count() {
                    // Another instance, which began anew.
                    memories[index] = MemoryChain::default();
                }
                memories[index].resize(page_count);
            }
            chains.tasks.insert(task.task.clone(), memories);
        }
        Ok(Onto(chains))
    }

    fn memory(&mut self, task: &TopicPartition, index: usize) -> &mut MemoryChain {
        &mut self.0.tasks.get_mut(task).expect("each task got its place")[index]
    }
}

/// The task without its memories' pages, and these.
fn take_memories(mut task: CapturedTask) -> (CapturedTask, Vec<MemoryImage>) {
    let memories = task
        .operators
        .iter_mut()
        .map(|(_, image)| {
            let memory = &mut image.memory;
            MemoryImage { runs: std::mem::take(&mut memory.runs), ..*memory }
        })
        .collect();
    (task, memories)
}

/// Hashes what was captured, and leaves out what is as it was before.
async fn changed_pieces(pieces: Vec<Piece>) -> Result<Vec<ChangedPiece>> {
    let hashed = futures::stream::iter(pieces).map(|piece| on_a_thread(move || piece.changed()));
    let pieces = hashed.buffered(threads()).try_filter(|it| ready(!it.pages.is_empty()));
    pieces.try_collect().await
}

/// Writes what several memories have alike, once for all of them.
async fn write_shared(
    packer: &mut Packer,
    chains: &mut Onto,
    heads: &[CapturedTask],
    memories: &[ChangedMemory],
    groups: Vec<SharedPages>,
) -> Result<()> {
    let contents: Vec<Vec<(u32, Bytes)>> =
        groups.iter().map(|it| it.contents(memories).collect()).collect();
    let compressors = packer.compressors();
    let parts = contents.into_iter().map(|pages| {
        let compressors = compressors.clone();
        on_a_thread(move || {
            let pages = pages.iter().map(|(number, content)| Page { number: *number, content });
            encode(pages, &compressors)
        })
    });
    let mut parts = futures::stream::iter(parts).buffered(threads());
    for group in &groups {
        let part = parts.next().await.expect("each group has its part")??;
        let place = packer.add_pressed(part).await?;
        for memory in &group.memories {
            let memory = &memories[*memory];
            let chain = chains.memory(&heads[memory.task].task, memory.index);
            chain.add(place, false, group.hashes(memories));
        }
    }
    Ok(())
}

/// Writes what is this memory's alone, piece by piece: the captured pages are given back on the way.
async fn write_own(
    packer: &mut Packer,
    chain: &mut MemoryChain,
    pieces: Vec<ChangedPiece>,
) -> Result<()> {
    let own = pieces.into_iter().filter(|it| it.pages.iter().any(|page| !page.shared));
    let compressors = packer.compressors();
    let mut encoded = futures::stream::iter(own)
        .map(|piece| {
            let compressors = compressors.clone();
            on_a_thread(move || {
                let own: Vec<_> = piece.pages.iter().filter(|it| !it.shared).collect();
                let pages =
                    own.iter().map(|it| Page { number: it.number, content: piece.content(it) });
                let hashes: Vec<_> = own.iter().map(|it| (it.number, it.hash)).collect();
                Ok((encode(pages, &compressors)?, hashes))
            })
        })
        .buffered(threads());
    while let Some(part) = encoded.next().await {
        let (part, pages) = part??;
        let place = packer.add_pressed(part).await?;
        chain.add(place, false, pages.into_iter());
    }
    Ok(())
}

/// A compressor that holds the part.
pub(crate) fn encode<'a>(
    pages: impl Iterator<Item = Page<'a>>,
    compressors: &Compressors,
) -> Result<Compressor> {
    let pressed = compressors.take().and_then(|mut compressor| {
        encode_pages(&pages.collect::<Vec<_>>(), &mut compressor)?;
        Ok(compressor)
    });
    pressed.map_err(|error| Error::retry(format!("compress: {error}")))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |it| it.get())
}

/// Pages for one part.
#[derive(Default)]
struct Piece {
    runs: Vec<PageRun>,
    /// For each page the hash that the chain has.
    before: Vec<PageHash>,
}

impl Piece {
    /// A page that was written and is as it was before is no change.
    fn changed(self) -> ChangedPiece {
        let mut pages = Vec::with_capacity(self.before.len());
        let mut before = self.before.iter();
        for (run, of_run) in self.runs.iter().enumerate() {
            let contents = of_run.content.chunks_exact(PAGE_BYTES);
            for ((index, content), before) in contents.enumerate().zip(&mut before) {
                let hash = page_hash(content);
                if hash != *before {
                    let number = of_run.first_page + index as u32;
                    pages.push(ChangedPage { number, hash, run, index, shared: false });
                }
            }
        }
        ChangedPiece { runs: self.runs, pages }
    }

    fn page_count(&self) -> usize {
        self.before.len()
    }
}

/// Cuts an image into pieces of a part each. Of a whole image, what is in no run is zeros now.
fn in_pieces(memory: MemoryImage, chain: &MemoryChain) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut piece = Piece::default();
    let mut push = |mut run: PageRun| {
        while !run.content.is_empty() {
            if piece.page_count() == PART_PAGES_MAX {
                pieces.push(std::mem::take(&mut piece));
            }
            let room = PART_PAGES_MAX - piece.page_count();
            let taken = room.min(run.page_count() as usize);
            let rest = run.content.split_off(taken * PAGE_BYTES);
            let (first, next) = (run.first_page as usize, run.first_page as usize + taken);
            piece.before.extend_from_slice(&chain.hashes[first..next]);
            piece.runs.push(run);
            run = PageRun { first_page: next as u32, content: rest };
        }
    };
    let were_not_zeros = |from: u32, to: u32| {
        let hashes = if memory.whole { &chain.hashes[from as usize..to as usize] } else { &[] };
        (from..)
            .zip(hashes)
            .filter(|(_, hash)| **hash != *ZERO_PAGE_HASH)
            .map(|(page, _)| PageRun { first_page: page, content: Bytes::from_static(&ZERO_PAGE) })
    };
    let mut next = 0u32;
    for run in memory.runs {
        assert!(next <= run.first_page, "runs are in order");
        were_not_zeros(next, run.first_page).for_each(&mut push);
        next = run.first_page + run.page_count();
        push(run);
    }
    were_not_zeros(next, chain.page_count() as u32).for_each(&mut push);
    if piece.page_count() > 0 {
        pieces.push(piece);
    }
    pieces
}

/// On a runtime of one thread, which a simulation uses, it is done at once: the order stays the seed's.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::retry(format!("a thread for checkpoints ended: {error}")))
}

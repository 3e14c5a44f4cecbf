//! Writes the live pages of old objects anew, so that the objects are named no more.
//!
//! The pages come from the store and not from the guest: no pause, and a chain never grows beyond what a
//! restore may read.

use std::collections::BTreeMap;

use bytes::Bytes;
use floe_core::ports::ObjectStore;
use floe_core::position::TopicPartition;
use floe_core::{ErrorKind, Result};

use crate::chain::{Chains, ObjectNumber};
use crate::pack::Packer;
use crate::part::{DecodedPages, PART_PAGES_MAX, Page, PartError, decode_pages, decode_version_1};
use crate::paths::Paths;
use crate::read::read_object;
use crate::state_hash::PageHash;
use crate::write::{encode, on_a_thread};

/// An object that cannot be read now stays in the chain. That is said and harmless to this checkpoint:
/// it names what is there.
pub(crate) async fn clean(
    store: &dyn ObjectStore,
    paths: &Paths,
    chains: &mut Chains,
    packer: &mut Packer,
    group: &[ObjectNumber],
) -> Result<()> {
    // Pages by the memories in which they are live, so that what they share stays shared. No memory has two
    // live pages of one number, and so neither has a set of memories.
    let mut live: BTreeMap<Vec<MemoryId>, BTreeMap<u32, Bytes>> = BTreeMap::new();
    for number in group {
        let object = chains.objects[number].clone();
        let bytes = match read_object(store, paths, &object).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::Corrupt => {
                tracing::error!(
                    object = object.path,
                    "checkpoints build on a damaged object: {error}"
                );
                continue;
            }
            Err(error) => {
                tracing::warn!(object = object.path, "an old object could not be cleaned: {error}");
                continue;
            }
        };
        for (part, memories) in parts_in(chains, *number) {
            let content = bytes.slice(part.start as usize..(part.start + part.len) as usize);
            let pages = on_a_thread(move || decode(&content, part.version_1_operator)).await?;
            let pages = match pages {
                Ok(pages) => pages,
                Err(error) => {
                    let (path, (task, _)) = (&object.path, &memories[0].0);
                    tracing::error!(path, "a part of {task} cannot be cleaned: {error}");
                    continue;
                }
            };
            for (page, content) in pages {
                let live_in = memories.iter().filter(|((task, index), number_of_part)| {
                    chains.tasks[task][*index].is_live(*number_of_part, page)
                });
                let live_in: Vec<MemoryId> = live_in.map(|it| it.0.clone()).collect();
                if !live_in.is_empty() {
                    live.entry(live_in).or_default().insert(page, content);
                }
            }
        }
    }
    for (memories, pages) in live {
        let (task, index) = &memories[0];
        let pages: Vec<(u32, Bytes)> = pages.into_iter().collect();
        for piece in pages.chunks(PART_PAGES_MAX) {
            let first = &chains.tasks[task][*index];
            let hashes: Vec<(u32, PageHash)> =
                piece.iter().map(|(page, _)| (*page, first.hashes[*page as usize])).collect();
            let piece = piece.to_vec();
            let compressors = packer.compressors();
            let encoded = on_a_thread(move || {
                let pages = piece.iter().map(|(number, content)| Page { number: *number, content });
                encode(pages, &compressors)
            });
            let part = encoded
                .await?
                .map_err(|error| error.context(format!("write the state of {task} anew")))?;
            let place = packer.add_pressed(part).await?;
            for (task, index) in &memories {
                let chain = &mut chains.tasks.get_mut(task).expect("it was iterated over")[*index];
                chain.add(place, false, hashes.iter().copied());
            }
        }
    }
    Ok(())
}

/// A task, and the place of one of its operators.
type MemoryId = (TopicPartition, usize);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OldPart {
    start: u64,
    len: u64,
    /// A part of version 1 holds the pages of all operators of its task; this one's are meant.
    version_1_operator: Option<usize>,
}

/// The parts of an object, and for each the memories that name it, with its number there.
fn parts_in(chains: &Chains, object: ObjectNumber) -> BTreeMap<OldPart, Vec<(MemoryId, usize)>> {
    let mut parts: BTreeMap<OldPart, Vec<(MemoryId, usize)>> = BTreeMap::new();
    for (task, memories) in &chains.tasks {
        for (index, chain) in memories.iter().enumerate() {
            let of_object = chain.parts().iter().enumerate().filter(|it| it.1.object == object);
            for (number, part) in of_object {
                let version_1_operator = part.version_1.then_some(index);
                let part = OldPart { start: part.start, len: part.len, version_1_operator };
                parts.entry(part).or_default().push(((task.clone(), index), number));
            }
        }
    }
    parts
}

fn decode(
    content: &Bytes,
    version_1_operator: Option<usize>,
) -> std::result::Result<Vec<(u32, Bytes)>, PartError> {
    if let Some(index) = version_1_operator {
        let task = decode_version_1(content)?;
        let memory = &task.operators[index].1.memory;
        return Ok(memory.pages().map(|(page, it)| (page, Bytes::copy_from_slice(it))).collect());
    }
    Ok(DecodedPages::into_pages(decode_pages(content)?))
}

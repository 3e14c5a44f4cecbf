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
use crate::part::{
    DecodedPages, PART_PAGES_MAX, Page, PartError, decode_pages, decode_version_1, encode_pages,
};
use crate::paths::Paths;
use crate::read::read_object;
use crate::state_hash::PageHash;
use crate::write::on_a_thread;

/// An object that cannot be read now stays in the chain. That is said and harmless to this checkpoint:
/// it names what is there.
pub(crate) async fn clean(
    store: &dyn ObjectStore,
    paths: &Paths,
    chains: &mut Chains,
    packer: &mut Packer,
    group: &[ObjectNumber],
) -> Result<()> {
    let mut live: BTreeMap<(TopicPartition, usize), BTreeMap<u32, Bytes>> = BTreeMap::new();
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
        for (task, memories) in &chains.tasks {
            for (index, chain) in memories.iter().enumerate() {
                for (number_of_part, part) in chain.parts().iter().enumerate() {
                    if part.object != *number {
                        continue;
                    }
                    let range = part.start as usize..(part.start + part.len) as usize;
                    let (content, version_1) = (bytes.slice(range), part.version_1);
                    let pages = on_a_thread(move || decode(&content, version_1, index)).await?;
                    let pages = match pages {
                        Ok(pages) => pages,
                        Err(error) => {
                            let path = &object.path;
                            tracing::error!(path, "a part of {task} cannot be cleaned: {error}");
                            continue;
                        }
                    };
                    let of_memory = live.entry((task.clone(), index)).or_default();
                    for (page, content) in pages {
                        if chain.is_live(number_of_part, page) {
                            of_memory.insert(page, content);
                        }
                    }
                }
            }
        }
    }
    for ((task, index), pages) in live {
        let chain = &mut chains.tasks.get_mut(&task).expect("it was iterated over")[index];
        let pages: Vec<(u32, Bytes)> = pages.into_iter().collect();
        for piece in pages.chunks(PART_PAGES_MAX) {
            let hashes: Vec<(u32, PageHash)> =
                piece.iter().map(|(page, _)| (*page, chain.hashes[*page as usize])).collect();
            let piece = piece.to_vec();
            let encode = move || {
                let pages: Vec<Page<'_>> = piece
                    .iter()
                    .map(|(number, content)| Page { number: *number, content })
                    .collect();
                encode_pages(&pages)
            };
            let part = on_a_thread(encode).await?.map_err(|error| {
                floe_core::Error::retry(format!("compress the state of {task}: {error}"))
            })?;
            let place = packer.add(&part).await?;
            chain.add(place, false, hashes.into_iter());
        }
    }
    Ok(())
}

fn decode(
    content: &Bytes,
    version_1: bool,
    index: usize,
) -> std::result::Result<Vec<(u32, Bytes)>, PartError> {
    if version_1 {
        let task = decode_version_1(content)?;
        let memory = &task.operators[index].1.memory;
        return Ok(memory.pages().map(|(page, it)| (page, Bytes::copy_from_slice(it))).collect());
    }
    Ok(DecodedPages::into_pages(decode_pages(content)?))
}
